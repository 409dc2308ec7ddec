"""A directory: owner, group and mode; what is in it is for others to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

from kbstate.paths import PathQuery, Paths, PathState, make_directory, parents, remove_directory, set_attributes
from kbstate.resource import AbsPath, Account, AnyRead, Change, Mode, Read, Resource, Step, Unknown


class Directory(Resource):
    """A directory. The one above it must be there or be declared; it is removed only when it is empty."""

    kind: ClassVar[str] = "directory"
    identity: ClassVar[tuple[str, ...]] = ("path",)

    path: AbsPath
    owner: Account | None = None
    group: Account | None = None
    mode: Mode | None = None

    def problems(self) -> Iterator[str]:
        if self.absent and self.path == "/":
            yield "the root directory cannot be absent"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"state": Read(Paths, PathQuery(self.path))}

    def observe(self, state: PathState | None) -> Self | Unknown | None:
        if state is None:
            return None
        if state.type != "directory":
            return Unknown(f"a {state.type} is in its place: remove it, or declare it as one")
        by_number = (self.owner or "").isdigit(), (self.group or "").isdigit()
        return type(self)(
            path=self.path,
            owner=state.uid if by_number[0] else state.user,
            group=state.gid if by_number[1] else state.group,
            mode=state.mode,
        )

    def steps(self, change: Change) -> Iterator[Step]:
        arguments = {"path": self.path, "owner": self.owner, "group": self.group, "mode": self.mode}
        match change.action:
            case "delete":
                yield Step(remove_directory, {"path": self.path}, "remove the directory, if it is empty")
            case "create":
                yield Step(make_directory, arguments, "make the directory")
            case "update" | "replace":
                yield Step(set_attributes, arguments, "set owner, group and mode")

    def needs(self) -> Iterator[str]:
        for parent in parents(self.path):
            yield f"directory:{parent}"
            yield f"mount:{parent}"
        yield f"mount:{self.path}"
        yield from (f"user:{self.owner}", f"group:{self.group}")
