"""`kbstate lab …`: disposable hosts to rehearse on."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from kbstate.errors import UsageError
from kbstate.lab import inventory, requirements
from kbstate.lab.errors import LabError
from kbstate.lab.host import execute
from kbstate.lab.lab import Lab, Status
from kbstate.lab.places import default_name

app = typer.Typer(
    name="lab",
    help="Disposable hosts to rehearse on; nothing of them outlives `down`, or reaches this machine's network.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_Name = Annotated[
    str, typer.Option("--lab", help="Which lab; several can be up at once.", default_factory=default_name)
]
_Host = Annotated[str, typer.Argument(metavar="HOST")]


def _lab(name: str) -> Lab:
    """The lab, on a machine that can have one. Raises LabError."""
    if reason := requirements.unavailable():
        raise LabError(reason)
    return Lab(name)


@app.command()
def up(
    lab: _Name,
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="None: the whole site.")] = None,
) -> None:
    """Bring up hosts, the controller install-01 and all that they need. Builds what is missing in the cache."""
    _lab(lab).up(hosts or ())


@app.command()
def down(lab: _Name) -> None:
    """Remove the lab: every process, namespace, mount and file but the cache."""
    _lab(lab).down()


@app.command()
def rebuild(
    lab: _Name,
    host: _Host,
    accept_key: Annotated[
        bool, typer.Option(help="Have the controller know the new SSH host key, read from the host's disk.")
    ] = True,
) -> None:
    """Throw a host away and make it anew, empty, as after a hardware failure."""
    _lab(lab).rebuild(host, accept_key=accept_key)


@app.command()
def power(lab: _Name, host: _Host, what: Annotated[str, typer.Argument(metavar="on|off|cycle")]) -> None:
    """Switch a host on or off, or cut its power and switch it on again. Its disk stays."""
    machine = _lab(lab).host(host)
    if what not in ("on", "off", "cycle"):
        raise UsageError(f"{what!r} is not on, off or cycle")
    if machine.state == "absent":
        raise LabError(f"{host} does not exist: `kbstate lab up {host}` makes it")
    if what == "off":
        machine.power_off()
    elif what == "cycle":
        machine.power_cycle()
    else:
        machine.power_on()
        machine.wait()


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def exec_(lab: _Name, host: _Host, command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...")]) -> None:
    """Run a command in a host without SSH or network. Its exit code is the command's."""
    execute(_lab(lab).host(host).enter(command))


@app.command()
def console(
    lab: _Name,
    host: _Host = inventory.CONTROLLER,
    log: Annotated[bool, typer.Option("--log", help="Print what its console said, over all boots.")] = False,
) -> None:
    """A shell in a host, without SSH or network; works also when its firewall lets nobody in."""
    machine = _lab(lab).host(host)
    if log:
        sys.stdout.write(machine.boot_log)
        return
    shell = ["/bin/bash", "--login"]
    if sys.stdin.isatty():  # with a terminal of the host's own
        shell = ["script", "--quiet", "--return", "--command", "/bin/bash --login", "/dev/null"]
    execute(machine.enter(shell))


@app.command()
def status(lab: _Name, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """What is up."""
    found = Lab(lab).status()
    print(json.dumps({"format_version": "1", **found.document()}) if as_json else _table(found))


def _table(found: Status) -> str:
    if not found.hosts and not found.infra:
        return f"lab {found.name} is not up"
    services = "are up" if found.infra else "are down"
    lines = [f"lab {found.name}: the package mirror and the image registry {services}"]
    width = max((len(host.name) for host in found.hosts), default=0)
    for host in found.hosts:
        lines.append(f"  {host.name:{width}}  {host.state:8}  {host.role:10}  {' '.join(host.addresses)}")
    return os.linesep.join(lines)
