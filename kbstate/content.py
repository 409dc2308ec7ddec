"""What files are made of: the bytes of a file beside the desired state, or a template filled with values."""

from __future__ import annotations

from pathlib import Path

from kbstate.errors import DesiredError, Where
from kbstate.faults import caller, shown
from kbstate.secret import Secret

LARGEST = 64 * 1024 * 1024


def from_file(path: str | Path) -> str | bytes:
    """The content of a file: text where it is UTF-8, else bytes. A relative path is taken from the calling file.

    Raises DesiredError.
    """
    file, where = _beside(path)
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise DesiredError(f"{shown(str(file))} cannot be read: {error.strerror}", where) from None
    if len(data) > LARGEST:
        raise DesiredError(f"{shown(str(file))} is larger than {LARGEST} bytes: it cannot be declared", where)
    try:
        return data if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return data


def template(path: str | Path, **values: object) -> str | Secret:
    """A Jinja2 template filled with values; a Secret if any of them is or holds one. Nothing is escaped.

    A relative path is taken from the calling file. Raises DesiredError, naming file and line of the template.
    """
    file, where = _beside(path)
    if not file.is_file():
        raise DesiredError(f"there is no template {shown(str(file))}", where)
    from kbstate.templates import fill  # Jinja2 takes 60 ms: only where there are templates

    return fill(file, values)


def _beside(path: str | Path) -> tuple[Path, Where]:
    """The path as seen from the file that called this package, and the place of the call."""
    where = caller()
    return Path(where.file).parent / path, Where(shown(where.file), where.line)
