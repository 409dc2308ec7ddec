"""The time zone of a host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import StringConstraints

from kbstate.resource import AnyRead, Change, Fact, Read, Resource, Step, Unknown
from kbstate.shell import q

ZONES = "/usr/share/zoneinfo"
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9_+-]*(/[A-Z][A-Za-z0-9_+-]*){0,2}$", max_length=60)]


class Localtime(Fact[None, tuple[str, str]]):
    """What /etc/localtime links to, and what /etc/timezone says. Source: localtime(5)."""

    def command(self, wanted: Sequence[None]) -> str:
        link = "f=/etc/localtime; if [ -L $f ]; then readlink $f; elif [ -e $f ]; then echo copy; else echo; fi"
        return f"{link}\nif [ -e /etc/timezone ]; then cat /etc/timezone; fi"

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, tuple[str, str] | Unknown | None]:
        target, *said = output.split("\n")
        return {None: (target, "".join(said).strip())}


class Timezone(Resource):
    """The zone of /etc/localtime, and of Debian's /etc/timezone where that file exists."""

    kind: ClassVar[str] = "timezone"

    name: Literal["system"] = "system"
    zone: Zone | None = None

    def problems(self) -> Iterator[str]:
        if self.zone is None and not self.absent:
            yield "zone is missing"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"localtime": Read(Localtime)}

    def observe(self, localtime: tuple[str, str]) -> Self | None:
        if self.absent:
            return None  # no longer ours: a host always has a zone
        target, said = localtime
        zone = target.partition("zoneinfo/")[2] or ("a copy of some zone" if target else "UTC")
        if said and said != zone:
            zone = f"{zone}, but {said} in /etc/timezone"
        return type(self)().model_copy(update={"zone": zone})

    def steps(self, change: Change) -> Iterator[Step]:
        yield Step(set_zone, {"zone": self.zone}, "set the time zone")

    def needs(self) -> Iterator[str]:
        yield "package:tzdata"

    def backup(self) -> Iterator[str]:
        yield "/etc/timezone"


def set_zone(zone: str) -> Iterator[str]:
    """Link and name the zone, if tzdata has it, without the message bus that timedatectl(1) wants."""
    yield "\n".join(
        [
            "set -eu",
            f"z={q(zone)}",
            f'[ -f "{ZONES}/$z" ] || {{ echo "there is no zone $z in {ZONES}: is tzdata installed?" >&2; exit 1; }}',
            f'ln -sfn "{ZONES}/$z" /etc/.localtime.kbstate',
            "mv -fT /etc/.localtime.kbstate /etc/localtime",
            'if [ -e /etc/timezone ]; then echo "$z" > /etc/.timezone.kbstate',
            "chmod 0644 /etc/.timezone.kbstate; mv -fT /etc/.timezone.kbstate /etc/timezone; fi",
            "sync /etc",
        ]
    )
