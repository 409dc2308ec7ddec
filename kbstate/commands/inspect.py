"""`kbstate validate`, `graph`, `schema` and `check`: what is declared, and whether hosts are healthy."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from kbstate.commands.options import Common, HostNames, Json, Output, with_options

if TYPE_CHECKING:
    from kbstate.desired import Host
    from kbstate.report.checks import HostHealth
    from kbstate.session import Session


class GraphFormat(StrEnum):
    """Languages of pictures."""

    mermaid = "mermaid"
    dot = "dot"


@with_options
def validate(common: Common, hosts: HostNames = None) -> int:
    """Load and check the desired state, without any connection."""
    from rich.text import Text

    from kbstate.report.style import console, visible

    desired = common.load()
    out = console(no_color=common.no_color)
    for host in desired.select(hosts or ()):
        count = len(host.declared)
        modules = len(dict.fromkeys(item.module for item in host.declared))
        checks = f", {len(host.checks)} check{'' if len(host.checks) == 1 else 's'}" if host.checks else ""
        resources = f"{count} resource{'' if count == 1 else 's'} in {modules} module{'' if modules == 1 else 's'}"
        out.print(Text.assemble((f"{visible(host.name)}: ", "bold"), ("valid", "green"), f", {resources}{checks}"))
    return 0


@with_options
def graph(
    common: Common,
    hosts: HostNames = None,
    format: Annotated[GraphFormat, Option("--format", help="The language of the picture.")] = GraphFormat.mermaid,
) -> int:
    """Print what requires what, as a picture."""
    from kbstate.report import graph as pictures

    chosen = common.load().select(hosts or ())
    print(pictures.mermaid(chosen) if format is GraphFormat.mermaid else pictures.dot(chosen))
    return 0


@with_options
def schema(
    output: Output,
    kind: Annotated[str | None, Argument(metavar="KIND", help="All, if none is named.", show_default=False)] = None,
) -> int:
    """Print the JSON Schema of the kinds of resources."""
    import json

    from kbstate.schema import schema as schema_of

    print(json.dumps(schema_of(kind), indent=2, ensure_ascii=False))
    return 0


@with_options
def check(common: Common, hosts: HostNames = None, json: Json = False) -> int:
    """Run the health checks: containers, ports, backends."""
    from kbstate.commands.connect import on_each
    from kbstate.errors import HostError
    from kbstate.report.checks import HostHealth, exit_code, print_health, to_json
    from kbstate.report.style import console

    chosen = common.load().select(hosts or ())
    found = on_each(chosen, common, lambda session, host: _health(session, host, common.timeout))
    health = [
        HostHealth(host.name, error=str(result).removeprefix(f"{host.name}: "))
        if isinstance(result, HostError)
        else result
        for host, result in zip(chosen, found, strict=True)
    ]
    if json:
        print(to_json(health))
    else:
        print_health(health, console(sys.stdout, no_color=common.no_color))
    return exit_code(health)


def _health(session: Session, host: Host, timeout: float) -> HostHealth:
    """One look: a check does not wait until it passes."""
    from kbstate.checks import run_checks
    from kbstate.report.checks import HostHealth

    session.facts(())  # SSH is part of health, also where no check reads from the host
    return HostHealth(host.name, run_checks(host.address, host.checks, session.facts, timeout=timeout, patience=0))
