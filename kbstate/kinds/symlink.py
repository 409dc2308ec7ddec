"""A symbolic link: where it leads, whether or not anything is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field

from kbstate.paths import PathQuery, Paths, PathState, make_symlink, parents, remove_file
from kbstate.resource import AbsPath, AnyRead, Change, Line, Read, Resource, Step, Unknown

Target = Annotated[Line, Field(min_length=1, max_length=4095)]


class Symlink(Resource):
    """A symbolic link. `target` is absolute, or relative to the directory of the link; it is compared as text."""

    kind: ClassVar[str] = "symlink"
    identity: ClassVar[tuple[str, ...]] = ("path",)

    path: AbsPath
    target: Target | None = None

    def problems(self) -> Iterator[str]:
        if self.target is None and not self.absent:
            yield "target is missing"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"state": Read(Paths, PathQuery(self.path))}

    def observe(self, state: PathState | None) -> Self | Unknown | None:
        if state is None:
            return None
        if state.type != "symlink":
            return Unknown(f"a {state.type} is in its place: remove it, or declare it as one")
        return type(self)(path=self.path).model_copy(update={"target": state.target})

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove_file, {"path": self.path}, "remove the link")
        else:
            yield Step(make_symlink, {"path": self.path, "target": self.target}, f"link to {self.target}")

    def needs(self) -> Iterator[str]:
        for parent in parents(self.path):
            yield f"directory:{parent}"
            yield f"mount:{parent}"
