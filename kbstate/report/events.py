"""Apply while it runs: lines for people on stderr, or one JSON object a line on stdout."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from kbstate.events import Event
from kbstate.report.style import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Emit = Callable[[Event], None]

GREEN, RED, DIM = "green", "bold red", "dim"


def json_lines(stream: TextIO | None = None) -> Emit:
    """Prints each event as it comes; notes are for people and left out."""
    file = stream or sys.stdout
    lock = threading.Lock()

    def emit(event: Event) -> None:
        if event.type != "note":
            with lock:
                print(event.to_json(), file=file, flush=True)

    return emit


class Progress:
    """Lines for people. On a terminal what is at work is shown too, with the time since the run began."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._open = ""
        self._title = ""
        self._failure = ""
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event.type:
                case "planned":
                    self._planned(event)
                case "step_start":
                    self._start(event)
                case "step_done" | "step_failed" | "rolled_back":
                    self._end(event)
                case "check":
                    self._line(check_line(event))
                case "summary":
                    self._summary(event)
                case "note":
                    self._line(_styled((f"  {visible(event.text or '')}", DIM)))

    def _planned(self, event: Event) -> None:
        """Where there is something to do, the title waits for the first step: the plan may be asked about before."""
        count = sum((event.changes or {}).values())
        self._title = f"{visible(event.host)}: applying {count} change{'' if count == 1 else 's'}" if count else ""
        if not count:
            self._line(_styled((f"{visible(event.host)}: nothing to change", "bold")))

    def _start(self, event: Event) -> None:
        if self._title:
            self._line(_styled((self._title, "bold")))
            self._title = ""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._show(f"  {_number(event)} {visible(event.address or '')} …")

    def _end(self, event: Event) -> None:
        failed = event.type == "step_failed"
        word, style = {"step_failed": ("failed", RED), "rolled_back": ("rolled back", "yellow")}.get(
            event.type, ("ok", GREEN)
        )
        self._line(
            _styled(
                (f"  {self._elapsed()}  {_number(event)} ", DIM),
                (f"{word:<6} ", style),
                (visible(event.address or ""), "bold" if failed else ""),
                (f"  {event.seconds:.1f} s" if event.seconds is not None else "", DIM),
            )
        )
        if failed:
            self._why((event.text or "").removeprefix(f"{event.host}: ").removeprefix(f"{event.address}: "))

    def _why(self, text: str) -> None:
        """What went wrong; once, where several changes were made by one step."""
        lines = text.splitlines() if text != self._failure else ["for the same reason"]
        self._failure = text
        for line in lines:
            self._line(_styled((f"           {visible(line)}", "red")))

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(self._clock() - self._began), 60)
        return f"{minutes:02}:{seconds:02}"

    def _summary(self, event: Event) -> None:
        done, failed, rest = (event.done or ()), (event.failed or ()), (event.not_attempted or ())
        good = event.exit_code == 0
        seconds = self._clock() - self._began
        counts = f"{len(done)} done, {len(failed)} failed, {len(rest)} not attempted"
        self._line(_styled((f"{visible(event.host)}: {counts}, in {seconds:.1f} s", "bold green" if good else RED)))
        for title, addresses in (("failed", failed), ("not attempted", rest)):
            for address in addresses:
                self._line(_styled((f"  {title:<13}  ", DIM), (visible(address), "")))

    def _line(self, text: Text) -> None:
        if self._open:
            self._console.file.write("\r\x1b[K")
            self._open = ""
        self._console.print(text)

    def _show(self, text: str) -> None:
        """What is at work, on a line that the next one takes the place of."""
        if self._open:
            self._console.file.write("\r\x1b[K")
        self._open = text[: self._console.width - 1]
        self._console.file.write(self._open)
        self._console.file.flush()


def check_line(event: Event) -> Text:
    """One health check."""
    return _styled(
        ("  ok      " if event.ok else "  failed  ", GREEN if event.ok else RED),
        (f"{visible(event.name or ''):<22}  ", "" if event.ok else "bold"),
        (f"{visible(event.target or ''):<24}  ", DIM),
        (visible(event.detail or ""), "" if event.ok else "red"),
        (f"  {event.ms} ms" if event.ms is not None else "", DIM),
    )


def _number(event: Event) -> str:
    """`[ 3/41]`."""
    if event.number is None or event.total is None:
        return "[again]"
    return f"[{event.number:>{len(str(event.total))}}/{event.total}]"


def _styled(*parts: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*parts)
