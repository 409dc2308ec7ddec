"""A unit file of systemd in /etc/systemd/system: checked before it is put there, and read by systemd."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Self

from kbstate.kinds.file import File
from kbstate.kinds.service import retire
from kbstate.paths import PathState, remove_file
from kbstate.resource import Account, AnyRead, Change, Meta, Mode, Read, Resource, Step, Unknown
from kbstate.shell import q
from kbstate.units import UnitFileName, Units, UnitState, daemon_reload

UNITS = "/etc/systemd/system"


class Unit(Resource):
    """A unit file. Whether it runs and starts at boot is for a `service` to say; deleting it stops and disables it."""

    kind: ClassVar[str] = "unit"

    name: UnitFileName
    content: str | None = None
    owner: Account | None = None
    group: Account | None = None
    mode: Mode | None = None
    unit_files_read: bool | None = True
    """Whether systemd knows the file as it is now (`daemon-reload`)."""
    verify: Annotated[bool, Meta()] = True
    """Whether `systemd-analyze verify` must accept the file before it is put there."""

    @property
    def path(self) -> str:
        return f"{UNITS}/{self.name}"

    @property
    def file(self) -> File:
        check = verification(f'cp -- "$1" "$d"/{q(self.name)}', self.name) if self.verify else None
        attributes = {"owner": self.owner, "group": self.group, "mode": self.mode}
        return File(path=self.path, content=self.content, **attributes, validate_with=check)

    def problems(self) -> Iterator[str]:
        yield from content_problems(self.content)
        if self.content is None and not self.absent:
            yield "content is missing"

    def reads(self) -> Mapping[str, AnyRead]:
        # systemd answers for an instance only; its NeedDaemonReload is that of the template
        unit = {} if "@." in self.name else {"unit": Read(Units, self.name)}
        return {**self.file.reads(), **unit}

    def observe(self, state: PathState | None, unit: UnitState | None = None) -> Self | Unknown | None:
        live = self.file.observe(state)
        if live is None or isinstance(live, Unknown):
            return live
        return type(self)(
            name=self.name,
            content=live.content,
            owner=live.owner,
            group=live.group,
            mode=live.mode,
            unit_files_read=not unit.needs_daemon_reload if unit else self.unit_files_read,
        )

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(retire, {"name": self.name.replace("@.", "@*.")}, "stop and disable it")
            yield Step(remove_file, {"path": self.path}, "remove the unit file")
        elif change.action != "update" or change.fields & FILE_FIELDS:
            yield from self.file.steps(change)
        yield daemon_reload()

    def needs(self) -> Iterator[str]:
        yield "package:*"
        yield from (f"user:{self.owner}", f"group:{self.group}")
        yield from (f"file:{command}" for command in commands(self.content or ""))

    def backup(self) -> Iterator[str]:
        yield self.path


FILE_FIELDS = frozenset({"content", "owner", "group", "mode"})


def content_problems(content: str | None) -> Iterator[str]:
    """What systemd would not read as meant. Source: systemd.syntax(7)."""
    if content is None:
        return
    if not content.endswith("\n"):
        yield "content must end with a line break"
    if any(ord(c) < 32 and c not in "\t\n" for c in content):
        yield "content must not hold control characters"
    if not re.search(r"^\[[A-Z]\w*\]$", content, re.MULTILINE):
        yield "content has no section"


def commands(content: str) -> Iterator[str]:
    """The programs that a unit starts, as absolute paths. Source: systemd.service(5), "Command lines"."""
    for line in re.findall(r"^Exec\w+=[@:+!|-]*(/\S+)", content, re.MULTILINE):
        yield line.strip("\"'")


def verification(place: str, name: str) -> str:
    """A command that accepts the candidate `{path}`; `place` puts it (`$1`) below the directory `$d`.

    `verify` wants a file with the name of its unit, and by itself says yes to all that can be loaded, typing errors
    included. Source: systemd-analyze(1), `--recursive-errors`.
    """
    script = "; ".join(
        [
            "set -eu; d=$(mktemp -d)",
            """trap 'rm -rf -- "$d"' EXIT""",
            place,
            f'SYSTEMD_UNIT_PATH="$d:" systemd-analyze verify --man=no --recursive-errors=no -- {name}',
        ]
    )
    return f"sh -c {q(script)} verify {{path}}"
