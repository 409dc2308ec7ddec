"""`kbstate plan`, `collect` and `show`: look, compare, print; nothing is changed on any host."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from kbstate.commands.files import is_file
from kbstate.commands.options import Common, HostNames, Json, Output, Selectors, with_options
from kbstate.errors import ERROR

if TYPE_CHECKING:
    from kbstate.collect import Observation
    from kbstate.desired import Host
    from kbstate.errors import HostError
    from kbstate.plan import Plan


@with_options
def plan(
    selectors: Selectors,
    common: Common,
    *,
    hosts: HostNames = None,
    out: Annotated[
        Path | None, Option("--out", metavar="FILE", help="Save the plan, for `kbstate apply FILE`.", dir_okay=False)
    ] = None,
    observed: Annotated[
        Path | None,
        Option("--observed", metavar="FILE", help="Plan from what `kbstate collect` saw, without a connection."),
    ] = None,
    preflight: Annotated[
        bool, Option("--preflight", help="Also look at what must hold on the hosts before; leaves nothing behind.")
    ] = False,
    json: Json = False,
    detailed_exitcode: Annotated[bool, Option("--detailed-exitcode", help="Exit with 2 if there are changes.")] = False,
) -> int:
    """Show what apply would do, and why. Changes nothing on any host."""
    from kbstate.commands import connect, files
    from kbstate.plan import Plan

    desired = common.load()
    chosen = desired.select(hosts or ())
    selection = selectors.selection()
    if observed is not None:
        from kbstate.recorded import load_observations

        seen: Sequence[Observation | HostError] = load_observations(observed, chosen, desired.hasher)
    else:
        seen = connect.observe(chosen, common)
    made = Plan.of(connect.plans(chosen, seen, desired, selection), selection)
    if out is not None:
        files.write(out, made.to_json() + "\n")
    _print(made, common, json)
    if out is not None and not json:
        name = str(out) if is_file(str(out)) else f"./{out}"
        print(f"Saved as {out}: `kbstate apply {name}` runs exactly this.", file=sys.stderr)
    if preflight and not _preflights(chosen, made, common):
        return ERROR
    return made.exit_code(detailed_exitcode)


def _preflights(hosts: Sequence[Host], made: Plan, common: Common) -> bool:
    """Look at what a change needs that needs no other change before it; false if anything does not hold."""
    from kbstate.commands import connect
    from kbstate.errors import HostError, PreflightError
    from kbstate.report.style import print_error
    from kbstate.session import Session

    changes = {host.name: [c for c in host.changes if not c.requires and c.preflights] for host in made.hosts}

    def look(session: Session, host: Host) -> list[HostError]:
        checks = {check.name: check for c in changes[host.name] if c._desired for check in c._desired.preflight(c)}
        failed: list[HostError] = []
        for check in checks.values():
            try:
                session.look_before(check)
            except PreflightError as error:
                failed.append(error)
        if not failed:
            print(f"{host.name}: what must hold before holds ({len(checks)} looked at)", file=sys.stderr)
        return failed

    wanted = [host for host in hosts if changes.get(host.name)]
    results = connect.on_each(wanted, common, look)
    errors = [e for result in results for e in ([result] if isinstance(result, HostError) else result)]
    for error in errors:
        print_error(str(error), no_color=common.no_color)
    return not errors


@with_options
def show(
    output: Output,
    file: Annotated[Path, Argument(metavar="FILE", help="What `kbstate plan --out FILE` saved.", show_default=False)],
    json: Json = False,
) -> int:
    """Print a saved plan."""
    from kbstate.commands import files
    from kbstate.plan import Plan

    _print(Plan.from_json(files.read(file), str(file)), output, json)
    return 0


@with_options
def collect(
    common: Common,
    out: Annotated[
        Path, Option("--out", metavar="FILE", help="Where to; secrets are written as keyed hashes.", show_default=False)
    ],
    hosts: HostNames = None,
) -> int:
    """Write down what is on the hosts, to plan from without a connection."""
    from kbstate.commands import connect
    from kbstate.errors import UNREADABLE, HostError
    from kbstate.recorded import save_observations
    from kbstate.report.style import print_error

    desired = common.load()
    chosen = desired.select(hosts or ())
    good = []
    for host, observation in zip(chosen, connect.observe(chosen, common), strict=True):
        if isinstance(observation, HostError):
            print_error(str(observation), no_color=common.no_color)
        else:
            good.append((host, observation))
    if good:
        save_observations(out, good, desired.hasher)
        print(f"{', '.join(host.name for host, _ in good)}: saved as {out}", file=sys.stderr)
    return 0 if len(good) == len(chosen) else UNREADABLE


def _print(made: Plan, output: Output, json: bool) -> None:
    if json:
        print(made.to_json())
        return
    from kbstate.report.plan import print_plan
    from kbstate.report.style import console

    print_plan(made, console(no_color=output.no_color), verbose=output.verbose)
