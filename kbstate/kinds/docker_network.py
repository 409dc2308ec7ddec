"""A network of Docker: driver, addresses, options and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field

from kbstate import dockerd
from kbstate.containers.inspected import Items, Said, Table
from kbstate.containers.types import Address, LabelName, Text
from kbstate.dockerd import RUNNING, DockerFact, ObjectName, everything, marked
from kbstate.resource import AnyRead, Change, Impact, Line, Meta, Read, Replaces, Resource, Step, Unknown
from kbstate.shell import q, words

PREDEFINED = ("bridge", "host", "none")


def _subnet(text: str) -> str:
    return str(ip_network(text))


Subnet = Annotated[str, AfterValidator(_subnet)]


class Pool(Said):
    subnet: str = ""
    gateway: str = ""
    ip_range: str = Field(default="", alias="IPRange")

    @property
    def version(self) -> int:
        return ip_network(self.subnet, strict=False).version if self.subnet else 0

    @property
    def router(self) -> str:
        """The gateway; where Docker does not name it, the first address of a bridge's subnet."""
        first = str(next(ip_network(self.subnet, strict=False).hosts())) if self.subnet else ""
        return self.gateway.split("/")[0] or first


class Pools(Said):
    config: Items[Pool] = ()


class NetworkState(Said):
    """What `docker network inspect` says."""

    name: str
    driver: str
    ipam: Pools = Field(default=Pools(), alias="IPAM")
    internal: bool = False
    attachable: bool = False
    ipv6: bool = Field(default=False, alias="EnableIPv6")
    options: Table[str] = Field(default_factory=dict)
    labels: Table[str] = Field(default_factory=dict)

    def pool(self, version: int) -> Pool:
        return next((pool for pool in self.ipam.config if pool.version == version), Pool())


class Networks(DockerFact[str, NetworkState]):
    """The networks of these names. Source: docker-network-inspect(1)."""

    def command(self, wanted: Sequence[str]) -> str:
        return f"{RUNNING}\n{everything('network', 'docker network ls --quiet --no-trunc', 'N')}"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, NetworkState | Unknown | None]:
        found: dict[str, list[NetworkState]] = {}
        for said in marked(output, "N"):
            network = NetworkState.model_validate(said)
            found.setdefault(network.name, []).append(network)
        return {name: _only(found.get(name, [])) for name in wanted}


def _only(networks: Sequence[NetworkState]) -> NetworkState | Unknown | None:
    if len(networks) > 1:
        return Unknown("several networks have this name: remove all but one by their ids ('docker network ls')")
    return networks[0] if networks else None


class DockerNetwork(Resource):
    """A network that containers join. Nothing of it can be changed in place.

    When it must be made anew, the containers that have joined it are disconnected and connected again.
    """

    kind: ClassVar[str] = "docker_network"

    name: ObjectName
    driver: Annotated[Line | None, Replaces()] = None
    subnet: Annotated[Subnet | None, Replaces()] = None
    gateway: Annotated[Address | None, Replaces()] = None
    ip_range: Annotated[Subnet | None, Replaces()] = None
    """Where in the subnet the addresses of containers are."""
    subnet6: Annotated[Subnet | None, Replaces()] = None
    ipv6: Annotated[bool | None, Replaces()] = None
    internal: Annotated[bool | None, Replaces()] = None
    """Whether there is no way out of it."""
    attachable: Annotated[bool | None, Replaces()] = None
    options: Annotated[dict[LabelName, Text] | None, Replaces()] = None
    """Of the driver, such as com.docker.network.bridge.name."""
    labels: Annotated[dict[LabelName, Text] | None, Replaces()] = None
    interrupts: Annotated[Impact | None, Meta()] = "drops connections"
    """What it interrupts when it is made anew."""

    def problems(self) -> Iterator[str]:
        if self.name in PREDEFINED:
            yield f"{self.name} is a network that Docker brings: it cannot be declared"
        if (self.gateway or self.ip_range) and not self.subnet:
            yield "gateway and ip_range need a subnet"
        if self.subnet6 and not self.ipv6:
            yield "subnet6 needs ipv6=True"
        versions = [ip_network(net).version if net else wanted for net, wanted in ((self.subnet, 4), (self.subnet6, 6))]
        if versions != [4, 6]:
            yield "subnet is of IPv4, and subnet6 of IPv6"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"network": Read(Networks, self.name)}

    def observe(self, network: NetworkState | None) -> Self | None:
        if network is None:
            return None
        pool, pool6 = network.pool(4), network.pool(6)
        values = {
            "driver": network.driver,
            "subnet": pool.subnet,
            "gateway": pool.router,
            "ip_range": pool.ip_range,
            "subnet6": pool6.subnet,
            "ipv6": network.ipv6,
            "internal": network.internal,
            "attachable": network.attachable,
            "options": network.options,
            "labels": network.labels,
        }
        return type(self)(name=self.name, interrupts=self.interrupts).model_copy(update=values)

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove, {"name": self.name}, "remove it")
        elif change.action == "create":
            yield Step(create, {"name": self.name, "options": self._options()}, "make it")
        else:
            before = change._observed._options() if isinstance(change._observed, DockerNetwork) else []
            arguments = {"name": self.name, "options": self._options(), "before": before}
            yield Step(replace, arguments, "make it anew, and connect its containers again")

    def _options(self) -> list[str]:
        """The options of `docker network create`."""
        texts = {"driver": self.driver, "subnet": self.subnet, "gateway": self.gateway, "ip-range": self.ip_range}
        flags = {"ipv6": self.ipv6, "internal": self.internal, "attachable": self.attachable}
        options = [f"--{name}={text}" for name, text in texts.items() if text]
        options += [f"--{name}={str(on).lower()}" for name, on in flags.items() if on is not None]
        options += [f"--subnet={self.subnet6}"] if self.subnet6 else []
        options += [f"--opt={key}={value}" for key, value in sorted((self.options or {}).items())]
        return options + [f"--label={key}={value}" for key, value in sorted((self.labels or {}).items())]

    def needs(self) -> Iterator[str]:
        yield from dockerd.ENGINE

    def impact(self, change: Change) -> Impact | None:
        return self.interrupts if change.action == "replace" else None


def create(name: str, options: Sequence[str]) -> Iterator[str]:
    """Make it. Source: docker-network-create(1)."""
    yield f"docker network create {words(options)} -- {q(name)} >/dev/null"


def remove(name: str) -> Iterator[str]:
    """Remove it; refused while a running container is connected to it."""
    yield f"docker network rm -- {q(name)} >/dev/null"


MEMBERS = r"""
joined=
settings='{{with index .NetworkSettings.Networks "@NAME@"}}{{with .IPAMConfig}}{{with .IPv4Address}}--ip {{.}} {{end}}'
settings="$settings"'{{with .IPv6Address}}--ip6 {{.}} {{end}}{{end}}{{range .Aliases}}--alias {{.}} {{end}}{{end}}'
members=$(docker container ls --all --quiet --no-trunc --filter "network=$n")
[ -z "$members" ] || joined=$(docker container inspect --format "{{.Id}} $settings" -- $members)
join() {
  printf '%s\n' "$joined" | while read -r id options; do
    [ -z "$id" ] || docker network connect $options -- "$n" "$id"
  done
}
"""
"""Who is connected, and with which addresses and aliases."""


def replace(name: str, options: Sequence[str], before: Sequence[str]) -> Iterator[str]:
    """Take its containers out, make it anew and put them back; if it cannot be made, it is made as it was before."""
    yield "\n".join(
        [
            "set -euf",
            f"n={q(name)}",
            MEMBERS.strip().replace("@NAME@", name),
            f'again() {{ docker network create {words(before)} -- "$n" >/dev/null && join; }}',
            'for id in $members; do docker network disconnect --force -- "$n" "$id"; done',
            'docker network rm -- "$n" >/dev/null || { join; exit 1; }',
            f'docker network create {words(options)} -- "$n" >/dev/null || {{ again; exit 1; }}',
            "join",
        ]
    )
