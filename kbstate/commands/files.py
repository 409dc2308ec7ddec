"""Files that commands read and write for people: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from kbstate.errors import KbstateError, UsageError


def is_file(argument: str) -> bool:
    """Whether an argument names a saved plan, not a host."""
    return "/" in argument or argument.endswith(".json")


def write(path: Path, text: str) -> None:
    """Replace a file in one rename, readable by its owner alone. Raises KbstateError.

    What is not Unicode, such as a byte in the name of a link's target, is written as JSON has it (`\\udcff`).
    """
    temporary = None
    try:
        number, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise KbstateError(f"{path} cannot be written: {error.strerror}") from None


def read(path: Path) -> str:
    """The text of a file. Raises UsageError if there is none, KbstateError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KbstateError(f"{path} is damaged: it is not UTF-8") from None
