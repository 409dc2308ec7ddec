"""The role of an internal load balancer: haproxy-01 and haproxy-02 are the same but for name and address."""

from __future__ import annotations

from collections.abc import Sequence

from base_os import base_os
from docker_engine import docker_engine
from firewall_rules import SERVICE_PORTS, STATS_PORT, firewall
from haproxy_service import BACKENDS, haproxy
from keybuzz_tree import keybuzz_tree
from pgbouncer_service import pgbouncer
from redis_follower import redis_follower
from surroundings import surroundings

from kbstate import Check, ContainerCheck, HaproxyCheck, Host, Mount, NetworkInterface, PortCheck, Server, Site

CHECKS: tuple[Check, ...] = (
    ContainerCheck(container="haproxy"),
    ContainerCheck(container="pgbouncer"),
    *(PortCheck(port=port) for port in SERVICE_PORTS),
    HaproxyCheck(port=STATS_PORT, backends=BACKENDS),
)


def load_balancer(
    site: Site, server: Server, interfaces: Sequence[NetworkInterface] = (), volumes: Sequence[Mount] = ()
) -> Host:
    """All that a load balancer is, by module. Raises DesiredError where the inventory or a credential is lacking.

    The provider configures the network cards of its servers and gives them no volume: both are declared only for a host
    that differs.
    """
    around = surroundings(site, server)
    return Host(
        name=server.hostname,
        address=server.address,
        role="internal-haproxy",
        modules={
            "base": (*base_os(server, around), *interfaces, *volumes),
            "firewall": tuple(firewall(around)),
            "docker": tuple(docker_engine()),
            "keybuzz": tuple(keybuzz_tree()),
            "haproxy": tuple(haproxy(site, around)),
            "pgbouncer": tuple(pgbouncer(site)),
            "redis-follower": tuple(redis_follower(site, around)),
        },
        checks=CHECKS,
    )
