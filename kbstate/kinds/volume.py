"""A volume of Docker: its driver, options and labels. What is in it is never touched but by deleting it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field

from kbstate import dockerd
from kbstate.containers.inspected import Said, Table
from kbstate.containers.types import LabelName, Text
from kbstate.dockerd import RUNNING, DockerFact, ObjectName, everything, marked
from kbstate.resource import AnyRead, Change, Line, Read, Replaces, Resource, Step, Unknown
from kbstate.shell import q, words


class VolumeState(Said):
    """What `docker volume inspect` says."""

    name: str
    driver: str
    options: Table[str] = Field(default_factory=dict)
    labels: Table[str] = Field(default_factory=dict)


class Volumes(DockerFact[str, VolumeState]):
    """The volumes of these names. Source: docker-volume-inspect(1)."""

    def command(self, wanted: Sequence[str]) -> str:
        return f"{RUNNING}\n{everything('volume', 'docker volume ls --quiet', 'V')}"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, VolumeState | Unknown | None]:
        found = {volume.name: volume for volume in map(VolumeState.model_validate, marked(output, "V"))}
        return {name: found.get(name) for name in wanted}


class Volume(Resource):
    """A volume. Nothing of it can be changed in place, so a change deletes it with its data, and needs leave."""

    kind: ClassVar[str] = "volume"

    name: ObjectName
    driver: Annotated[Line | None, Replaces()] = None
    options: Annotated[dict[LabelName, Text] | None, Replaces()] = None
    """Of the driver; of `local`: type, device and o, as for mount(8)."""
    labels: Annotated[dict[LabelName, Text] | None, Replaces()] = None

    def reads(self) -> Mapping[str, AnyRead]:
        return {"volume": Read(Volumes, self.name)}

    def observe(self, volume: VolumeState | None) -> Self | None:
        if volume is None:
            return None
        values = {"driver": volume.driver, "options": volume.options, "labels": volume.labels}
        return type(self)(name=self.name).model_copy(update=values)

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove, {"name": self.name}, "remove it and what is in it")
            return
        arguments = {
            "name": self.name,
            "driver": self.driver,
            "options": self.options or {},
            "labels": self.labels or {},
        }
        if change.action == "create":
            yield Step(create, arguments, "make it")
        else:
            yield Step(replace, arguments, "remove it and what is in it, and make it anew")

    def needs(self) -> Iterator[str]:
        yield from dockerd.ENGINE

    def before_delete(self) -> str | None:
        return "destroys what is in it"


def create(name: str, driver: str | None, options: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
    """Make it. Source: docker-volume-create(1)."""
    given = ["--driver", driver] if driver else []
    given += [word for key, value in sorted(options.items()) for word in ("--opt", f"{key}={value}")]
    given += [word for key, value in sorted(labels.items()) for word in ("--label", f"{key}={value}")]
    yield f"docker volume create {words(given)} -- {q(name)} >/dev/null"


def replace(name: str, driver: str | None, options: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
    """Remove it and make it anew; refused while a container, even a stopped one, has it."""
    yield f"set -eu\ndocker volume rm -- {q(name)} >/dev/null\n{next(create(name, driver, options, labels))}"


def remove(name: str) -> Iterator[str]:
    """Remove it; refused while a container, even a stopped one, has it."""
    yield f"docker volume rm -- {q(name)} >/dev/null"
