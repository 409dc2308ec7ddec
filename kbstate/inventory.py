"""The inventory of the site, `servers.tsv`: which servers there are, and what each is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Server(BaseModel):
    """One row. A column that is empty or `-` is None."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    env: str
    public_ip: str | None = None
    hostname: str
    private_ip: str | None = None
    fqdn: str | None = None
    ssh_user: str | None = None
    pool: str | None = None
    role: str | None = None
    subrole: str | None = None
    docker_stack: str | None = None
    core: str | None = None
    notes: str | None = None

    @property
    def address(self) -> str:
        """The private address. Raises DesiredError where the row has none."""
        raise NotImplementedError


@dataclass(frozen=True)
class Inventory:
    """The servers of production, in the order of the file."""

    servers: tuple[Server, ...] = ()
    path: Path = Path("servers.tsv")

    @classmethod
    def parse(cls, path: Path) -> Inventory:
        """Read the file. Every row is checked, also those that are not of production. Raises DesiredErrors."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers)

    def __len__(self) -> int:
        return len(self.servers)

    def where(self, **fields: str | None) -> tuple[Server, ...]:
        """The servers whose columns have these values: `where(role="lb", subrole="internal-haproxy")`."""
        raise NotImplementedError

    def named(self, hostname: str) -> Server:
        """The server of this name. Raises DesiredError with a suggestion."""
        raise NotImplementedError
