"""The firewall: what differs, what would cut us off, and the same judgement in Python and on the host."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate import nft
from kbstate.kinds.firewall import (
    ADMITS,
    FILE,
    GUARD,
    UNIT,
    UNIT_CONTENT,
    Arrival,
    Arrivals,
    Firewall,
    Tables,
    Ufw,
    admitted,
    disable_ufw,
    load,
    unload,
)
from kbstate.nft import Allow
from kbstate.paths import PathState
from kbstate.resource import Unknown
from kbstate.shell import feed
from kbstate.units import UnitState
from tests.kinds.case import LabCase, change_of, scripts, steps_of
from tests.real import alone

SSH = Allow(ports=(22,), sources=("10.0.0.0/16",), comment="install-01")
WEB = Allow(ports=(80, 443), sources=("0.0.0.0/0", "::/0"))
DESIRED = Firewall(rules=(SSH, WEB), ufw="inactive")
ARRIVAL = Arrival("10.0.0.250", 22, "eth0")
LOADED_UNIT = UnitState(
    id=UNIT,
    load_state="loaded",
    active_state="active",
    sub_state="exited",
    file_state="enabled",
    fragment=f"/etc/systemd/system/{UNIT}",
    drop_ins="",
    invocation="1",
    needs_daemon_reload=False,
    result="success",
    type="oneshot",
    stays_active=True,
    started=1.0,
)


DEBIANS_UNIT = replace(LOADED_UNIT, id="nftables.service", active_state="inactive", file_state="disabled")


def table(
    rules: tuple[Allow, ...], more: str = "", bridges: tuple[str, ...] = ("docker0", "br-*"), log: str = "off"
) -> Any:
    """The table as nft(8) itself tells of it, from a network of its own."""
    text = nft.render(Firewall(rules=rules).rules or (), bridges, log)
    done = alone(f"set -e\n{feed('nft -f -', text.encode())}{more}\n{Tables().command([None])}")
    assert done.returncode == 0, done.stderr.decode()
    return Tables().process([None], done.stdout.decode())[None]


RIGHT = table((SSH, WEB))


def file(content: str, **changed: Any) -> PathState:
    values = {"type": "file", "mode": "0644", "uid": "0", "gid": "0", "user": "root", "group": "root", "target": ""}
    return PathState(**{**values, "size": 1, "changed": 1.0, "sha256": "0", "content": content.encode(), **changed})


def facts(**changed: Any) -> dict[str, Any]:
    return {
        "table": RIGHT,
        "state": file(str(DESIRED.file.content)),
        "unit_state": file(UNIT_CONTENT),
        "unit_unit": LOADED_UNIT,
        "guard_state": file(GUARD),
        "guard_unit": DEBIANS_UNIT,
        "arrival": ARRIVAL,
        "ufw": None,
        **changed,
    }


def done(desired: Firewall, live: dict[str, Any]) -> tuple[set[str], list[str]]:
    found = change_of(desired, live)
    if found is None:
        return set(), []
    return set(found.fields), [s.op if isinstance(s.op, str) else s.op.__name__ for s in steps_of(found)]


PLACE = ["write_file", "systemd.daemon_reload"]
BOOT = [*PLACE, "directory", *PLACE, "systemd.daemon_reload", "enable", "control"]


@pytest.mark.parametrize(
    ("changed", "fields", "steps"),
    [
        ({}, set(), []),
        ({"table": table((SSH,))}, {"rules"}, ["load"]),
        ({"table": table((SSH,)), "state": file(nft.render((SSH,), ("docker0", "br-*"), "off"))}, {"rules"}, ["load"]),
        ({"table": table((WEB, SSH))}, {"rules"}, ["load"]),
        ({"table": table((SSH, WEB), bridges=("docker0",))}, {"container_bridges"}, ["load"]),
        ({"table": table((SSH, WEB), log="10/minute")}, {"log"}, ["load"]),
        ({"table": table((SSH, WEB), "nft add chain inet kbstate x")}, {"strays"}, ["load"]),
        ({"state": file("table inet kbstate {}")}, {"saved"}, ["load"]),
        ({"state": None}, {"saved"}, ["load"]),
        ({"state": file(str(DESIRED.file.content), mode="0666")}, {"saved"}, ["load"]),
        ({"unit_state": None}, {"at_boot"}, BOOT),
        ({"unit_state": file("[Unit]\n")}, {"at_boot"}, BOOT),
        ({"guard_state": None}, {"at_boot"}, BOOT),
        ({"guard_unit": replace(DEBIANS_UNIT, needs_daemon_reload=True)}, {"at_boot"}, BOOT),
        ({"unit_unit": replace(LOADED_UNIT, file_state="disabled")}, {"at_boot"}, BOOT),
        ({"unit_unit": replace(LOADED_UNIT, active_state="failed", sub_state="failed")}, {"at_boot"}, BOOT),
        ({"ufw": "active"}, {"ufw"}, ["disable_ufw"]),
        ({"ufw": "inactive"}, set(), []),
    ],
)
def test_update(changed: dict[str, Any], fields: set[str], steps: list[str]) -> None:
    assert done(DESIRED, facts(**changed)) == (fields, steps)


def test_bridges_have_no_order() -> None:
    assert done(DESIRED.model_copy(update={"container_bridges": ("br-*", "docker0")}), facts())[0] <= {"saved"}


def test_create_is_open_to_this_connection_before_ufw_goes() -> None:
    found = change_of(DESIRED, facts(table=None, state=None, unit_state=None, guard_state=None))
    assert found is not None
    assert found.action == "create"
    names = [s.op if isinstance(s.op, str) else s.op.__name__ for s in steps_of(found)]
    assert names == ["load", *BOOT, "disable_ufw"]


def test_delete() -> None:
    gone = Firewall(absent=True)
    guard = {"guard_state": None, "guard_unit": DEBIANS_UNIT}
    there = {"table": RIGHT, "state": None, "unit_state": None, "unit_unit": LOADED_UNIT, **guard}
    found = change_of(gone, there)
    assert found is not None
    names = [s.op if isinstance(s.op, str) else s.op.__name__ for s in steps_of(found)]
    reload = "systemd.daemon_reload"
    assert names == ["remove", reload, "retire", "remove_file", reload, "unload"]
    assert gone.before_delete() == "opens every port to everyone"
    nothing = {
        "table": None,
        "state": None,
        "unit_state": None,
        "unit_unit": replace(LOADED_UNIT, load_state="not-found"),
        **guard,
    }
    assert change_of(gone, nothing) is None
    assert set(gone.reads()) == set(there)


def test_reads_are_what_observe_takes() -> None:
    assert set(DESIRED.reads()) == set(facts())


@pytest.mark.parametrize(
    ("desired", "changed", "reason"),
    [
        (
            DESIRED,
            {"arrival": Arrival("203.0.113.9", 22, "eth0")},
            "these rules do not admit 203.0.113.9 to port 22 at eth0",
        ),
        (DESIRED, {"arrival": Arrival("10.0.0.250", 2222, "")}, "these rules do not admit 10.0.0.250 to port 2222, by"),
        (Firewall(rules=()), {}, "do not admit 10.0.0.250"),
        (Firewall(rules=(SSH,)), {"ufw": "active"}, "declare ufw='inactive'"),
        (DESIRED, {"state": file("", type="symlink")}, "a symlink is in its place"),
    ],
)
def test_unknown(desired: Firewall, changed: dict[str, Any], reason: str) -> None:
    observed = desired.observe(**facts(**changed))
    assert isinstance(observed, Unknown)
    assert reason in observed.reason


def test_problems_parts_and_needs() -> None:
    assert list(DESIRED.problems()) == []
    assert list(Firewall().problems()) == ["rules are missing"]
    assert list(Firewall(rules=(SSH,), ufw="active").problems()) == ["ufw can only be declared inactive"]
    assert list(Firewall(rules=(SSH,), saved=False).problems()) == [
        "strays, saved and at_boot are observed, not declared"
    ]
    assert [part.address for part in DESIRED.parts()] == ["package:nftables"]
    assert DESIRED.address == "firewall:kbstate"
    with pytest.raises(ValidationError):
        Firewall(name="other")


def test_a_rule_for_both_families_is_two() -> None:
    assert [rule.sources for rule in DESIRED.rules or ()] == [("10.0.0.0/16",), ("0.0.0.0/0",), ("::/0",)]


# --- facts ------------------------------------------------------------------------------------------------------


def test_arrivals() -> None:
    assert Arrivals().process([None], "10.0.0.250 50000 10.0.0.11 22\neth1\n") == {
        None: Arrival("10.0.0.250", 22, "eth1")
    }
    assert Arrivals().process([None], "10.0.0.250 50000 10.0.0.11 22\n") == {None: Arrival("10.0.0.250", 22, "")}
    assert isinstance(Arrivals().process([None], "\n")[None], Unknown)
    script = "ip link set lo up; KBSTATE_SSH_CONNECTION='::1%lo 5 127.0.0.1%lo 22'\n" + Arrivals().command([None])
    assert alone(script).stdout == b"::1%lo 5 127.0.0.1%lo 22\nlo\n"


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("none\n", None),
        ("Status: inactive\n", "inactive"),
        ("Status: active\n", "active"),
        ("Status: inactive\nENABLED=yes\n", "active"),  # at the next boot
    ],
)
def test_ufw(output: str, answer: str | None) -> None:
    assert Ufw().process([None], output) == {None: answer}


# --- the same judgement on the host -----------------------------------------------------------------------------

ADDRESSES = st.one_of(
    st.sampled_from(
        [IPv4Address("10.0.0.250"), IPv4Address("10.0.255.255"), IPv4Address("127.0.0.9"), IPv6Address("::1")]
    ),
    st.ip_addresses(v=4, network="10.0.0.0/14"),
    st.ip_addresses(v=6, network="fd00::/14"),
    st.ip_addresses(),
)
MANY = st.lists(
    st.builds(
        Allow,
        ports=st.lists(st.integers(1, 99) | st.just("20-30"), min_size=1, max_size=3),
        protocol=st.sampled_from(["tcp", "tcp", "udp"]),
        sources=st.lists(
            st.sampled_from(["10.0.0.0/16", "10.1.2.3", "fd00::/16", "fd01::5", "::/0", "0.0.0.0/0"]),
            min_size=1,
            max_size=3,
        ),
        interface=st.sampled_from([None, None, "eth0", "br-*"]),
    ),
    max_size=3,
)


def on_the_host(rules: list[Allow], client: str, port: int, interface: str) -> subprocess.CompletedProcess[str]:
    words = ["awk", "-v", f"client={client}", "-v", f"port={port}", "-v", f"interface={interface}", ADMITS]
    return subprocess.run(words, input=admitted(rules).decode(), capture_output=True, text=True, check=False)


@settings(max_examples=150, deadline=None)
@given(MANY, ADDRESSES, st.integers(1, 99), st.sampled_from(["", "eth0", "br-1", "eth01"]))
def test_the_host_judges_as_python_does(
    rules: list[Allow], client: IPv4Address | IPv6Address, port: int, interface: str
) -> None:
    said = nft.admits(rules, str(client), port, interface)
    assert (on_the_host(rules, str(client), port, interface).returncode == 0) is said
    if client.version == 4:
        assert (on_the_host(rules, f"::ffff:{client}", port, interface).returncode == 0) is said


@pytest.mark.parametrize(
    ("client", "port", "interface", "let_in"),
    [
        ("10.0.0.1", 22, "br-1", True),
        ("10.0.0.1", 22, "br-", True),
        ("10.0.0.1", 22, "xbr-1", False),
        ("10.0.0.1", 22, "", False),
        ("10.0.0.1", 23, "br-1", False),
        ("10.1.0.0", 22, "br-1", False),
        ("10.0.0.1", 80, "eth0", True),
        ("10.0.0.1", 80, "eth01", False),
        ("127.8.8.8", 1, "lo", True),
    ],
)
def test_the_host_looks_at_the_interface(client: str, port: int, interface: str, let_in: bool) -> None:
    rules = [Allow(ports=(22,), sources=("10.0.0.0/16",), interface="br-*"), Allow(ports=(80,), interface="eth0")]
    assert nft.admits(rules, client, port, interface) is let_in
    assert (on_the_host(rules, client, port, interface).returncode == 0) is let_in


def test_the_host_says_whom_it_would_cut_off() -> None:
    run = on_the_host([SSH], "203.0.113.9", 22, "eth0")
    assert run.returncode == 1
    assert run.stderr == "these rules do not admit 203.0.113.9 to port 22, by which kbstate came\n"


# --- operations, run in a network and a directory of their own --------------------------------------------------

AWK = Path("/etc/alternatives/awk").resolve()
ETC = f"mount -t tmpfs kb /etc || exit 99; mkdir /etc/alternatives; ln -s {AWK} /etc/alternatives/awk\n"
WAY = "export KBSTATE_SSH_CONNECTION='10.0.0.250 50000 127.0.0.1 22'; ip link set lo up\n"
LEFT = "nft list tables; ls -A /etc/kbstate"
LOOK = f"nft list table inet kbstate; cat {FILE}; ls -A /etc/kbstate"


def run(script: str) -> subprocess.CompletedProcess[bytes]:
    """As root of a network and, with an empty /etc, of mounts of its own."""
    return alone(f"unshare --mount sh -s <<'KBSTATE_OUTER'\n{ETC}{WAY}{script}\nKBSTATE_OUTER")


def the(operation: Any) -> str:
    [script] = operation
    return f"{{ sh -s <<'KBSTATE_INNER'\n{script}\nKBSTATE_INNER\n}}"


def test_load_replaces_the_table_and_keeps_the_file() -> None:
    content = str(DESIRED.file.content)
    twice = the(load(content, DESIRED.rules or ()))
    ran = run(f"nft add table ip other; {twice} && {twice} || exit; nft list tables; {LOOK}")
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.startswith(b"table ip other\ntable inet kbstate\n")
    assert b"10.0.0.0/16 tcp dport 22 accept" in ran.stdout
    assert content.encode() in ran.stdout
    assert ran.stdout.endswith(b"\nfirewall.nft\n")


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("KBSTATE_SSH_CONNECTION='203.0.113.9 5 127.0.0.1 22'", b"do not admit 203.0.113.9 to port 22"),
        ("unset KBSTATE_SSH_CONNECTION", b"how this connection came is not known"),
    ],
)
def test_load_refuses_what_would_cut_this_connection_off(way: str, said: bytes) -> None:
    ran = run(f"{way}\n{the(load(str(DESIRED.file.content), DESIRED.rules or ()))} && exit 7; {LOOK}; exit 0")
    assert ran.returncode == 0
    assert said in ran.stderr
    assert ran.stdout == b""


def test_load_of_what_nft_refuses_leaves_table_and_file() -> None:
    good, bad = (
        the(load(text, DESIRED.rules or ())) for text in (str(DESIRED.file.content), "table inet kbstate { nonsense }")
    )
    ran = run(f"{good} || exit; {bad} && exit 7; {LOOK}")
    assert ran.returncode == 0
    assert b"nonsense" in ran.stderr
    assert b"tcp dport 22 accept" in ran.stdout
    assert b"nonsense" not in ran.stdout
    assert ran.stdout.endswith(b"\nfirewall.nft\n")


def test_unload() -> None:
    content = str(DESIRED.file.content)
    ran = run(
        f"{the(load(content, DESIRED.rules or ()))} || exit; {the(unload())} || exit; {the(unload())} || exit\n{LEFT}"
    )
    assert (ran.returncode, ran.stdout) == (0, b"")


def test_without_ufw_there_is_nothing_to_disable() -> None:
    ran = run("PATH=/nowhere\n" + "".join(disable_ufw()))
    assert ran.returncode == 0


def test_no_nft_says_what_to_declare() -> None:
    ran = run("PATH=/nowhere\n" + "".join(load("", ())))
    assert ran.returncode != 0
    assert b'declare Package(name="nftables")' in ran.stderr


def test_the_unit_never_flushes() -> None:
    assert "ExecStop" not in UNIT_CONTENT.replace("No ExecStop", "")
    assert list(DESIRED.guard.problems()) == []
    assert "flush" not in nft.render(DESIRED.rules or (), (), "off")
    assert list(DESIRED.unit.problems()) == []
    assert scripts(steps_of(change_of(DESIRED, facts(state=None)) or pytest.fail())[0]).count("nft -f") == 1


def lab(field: str, drift: str, prepare: str = "", **more: Any) -> LabCase:
    rules = (Allow(ports=(22,), sources=("10.0.0.0/16",)), Allow(ports=(80,), sources=("10.0.0.0/16", "::1")))
    firewall = Firewall(rules=rules, log="10/minute", **more)
    return LabCase((*firewall.parts(), firewall), firewall.address, field, drift, prepare=prepare, alone=True)


INSTALL_UFW = "apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install ufw"
WITH_UFW = f"command -v ufw || {{ {INSTALL_UFW}; }}; ufw allow 22/tcp"

LAB_CASES: list[LabCase] = [
    lab("rules", "nft add rule inet kbstate admitted tcp dport 23 accept"),
    lab("rules", "nft flush chain inet kbstate admitted; nft add rule inet kbstate admitted tcp dport 22 accept"),
    lab("container_bridges", f"sed '/docker0/d' {FILE} | nft -f -"),
    lab("log", f"sed 's|10/minute|20/minute|' {FILE} | nft -f -"),
    lab("strays", "nft insert rule inet kbstate addressed udp dport 5353 accept"),
    lab("strays", "nft chain inet kbstate input '{ policy accept; }'"),
    lab("saved", f"echo '# by hand' >> {FILE}"),
    lab("saved", f"rm {FILE}"),
    lab("at_boot", f"systemctl disable {UNIT}"),
    lab("at_boot", f"rm /etc/systemd/system/{UNIT}; systemctl daemon-reload"),
    lab("ufw", "ufw --force enable", prepare=WITH_UFW, ufw="inactive"),
    lab("", "nft delete table inet kbstate"),
    lab("", "systemctl start nftables; systemctl stop nftables; nft flush ruleset"),
]
