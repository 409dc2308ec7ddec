"""A container image, pinned by tag or digest, and the numbers of the user that it runs as."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import Field

from kbstate import dockerd
from kbstate.dockerd import Digest, DockerFact, ImageName, Images, ImageState
from kbstate.paths import disk_space
from kbstate.resource import AnyRead, Change, Preflight, Read, Resource, Step, Unknown
from kbstate.shell import q, words

Id = Annotated[int, Field(ge=0, le=4294967295)]


@dataclass(frozen=True)
class UserIds:
    """Whom containers of an image run as, in numbers; None where the number cannot be looked up."""

    uid: int | None
    gid: int | None


class ImageUsers(DockerFact[str, UserIds]):
    """The numbers of each image's user.

    A name is looked up in the image's own passwd, read where overlay2 keeps its layers: no container is made for it.
    """

    def command(self, wanted: Sequence[str]) -> str:
        layers = '{{with .GraphDriver}}{{index .Data "UpperDir"}}:{{index .Data "LowerDir"}}{{end}}'
        names = words(dict.fromkeys(wanted))
        return "\n".join(
            [
                Images().command(wanted),
                "look() { for d in $dirs; do",  # the uppermost layer counts; a link would lead into this host's files
                'if [ -L "$d$1" ]; then break; fi',
                'if [ -e "$d$1" ]; then [ -f "$d$1" ] && base64 -w0 "$d$1"; echo; return; fi',
                "done; echo -; }",
                # names that are not there are left out: they are seen to be absent above
                f"docker image inspect --format '{{{{.Id}}}} {layers}' {names} 2>/dev/null | while read -r id dirs; do",
                'IFS=:; set -f; echo "U $id $(look /etc/passwd) $(look /etc/group)"; unset IFS; done',
            ]
        )

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, UserIds | Unknown | None]:
        rows = (line.split(" ")[1:] for line in output.splitlines() if line.startswith("U "))
        tables = {id: (_table(passwd), _table(group)) for id, passwd, group in rows}
        states = Images().process(wanted, output)
        return {
            name: _user_ids(s, *tables.get(s.id, (None, None))) if isinstance(s, ImageState) else s
            for name, s in states.items()
        }


def _table(encoded: str) -> list[list[str]] | None:
    """The rows of a passwd or group file."""
    if encoded == "-":
        return None
    return [line.split(":") for line in base64.b64decode(encoded).decode("utf-8", "replace").splitlines()]


def _user_ids(image: ImageState, users: list[list[str]] | None, groups: list[list[str]] | None) -> UserIds:
    """As the daemon resolves `user:group`. Source: moby/sys, `user.GetExecUser`."""
    user, _, group = image.user.partition(":")
    entry = next((row for row in users or () if len(row) > 3 and user in (row[0], row[2])), None)
    uid = entry[2] if entry else user or "0"
    gid = entry[3] if entry else "0" if users is not None or not user else ""
    if group:
        gid = next((row[2] for row in groups or () if len(row) > 2 and row[0] == group), group)
    return UserIds(_number(uid), _number(gid))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


MEGABYTES = 512
"""Of disk space: an image needs it packed and unpacked."""


class Image(Resource):
    """An image that containers are made of. It is pulled before anything that runs is stopped for it."""

    kind: ClassVar[str] = "image"

    name: ImageName
    digest: Digest | None = None
    """What the tag must stand for, whatever the registry says today."""
    uid: Id | None = None
    """The number of the user that it runs as, to which the files that it is given belong."""
    gid: Id | None = None

    @property
    def repository(self) -> str:
        return dockerd.repository(self.name)

    def problems(self) -> Iterator[str]:
        if not self.absent:
            yield from dockerd.not_pinned(self.name)
        if self.digest and "@" in self.name:
            yield "the digest is in its name already"

    def reads(self) -> Mapping[str, AnyRead]:
        image = {"image": Read(Images, self.name)}
        return image if self.uid is None and self.gid is None else {**image, "user": Read(ImageUsers, self.name)}

    def observe(self, image: ImageState | None, user: UserIds | None = None) -> Self | Unknown | None:
        if image is None:
            return None
        if user and ((self.uid is not None and user.uid is None) or (self.gid is not None and user.gid is None)):
            return Unknown(
                f"the numbers of its user '{image.user}' cannot be read from its layers: leave uid and gid out"
            )
        digests = image.digests(self.repository)
        return type(self)(
            name=self.name,
            digest=self.digest if self.digest in digests else next(iter(digests), None),
            uid=user.uid if user else None,
            gid=user.gid if user else None,
        )

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove, {"name": self.name}, "remove it")
            return
        exact = f"{self.repository}@{self.digest}" if self.digest else None
        yield Step(pull, {"name": self.name, "exact": exact}, "pull it")

    def preflight(self, change: Change) -> Iterator[Preflight]:
        yield disk_space("/var/lib/docker", MEGABYTES)

    def needs(self) -> Iterator[str]:
        yield from dockerd.ENGINE


def pull(name: str, exact: str | None) -> Iterator[str]:
    """Get it; where the digest is known, get exactly that and give it the name. Source: docker-pull(1)."""
    if exact is None:
        yield f"docker pull --quiet -- {q(name)}"
        return
    have = f"docker image inspect -- {q(exact)} >/dev/null 2>&1"
    yield f"set -eu\n{have} || docker pull --quiet -- {q(exact)}\ndocker tag -- {q(exact)} {q(name)}"


def remove(name: str) -> Iterator[str]:
    """Take the name away, and the image with its last name; refused while a container is made of it."""
    yield f"docker image rm -- {q(name)}"
