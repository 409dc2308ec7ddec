"""What a load balancer has around it: the servers that it sends to, its peer, and who may reach it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from kbstate import DesiredError, Server, Site

PRIVATE_NETWORK = "10.0.0.0/16"


class Upstream(BaseModel):
    """A server by the name and address under which a configuration mentions it."""

    model_config = ConfigDict(frozen=True)

    name: str
    address: str


class Surroundings(BaseModel):
    """Taken from the inventory, never written twice."""

    model_config = ConfigDict(frozen=True)

    admin: Upstream
    """From where operators and kbstate come."""
    peer: Upstream
    """The other load balancer."""
    databases: tuple[Upstream, ...]
    redis: tuple[Upstream, ...]
    queues: tuple[Upstream, ...]

    @property
    def every(self) -> tuple[Upstream, ...]:
        return (self.admin, self.peer, *self.databases, *self.redis, *self.queues)


def surroundings(site: Site, server: Server) -> Surroundings:
    """What this load balancer has around it. Raises DesiredError where the inventory lacks something."""
    balancers = site.inventory.where(role="lb", subrole="internal-haproxy")
    return Surroundings(
        admin=_one(site, role="orchestrator", subrole="install"),
        peer=_only([_upstream(other) for other in balancers if other != server], "load balancer beside each other"),
        databases=_three(site, role="db", subrole="patroni"),
        redis=_three(site, role="redis", subrole="sentinel"),
        queues=_three(site, role="queue", subrole="rabbitmq"),
    )


def _upstream(server: Server) -> Upstream:
    return Upstream(name=server.hostname, address=server.address)


def _one(site: Site, role: str, subrole: str) -> Upstream:
    found = [_upstream(server) for server in site.inventory.where(role=role, subrole=subrole)]
    return _only(found, f"server with ROLE={role} and SUBROLE={subrole}")


def _only(found: Sequence[Upstream], what: str) -> Upstream:
    if len(found) != 1:
        raise DesiredError(f"servers.tsv must have one {what} with ENV=prod, and has {len(found)}")
    return found[0]


def _three(site: Site, role: str, subrole: str) -> tuple[Upstream, ...]:
    """The members of a cluster: fewer than three have no majority when one is lost."""
    found = tuple(_upstream(server) for server in site.inventory.where(role=role, subrole=subrole))
    if len(found) < 3:
        what = f"servers with ROLE={role} and SUBROLE={subrole}"
        raise DesiredError(f"servers.tsv must have three {what} with ENV=prod, and has {len(found)}")
    return found
