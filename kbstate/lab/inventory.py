"""The hosts a lab can have: the addresses of the site that kbstate is written for, and spare ones for tests."""

from __future__ import annotations

from dataclasses import dataclass

from kbstate.lab.errors import LabError

PRIVATE_BITS = 16
PUBLIC_BITS = 24
INFRA = "infra"
INFRA_ADDRESS = "10.0.0.2"
CONTROLLER = "install-01"


@dataclass(frozen=True)
class HostSpec:
    """What a host is before its first boot."""

    name: str
    private: str | None = None
    public: str | None = None
    role: str = "empty"

    @property
    def addresses(self) -> list[str]:
        """Every address the host answers at."""
        return [address for address in (self.private, self.public) if address]


def _all() -> list[HostSpec]:
    hosts = [HostSpec(CONTROLLER, "10.0.0.250", role="controller")]
    names = ("db-master-01", "db-slave-01", "db-slave-02")
    hosts += [HostSpec(name, f"10.0.0.{120 + n}", role="database") for n, name in enumerate(names)]
    hosts += [HostSpec(f"redis-{n:02}", f"10.0.0.{122 + n}", role="redis") for n in (1, 2, 3)]
    hosts += [HostSpec(f"queue-{n:02}", f"10.0.0.{125 + n}", role="queue") for n in (1, 2, 3)]
    hosts += [HostSpec(f"haproxy-{n:02}", f"10.0.0.{10 + n}", f"203.0.113.{10 + n}") for n in (1, 2)]
    hosts += [HostSpec(f"bare-{n:02}", f"10.0.0.{30 + n}", f"203.0.113.{30 + n}") for n in range(1, 10)]
    hosts += [HostSpec(f"dock-{n:02}", f"10.0.0.{40 + n}", f"203.0.113.{40 + n}", role="docker") for n in range(1, 5)]
    hosts += [HostSpec("client-01", "10.0.0.200"), HostSpec("outsider-01", public="203.0.113.50")]
    return hosts


HOSTS: dict[str, HostSpec] = {host.name: host for host in _all()}
_ON_DEMAND = ("bare-", "dock-", "client-", "outsider-")
DEFAULT: tuple[str, ...] = tuple(name for name in HOSTS if not name.startswith(_ON_DEMAND))
"""The hosts of a plain `up`: the controller, the upstreams and the two load balancers."""


def of_role(role: str) -> list[HostSpec]:
    """The hosts of a role, the first of them first."""
    return [host for host in HOSTS.values() if host.role == role]


def spec(name: str) -> HostSpec:
    """The host of this name."""
    if name not in HOSTS:
        raise LabError(f"the lab has no host {name!r}: it has {', '.join(HOSTS)}")
    return HOSTS[name]
