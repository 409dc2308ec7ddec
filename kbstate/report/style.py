"""How everything that people read is printed: consoles, colours, and values of a host made harmless."""

from __future__ import annotations

import os
import sys
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

WIDEST = 140
"""Columns beyond which lines are hard to read."""
UNKNOWN_WIDTH = 120
"""Columns where there is no terminal to ask."""

COLOURS = {"create": "green", "update": "yellow", "delete": "red", "replace": "magenta"}
SYMBOLS = {"create": "+", "update": "~", "delete": "-", "replace": "-/+"}
UNKNOWN_COLOUR = "bright_magenta"


def console(stream: TextIO | None = None, *, no_color: bool = False, width: int | None = None) -> Console:
    """A console that never interprets what it prints; plain where colour is unwanted or there is no terminal."""
    from rich.console import Console

    file = stream or sys.stdout
    terminal = file.isatty()
    plain = no_color or not terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(
        file=file,
        force_terminal=terminal,
        color_system=None if plain else "auto",
        no_color=plain,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        legacy_windows=False,
        width=width or columns(file),
    )


def columns(file: TextIO) -> int:
    """How wide lines may be: as wide as the terminal, else as COLUMNS says."""
    try:
        found = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(file.fileno()).columns
    except (OSError, ValueError, AttributeError):
        found = UNKNOWN_WIDTH
    return max(40, min(found, WIDEST))


@lru_cache(maxsize=4096)
def _shown(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def visible(text: str) -> str:
    """One line of text in which nothing acts on a terminal: control and invisible characters as escapes."""
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def cut(text: str, width: int) -> str:
    """Visible text that fits, with an ellipsis where something is missing."""
    from rich.cells import cell_len, set_cell_size

    shown = visible(text)
    if cell_len(shown) <= width:
        return shown
    return set_cell_size(shown, max(width - 1, 0)).rstrip() + "…"


def print_error(message: str, *, no_color: bool = False) -> None:
    """`Error: …` on stderr, a line for each line of the message."""
    from rich.text import Text

    out = console(sys.stderr, no_color=no_color)
    for line in message.splitlines() or [""]:
        out.print(Text.assemble(("Error: ", "bold red"), visible(line)))
