"""What the Docker daemon says of its objects: the facts and names that every kind made of Docker's shares."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, StringConstraints

from kbstate.resource import A, Fact, Unknown, V

ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$")]
"""A container, network or volume. Source: moby, `daemon/names`."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]

COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
REFERENCE = rf"(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::[0-9]+)?/)?{COMPONENT}(?:/{COMPONENT})*"


def _image_name(name: str) -> str:
    if not re.fullmatch(rf"{REFERENCE}(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}|@sha256:[0-9a-f]{{64}})?", name):
        raise ValueError("must be the name of an image with a tag or a digest, such as haproxy:2.8.5")
    return short_name(name)


def short_name(name: str) -> str:
    """As Docker itself shows it: what comes from Docker Hub without the registry and without `library/`."""
    return re.sub(r"^(index\.)?docker\.io/", "", name).removeprefix("library/")


ImageName = Annotated[str, AfterValidator(_image_name)]
"""Source: distribution, `reference/reference.go`."""


def repository(image: str) -> str:
    """The name without tag and digest."""
    return re.sub(r":[^:/]*$", "", image.split("@", maxsplit=1)[0])


def not_pinned(image: str) -> Iterator[str]:
    """A name that means another image tomorrow."""
    if image == repository(image) or image.endswith(":latest"):
        yield f"the image {image} is not pinned: name a tag other than 'latest', or a digest"


# --- facts ------------------------------------------------------------------------------------------------------

RUNNING = "\n".join(
    [
        # docker.socket would start a daemon that is down as soon as it is asked anything, and reading changes nothing
        "case $(systemctl is-active docker.service) in",
        "active|activating|reloading) ;;",
        '*) echo "docker daemon not running" >&2; exit 69 ;; esac',
    ]
)
"""Shell lines that end the command unless the daemon runs."""

ENGINE = ("package:docker.io", "package:docker-ce", "service:docker.service", "docker:engine")
"""Addresses of what must be there first for anything of Docker's."""

DOWN = Unknown("docker daemon not running", until=("service:docker.service", "docker:*"))


class DockerFact(Fact[A, V]):
    """A question to the daemon."""

    program: ClassVar[str | None] = "docker"
    packages: ClassVar[tuple[str, ...]] = ("docker.io", "docker-ce", "docker-ce-cli", "docker-cli")
    seconds: ClassVar[int] = 60

    def failed(self, status: int, errors: str) -> Unknown:
        if "docker daemon" in errors:
            return DOWN
        return super().failed(status, errors)


ALIVE = (
    "alive() { said=$(docker version --format '{{.Server.Version}}'); "
    '[ -n "$said" ] || { echo "the docker client says nothing" >&2; exit 1; }; }'
)
"""Nothing is an answer only of a client that has something to say."""


def everything(object: str, listing: str, mark: str) -> str:
    """Shell lines that print every object as JSON, a line each after its mark; they look again if one vanishes.

    They leave the ids in `$ids` and what was printed in `$o`.
    """
    return "\n".join(
        [
            f"n=0; {ALIVE}",
            f'while ids=$({listing}) || exit; [ -n "$ids" ] || {{ alive; false; }}; do',
            f"o=$(docker {object} inspect --format '{mark} {{{{json .}}}}' $ids) &&",
            "{ printf '%s\\n' \"$o\"; break; }",
            "n=$((n + 1)); [ $n -lt 3 ] || exit 1; done",
        ]
    )


def marked(output: str, mark: str) -> Iterator[dict[str, Any]]:
    """The objects that were printed with a mark."""
    return (json.loads(line[len(mark) + 1 :]) for line in output.splitlines() if line.startswith(f"{mark} "))


@dataclass(frozen=True)
class ImageState:
    """An image as the daemon has it. `config` is what containers inherit."""

    id: str
    names: frozenset[str]
    """Every tag and digest that it goes by."""
    user: str
    config: Mapping[str, Any]

    def digests(self, repository: str) -> list[str]:
        """The digests that it has in this repository, of which one is enough to be it."""
        return sorted(name.split("@")[1] for name in self.names if name.startswith(f"{repository}@"))


class Images(DockerFact[str, ImageState]):
    """The images that names stand for now. Source: docker-image-inspect(1)."""

    def command(self, wanted: Sequence[str]) -> str:
        return f"{RUNNING}\n{everything('image', 'docker image ls --quiet --no-trunc', 'I')}"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, ImageState | Unknown | None]:
        states = [image_state(said) for said in marked(output, "I")]
        return {name: next((state for state in states if name in state.names), None) for name in wanted}


def image_state(said: Mapping[str, Any]) -> ImageState:
    names = frozenset([*(said.get("RepoTags") or ()), *(said.get("RepoDigests") or ())])
    config = said.get("Config") or {}
    return ImageState(said["Id"], names, config.get("User") or "", config)
