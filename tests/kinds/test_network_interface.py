"""Network interfaces, and the connection that must survive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.network_interface import Connection, Link, Links, NetworkInterface, OtherFiles
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of

DESIRED = NetworkInterface(
    name="eth1",
    addresses=("10.0.0.11/16", "2001:db8::11/64"),
    gateway="10.0.0.1",
    routes=("10.1.0.0/16 via 10.0.0.2",),
    mtu=1450,
).bound(lambda _: None)
LINK = Link(1450, ("2001:db8::11/64", "10.0.0.11/16"), ("10.0.0.1",), ("10.1.0.0/16 via 10.0.0.2",))
TEXT = """\
# written by kbstate
auto eth1
iface eth1 inet static
    address 10.0.0.11/16
    gateway 10.0.0.1
    mtu 1450
    up ip route replace 10.1.0.0/16 via 10.0.0.2 dev eth1
iface eth1 inet6 static
    address 2001:db8::11/64
"""
CAME_BY = ("10.0.0.250", "10.0.0.11")


def state(text: str) -> PathState:
    return PathState("file", "0644", "0", "0", "root", "root", len(text), 1.0, "", "0" * 64, text.encode())


RIGHT: dict[str, Any] = {"link": LINK, "others": (), "connection": CAME_BY, "state": state(TEXT)}


@pytest.mark.parametrize(
    ("link", "fields"),
    [
        (LINK, set()),
        (Link(1500, LINK.addresses, LINK.gateways, LINK.routes), {"mtu"}),
        (Link(1450, (*LINK.addresses, "10.0.0.77/16"), LINK.gateways, LINK.routes), {"addresses"}),
        (Link(1450, LINK.addresses, (), LINK.routes), {"gateway"}),
        (Link(1450, LINK.addresses, LINK.gateways, ()), {"routes"}),
    ],
)
def test_update(link: Link, fields: set[str]) -> None:
    change = change_of(DESIRED, {**RIGHT, "link": link})
    assert (set(change.fields) if change else set()) == fields
    if change:
        assert [s.op.__name__ for s in steps_of(change)] == ["set_live"]  # type: ignore[union-attr]
        assert change.impact == (None if fields == {"mtu"} else "drops connections")


def test_the_file() -> None:
    assert DESIRED.content == TEXT
    change = change_of(DESIRED, {**RIGHT, "state": None})
    assert change is not None
    assert change.fields == {"content"}
    assert [s.op.__name__ for s in steps_of(change)] == ["write_file"]  # type: ignore[union-attr]
    networkd = DESIRED.model_copy(update={"manager": "networkd"}).bound(lambda _: None)
    assert networkd.path == "/etc/systemd/network/50-kbstate-eth1.network"
    assert networkd.content == (
        "# written by kbstate\n[Match]\nName=eth1\n[Link]\nMTUBytes=1450\n[Network]\nAddress=10.0.0.11/16\n"
        "Address=2001:db8::11/64\nGateway=10.0.0.1\n[Route]\nDestination=10.1.0.0/16\nGateway=10.0.0.2\n"
    )


def test_adds_first_and_removes_last() -> None:
    link = Link(1450, ("10.0.0.11/16", "10.0.0.77/16"), ("10.0.0.1",), ("10.2.0.0/16 via 10.0.0.3",))
    change = change_of(DESIRED, {**RIGHT, "link": link})
    assert change is not None
    script = scripts(steps_of(change)[0])
    add, remove = script.index("ip address replace 2001:db8::11/64"), script.index("ip address del 10.0.0.77/16")
    assert script.index("promote_secondaries") < add < remove
    assert "ip -4 route del 10.2.0.0/16 via 10.0.0.3" in script
    assert "flush" not in script


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"link": None}, "no interface"),
        ({"others": ("/etc/network/interfaces.d/50-cloud-init",)}, "50-cloud-init"),
        ({"link": Link(1450, ("10.0.0.99/16",), (), ()), "connection": ("10.0.0.250", "10.0.0.99")}, "would be cut"),
    ],
)
def test_refused(facts: dict[str, Any], reason: str) -> None:
    observed = DESIRED.observe(**{**RIGHT, **facts})
    assert isinstance(observed, Unknown)
    assert reason in observed.reason


def test_delete_leaves_what_is_set_now() -> None:
    gone = NetworkInterface(name="eth1", manager="ifupdown", absent=True)
    change = change_of(gone, RIGHT)
    assert change is not None
    assert [s.op.__name__ for s in steps_of(change)] == ["remove_file"]  # type: ignore[union-attr]
    assert gone.before_delete()
    assert change_of(gone, {**RIGHT, "state": None}) is None


@pytest.mark.parametrize("text", ["", "a b", "$(id)", "10.0.0.1\n", "-x", "x;y", "10.0.0.1/99"])
def test_hostile(text: str) -> None:
    for fields in ({"addresses": (text,)}, {"gateway": text}, {"routes": (text,)}):
        with pytest.raises(ValidationError):
            NetworkInterface(name="eth1", **fields)
    with pytest.raises(ValidationError):
        NetworkInterface(name=f"{text} /")


def test_problems() -> None:
    assert list(NetworkInterface(name="eth1").problems())
    assert list(NetworkInterface(name="eth1", addresses=("10.0.0.1/8",), gateway="::1").problems())
    assert not list(DESIRED.problems())


RECORDED = """\
[{"ifindex":1,"ifname":"lo","mtu":65536,"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},\
{"ifindex":2,"ifname":"eth1","mtu":1450,"addr_info":[\
{"family":"inet","local":"10.0.0.11","prefixlen":16,"scope":"global"},\
{"family":"inet","local":"10.5.0.9","prefixlen":16,"scope":"global","dynamic":true},\
{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]

[{"dst":"default","gateway":"10.0.0.1","dev":"eth1","flags":[]},\
{"dst":"10.0.0.0/16","dev":"eth1","protocol":"kernel","scope":"link","prefsrc":"10.0.0.11","flags":[]},\
{"dst":"10.1.0.0/16","gateway":"10.0.0.2","dev":"eth1","flags":[]},\
{"dst":"10.2.0.0/16","gateway":"10.0.0.2","dev":"eth1","protocol":"dhcp","flags":[]},\
{"dst":"10.9.9.9","gateway":"10.0.0.2","dev":"eth0","flags":[]}]

[]
"""


def test_process() -> None:
    found = Links().process(["eth1", "eth9"], RECORDED)
    assert found == {
        "eth1": Link(1450, ("10.0.0.11/16",), ("10.0.0.1",), ("10.1.0.0/16 via 10.0.0.2",)),
        "eth9": None,
    }
    files = "/etc/network/interfaces:iface lo inet loopback\n"
    files += "/etc/network/interfaces.d/kbstate-eth1:iface eth1 inet static\n"
    files += "/etc/systemd/network/10-x.network:Name=eth1\n"
    assert OtherFiles().process(["eth1"], files) == {"eth1": ("/etc/systemd/network/10-x.network",)}
    assert Connection().process([None], "10.0.0.250 50000 10.0.0.11 22\n") == {None: CAME_BY}
    assert isinstance(Connection().process([None], "\n")[None], Unknown)


@given(st.ip_addresses(), st.integers(0, 32))
def test_addresses_have_one_spelling(address: Any, length: int) -> None:
    text = f"{address}/{length}"
    assert NetworkInterface(name="a", addresses=(text,)).addresses == (text,)


LAB = NetworkInterface(
    name="kb0", addresses=("10.77.0.11/24",), gateway=None, routes=("10.78.0.0/16 via 10.77.0.1",), mtu=1400
)
DEFAULT = NetworkInterface(name="kb1", addresses=("10.79.0.11/24",), gateway="10.79.0.1")
VETH = "ip link show kb0 || ip link add kb0 type veth peer name kb0p; ip link set kb0p up; ip link set kb0 up"
VETH1 = VETH.replace("kb0", "kb1")


def lab(interface: NetworkInterface, field: str, drift: str) -> LabCase:
    return LabCase(
        (interface,), interface.address, field, drift, prepare=VETH if interface is LAB else VETH1, alone=True
    )


LAB_CASES: list[LabCase] = [
    lab(LAB, "addresses", "ip address add 10.77.0.99/24 dev kb0"),
    lab(LAB, "addresses", "ip address add 10.77.0.12/24 dev kb0; ip address del 10.77.0.11/24 dev kb0"),
    lab(LAB, "routes", "ip route del 10.78.0.0/16"),
    lab(LAB, "mtu", "ip link set kb0 mtu 1500"),
    lab(LAB, "content", "rm /etc/network/interfaces.d/kbstate-kb0"),
    lab(DEFAULT, "gateway", "ip route del default dev kb1"),
]
