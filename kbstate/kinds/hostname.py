"""The name of a host: as it is at the next boot, and as it is now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import StringConstraints

from kbstate.paths import write_file
from kbstate.resource import AnyRead, Change, Fact, Read, Resource, Step, Unknown
from kbstate.shell import q

FILE = "/etc/hostname"
LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HostName = Annotated[str, StringConstraints(pattern=rf"^{LABEL}(\.{LABEL})*$", max_length=64)]
"""Source: hostname(5), hostname(7)."""


class Names(Fact[None, tuple[str, str]]):
    """The name in /etc/hostname, comments left out, and the name that the kernel has. Source: hostname(5), proc(5)."""

    def command(self, wanted: Sequence[None]) -> str:
        return f"cat /proc/sys/kernel/hostname || exit\nif [ -e {FILE} ]; then grep -v '^#' {FILE} || [ $? = 1 ]; fi"

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, tuple[str, str] | Unknown | None]:
        running, _, static = output.partition("\n")
        return {None: (static.strip(), running)}


class Hostname(Resource):
    """The host's own name. That /etc/hosts knows it is for `hosts` to say."""

    kind: ClassVar[str] = "hostname"

    name: Literal["system"] = "system"
    hostname: HostName | None = None
    """The name in /etc/hostname."""
    running: HostName | None = None
    """The name that the kernel has; filled in from `hostname`, not declared."""

    def problems(self) -> Iterator[str]:
        if self.hostname is None and not self.absent:
            yield "hostname is missing"

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        return self.model_copy(update={"running": self.hostname})

    def reads(self) -> Mapping[str, AnyRead]:
        return {"names": Read(Names)}

    def observe(self, names: tuple[str, str]) -> Self | None:
        if self.absent:
            return None  # no longer ours: a host always has a name
        static, running = names
        return type(self)().model_copy(update={"hostname": static, "running": running})

    def steps(self, change: Change) -> Iterator[Step]:
        assert self.hostname is not None
        if "hostname" in change.fields:
            arguments = {"owner": "root", "group": "root", "mode": "0644", "validate": None}
            yield Step(
                write_file, {"path": FILE, "content": f"{self.hostname}\n".encode(), **arguments}, "write it down"
            )
        if "running" in change.fields:
            yield Step(set_name, {"hostname": self.hostname}, "give it to the kernel")

    def backup(self) -> Iterator[str]:
        yield FILE


def set_name(hostname: str) -> Iterator[str]:
    """The kernel's host name, without the message bus that hostnamectl(1) wants. Source: hostname(1)."""
    yield f"hostname -- {q(hostname)}"
