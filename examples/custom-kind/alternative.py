"""A kind of your own: which program a name such as `editor` stands for. Source: update-alternatives(1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import StringConstraints

from kbstate.resource import AbsPath, AnyRead, Change, Fact, Read, Resource, Step, Unknown
from kbstate.shell import q

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.+-]*$")]


class Alternatives(Fact[str, str]):
    """The program behind each name: one shell command for all resources of the host that ask."""

    def command(self, wanted: Sequence[str]) -> str:
        query = "update-alternatives --query {name} 2>/dev/null | sed -n 's/^Value: //p'"
        return "\n".join(f'printf "%s %s\\n" {q(name)} "$({query.format(name=q(name))})"' for name in wanted)

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, str | Unknown | None]:
        rows = (line.partition(" ") for line in output.splitlines())
        return {name: program or None for name, _, program in rows}


class Alternative(Resource):
    """The program that a name stands for, chosen by hand."""

    kind: ClassVar[str] = "alternative"

    name: Name
    program: AbsPath | None = None

    def problems(self) -> Iterator[str]:
        if self.program is None and not self.absent:
            yield "program is missing"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"program": Read(Alternatives, self.name)}

    def observe(self, program: str | None) -> Self | None:
        if program is None or self.absent:
            return None  # no longer ours: some program always stands behind the name
        return type(self)(name=self.name, program=program)

    def steps(self, change: Change) -> Iterator[Step]:
        yield Step(choose, {"name": self.name, "program": self.program}, "choose the program")

    def needs(self) -> Iterator[str]:
        yield "package:*"


def choose(name: str, program: str) -> Iterator[str]:
    """An operation: it yields the shell commands that make the change."""
    yield f"update-alternatives --quiet --set {q(name)} {q(program)}"
