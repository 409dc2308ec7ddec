"""A network interface: addresses, gateway, routes and MTU, now and at the next boot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from kbstate.kinds.file import File
from kbstate.paths import PathState, remove_file
from kbstate.resource import AnyRead, Change, Fact, Impact, Read, Resource, Step, Unknown, Unordered
from kbstate.shell import q

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$")]


def _with_length(text: str) -> str:
    if "/" not in text:
        raise ValueError("must have a prefix length, such as 10.0.0.11/16")
    return str(ip_interface(text))


def _route(text: str) -> str:
    match text.split():
        case [network, "via", gateway]:
            return f"{ip_network(network)} via {ip_address(gateway)}"
    raise ValueError("must be such as '10.1.0.0/16 via 10.0.0.1'")


Address = Annotated[str, AfterValidator(_with_length)]
Gateway = Annotated[str, AfterValidator(lambda text: str(ip_address(text)))]
Route = Annotated[str, AfterValidator(_route)]


@dataclass(frozen=True)
class Link:
    """An interface as the kernel has it, without what kernel and DHCP gave it."""

    mtu: int
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    routes: tuple[str, ...]


class Links(Fact[str, Link]):
    """Every interface with its addresses and static routes. Source: ip-address(8), ip-route(8)."""

    def command(self, wanted: Sequence[str]) -> str:
        show = "ip -json address show && echo && ip -json -4 route show && echo && ip -json -6 route show"
        return f'{show} | sed "s/^$/[]/"'  # without routes some versions print nothing

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, Link | Unknown | None]:
        links, *tables = (json.loads(line) for line in output.splitlines() if line.startswith("["))
        routes = [row for table in tables for row in table if "gateway" in row]
        found: dict[str, Link | Unknown | None] = dict.fromkeys(wanted)
        for link in links:
            if link.get("ifname") in found:
                found[link["ifname"]] = _link(link, [row for row in routes if row["dev"] == link["ifname"]])
        return found


def _link(link: Mapping[str, Any], routes: Sequence[Mapping[str, Any]]) -> Link:
    every = (info for info in link["addr_info"] if info["scope"] == "global" and not info.get("dynamic"))
    static = [row for row in routes if row["dst"] != "default" and row.get("protocol") not in ("dhcp", "ra")]
    return Link(
        mtu=link["mtu"],
        addresses=tuple(f"{info['local']}/{info['prefixlen']}" for info in every),
        gateways=tuple(row["gateway"] for row in routes if row["dst"] == "default"),
        routes=tuple(f"{ip_network(row['dst'])} via {row['gateway']}" for row in static),
    )


class OtherFiles(Fact[str, tuple[str, ...]]):
    """The files that configure an interface, but ours. Source: interfaces(5), systemd.network(5)."""

    def command(self, wanted: Sequence[str]) -> str:
        files = "/etc/network/interfaces /etc/network/interfaces.d /etc/systemd/network /etc/netplan"
        return f"grep -rsE '^ *(iface +|Name=)' {files} || true"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, tuple[str, ...] | Unknown | None]:
        found: dict[str, list[str]] = {name: [] for name in wanted}
        for path, _, text in (line.partition(":") for line in output.splitlines()):
            name = text.split("Name=")[-1].split()[0] if "Name=" in text else text.split()[1]
            if name in found and "kbstate-" not in path:
                found[name].append(path)
        return {name: tuple(dict.fromkeys(paths)) for name, paths in found.items()}


class Connection(Fact[None, tuple[str, str]]):
    """The two ends of the connection by which kbstate came: client and server address."""

    def command(self, wanted: Sequence[None]) -> str:
        return 'echo "$KBSTATE_SSH_CONNECTION"'

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, tuple[str, str] | Unknown | None]:
        ends = output.split()
        return {None: (ends[0], ends[2]) if len(ends) == 4 else Unknown("how this connection came is not known")}


class NetworkInterface(Resource):
    """An interface that exists. What is not declared is removed, but never what this connection uses."""

    kind: ClassVar[str] = "network_interface"
    identity: ClassVar[tuple[str, ...]] = ("name", "manager")

    name: Name
    addresses: Annotated[tuple[Address, ...] | None, Unordered()] = None
    gateway: Gateway | None = None
    routes: Annotated[tuple[Route, ...] | None, Unordered()] = None
    mtu: Annotated[int, Field(ge=576, le=65536)] | None = None
    manager: Literal["ifupdown", "networkd"] = "ifupdown"
    """Who configures it at the next boot."""
    content: str | None = None
    """The file for the next boot; filled in, not declared."""

    @property
    def path(self) -> str:
        ifupdown = f"/etc/network/interfaces.d/kbstate-{self.name.replace('.', '_')}"
        return ifupdown if self.manager == "ifupdown" else f"/etc/systemd/network/50-kbstate-{self.name}.network"

    @property
    def file(self) -> File:
        return File(path=self.path, content=self.content, owner="root", group="root", mode="0644")

    def problems(self) -> Iterator[str]:
        if self.addresses is None and self.mtu is None and not self.absent:
            yield "addresses and mtu are missing"
        versions = {ip_interface(address).version for address in self.addresses or ()}
        if self.gateway and ip_address(self.gateway).version not in versions:
            yield "the gateway cannot be reached from any of the addresses"

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        return self.model_copy(update={"content": None if self.absent else render(self)})

    def reads(self) -> Mapping[str, AnyRead]:
        return {
            "link": Read(Links, self.name),
            "others": Read(OtherFiles, self.name),
            "connection": Read(Connection),
            **self.file.reads(),
        }

    def observe(
        self, link: Link | None, others: tuple[str, ...], connection: tuple[str, str], state: PathState | None
    ) -> Self | Unknown | None:
        if self.absent and state is None:
            return None
        live = self.file.observe(state)
        if isinstance(live, Unknown):
            return live
        if self.absent:
            return type(self)(name=self.name, manager=self.manager)
        if trouble := self._trouble(link, others, connection):
            return Unknown(trouble)
        assert link is not None
        values = {
            "addresses": link.addresses,
            "gateway": ", ".join(link.gateways) or None,
            "routes": link.routes,
            "mtu": link.mtu,
            "content": live.content if live else None,
        }
        return type(self)(name=self.name, manager=self.manager).model_copy(update=values)

    def _trouble(self, link: Link | None, others: tuple[str, ...], connection: tuple[str, str]) -> str | None:
        """Why nothing must be changed."""
        if link is None:
            return f"there is no interface {self.name}"
        if others:
            return f"{others[0]} configures it too: remove it there first"
        ours = [address for address in link.addresses if address.split("/")[0] == connection[1]]
        if self.addresses is not None and ours and ours[0] not in self.addresses:
            return f"this connection comes by {ours[0]}, which is not declared: it would be cut"
        return None

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove_file, {"path": self.path}, "remove its file; what is set now stays until the next boot")
            return
        if change.fields & {"addresses", "gateway", "routes", "mtu"}:
            before = change.before or {}
            arguments = {
                "name": self.name,
                "mtu": self.mtu if "mtu" in change.fields else None,
                "gateway": self.gateway if "gateway" in change.fields else None,
                **_parts("addresses", before.get("addresses"), self.addresses),
                **_parts("routes", before.get("routes"), self.routes),
            }
            yield Step(set_live, arguments, "set it now")
        if "content" in change.fields:
            yield from self.file.steps(change.model_copy(update={"action": "create"}))

    def needs(self) -> Iterator[str]:
        yield "package:*"

    def impact(self, change: Change) -> Impact | None:
        return "drops connections" if change.fields & {"addresses", "gateway", "routes"} else None

    def before_delete(self) -> str | None:
        return f"{self.name} has no configuration at the next boot"

    def backup(self) -> Iterator[str]:
        yield self.path


def _parts(what: str, before: Any, after: Sequence[str] | None) -> dict[str, list[str]]:
    """What of a list has to come and to go."""
    if after is None:
        return {f"{what}_add": [], f"{what}_remove": []}
    old = list(before or ())
    return {f"{what}_add": [x for x in after if x not in old], f"{what}_remove": [x for x in old if x not in after]}


def render(interface: NetworkInterface) -> str:
    lines = [
        "# written by kbstate",
        *(_ifupdown(interface) if interface.manager == "ifupdown" else _networkd(interface)),
    ]
    return "\n".join(lines) + "\n"


def _ifupdown(interface: NetworkInterface) -> Iterator[str]:
    """Source: interfaces(5); several stanzas for one interface add up."""
    yield f"auto {interface.name}"
    if not interface.addresses:
        yield f"iface {interface.name} inet manual"
    extra = [f"    mtu {interface.mtu}"] if interface.mtu else []
    extra += [f"    up ip route replace {route} dev {interface.name}" for route in interface.routes or ()]
    gateways = [interface.gateway] if interface.gateway else []
    for address in interface.addresses or ():
        version = ip_interface(address).version
        yield f"iface {interface.name} inet{'6' if version == 6 else ''} static"
        yield f"    address {address}"
        for gateway in [g for g in gateways if ip_address(g).version == version]:
            gateways.remove(gateway)
            yield f"    gateway {gateway}"
        yield from extra
        extra = []
    yield from extra


def _networkd(interface: NetworkInterface) -> Iterator[str]:
    """Source: systemd.network(5)."""
    yield from ("[Match]", f"Name={interface.name}")
    if interface.mtu:
        yield from ("[Link]", f"MTUBytes={interface.mtu}")
    yield "[Network]"
    yield from (f"Address={address}" for address in interface.addresses or ())
    if interface.gateway:
        yield f"Gateway={interface.gateway}"
    for route in interface.routes or ():
        network, gateway = route.split(" via ")
        yield from ("[Route]", f"Destination={network}", f"Gateway={gateway}")


def set_live(
    *,
    name: str,
    mtu: int | None,
    gateway: str | None,
    addresses_add: Sequence[str],
    addresses_remove: Sequence[str],
    routes_add: Sequence[str],
    routes_remove: Sequence[str],
) -> Iterator[str]:
    """Add first, remove last, and nothing by which this connection comes.

    A first address of a network takes the others along when it goes, unless they are promoted. Source: ip-sysctl.
    """
    dev = f"dev {q(name)}"
    version = {6: "-6", 4: "-4"}
    script = [
        "set -eu",
        "set -- $KBSTATE_SSH_CONNECTION; client=$1 server=$3",
        *(
            f'[ "$server" != {q(a.split("/")[0])} ] || {{ echo "this connection comes by {a}" >&2; exit 1; }}'
            for a in addresses_remove
        ),
    ]
    if gateway or routes_remove:
        through = f'case "$(ip -o route get "$client")" in *" via "*" {dev} "*)'
        script.append(f'{through} echo "this connection comes through a gateway of {name}" >&2; exit 1 ;; esac')
    script += [
        f"echo 1 > /proc/sys/net/ipv4/conf/{q(name)}/promote_secondaries" if addresses_remove else ":",
        f"ip link set {dev} up",
        f"ip link set {dev} mtu {int(mtu)}" if mtu else ":",
        *(f"ip address replace {q(a)} {dev}" for a in addresses_add),
        *(f"ip {version[ip_network(r.split()[0]).version]} route replace {r} {dev}" for r in routes_add),
        f"ip {version[ip_address(gateway).version]} route replace default via {q(gateway)} {dev}" if gateway else ":",
        *(f"ip {version[ip_network(r.split()[0]).version]} route del {r} {dev}" for r in routes_remove),
        *(f"ip address del {q(a)} {dev}" for a in addresses_remove),
    ]
    yield "\n".join(script)
