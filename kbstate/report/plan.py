"""A plan as text: what changes on each host, module by module, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells
from rich.text import Text

from kbstate.plan import HostPlan, Plan
from kbstate.report.style import COLOURS, SYMBOLS, UNKNOWN_COLOUR, cut, visible
from kbstate.report.value import AFTER_APPLY, SENSITIVE, differences, inline, is_text, lines_of, short
from kbstate.resource import Change, Delta, Json

if TYPE_CHECKING:
    from rich.console import Console

LONGEST_DIFF = 60
"""Lines of one text's difference that are shown without `--verbose`."""
WIDEST_ADDRESS = 52
INDENT = "  "
DETAIL = INDENT * 4

DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan", " ": "dim"}
CAUSES = {"drift": "! drift", "both": "! drift, and pending", "pending": "pending", "new": "new"}
CAUSE_STYLES = {"drift": "bold yellow", "both": "bold yellow", "pending": "cyan", "new": "dim"}
IMPACT_STYLES = {"drops connections": "bold red", "reloads without loss": "green"}


def print_plan(plan: Plan, console: Console, *, verbose: bool = False) -> None:
    """The whole plan, with the line that sums it up at its end."""
    quiet = not plan.changes and not plan.exit_code()
    for host in plan.hosts:
        if quiet and not host.left_out and not host.forgotten:
            continue  # the last line says it all
        for line in host_lines(host, console.width, verbose=verbose, allowed=plan.selection.allow_destroy):
            line.rstrip()
            console.print(line)
        console.print()
    if missing := _missing(plan):
        for line in _wrapped(Text(), missing, console.width, f"bold {UNKNOWN_COLOUR}"):
            console.print(line)
    console.print(last_line(plan))


def host_lines(host: HostPlan, width: int, *, verbose: bool = False, allowed: Sequence[str] = ()) -> Iterator[Text]:
    """One host: its changes by module, then what is not known and what is left alone."""
    title = Text(visible(host.name), "bold")
    if not host.reachable:
        title.append("  unreachable", "bold red")
    elif not host.complete and not host.changes and not host.unknown:
        title.append("  could not be read", "bold red")
    elif not host.changes and not host.unknown:
        title.append("  no changes", "green")
    yield title
    for error in host.errors:
        yield from _wrapped(Text(INDENT), error, width, "red")
    for module in dict.fromkeys(change.module for change in host.changes):
        yield Text()
        yield Text(INDENT + visible(module), "bold")
        yield from _module([change for change in host.changes if change.module == module], width, verbose, allowed)
    if checks := dict.fromkeys(name for change in host.changes for name in change.preflights):
        yield Text()
        yield from _wrapped(Text(f"{INDENT}looked at first: ", "dim"), "; ".join(checks), width, "dim")
    yield from _reasons("could not be read", {f"? {a}": r for a, r in host.unknown.items()}, UNKNOWN_COLOUR, width)
    yield from _reasons("left out by the selectors", {f"  {a}": r for a, r in host.left_out.items()}, "dim", width)
    forgotten = dict.fromkeys((f"  {address}" for address in host.forgotten), "was there before kbstate: left as it is")
    yield from _reasons("no longer declared", forgotten, "dim", width)


def _missing(plan: Plan) -> str:
    """What keeps this from being the whole plan."""
    unreachable = [visible(host.name) for host in plan.hosts if not host.reachable]
    unread = [visible(host.name) for host in plan.hosts if host.reachable and host.errors]
    count = plan.summary.unknown
    parts = [f"{name} is unreachable" for name in unreachable]
    parts += [f"{name} could not be read completely" for name in unread]
    if count:
        parts.append(f"{count} resource{'' if count == 1 else 's'} could not be read or decided on")
    return f"This is not the whole plan: {', '.join(parts)}." if parts else ""


def last_line(plan: Plan) -> Text:
    """`Plan: …`, or `No changes. …` where all is known to be as declared."""
    if not plan.changes and not plan.exit_code():
        names = [visible(host.name) for host in plan.hosts]
        who = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names) or "Nothing"
        selected = plan.selection.target or plan.selection.exclude or plan.selection.module
        what = f"What is selected of {who}" if selected else who
        return Text(
            f"No changes. {what} {'are' if len(names) > 1 and not selected else 'is'} as declared.", "bold green"
        )
    summary = plan.summary
    line = Text().append("Plan: ", "bold")
    counts = {
        "to add": (summary.add, "green"),
        "to change": (summary.change, "yellow"),
        "to replace": (summary.replace, "magenta"),
        "to delete": (summary.delete, "red"),
    }
    for i, (what, (count, colour)) in enumerate(counts.items()):
        line.append(", " if i else "").append(f"{count} {what}", f"bold {colour}" if count else "dim")
    return line.append(".")


# --- changes ----------------------------------------------------------------------------------------------------


def _module(changes: Sequence[Change], width: int, verbose: bool, allowed: Sequence[str]) -> Iterator[Text]:
    widest = max(min(cell_len(visible(change.address)), WIDEST_ADDRESS) for change in changes)
    previous = False
    for change in changes:
        details = list(_details(change, width, verbose, allowed))
        if previous:
            yield Text()  # what has details stands apart from what follows
        yield _head(change, widest, width, verbose)
        yield from details
        previous = bool(details) and change is not changes[-1]


def _head(change: Change, widest: int, width: int, verbose: bool) -> Text:
    colour = COLOURS[change.action]
    symbol = SYMBOLS[change.action]
    address = visible(change.address)
    line = (
        Text(INDENT)
        .append(f"{symbol:>3} ", f"bold {colour}")
        .append(address, "bold" if change.action != "create" else "")
    )
    line.append(" " * max(widest - cell_len(address), 0))
    remarks = Text()
    if change.cause != "new" or change.action != "create":
        remarks.append(f"  {CAUSES[change.cause]}", CAUSE_STYLES[change.cause])
    if change.after_unknown:
        remarks.append(f"  {AFTER_APPLY}", "italic")
    line.append_text(remarks)
    if change.action in ("create", "delete") and not verbose:
        values = change.after if change.action == "create" else change.before
        line.append(_outline(values or {}, change.sensitive, width - line.cell_len - 2), "dim")
    return line


def _outline(values: dict[str, Json], sensitive: Sequence[str], width: int) -> str:
    """The fields of something new, as many as fit behind its address: short ones first said, the rest left out."""
    words = [f"{name} {SENSITIVE}" for name in sensitive]
    words += [word for name, value in values.items() if (word := inline(name, value, 32))]
    text = ""
    for i, word in enumerate(words):
        more = f"{text}, {visible(word)}" if text else visible(word)
        if cell_len(more) > width - (3 if i < len(words) - 1 else 0):  # room to say that there is more
            return f"  {text}, …" if text and width > 8 else ""
        text = more
    return f"  {text}" if text else ""


def _details(change: Change, width: int, verbose: bool, allowed: Sequence[str]) -> Iterator[Text]:
    """What stands below the line of a change."""
    if change.diff:
        yield from _deltas(change, width, verbose)
    elif change.action == "replace":
        yield Text(f"{DETAIL}made anew as it is declared", "dim")
    elif verbose and not change.after_unknown:
        yield from _all_fields(change, width)
    for effect in change.effects:
        yield Text(DETAIL).append("→ ", "dim").append(visible(effect), "yellow")
    if change.impact:
        yield Text(DETAIL).append(change.impact, IMPACT_STYLES[change.impact])
    if change.reason:
        destroys = change.action in ("delete", "replace")
        yield from _wrapped(Text(DETAIL), change.reason, width, "bold red" if destroys else "dim italic")
        if destroys and not _allowed(change, allowed):
            refusal = f"apply refuses this without --allow-destroy {change.address}"
            yield from _wrapped(Text(DETAIL), refusal, width, "bold red")


def _allowed(change: Change, allowed: Sequence[str]) -> bool:
    from fnmatch import fnmatchcase

    names = [name.split("/", 1)[1] if "/" in name.split(":", 1)[0] else name for name in allowed]
    return any(change.address == name or fnmatchcase(change.address, name) for name in names)


def _deltas(change: Change, width: int, verbose: bool) -> Iterator[Text]:
    hidden = set(change.sensitive)
    widest = max((cell_len(visible(d.path)) for d in change.diff if not _is_diff(d)), default=0)
    for delta in sorted(change.diff, key=_is_diff):  # texts last
        name = Text(DETAIL).append(visible(delta.path))
        if delta.path in hidden:
            yield name.append(" " * max(widest - len(delta.path), 0)).append(f"  {SENSITIVE}", "italic")
        elif _is_diff(delta):
            yield name
            yield from _text_diff(str(delta.before), str(delta.after), width, verbose)
        else:
            name.append(" " * (widest - cell_len(visible(delta.path))) + "  ")
            yield from _arrow(name, delta, width, verbose)


def _is_diff(delta: Delta) -> bool:
    both = isinstance(delta.before, str) and isinstance(delta.after, str)
    return both and (is_text(delta.before) or is_text(delta.after))


def _arrow(name: Text, delta: Delta, width: int, verbose: bool) -> Iterator[Text]:
    """`before → after` on one line; on two where one is too short for both."""
    before, after = visible(short(delta.before)), visible(short(delta.after))
    room = width - name.cell_len
    if cell_len(before) + cell_len(after) + 3 <= room:
        yield name.append(before, "red").append(" → ", "dim").append(after, "green")
        return
    longest = 10_000 if verbose else max(room * 3, 60)
    below = Text(" " * (name.cell_len - 2))
    yield from _wrapped(name, cut(before, longest), width, "red")
    yield from _wrapped(below.append("→ ", "dim"), cut(after, longest), width, "green")


def _text_diff(before: str, after: str, width: int, verbose: bool) -> Iterator[Text]:
    lines = list(differences(before, after))
    shown = lines if verbose or len(lines) <= LONGEST_DIFF else lines[: LONGEST_DIFF - 10]
    for sign, line in shown:
        first = Text(DETAIL).append("" if sign == "@" else sign, DIFF_STYLES[sign])
        end = len(line.rstrip())
        shown_line = line[:end] + "·" * (len(line) - end) if sign in "+-" else line
        yield from _wrapped(first, shown_line, width, DIFF_STYLES[sign])
    if len(shown) < len(lines):
        yield Text(f"{DETAIL}… {len(lines) - len(shown)} more lines (--verbose shows all)", "dim italic")


def _all_fields(change: Change, width: int) -> Iterator[Text]:
    """Every field of something that comes or goes, texts in full."""
    values = (change.before if change.action == "delete" else change.after) or {}
    sign, colour = ("-", "red") if change.action == "delete" else ("+", "green")
    widest = max((cell_len(name) for name in (*values, *change.sensitive)), default=0)
    for name in (*values, *change.sensitive):
        line = Text(f"{DETAIL}{name.ljust(widest)}  ")
        value = values.get(name)
        if name in change.sensitive:
            yield line.append(SENSITIVE, "italic")
        elif isinstance(value, str) and is_text(value):
            yield line.append(lines_of(value), "dim")
            for text in value.splitlines():
                yield from _wrapped(Text(DETAIL).append(sign, colour), text.expandtabs(4), width, colour)
        elif value is not None:
            yield from _wrapped(line, short(value), width, colour)


# --- the rest ---------------------------------------------------------------------------------------------------


def _reasons(title: str, reasons: dict[str, str], style: str, width: int) -> Iterator[Text]:
    """Addresses with a reason each, below a title."""
    if not reasons:
        return
    yield Text()
    yield Text(INDENT + title, "bold")
    widest = min(max(cell_len(visible(name)) for name in reasons), WIDEST_ADDRESS)
    for name, reason in reasons.items():
        head = Text(f"{INDENT}  {visible(name).ljust(widest)}  ", style)
        if head.cell_len + min(cell_len(reason), 24) > width:
            yield head
            head = Text(DETAIL)
        yield from _wrapped(head, reason, width, "")


def _wrapped(first: Text, text: str, width: int, style: str) -> Iterator[Text]:
    """Text behind a first part, folded below itself where it is too long; at spaces where that wastes little."""
    left = first.cell_len
    room = max(width - left, 16)
    line = first
    for piece in _pieces(visible(text), room) or [""]:
        yield line.append(piece, style)
        line = Text(" " * left)


def _pieces(text: str, room: int) -> list[str]:
    if cell_len(text) <= room:
        return [text]
    pieces: list[str] = []
    while text:
        piece = chop_cells(text, room)[0]
        space = piece.rfind(" ")
        if len(piece) < len(text) and space > len(piece) * 2 // 3:
            piece = piece[: space + 1]
        pieces.append(piece)
        text = text[len(piece) :]
    return pieces
