"""The table: what is declared, its text, what nft(8) makes of it in a network of its own, and all of it read back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate import nft
from kbstate.kinds.firewall import Tables
from kbstate.nft import Allow, Table, admits, port_range, render
from kbstate.shell import feed
from tests.real import alone

BRIDGES = ("docker0", "br-*")


def split(rules: Iterable[Allow]) -> tuple[Allow, ...]:
    return tuple(part for rule in rules for part in rule.by_version())


def loaded(rules: Iterable[Allow], more: str = "", bridges: tuple[str, ...] = BRIDGES, log: str = "off") -> Table:
    """The table as the kernel has it after loading it twice, and then whatever else a drift does."""
    load = feed("cat > /tmp/kb.$$", render(split(rules), bridges, log).encode())
    script = f"set -e\n{load}trap 'rm -f /tmp/kb.$$' EXIT; nft -c -f /tmp/kb.$$; nft -f /tmp/kb.$$; nft -f /tmp/kb.$$\n"
    done = alone(f"{script}{more}\n{Tables().command([None])}")
    assert done.returncode == 0, done.stderr.decode()
    items = Tables().process([None], done.stdout.decode())[None]
    assert isinstance(items, tuple)
    return nft.read(items)


SITE = split(
    [
        Allow(ports=(22,), sources=("203.0.113.9", "10.0.0.0/16"), comment="install-01 & private"),
        Allow(ports=(5432, 6432, "6379-6380", 5672, 8404), sources=("10.0.0.0/16",)),
        Allow(ports=(53,), protocol="udp", interface="docker0"),
        Allow(ports=("1-65535",), sources=("10.0.0.0/16", "fd00::/8", "::1"), interface="br-*"),
        Allow(ports=(443,), sources=("0.0.0.0/0", "::/0")),
    ]
)

# --- with nft itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["off", "10/minute", "1/second"])
@pytest.mark.parametrize("bridges", [(), ("docker0",), BRIDGES])
def test_what_is_loaded_is_read_back(bridges: tuple[str, ...], log: str) -> None:
    assert loaded(SITE, bridges=bridges, log=log) == Table(SITE, bridges, log, ())


NETWORKS = st.sampled_from(
    [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/16",
        "10.0.0.0/8",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "fd00::/8",
        "fd00::1",
        "2001:db8::/33",
    ]
)
PORTS = st.integers(1, 65535) | st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(
    lambda pair: f"{min(pair)}-{max(pair)}"
)
RULES = st.builds(
    Allow,
    ports=st.lists(PORTS, min_size=1, max_size=4),
    protocol=st.sampled_from(["tcp", "udp"]),
    sources=st.lists(NETWORKS, min_size=1, max_size=4),
    interface=st.sampled_from([None, "eth0", "br-*", "docker0", "kb.100"]),
    comment=st.none()
    | st.text(alphabet="aé é#;{}$'*", min_size=1, max_size=20).filter(lambda text: bool(text.strip())),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RULES, max_size=5))
def test_any_rules_are_read_back_as_they_are(rules: list[Allow]) -> None:
    assert loaded(rules) == Table(split(rules), BRIDGES, "off", ())


@pytest.mark.parametrize(
    ("drift", "strays"),
    [
        ("nft add chain inet kbstate extra", ("the table: has the chain extra",)),
        ("nft add set inet kbstate s '{ type ipv4_addr; }'", ("the table: has the set s",)),
        ("nft add rule inet kbstate forward accept", ("forward: has accept",)),
        ("nft insert rule inet kbstate addressed tcp dport 23 accept", ("addressed: has tcp dport 23 accept",)),
        ("nft add rule inet kbstate admitted drop", ("admitted: has drop",)),
        ("nft add rule inet kbstate admitted tcp dport 1-9 log accept", ("admitted: has tcp dport 1-9 log accept",)),
        ("nft add rule inet kbstate admitted ct mark 7 accept", ("admitted: has ct mark == 7 accept",)),
        (
            "nft chain inet kbstate input '{ policy accept; }'",
            (
                "input: lacks type filter hook input priority 0; policy drop;",
                "input: has type filter hook input priority 0; policy accept;",
            ),
        ),
        ("nft flush chain inet kbstate admitted", ()),
        (
            "nft flush chain inet kbstate prerouting",
            (
                "prerouting: lacks ct state established,related accept",
                "prerouting: lacks fib daddr type local goto addressed",
            ),
        ),
    ],
)
def test_a_drift_is_a_stray(drift: str, strays: tuple[str, ...]) -> None:
    assert loaded(SITE, drift).strays == strays


def test_a_table_that_sleeps_is_seen() -> None:
    """nft 1.0.6 breaks off in the middle of its JSON there."""
    assert loaded(SITE, "nft add table inet kbstate '{ flags dormant; }'").strays[0] == "the table: has flags dormant"


def test_one_rule_more_or_in_another_spelling_is_a_rule() -> None:
    more = loaded(
        (), "nft add rule inet kbstate admitted meta l4proto tcp ip saddr 10.0.0.0-10.0.0.255 tcp dport 9 accept"
    )
    assert more.strays or more.rules == (Allow(ports=(9,), sources=("10.0.0.0/24",)),)
    both = loaded((), "nft add rule inet kbstate admitted tcp dport 23 accept")
    assert (both.rules, both.strays) == ((Allow(ports=(23,), sources=("0.0.0.0/0", "::/0")),), ())
    counted = loaded((), "nft add rule inet kbstate admitted ip saddr 10.0.0.1 tcp dport 23 counter accept")
    assert (counted.rules, counted.strays) == ((Allow(ports=(23,), sources=("10.0.0.1",)),), ())


def test_no_other_table_is_touched() -> None:
    others = "nft add table ip nat; nft add chain ip nat DOCKER; nft add table inet other\n"
    load = f"{others}{feed('nft -f -', render(SITE, BRIDGES, 'off').encode())}nft list tables"
    assert alone(load).stdout.split(b"\n")[:3] == [b"table ip nat", b"table inet other", b"table inet kbstate"]


def test_where_there_is_no_table() -> None:
    done = alone(f"nft add table inet kbstate2; {Tables().command([None])}")
    assert (done.returncode, Tables().process([None], done.stdout.decode())) == (0, {None: None})


def test_packets_meet_the_rules() -> None:
    """Over a veth pair: an admitted port answers, another does not, and a stranger meets neither."""
    rules = render(split([Allow(ports=(5432,), sources=("10.9.0.2",))]), BRIDGES, "off")
    script = f"""
set -e
unshare --net sleep 60 & peer=$!
trap 'kill $peer' EXIT
sleep 0.3
ip link set lo up; ip link add kb0 type veth peer name kb1 netns $peer
ip address add 10.9.0.1/24 dev kb0; ip link set kb0 up
there() {{ nsenter --net=/proc/$peer/ns/net "$@"; }}
there ip address add 10.9.0.2/24 dev kb1; there ip address add 10.9.0.3/24 dev kb1; there ip link set kb1 up
python3 -c '
import socket, threading, time
for port in (5432, 5433):
    server = socket.create_server(("0.0.0.0", port))
    threading.Thread(target=lambda s=server: [s.accept() for _ in range(9)], daemon=True).start()
time.sleep(30)' & servers=$!
trap 'kill $peer $servers' EXIT
{feed("nft -f -", rules.encode())}
sleep 0.5
try() {{ there python3 -c '
import socket, sys
try:
    socket.create_connection(("10.9.0.1", int(sys.argv[2])), 1, (sys.argv[1], 0)); print("yes")
except OSError: print("no")' "$@"; }}
try 10.9.0.2 5432; try 10.9.0.2 5433; try 10.9.0.3 5432
there ping -c1 -W1 10.9.0.1 > /dev/null 2>&1 && echo pong || echo silent
"""
    done = alone(script)
    assert done.stdout.split()[:3] == [b"yes", b"no", b"no"], done.stderr.decode()


# --- the model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_ports", "ports"),
    [
        ((80, "80", "79-81"), ("79-81",)),
        ((443, 80), (80, 443)),
        ((1, 2, 3), ("1-3",)),
        (("65535",), (65535,)),
        (("8000-8010", 9000), ("8000-8010", 9000)),
    ],
)
def test_ports_have_one_spelling(given_ports: tuple[Any, ...], ports: tuple[Any, ...]) -> None:
    assert Allow(ports=given_ports).ports == ports


@pytest.mark.parametrize("port", [0, 65536, "", "x", "1-", "-1", "9-1", "1-2-3", "1,2", " 1", "٣", "1-70000", "ssh"])
def test_what_is_no_port(port: int | str) -> None:
    with pytest.raises(ValidationError):
        Allow(ports=(port,))


@pytest.mark.parametrize(
    ("given_sources", "sources"),
    [
        (("10.0.0.0/16", "10.0.1.0/24"), ("10.0.0.0/16",)),
        (("10.0.0.0/25", "10.0.0.128/25"), ("10.0.0.0/24",)),
        (("::1/128", "10.0.0.1/32"), ("10.0.0.1", "::1")),
        (("0.0.0.0/0", "10.0.0.1"), ("0.0.0.0/0",)),
    ],
)
def test_sources_have_one_spelling(given_sources: tuple[str, ...], sources: tuple[str, ...]) -> None:
    assert Allow(ports=(1,), sources=given_sources).sources == sources


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ports", ()),
        ("sources", ()),
        ("sources", ("10.0.0.1/16",)),
        ("sources", ("example.org",)),
        ("sources", ("10.0.0.1; drop",)),
        ("interface", "a b"),
        ("interface", '"'),
        ("interface", "*"),
        ("interface", "x" * 16),
        ("comment", 'a"b'),
        ("comment", "a\\"),
        ("comment", " "),
        ("comment", "é" * 61),
        ("protocol", "icmp"),
    ],
)
def test_hostile(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Allow(**{"ports": (1,), field: value})


@pytest.mark.parametrize(
    ("source", "port", "interface", "let_in"),
    [
        ("203.0.113.9", 22, "eth0", True),
        ("::ffff:203.0.113.9", 22, "eth0", True),
        ("203.0.113.8", 22, "eth0", False),
        ("203.0.113.9", 5432, "eth0", False),
        ("10.0.7.7", 6380, "", True),
        ("10.0.7.7", 53, "docker0", False),  # udp only
        ("10.1.0.1", 99, "br-1", False),
        ("fd00::5", 99, "br-1", True),
        ("fe80::1%eth0", 443, "eth0", True),
        ("fd00::5", 99, "eth0", False),
        ("127.0.0.1", 99, "lo", True),
        ("::1", 99, "lo", True),
    ],
)
def test_admits(source: str, port: int, interface: str, let_in: bool) -> None:
    assert admits(SITE, source, port, interface) is let_in


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_port_range(one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)
    assert port_range(f"{low}-{high}") == (low, high)
    assert port_range(low) == (low, low)


def test_reading_survives_what_nobody_wrote() -> None:
    items: list[dict[str, Any]] = [
        {"metainfo": {"version": "1"}},
        {"table": {"name": "kbstate"}},
        {"chain": {"name": "admitted"}},
        {"rule": {"chain": "admitted", "expr": [{"new": {"thing": 1}}]}},
        {"rule": {"chain": "nowhere", "expr": [{"match": {"op": "!=", "left": {"x": 1}, "right": {"y": [2]}}}]}},
        {"flowtable": {"name": "f"}},
    ]
    strays = nft.read(items).strays
    assert "the table: has the flowtable f" in strays
    assert 'admitted: has {"new": {"thing": 1}}' in strays
    assert any(line.startswith("nowhere: has") for line in strays)
