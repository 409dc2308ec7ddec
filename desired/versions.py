"""Which images run, and as whom: the one place for versions.

Each can be overridden by a variable in the environment of kbstate, such as HAPROXY_IMAGE_TAG=2.8.6, to rehearse a
version before it is written here. Debian packages are not pinned: the security updates of the distribution apply.
"""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field

from kbstate import Image


class ImageVersion(BaseModel):
    """An image, pinned, with the numbers of the user that it runs as. These own the files that it is given.

    They belong to the tag: look them up whenever it changes (`docker run --rm --entrypoint id IMAGE`). kbstate compares
    them with the image on the host.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str
    tag: str = Field(min_length=1)
    digest: str | None = None
    uid: int
    gid: int

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def user(self) -> str:
        """As Docker wants it; in numbers, so that nothing in the image can give it another meaning."""
        return f"{self.uid}:{self.gid}"

    @property
    def image(self) -> Image:
        return Image(name=self.name, digest=self.digest, uid=self.uid, gid=self.gid)

    def overridden(self, prefix: str) -> ImageVersion:
        """The same with what `PREFIX_TAG`, `PREFIX_DIGEST`, `PREFIX_UID` … say in the environment.

        Another tag is another image: it drops the digest that belonged to the old one.
        """
        found = {name: os.environ[f"{prefix}_{name.upper()}"] for name in type(self).model_fields if _set(prefix, name)}
        fresh = {"digest": None} if found.keys() & {"tag", "repository"} else {}
        return ImageVersion.model_validate({**self.model_dump(), **fresh, **found})


def _set(prefix: str, name: str) -> bool:
    return f"{prefix}_{name.upper()}" in os.environ


HAPROXY = ImageVersion(repository="haproxy", tag="2.8.5", uid=99, gid=99).overridden("HAPROXY_IMAGE")
PGBOUNCER = ImageVersion(repository="edoburu/pgbouncer", tag="1.18.0", uid=70, gid=70).overridden("PGBOUNCER_IMAGE")
