"""`kbstate apply`: plan, ask, apply, look again and check; hosts one at a time."""

from __future__ import annotations

import getpass
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, TextIO

from typer import Argument, Option

from kbstate.commands.files import is_file
from kbstate.commands.options import Common, Selectors, with_options
from kbstate.errors import (
    ERROR,
    HELD,
    INTERRUPTED,
    OK,
    ROLLED_BACK,
    UNREADABLE,
    DeclinedError,
    KbstateError,
    UsageError,
)

if TYPE_CHECKING:
    from rich.console import Console

    from kbstate.apply import Outcome, RunInfo
    from kbstate.desired import Desired, Host
    from kbstate.plan import HostPlan, Plan
    from kbstate.report.events import Emit
    from kbstate.selection import Selection

WORST_FIRST = (INTERRUPTED, ERROR, ROLLED_BACK, HELD, UNREADABLE)
"""Which exit code counts where hosts differ."""


@with_options
def apply(
    selectors: Selectors,
    common: Common,
    what: Annotated[
        list[str] | None,
        Argument(
            metavar="HOST|FILE",
            help="Hosts, or a plan saved by `kbstate plan --out`: with a path separator, or ending in .json.",
            show_default=False,
        ),
    ] = None,
    auto_approve: Annotated[bool, Option("--auto-approve", help="Do not ask.")] = False,
    json: Annotated[bool, Option("--json", help="Print one JSON object a line, as it happens.")] = False,
) -> int:
    """Make hosts as declared: plan, ask, apply, look again, run the health checks. Hosts of a role one at a time."""
    names = what or []
    saved = _saved(names, selectors)
    selection = selectors.selection()
    if saved is not None:
        selection = replace(saved.selection, allow_destroy=saved.selection.allow_destroy + selection.allow_destroy)
        names = [host.name for host in saved.hosts]
    elif not auto_approve and not sys.stdin.isatty():
        raise DeclinedError("there is no terminal to ask on: add --auto-approve, or apply a saved plan")
    desired = common.load()
    hosts = desired.select(names)
    _check_selectors(selection, hosts, common)
    expected = {host.name: host for host in saved.hosts} if saved else {}
    ask = not auto_approve and saved is None
    return Applying(common, desired, selection, expected, ask, json).all(hosts)


def _saved(names: list[str], selectors: Selectors) -> Plan | None:
    from kbstate.commands import files
    from kbstate.plan import Plan

    if not any(is_file(name) for name in names):
        return None
    if len(names) > 1:
        raise UsageError("a saved plan is applied alone: it says itself which hosts it is for")
    if selectors.target or selectors.exclude or selectors.replace or selectors.module:
        raise UsageError("a saved plan brings its own selectors: make a new plan with these")
    saved = Plan.from_json(files.read(Path(names[0])), names[0])
    for host in saved.hosts:
        if not host.reachable:
            raise KbstateError(f"{names[0]} does not say what to do on {host.name}, which was unreachable: plan anew")
    return saved


def _check_selectors(selection: Selection, hosts: tuple[Host, ...], common: Common) -> None:
    """Raises SelectorError. What is not declared may still be in a ledger: only for that are the hosts asked before."""
    from kbstate.commands import connect
    from kbstate.errors import HostError, SelectorError

    try:
        selection.check(hosts)
        asked = bool(selection.allow_destroy)
    except SelectorError:
        asked = True
    if asked:
        seen = connect.observe(hosts, common)
        for observation in seen:
            if isinstance(observation, HostError):
                raise observation from None
        selection.check(hosts, {o.host: o.removed for o in seen if not isinstance(o, HostError)})


@dataclass
class Applying:
    """One run over hosts."""

    common: Common
    desired: Desired
    selection: Selection
    expected: dict[str, HostPlan]
    ask: bool
    json: bool
    stop: threading.Event = field(default_factory=threading.Event)
    changing: bool = False

    def all(self, hosts: tuple[Host, ...]) -> int:
        from kbstate.report.events import Progress, json_lines

        progress = Progress(self._console(sys.stderr))
        emit = json_lines() if self.json else progress
        info = run_info(self.common)
        codes: list[int] = []
        stuck: dict[str, str] = {}
        for host in hosts:
            if host.role and host.role in stuck:
                self._say(
                    f"{host.name}: not attempted, because {stuck[host.role]} of the same role did not come out well"
                )
                continue
            code = self.one(host, info, emit)
            codes.append(code)
            if code != OK:
                stuck[host.role] = host.name
            if code == INTERRUPTED:
                break
        return next((code for code in WORST_FIRST if code in codes), OK)

    def one(self, host: Host, info: RunInfo, emit: Emit) -> int:
        from kbstate.apply import apply_host
        from kbstate.commands.connect import session_options
        from kbstate.report.style import print_error
        from kbstate.session import Session

        try:
            with Session(host, session_options(self.common)) as session, self.stoppable():
                outcome = apply_host(
                    session,
                    host,
                    self.desired.hasher,
                    self.selection,
                    run=info,
                    expect=self.expected.get(host.name),
                    approve=self.approve,
                    emit=emit,
                    stop=self.stop,
                )
        except KbstateError as error:
            print_error(str(error), no_color=self.common.no_color)
            return error.exit_code
        finally:
            self.changing = False
        self._conclude(outcome)
        return outcome.exit_code

    def approve(self, plan: HostPlan) -> bool:
        console = self._console(sys.stderr if self.json else sys.stdout)
        if not self.json or self.ask:
            self._print_plan(plan, console)
        if self.ask:
            question = f'\nApply this to {plan.name}? Only "yes" is taken for yes: '
            print(question, end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip() != "yes":
                return False
        self.changing = True
        return True

    def _print_plan(self, plan: HostPlan, console: Console) -> None:
        from kbstate.plan import Plan
        from kbstate.report.plan import print_plan

        print_plan(Plan.of([plan], self.selection), console, verbose=self.common.verbose)

    def _conclude(self, outcome: Outcome) -> None:
        """What has not been said yet."""
        if not self.json and not outcome.plan.changes:
            self._print_plan(outcome.plan, self._console(sys.stdout))
        bad = [check for check in outcome.checks if not check.ok]
        if bad:
            names = ", ".join(f"{check.name} ({check.target})" for check in bad)
            self._say(f"{outcome.host}: not healthy after apply: {names}")

    def _console(self, stream: TextIO) -> Console:
        from kbstate.report.style import console

        return console(stream, no_color=self.common.no_color)

    def _say(self, sentence: str) -> None:
        from kbstate.report.style import visible

        print(visible(sentence), file=sys.stderr)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """While something is changed, the first signal ends the run after the step at work, the second at once."""

        def handle(number: int, frame: FrameType | None) -> None:
            if not self.changing or self.stop.is_set():
                raise KeyboardInterrupt
            self.stop.set()
            print("\nStopping after the step at work; once more stops at once.", file=sys.stderr, flush=True)

        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, handle) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_info(common: Common) -> RunInfo:
    """Who runs this, from which commit of the desired state."""
    from kbstate.apply import RunInfo

    return RunInfo(f"{getpass.getuser()}@{socket.gethostname()}", common.reason, _commit(common.desired))


def _commit(directory: Path) -> str | None:
    """The commit that is checked out, with `+` where files differ from it."""
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    git = ["git", "-C", str(directory)]
    try:
        head = run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
        status = run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+" if status.stdout else head
