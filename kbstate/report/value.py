"""Values of resources in words: one that fits a line, and the difference of two texts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from kbstate.report.style import visible
from kbstate.resource import Json

NONE = "(none)"
SENSITIVE = "(sensitive)"
AFTER_APPLY = "(known after apply)"
CONTEXT = 3
"""Lines shown around a difference."""
LONGEST_LINE = 2_000
"""Characters of one line of a difference that are shown; wrapping millions takes minutes."""
MOST_LINES = 10_000
"""Lines of both texts beyond which their difference is not looked for: that takes a time that grows with the square."""

_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")


def short(value: Json) -> str:
    """A value on one line, as long as it is."""
    match value:
        case None:
            return NONE
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case list():
            return "[" + ", ".join(short(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{name}: {short(item)}" for name, item in value.items() if item is not None) + "}"
    return str(value)


def _text(value: str) -> str:
    if is_text(value):
        return lines_of(value)
    shown = _HASH.sub(r"\1…", visible(value))
    return f'"{shown}"' if not value or value != value.strip() or value in (NONE, "true", "false") else shown


def is_text(value: Json) -> bool:
    """Whether a value is text of several lines, or a line as files have it."""
    return isinstance(value, str) and "\n" in value


def lines_of(text: str) -> str:
    count = len(text.splitlines())
    return f"{count} line{'' if count == 1 else 's'}"


def inline(name: str, value: Json, longest: int) -> str | None:
    """A field of something new in a word or two; None if there is nothing to say."""
    if value is None or value in ([], {}, "") or (isinstance(value, str) and _HASH.fullmatch(value)):
        return None
    match value:
        case True:
            return name
        case False:
            return f"not {name}"
        case list() | dict() if len(short(value)) > longest:
            return f"{name} ({len(value)})"
        case str() if not is_text(value) and len(value) > longest:
            return f"{name} {_text(value)[: longest - 1]}…"
    return f"{name} {short(value)}"


def differences(before: str, after: str) -> Iterator[tuple[str, str]]:
    """A unified diff as (sign, line): `@` for where, ` `, `-` and `+`; each line made visible."""
    old, new = _lines(before), _lines(after)
    if len(old) + len(new) > MOST_LINES:
        if before != after:
            yield "@", f"@@ {len(old)} lines → {len(new)} lines: too many to compare one by one @@"
        return
    for line in list(difflib.unified_diff(old, new, n=CONTEXT, lineterm=""))[2:]:
        text = line[1:].removesuffix(OPEN)
        shown = visible(text[:LONGEST_LINE].expandtabs(4))
        if len(text) > LONGEST_LINE:
            shown += f"… ({len(text) - LONGEST_LINE} more characters)"
        yield line[0], f"@{shown}" if line[0] == "@" else shown + (NO_BREAK if line.endswith(OPEN) else "")


def _lines(text: str) -> list[str]:
    *lines, rest = text.split("\n")
    return [*lines, rest + OPEN] if rest else lines


OPEN = "\n"
"""Marks a line that has no line break; no line that was split off holds one itself."""
NO_BREAK = " (no line break at the end)"
