"""The lab's network: two bridges in a namespace of their own, and one namespace for each host.

No interface of the lab is ever in the machine's own namespace, so no packet for the lab's addresses can leave it.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from pathlib import Path

from kbstate.lab.errors import LabError
from kbstate.lab.inventory import HostSpec
from kbstate.lab.places import cache_dir, locked
from kbstate.lab.processes import call

_NETNS = Path("/run/netns")
_BRIDGES = {"eth0": "private", "eth1": "public"}


def namespace(lab: str, host: str) -> str:
    """The name of a host's network namespace."""
    return f"kb-{lab}-{host}"


def namespace_file(lab: str, host: str) -> Path:
    """The file that stands for a host's network namespace."""
    return _NETNS / namespace(lab, host)


def namespaces(lab: str) -> list[str]:
    """The network namespaces of a lab."""
    return sorted(path.name for path in _NETNS.glob(f"kb-{lab}-*"))


def _directory() -> AbstractContextManager[None]:
    """Held while the directory of namespaces may come or go, for the labs of a machine share it."""
    return locked(cache_dir() / ".lock-netns")


def _batch(lines: list[str], where: str | None = None) -> None:
    if lines:
        call(["ip", *(["-n", where] if where else []), "-batch", "-"], input="\n".join(lines) + "\n")


def switch_on(lab: str) -> None:
    """Make the lab's bridges, if they are not there."""
    with _directory():
        _switch_on(namespace(lab, "sw"))


def _switch_on(switch: str) -> None:
    if (_NETNS / switch).exists():
        if set(_BRIDGES.values()) <= _links_up(switch):
            return
        call(["ip", "netns", "del", switch])
    _batch([f"netns add {switch}"])
    call(["ip", "netns", "exec", switch, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"])
    lines = ["link set lo up"]
    for bridge in _BRIDGES.values():
        lines += [f"link add {bridge} type bridge stp_state 0 forward_delay 0", f"link set {bridge} up"]
    _batch(lines, switch)


def _links_up(namespace: str) -> set[str]:
    links = json.loads(call(["ip", "-n", namespace, "-json", "link"]))
    return {link["ifname"] for link in links if "UP" in link["flags"]}


def cards(host: HostSpec) -> dict[str, str]:
    """The host's interfaces and the address that is meant for each."""
    pairs = {"eth0": host.private, "eth1": host.public}
    return {card: address for card, address in pairs.items() if address}


def _port(host: str, card: str) -> str:
    return "v" + hashlib.sha256(f"{host} {card}".encode()).hexdigest()[:12]


def _mac(address: str) -> str:
    """Always the same for an address: a host that was rebuilt must not meet its neighbours' stale entries."""
    return "02:6b:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def plug(lab: str, host: HostSpec) -> None:
    """A new, empty network namespace with the host's interfaces plugged into the bridges and left unconfigured.

    New at each boot, so that filter rules, routes and addresses end with the boot that made them.
    """
    unplug(lab, host)
    own, switch = namespace(lab, host.name), namespace(lab, "sw")
    lines = [f"netns add {own}"]
    for card, address in cards(host).items():
        port = _port(host.name, card)
        lines.append(f"link add {port} netns {switch} type veth peer name {card} address {_mac(address)} netns {own}")
    _batch(lines)
    _batch([f"link set {_port(host.name, card)} master {_BRIDGES[card]} up" for card in cards(host)], switch)


def unplug(lab: str, host: HostSpec) -> None:
    """Take the host off the network and drop its namespace."""
    own, switch = namespace(lab, host.name), namespace(lab, "sw")
    known = namespaces(lab)
    if switch in known:
        for card in cards(host):
            try:
                call(["ip", "-n", switch, "link", "del", _port(host.name, card)])
            except LabError:  # it was not plugged in
                pass
    if own in known:
        call(["ip", "netns", "del", own])


def configure(lab: str, host: HostSpec) -> None:
    """Set addresses from outside, for a namespace in which no init does it."""
    lines = ["link set lo up"]
    for card, address in cards(host).items():
        lines += [f"addr add {address}/16 dev {card}", f"link set {card} up"]
    _batch(lines, namespace(lab, host.name))


def switch_off(lab: str) -> None:
    """Drop every network namespace of the lab, and with the last of all what `ip netns` needs for them."""
    with _directory():
        for name in namespaces(lab):
            call(["ip", "netns", "del", name])
        if _NETNS.is_dir() and not any(_NETNS.iterdir()):
            while f" {_NETNS} " in Path("/proc/self/mountinfo").read_text():  # bound on itself
                call(["umount", _NETNS])
            _NETNS.rmdir()
