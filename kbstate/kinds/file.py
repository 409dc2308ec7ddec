"""A regular file: content, owner, group and mode, replaced whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Self

from kbstate.paths import PathQuery, Paths, PathState, parents, remove_file, set_attributes, try_file, write_file
from kbstate.resource import (
    AbsPath,
    Account,
    AnyRead,
    Change,
    Line,
    Meta,
    Mode,
    Preflight,
    Read,
    Resource,
    Step,
    Unknown,
)
from kbstate.secret import Secret


class File(Resource):
    """A regular file. `content` is text, bytes or a secret; see `kbstate.content` for files and templates."""

    kind: ClassVar[str] = "file"
    identity: ClassVar[tuple[str, ...]] = ("path",)

    path: AbsPath
    content: str | bytes | Secret | None = None
    owner: Account | None = None
    group: Account | None = None
    mode: Mode | None = None
    validate_with: Annotated[Line | None, Meta()] = None
    """A command that must succeed on the candidate, named `{path}`, on the host before it replaces the old file."""

    def problems(self) -> Iterator[str]:
        if self.validate_with and "{path}" not in self.validate_with:
            yield "validate_with must name the candidate as {path}"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"state": Read(Paths, PathQuery(self.path, self._expected()))}

    def _expected(self) -> str | None:
        if self.content is None:
            return None
        return "" if isinstance(self.content, Secret) else hashlib.sha256(_bytes(self.content)).hexdigest()

    def observe(self, state: PathState | None) -> Self | Unknown | None:
        if state is None:
            return None
        if state.type != "file":
            return Unknown(f"a {state.type} is in its place: remove it, or declare it as one")
        by_number = (self.owner or "").isdigit(), (self.group or "").isdigit()
        return type(self)(
            path=self.path,
            content=self._live_content(state),
            owner=state.uid if by_number[0] else state.user,
            group=state.gid if by_number[1] else state.group,
            mode=state.mode,
        )

    def _live_content(self, state: PathState) -> str | bytes | Secret | None:
        if self.content is None:
            return None
        if state.content is None:
            same = state.sha256 == self._expected()
            return self.content if same else f"(too large to show, sha256:{state.sha256})"
        if isinstance(self.content, Secret):
            return Secret(state.content)
        try:
            return state.content.decode() if isinstance(self.content, str) else state.content
        except UnicodeDecodeError:
            return state.content

    def steps(self, change: Change) -> Iterator[Step]:
        match change.action:
            case "delete":
                yield Step(remove_file, {"path": self.path}, "remove the file")
            case "create" | "replace":
                yield self._write("write the file")
            case "update" if "content" in change.fields:
                yield self._write("replace the content")
            case "update":
                arguments = {"path": self.path, "owner": self.owner, "group": self.group, "mode": self.mode}
                yield Step(set_attributes, arguments, "set owner, group and mode")

    def _write(self, why: str) -> Step:
        content = self.content if isinstance(self.content, Secret) else _bytes(self.content or "")
        arguments = {
            "path": self.path,
            "content": content,
            "owner": self.owner,
            "group": self.group,
            "mode": self.mode,
            "validate": self.validate_with,
        }
        return Step(write_file, arguments, why)

    def preflight(self, change: Change) -> Iterator[Preflight]:
        same = change.action == "update" and "content" not in change.fields
        if self.validate_with is None or self.content is None or same:
            return
        secrets = (self.content,) if isinstance(self.content, Secret) else ()
        content = self.content if isinstance(self.content, Secret) else _bytes(self.content)
        yield Preflight(f"{self.path} is accepted", try_file(content, self.validate_with), True, secrets)

    def needs(self) -> Iterator[str]:
        for parent in parents(self.path):
            yield f"directory:{parent}"
            yield f"mount:{parent}"
        yield from (f"user:{self.owner}", f"group:{self.group}")

    def backup(self) -> Iterator[str]:
        yield self.path


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
