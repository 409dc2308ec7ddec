"""Health checks as text and as the document of `check --json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbstate import errors
from kbstate.events import Event
from kbstate.report.events import check_line
from kbstate.report.style import visible

if TYPE_CHECKING:
    from rich.console import Console

    from kbstate.checks import CheckResult


@dataclass(frozen=True)
class HostHealth:
    """What the checks of one host came to."""

    name: str
    checks: tuple[CheckResult, ...] = ()
    error: str | None = None
    """Why the host could not be asked."""

    @property
    def healthy(self) -> bool:
        return self.error is None and all(check.ok for check in self.checks)


def exit_code(hosts: Sequence[HostHealth]) -> int:
    """4 if a host could not be asked, else 2 if anything is unhealthy, else 0."""
    if any(host.error is not None for host in hosts):
        return errors.UNREADABLE
    return errors.OK if all(host.healthy for host in hosts) else errors.DIFFERS


def to_json(hosts: Sequence[HostHealth]) -> str:
    """The document of `check --json`; a host that could not be asked has an `error`."""
    return json.dumps(
        {
            "format_version": "1",
            "hosts": [
                {
                    "name": host.name,
                    "healthy": host.healthy,
                    "checks": [check.model_dump() for check in host.checks],
                    **({} if host.error is None else {"error": host.error}),
                }
                for host in hosts
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def print_health(hosts: Sequence[HostHealth], console: Console) -> None:
    """Every check of every host, and a line that sums up."""
    from rich.text import Text

    for host in hosts:
        console.print(Text(visible(host.name), "bold"))
        for check in host.checks:
            console.print(check_line(Event(type="check", host=host.name, **check.model_dump())))
        if host.error is not None:
            console.print(Text(f"  {visible(host.error)}", "red"))
        elif not host.checks:
            console.print(Text("  no checks are declared", "dim"))
        console.print()
    bad = [visible(host.name) for host in hosts if not host.healthy]
    if bad:
        console.print(Text(f"Not healthy: {', '.join(bad)}.", "bold red"))
    else:
        count = sum(len(host.checks) for host in hosts)
        console.print(Text(f"Healthy: {count} check{'' if count == 1 else 's'} passed.", "bold green"))
