"""A group of users, as the host's own files have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints

from kbstate.resource import AnyRead, Change, Fact, Meta, Read, Resource, Step, Unknown
from kbstate.shell import words

AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
AccountNumber = Annotated[int, Field(ge=0, le=4294967293)]
"""Above are numbers that mean "no one" and "unchanged". Source: chown(2)."""


@dataclass(frozen=True)
class GroupEntry:
    """A line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...]


class Groups(Fact[None, tuple[GroupEntry, ...]]):
    """Every group. Source: getent(1), group(5)."""

    def command(self, wanted: Sequence[None]) -> str:
        return "getent group"

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, tuple[GroupEntry, ...] | Unknown | None]:
        rows = (line.split(":") for line in output.split("\n") if line)
        return {None: tuple(_entry(row) for row in rows)}


def _entry(row: Sequence[str]) -> GroupEntry:
    name, _, gid, members = row
    return GroupEntry(name, int(gid), tuple(member for member in members.split(",") if member))


class Group(Resource):
    """A group. Who belongs to it is for each `user` to say."""

    kind: ClassVar[str] = "group"

    name: AccountName
    gid: AccountNumber | None = None
    """Files keep the number that they have when it changes."""
    system: Annotated[bool, Meta()] = False
    """Whether a new one gets a number below those of people."""

    def problems(self) -> Iterator[str]:
        if self.absent and self.name == "root":
            yield "root cannot be absent"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"groups": Read(Groups)}

    def observe(self, groups: tuple[GroupEntry, ...]) -> Self | None:
        entry = next((entry for entry in groups if entry.name == self.name), None)
        return None if entry is None else type(self)(name=self.name).model_copy(update={"gid": entry.gid})

    def steps(self, change: Change) -> Iterator[Step]:
        match change.action:
            case "delete":
                yield Step(delete_group, {"name": self.name}, "remove the group")
            case "create":
                yield Step(add_group, {"name": self.name, "gid": self.gid, "system": self.system}, "add the group")
            case "update" | "replace":
                yield Step(change_group, {"name": self.name, "gid": self.gid}, f"give it the number {self.gid}")

    def before_delete(self) -> str | None:
        return "takes away what its members may read and write; its files keep a number without a name"

    def backup(self) -> Iterator[str]:
        yield "/etc/group"


def add_group(name: str, gid: int | None, system: bool) -> Iterator[str]:
    """Source: groupadd(8)."""
    yield f"groupadd {words([*(['--gid', gid] if gid is not None else []), *(['--system'] if system else []), name])}"


def change_group(name: str, gid: int) -> Iterator[str]:
    """Source: groupmod(8); refuses a number that another group has."""
    yield f"groupmod --gid {int(gid)} {words([name])}"


def delete_group(name: str) -> Iterator[str]:
    """Source: groupdel(8); refuses the primary group of a user. userdel(8) may have taken it along with its user."""
    yield f"if getent group {words([name])} >/dev/null; then groupdel {words([name])}; fi"
