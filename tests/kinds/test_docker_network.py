"""Networks of Docker: what is seen of them, and that their containers are connected again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.dockerd import DOWN
from kbstate.kinds.container import Container
from kbstate.kinds.docker_network import DockerNetwork, Networks, NetworkState
from kbstate.kinds.image import Image
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of

SAID: dict[str, Any] = {
    "Name": "kb-net",
    "Id": "07882bf2da04a5125a620e78768243f92024efba55f9e52288f1613075a7e038",
    "Created": "2026-11-25T02:50:30.369545361Z",
    "Scope": "local",
    "Driver": "bridge",
    "EnableIPv6": True,
    "IPAM": {
        "Driver": "default",
        "Options": {},
        "Config": [{"Subnet": "fd00:1::/64"}, {"Subnet": "172.31.0.0/16", "IPRange": "172.31.1.0/24"}],
    },
    "Internal": True,
    "Attachable": True,
    "Ingress": False,
    "ConfigFrom": {"Network": ""},
    "ConfigOnly": False,
    "Containers": {},
    "Options": {"com.docker.network.bridge.name": "kbbr0"},
    "Labels": {"a": "b"},
}
"""As recorded from Docker 20.10.24: of a new network it does not name the gateway."""

DESIRED = DockerNetwork(
    name="kb-net",
    driver="bridge",
    subnet="172.31.0.0/16",
    gateway="172.31.0.1",
    ip_range="172.31.1.0/24",
    subnet6="fd00:1::/64",
    ipv6=True,
    internal=True,
    attachable=True,
    options={"com.docker.network.bridge.name": "kbbr0"},
    labels={"a": "b"},
)


def pools(*config: dict[str, str]) -> dict[str, Any]:
    return {"IPAM": {"Config": list(config)}}


SIX = {"Subnet": "fd00:1::/64"}
FOUR = {"Subnet": "172.31.0.0/16", "IPRange": "172.31.1.0/24"}
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"Driver": "macvlan"}, {"driver": ("macvlan", "bridge")}),
    (
        pools(SIX, {**FOUR, "Subnet": "172.30.0.0/16", "Gateway": "172.31.0.1"}),
        {"subnet": ("172.30.0.0/16", "172.31.0.0/16")},
    ),
    (pools(SIX, {**FOUR, "Gateway": "172.31.0.9/16"}), {"gateway": ("172.31.0.9", "172.31.0.1")}),
    (pools(SIX, {"Subnet": "172.31.0.0/16"}), {"ip_range": ("", "172.31.1.0/24")}),
    (pools(FOUR), {"subnet6": ("", "fd00:1::/64")}),
    ({"EnableIPv6": False}, {"ipv6": (False, True)}),
    ({"Internal": False}, {"internal": (False, True)}),
    ({"Attachable": False}, {"attachable": (False, True)}),
    ({"Options": None}, {"options.com.docker.network.bridge.name": (None, "kbbr0")}),
    ({"Labels": {"a": "c"}}, {"labels.a": ("c", "b")}),
]


@pytest.mark.parametrize(("live", "fields"), CASES)
def test_each_field(live: dict[str, Any], fields: dict[str, Any]) -> None:
    change = change_of(DESIRED, {"network": NetworkState.model_validate({**SAID, **live})})
    assert ({} if change is None else {d.path: (d.before, d.after) for d in change.diff}) == fields
    if change is not None:
        assert (change.action, change.impact) == ("replace", "drops connections")


def test_every_field_has_a_case() -> None:
    assert {name.split(".")[0] for _, fields in CASES for name in fields} == set(DockerNetwork.compared())
    assert {case.field for case in LAB_CASES} - {""} == set(DockerNetwork.compared())


def test_what_is_not_declared_is_not_compared() -> None:
    assert change_of(DockerNetwork(name="kb-net"), {"network": NetworkState.model_validate(SAID)}) is None


def test_create_and_delete() -> None:
    [make] = steps_of(change_of(DESIRED, {"network": None}) or pytest.fail())
    assert scripts(make) == (
        "docker network create --driver=bridge --subnet=172.31.0.0/16 --gateway=172.31.0.1 --ip-range=172.31.1.0/24 "
        "--ipv6=true --internal=true --attachable=true --subnet=fd00:1::/64 "
        "--opt=com.docker.network.bridge.name=kbbr0 --label=a=b -- kb-net >/dev/null"
    )
    live = {"network": NetworkState.model_validate(SAID)}
    [remove] = steps_of(change_of(DockerNetwork(name="kb-net", absent=True), live) or pytest.fail())
    assert scripts(remove) == "docker network rm -- kb-net >/dev/null"
    assert change_of(DockerNetwork(name="kb-net", absent=True), {"network": None}) is None


def test_replace_knows_how_it_was_before() -> None:
    """If the new one cannot be made, the old one is."""
    change = change_of(DESIRED, {"network": NetworkState.model_validate({**SAID, "Labels": {"old": "1"}})})
    [step] = steps_of(change or pytest.fail())
    assert "--label=old=1" in str(step.args["before"])
    assert "--label=a=b" in str(step.args["options"])
    text = scripts(step)
    assert text.index("docker network disconnect") < text.index("docker network rm")


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"name": "bridge"}, "cannot be declared"),
    ({"gateway": "10.0.0.1"}, "need a subnet"),
    ({"subnet6": "fd00::/64"}, "needs ipv6=True"),
    ({"subnet": "fd00::/64"}, "subnet is of IPv4"),
]


@pytest.mark.parametrize(("fields", "text"), PROBLEMS)
def test_problems(fields: dict[str, Any], text: str) -> None:
    [problem] = DockerNetwork(**{"name": "kb-net", **fields}).problems()
    assert text in problem


@pytest.mark.parametrize("fields", [{"name": "a;b"}, {"subnet": "10.0.0.1/8"}, {"subnet": "x"}, {"gateway": "10.0.0"}])
def test_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DockerNetwork(**{"name": "kb-net", **fields})


def test_process() -> None:
    output = (
        f"N {json.dumps(SAID)}\nN {json.dumps({**SAID, 'Name': 'twice'})}\nN {json.dumps({**SAID, 'Name': 'twice'})}\n"
    )
    found = Networks().process(["kb-net", "twice", "gone"], output)
    assert isinstance(found["kb-net"], NetworkState)
    assert isinstance(found["twice"], Unknown)
    assert found["gone"] is None
    assert Networks().failed(69, "docker daemon not running") == DOWN


@given(st.text(alphabet='N {}":\n', max_size=60))
def test_nonsense_is_an_error_or_nothing(output: str) -> None:
    try:
        assert Networks().process(["kb"], output) == {"kb": None}
    except ValueError:
        pass


def lab(field: str, by_hand: str, before: str = "", alone: bool = False, **fields: Any) -> LabCase:
    name = f"kb-net-{field.replace('_', '-')}"
    desired = DockerNetwork(name=name, **fields)
    drift = f"{before}docker network rm {name}; docker network create {by_hand} {name}"
    return LabCase((desired,), desired.address, field, drift, docker=True, alone=alone)


MEMBER = Container(
    name="kb-member",
    image="busybox:1.36",
    command=("sleep", "1000"),
    stop_signal="SIGKILL",
    networks=("kb-net-members",),
)
WITH_MEMBER = DockerNetwork(name="kb-net-members", labels={"a": "1"})
ANEW = "docker network disconnect $n kb-member; docker network rm $n; docker network create --label a=2 $n"

LAB_CASES: list[LabCase] = [
    lab("driver", "--driver overlay", "docker swarm init --advertise-addr 127.0.0.1; ", True, driver="bridge"),
    lab("subnet", "--subnet 10.77.1.0/24", subnet="10.77.0.0/24"),
    lab("gateway", "--subnet 10.77.2.0/24 --gateway 10.77.2.9", subnet="10.77.2.0/24", gateway="10.77.2.1"),
    lab("ip_range", "--subnet 10.77.3.0/24", subnet="10.77.3.0/24", ip_range="10.77.3.128/25"),
    lab("subnet6", "--ipv6 --subnet fd00:6::/64", ipv6=True, subnet6="fd00:5::/64"),
    lab("ipv6", "--ipv6 --subnet fd00:7::/64", ipv6=False),
    lab("internal", "", internal=True),
    lab("attachable", "", attachable=True),
    lab("options", "", options={"com.docker.network.bridge.enable_icc": "false"}),
    lab("labels", "--label a=2", labels={"a": "1"}),
    LabCase(
        (Image(name="busybox:1.36"), WITH_MEMBER, MEMBER),
        WITH_MEMBER.address,
        "labels",
        f"n=kb-net-members; {ANEW}; docker network connect $n kb-member",
        docker=True,
    ),
    LabCase(
        (DockerNetwork(name="kb-net-gone"),),
        "docker_network:kb-net-gone",
        "",
        "docker network rm kb-net-gone",
        docker=True,
    ),
]
