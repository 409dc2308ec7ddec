"""A drop-in of a unit of systemd: what `/etc/systemd/system/<unit>.d/<name>.conf` adds to it or overrides in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Self

from pydantic import StringConstraints

from kbstate.kinds.file import File
from kbstate.kinds.unit import FILE_FIELDS, UNITS, commands, content_problems, verification
from kbstate.paths import PathState
from kbstate.resource import Account, AnyRead, Change, Meta, Mode, Read, Resource, Step, Unknown
from kbstate.shell import q
from kbstate.units import UnitFileName, Units, UnitState, daemon_reload

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}$")]


class DropIn(Resource):
    """A drop-in file. `name` is without `.conf`; the unit it belongs to may come from a package or be a `unit`."""

    kind: ClassVar[str] = "dropin"
    identity: ClassVar[tuple[str, ...]] = ("unit", "name")

    unit: UnitFileName
    name: Name
    content: str | None = None
    owner: Account | None = None
    group: Account | None = None
    mode: Mode | None = None
    unit_files_read: bool | None = True
    """Whether systemd knows the unit's files as they are now (`daemon-reload`)."""
    verify: Annotated[bool, Meta()] = True
    """Whether `systemd-analyze verify` must accept the unit with this drop-in before it is put there."""

    @property
    def key(self) -> str:
        return f"{self.unit}/{self.name}"

    @property
    def path(self) -> str:
        return f"{UNITS}/{self.unit}.d/{self.name}.conf"

    @property
    def file(self) -> File:
        there = q(f"{self.unit}.d")
        # without the unit itself there is nothing to verify: its package may come later
        place = f"systemctl cat -- {q(self.unit)} >&- 2>&- || exit 0; " + (
            f'mkdir "$d"/{there}; cp -- "$1" "$d"/{there}/{q(self.name)}.conf'
        )
        check = verification(place, self.unit) if self.verify else None
        attributes = {"owner": self.owner, "group": self.group, "mode": self.mode}
        return File(path=self.path, content=self.content, **attributes, validate_with=check)

    def problems(self) -> Iterator[str]:
        yield from content_problems(self.content)
        if self.content is None and not self.absent:
            yield "content is missing"
        if self.name.endswith(".conf"):
            yield "name must be given without .conf"

    def reads(self) -> Mapping[str, AnyRead]:
        # systemd answers for an instance only; its NeedDaemonReload is that of the template
        unit = {} if "@." in self.unit else {"unit": Read(Units, self.unit)}
        return {**self.file.reads(), **unit}

    def observe(self, state: PathState | None, unit: UnitState | None = None) -> Self | Unknown | None:
        live = self.file.observe(state)
        if live is None or isinstance(live, Unknown):
            return live
        return type(self)(
            unit=self.unit,
            name=self.name,
            content=live.content,
            owner=live.owner,
            group=live.group,
            mode=live.mode,
            unit_files_read=not unit.needs_daemon_reload if unit else self.unit_files_read,
        )

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove, {"path": self.path, "unit": self.unit}, "remove the drop-in")
        elif change.action != "update" or change.fields & FILE_FIELDS:
            yield Step(directory, {"unit": self.unit}, "make the directory of its drop-ins")
            yield from self.file.steps(change)
        yield daemon_reload()

    def needs(self) -> Iterator[str]:
        yield "package:*"
        yield from (f"unit:{self.unit}", f"user:{self.owner}", f"group:{self.group}")
        yield from (f"file:{command}" for command in commands(self.content or ""))

    def backup(self) -> Iterator[str]:
        yield self.path


def directory(unit: str) -> Iterator[str]:
    """The directory of a unit's drop-ins."""
    yield f"mkdir -p -m 0755 -- {q(f'{UNITS}/{unit}.d')}"


def remove(path: str, unit: str) -> Iterator[str]:
    """Remove the drop-in, and the directory of the unit's drop-ins once it is empty."""
    directory = q(f"{UNITS}/{unit}.d")
    yield f"rm -f -- {q(path)}\n[ ! -d {directory} ] || rmdir --ignore-fail-on-non-empty -- {directory}"
