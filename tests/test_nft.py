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
from kbstate.shell import feed, q
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


SERVERS = """
import socket, sys, threading, time
for port in map(int, sys.argv[1:]):
    server = socket.create_server(("0.0.0.0", port))
    threading.Thread(target=lambda s=server: [s.accept() for _ in range(9)], daemon=True).start()
time.sleep(60)
"""
TRY = """
import socket, sys
try:
    socket.create_connection((sys.argv[2], int(sys.argv[3])), 1, (sys.argv[1], 0))
    print("yes")
except OSError:
    print("no")
"""


def packets(rules: tuple[Allow, ...], attempts: str) -> list[str]:
    """What answers at a host (10.9.0.1) with a container behind br-kb (10.99.0.2, port 80 published as 8080).

    `from_peer SOURCE ADDRESS PORT` tries from outside, `from_container` from inside.
    """
    script = f"""
set -e
unshare --net sleep 60 > /dev/null 2>&1 & peer=$!
unshare --net sleep 60 > /dev/null 2>&1 & container=$!
sleep 0.3
there() {{ n=$1; shift; nsenter --net=/proc/$n/ns/net "$@"; }}
python3 -c {q(SERVERS)} 5432 5433 > /dev/null 2>&1 & one=$!
nsenter --net=/proc/$container/ns/net python3 -c {q(SERVERS)} 80 > /dev/null 2>&1 & two=$!
nsenter --net=/proc/$peer/ns/net python3 -c {q(SERVERS)} 99 > /dev/null 2>&1 & three=$!
trap 'kill $peer $container $one $two $three 2> /dev/null' EXIT
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link set lo up
ip link add kb0 type veth peer name kb1 netns $peer; ip link add br-kb type veth peer name eth0 netns $container
ip address add 10.9.0.1/24 dev kb0; ip link set kb0 up; ip address add 10.99.0.1/24 dev br-kb; ip link set br-kb up
for a in 2 3; do there $peer ip address add 10.9.0.$a/24 dev kb1; done
there $peer ip link set kb1 up; there $peer ip route add default via 10.9.0.1
there $container ip address add 10.99.0.2/24 dev eth0; there $container ip link set eth0 up
there $container ip route add default via 10.99.0.1
nft -f - <<X
table ip nat {{
    chain PREROUTING {{
        type nat hook prerouting priority -100
        fib daddr type local tcp dport 8080 dnat to 10.99.0.2:80
    }}
}}
X
{feed("nft -f -", render(split(rules), BRIDGES, "off").encode())}
sleep 0.5
from_peer() {{ there $peer python3 -c {q(TRY)} "$@"; }}
from_container() {{ there $container python3 -c {q(TRY)} 10.99.0.2 "$@"; }}
{attempts}
"""
    done = alone(script)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


def test_packets_meet_the_rules() -> None:
    """Of the host's own ports those that are admitted answer, to whom they are."""
    rules = (Allow(ports=(5432,), sources=("10.9.0.2",)),)
    attempts = """
from_peer 10.9.0.2 10.9.0.1 5432
from_peer 10.9.0.2 10.9.0.1 5433
from_peer 10.9.0.3 10.9.0.1 5432
"""
    assert packets(rules, attempts) == ["yes", "no", "no"]


def test_published_ports_meet_the_same_rules() -> None:
    rules = (Allow(ports=(8080,), sources=("10.9.0.2",)),)
    attempts = """
from_peer 10.9.0.2 10.9.0.1 8080
from_peer 10.9.0.3 10.9.0.1 8080
from_peer 10.9.0.2 10.99.0.2 80
from_container 10.9.0.2 99
from_container 10.99.0.1 5432
"""
    assert packets(rules, attempts) == ["yes", "no", "no", "yes", "no"]


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
