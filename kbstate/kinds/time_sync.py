"""The clock of a host, kept right by systemd-timesyncd or chrony from given servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import StringConstraints

from kbstate.kinds.file import File
from kbstate.kinds.service import Service, Trouble
from kbstate.paths import PathState, remove_file
from kbstate.resource import AnyRead, Change, Resource, Step, Unknown
from kbstate.units import UnitState

Server = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$")]

CONFIGURATION: Mapping[str, str] = {
    "systemd-timesyncd": "/etc/systemd/timesyncd.conf.d/kbstate.conf",
    "chrony": "/etc/chrony/conf.d/kbstate.conf",
}
"""A drop-in that each program reads besides its own file. Source: timesyncd.conf(5), Debian's chrony.conf."""


class TimeSync(Resource):
    """Clock synchronisation by one program, which is itself a `package` (APT knows that they exclude each other).

    Where the unit's own conditions keep it from starting (a container, whose clock is that of its machine) it counts as
    running.
    """

    kind: ClassVar[str] = "time_sync"
    identity: ClassVar[tuple[str, ...]] = ("name", "program")

    name: Literal["system"] = "system"
    program: Literal["systemd-timesyncd", "chrony"] = "systemd-timesyncd"
    servers: tuple[Server, ...] | None = None
    """Servers in a drop-in of ours; those that the distribution configures for chrony stay beside them."""
    running: bool | Trouble | None = True
    enabled: bool | None = True
    started_with: str | None = None
    """Digest of the servers that it runs with; filled in, not declared."""

    @property
    def file(self) -> File:
        content = None if self.servers is None else render(self.program, self.servers)
        return File(path=CONFIGURATION[self.program], content=content, owner="root", group="root", mode="0644")

    @property
    def service(self) -> Service:
        """The service in which it runs, as far as it is declared here."""
        restart_on = (self.file.address,) if self.servers is not None else ()
        service = Service(
            name=self.program,
            running=self.running,
            enabled=self.enabled,
            unit_files_read=None,
            restart_on=restart_on,
            may_skip=True,
        )
        return service.bound({self.file.address: self.file}.get)

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        return self.model_copy(update={"started_with": self.service.started_with if self.running else None})

    def reads(self) -> Mapping[str, AnyRead]:
        unit = dict(self.service.reads())
        return {"file": self.file.reads()["state"], "unit": unit.pop("state"), **unit}

    def observe(self, file: PathState | None, unit: UnitState | None, **loaded: Any) -> Self | Unknown | None:
        if self.absent and file is None:
            return None
        live, service = self.file.observe(file), self.service.observe(unit, **loaded)
        if isinstance(live, Unknown):
            return live
        if isinstance(service, Unknown) or service is None:
            return service
        observed = type(self)(
            running=service.running, enabled=service.enabled, started_with=service.started_with, program=self.program
        )
        servers = parse(str(live.content)) if live and live.content is not None else ()
        return observed.model_copy(update={"servers": servers})

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove_file, {"path": self.file.path}, "remove our drop-in")
            return
        if self.servers is not None and (change.action == "create" or "servers" in change.fields):
            yield from self.file.steps(change.model_copy(update={"action": "create"}))
        yield from self.service.steps(change)

    def needs(self) -> Iterator[str]:
        yield from self.service.needs()

    def backup(self) -> Iterator[str]:
        yield self.file.path


def render(program: str, servers: tuple[str, ...]) -> str:
    if program == "chrony":
        return "# written by kbstate\n" + "".join(f"server {server} iburst\n" for server in servers)
    return f"# written by kbstate\n[Time]\nNTP={' '.join(servers)}\n"


def parse(text: str) -> tuple[str, ...]:
    """The servers in either form. Source: timesyncd.conf(5), chrony.conf(5)."""
    found: list[str] = []
    for line in text.splitlines():
        key, _, value = line.strip().partition("=")
        match line.split():
            case [("server" | "pool" | "peer"), server, *_]:
                found.append(server)
            case _ if key.strip() == "NTP":
                found = [*found, *value.split()] if value.strip() else []  # an empty one takes back those before it
    return tuple(found)
