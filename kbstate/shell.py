"""The one place where text becomes part of a shell command."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable


def q(word: object) -> str:
    """One shell word that stands for exactly this text."""
    return shlex.quote(str(word))


def words(items: Iterable[object]) -> str:
    """Several shell words."""
    return " ".join(q(item) for item in items)


def feed(command: str, data: bytes) -> str:
    """The command with these bytes on its standard input: in a here-document, so never in an argument list."""
    text = base64.encodebytes(data).decode()
    return f"base64 -d <<'KBSTATE_DATA' | {{\n{text}KBSTATE_DATA\n{command}\n}}\n"
