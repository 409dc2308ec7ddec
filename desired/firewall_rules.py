"""Who may reach what on a load balancer. Whatever is not listed is dropped, published container ports included."""

from __future__ import annotations

from collections.abc import Iterator

from surroundings import PRIVATE_NETWORK, Surroundings

from kbstate import Allow, Firewall, Resource

SERVICE_PORTS = (5432, 6432, 6379, 5672)
STATS_PORT = 8404
PGBOUNCER_PORT = 6433


def firewall(around: Surroundings) -> Iterator[Resource]:
    yield Firewall(
        rules=(
            Allow(ports=(22,), sources=(around.admin.address,), comment="SSH from the admin server"),
            Allow(ports=(22,), sources=(PRIVATE_NETWORK,), comment="SSH"),
            Allow(ports=(*SERVICE_PORTS, STATS_PORT), sources=(PRIVATE_NETWORK,), comment="HAProxy"),
            Allow(ports=(PGBOUNCER_PORT,), sources=(around.peer.address,), comment="PgBouncer, for the peer's HAProxy"),
        ),
        ufw="inactive",
    )
