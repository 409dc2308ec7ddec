"""Packets: who reaches what on a host with a firewall, before and after all that could change it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, Popen

import pytest

from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from tests.conftest import Hosts
from tests.lab.test_safety import wait_until
from tests.lab.tree import Tree, one_host

pytestmark = pytest.mark.lab

SSH = 22
OPEN, FOR_PEER, SHUT = 8001, 8002, 8003
"""Served by the host itself: for the private network, for one peer, for nobody."""
PUBLISHED, PUBLISHED_SHUT, PUBLIC, DISGUISED = 9001, 9002, 9003, 9004
"""Published by a container: for the private network, for nobody, for everyone, for nobody but to the port OPEN."""
PORTS = (SSH, OPEN, FOR_PEER, SHUT, PUBLISHED, PUBLISHED_SHUT, PUBLIC, DISGUISED)

SERVICES = f"""
    Image(name="busybox:1.36"),
    Container(
        name="host-services", image="busybox:1.36", network="host", restart="always", stop_timeout=0, command=(
            "sh", "-c", "for p in {OPEN} {FOR_PEER} {SHUT}; do nc -ll -p $p -e cat & done; wait")),
    Container(
        name="published", image="busybox:1.36", restart="always", stop_timeout=0,
        ports=("{PUBLISHED}:7", "{PUBLISHED_SHUT}:7", "{PUBLIC}:7", "{DISGUISED}:{OPEN}"),
        command=("sh", "-c", "for p in 7 {OPEN}; do nc -ll -p $p -e cat & done; wait")),
"""
PRIVATE = ("10.0.0.0/16",)
EVERYONE = ("0.0.0.0/0",)
FOREIGN = "table inet foreign { chain c { type filter hook input priority 10; policy accept; tcp dport 9 drop; }; }"
FILE = "/etc/kbstate/firewall.nft"


def allow(*ports: int, sources: tuple[str, ...] = PRIVATE) -> str:
    return f"Allow(ports={ports}, sources={sources})"


def wall(*rules: str, **more: str) -> str:
    fields = "".join(f", {name}={value!r}" for name, value in more.items())
    return f"Firewall(rules=({', '.join(rules)},){fields}),"


# --- real connections -------------------------------------------------------------------------------------------

TRY = """
try() {
    timeout 4 bash -c 'exec 3<>"/dev/tcp/$0/$1" && echo hello >&3 && read -r -u 3 said && [ -n "$said" ]' "$@" || exit
    echo "$2"
}
for port; do try "$address" "$port" 2>/dev/null & done; wait
"""
TRY_IN_CONTAINER = """
for port; do { echo hello | timeout 4 nc -w 3 "$address" "$port" | grep -q . && echo "$port"; } & done; wait
"""


def reached(source: Host, address: str, ports: Iterable[int] = PORTS) -> set[int]:
    """The ports that answer in words, over new connections from there to this address."""
    script = f"address={shlex.quote(address)}; set -- {' '.join(map(str, ports))}\n{TRY}"
    return {int(port) for port in source.run(script).stdout.split()}


@dataclass(frozen=True)
class Scene:
    """The host with the firewall, and who may want something of it."""

    host: Host
    client: Host
    peer: Host
    outsider: Host
    tree: Tree

    def declare(self, *rules: str) -> None:
        firewall = wall(*rules) if rules else ""
        self.tree.write("desired/hosts.py", one_host(self.host, f"{SERVICES}{firewall}"))

    def matrix(self) -> dict[str, set[int]]:
        """Who reaches which ports."""
        private, public = str(self.host.spec.private), str(self.host.spec.public)
        with ThreadPoolExecutor() as pool:
            tries = {
                "itself": pool.submit(reached, self.host, private),
                "client": pool.submit(reached, self.client, private),
                "peer": pool.submit(reached, self.peer, private),
                "outsider": pool.submit(reached, self.outsider, public),
                "container": pool.submit(self.from_container, private, (OPEN, SHUT, PUBLISHED, PUBLIC)),
            }
            return {who: tried.result() for who, tried in tries.items()}

    def from_container(self, address: str, ports: Iterable[int]) -> set[int]:
        script = f"address={address}; set -- {' '.join(map(str, ports))}\n{TRY_IN_CONTAINER}"
        done = self.host.run(["docker", "exec", "published", "sh", "-c", script], check=False)
        return {int(port) for port in done.stdout.split()}

    def container_reaches_out(self) -> bool:
        return self.from_container(str(self.client.spec.private), [SSH]) == {SSH}

    def settled(self) -> None:
        """After Docker or the host started again: its containers run, and can be reached from the host itself."""

        def serving() -> bool:
            return reached(self.host, "127.0.0.1") == set(PORTS)

        wait_until(serving, 60)

    def tables(self) -> str:
        """All that is not kbstate's, without counters."""
        others = "nft list tables | sed 's/^table //' | grep -v '^inet kbstate$'"
        script = f"{others} | sort | while read -r family name; do nft -s list table $family $name; done"
        return self.host.run(script).stdout


EXPECTED = {
    "itself": set(PORTS),
    "client": {SSH, OPEN, PUBLISHED, PUBLIC},
    "peer": {SSH, OPEN, FOR_PEER, PUBLISHED, PUBLIC},
    "outsider": {PUBLIC},
    "container": {PUBLIC},
}


@pytest.fixture(scope="module")
def rules(peer: Host) -> tuple[str, ...]:
    return (
        allow(SSH, OPEN, PUBLISHED),
        allow(FOR_PEER, sources=(str(peer.spec.private),)),
        allow(PUBLIC, sources=EVERYONE),
    )


@pytest.fixture(scope="module")
def peer(module_bare: Hosts) -> Host:
    return module_bare()


@pytest.fixture(scope="module")
def served(lab: Lab, module_dock: Hosts, peer: Host) -> Iterator[Scene]:
    """Every port is served, and nothing filters."""
    lab.up(["client-01", "outsider-01"])
    host = module_dock()
    tree = Tree(lab, "firewall", one_host(host, SERVICES))
    scene = Scene(host, lab.host("client-01"), peer, lab.host("outsider-01"), tree)
    tree.apply()
    host.run(["nft", FOREIGN])
    yield scene
    lab.remove("client-01")
    lab.remove("outsider-01")


@pytest.fixture(scope="module")
def before(served: Scene) -> dict[str, set[int]]:
    """What answered while there was no firewall."""
    return served.matrix()


@pytest.fixture(scope="module")
def walled(served: Scene, before: dict[str, set[int]], rules: tuple[str, ...]) -> Scene:
    """The same with the firewall."""
    assert before
    foreign = served.tables()
    served.declare(*rules)
    served.tree.apply()
    served.tree.unchanged()
    assert served.tables() == foreign
    assert "chain DOCKER" in foreign
    assert "table inet foreign" in foreign
    return served


def test_without_a_firewall_everything_answers(before: dict[str, set[int]]) -> None:
    """Or what follows would show nothing."""
    everything = set(PORTS)
    assert before == {
        "itself": everything,
        "client": everything,
        "peer": everything,
        "outsider": everything,
        "container": {OPEN, SHUT, PUBLISHED, PUBLIC},
    }


def test_who_reaches_what(walled: Scene) -> None:
    assert walled.matrix() == EXPECTED
    assert walled.container_reaches_out()


def test_a_stranger_gets_no_answer_at_all(walled: Scene) -> None:
    """Dropped, not refused."""
    script = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{walled.host.spec.public}/{SHUT}'"
    assert walled.outsider.run(script, check=False).returncode == 124


def test_icmp_is_answered(walled: Scene) -> None:
    for source, address in ((walled.client, walled.host.spec.private), (walled.outsider, walled.host.spec.public)):
        source.run(["ping", "-c", "1", "-W", "3", str(address)])


def test_a_route_to_the_containers_is_no_way_round(walled: Scene) -> None:
    format = "{{.NetworkSettings.IPAddress}}"
    container = walled.host.run(["docker", "inspect", "-f", format, "published"]).stdout.strip()
    for source, gateway in ((walled.client, walled.host.spec.private), (walled.outsider, walled.host.spec.public)):
        source.run(f"ip route replace 172.17.0.0/16 via {gateway}")
        assert reached(source, container, (7, OPEN)) == set()
        source.run("ip route del 172.17.0.0/16")
    assert reached(walled.host, container, (7, OPEN)) == {7, OPEN}


def test_ipv6_is_dropped_but_neighbours_are_found(walled: Scene) -> None:
    show = 'ip -6 -oneline address show dev eth0 scope link | awk \'{ sub("/.*", "", $4); print $4; exit }\''
    address = walled.host.run(show).stdout.strip()
    there = f"{address}%eth0"
    walled.client.run("ip -6 neigh flush dev eth0")
    assert reached(walled.client, there) == set()
    ping = walled.client.run(["ping", "-6", "-c", "1", "-W", "1", there], check=False)
    assert ping.returncode == 1
    assert "lladdr" in walled.client.run(["ip", "-6", "neigh", "show", address, "dev", "eth0"]).stdout
    walled.host.run("nft add rule inet kbstate admitted ip6 saddr fe80::/10 accept")  # it was the firewall
    assert {SSH, OPEN} <= reached(walled.client, there)
    walled.tree.apply()
    assert reached(walled.client, there) == set()


# --- the same after whatever may happen -------------------------------------------------------------------------


def test_after_docker_was_restarted(walled: Scene) -> None:
    walled.host.run("systemctl reset-failed docker; systemctl restart docker")
    walled.settled()
    assert walled.matrix() == EXPECTED
    assert walled.container_reaches_out()
    walled.tree.unchanged()


def test_after_a_container_was_made_anew(walled: Scene) -> None:
    """Docker writes its rules for the new one behind ours."""
    walled.tree.apply("--replace", "container:published")
    walled.settled()
    assert walled.matrix() == EXPECTED
    walled.tree.unchanged()


@pytest.mark.parametrize("verb", ["reload", "restart"])
def test_after_our_own_unit_was_told_to(walled: Scene, verb: str) -> None:
    foreign = walled.tables()
    walled.host.run(f"systemctl {verb} kbstate-firewall")
    assert walled.matrix() == EXPECTED
    assert walled.container_reaches_out()
    assert walled.tables() == foreign
    walled.tree.unchanged()


@pytest.mark.parametrize("verb", ["restart", "reload", "stop"])
def test_after_the_unit_of_debian_flushed_everything(walled: Scene, verb: str) -> None:
    """It takes Docker's rules away, which Docker alone can put back; ours are there when systemctl(1) returns."""
    walled.host.run("systemctl start nftables")
    walled.host.run(f"systemctl {verb} nftables && nft list table inet kbstate")
    found = walled.matrix()
    assert {who: ports - EXPECTED[who] for who, ports in found.items()} == {who: set() for who in EXPECTED}
    assert {SSH, OPEN} <= found["client"]
    # Docker may be started three times a minute, unless that count is reset
    walled.host.run("systemctl stop nftables; systemctl reset-failed docker; systemctl restart docker")
    walled.settled()
    walled.tree.apply()
    assert walled.matrix() == EXPECTED
    assert walled.container_reaches_out()
    walled.tree.unchanged()


def test_after_the_rules_were_changed(walled: Scene, rules: tuple[str, ...]) -> None:
    foreign = walled.tables()
    walled.declare(*rules, allow(SHUT, PUBLISHED_SHUT))
    walled.tree.apply()
    assert walled.matrix() == EXPECTED | {
        "client": EXPECTED["client"] | {SHUT, PUBLISHED_SHUT},
        "peer": EXPECTED["peer"] | {SHUT, PUBLISHED_SHUT},
    }
    walled.declare(*rules)
    walled.tree.apply()
    assert walled.matrix() == EXPECTED
    assert walled.container_reaches_out()
    assert walled.tables() == foreign
    walled.tree.unchanged()


def test_after_a_power_cut(walled: Scene) -> None:
    walled.host.power_cycle()
    walled.settled()
    assert walled.matrix() == EXPECTED
    assert walled.container_reaches_out()
    walled.tree.unchanged()
    walled.host.run(["nft", FOREIGN])


def test_rules_are_loaded_before_the_network_comes_up(walled: Scene) -> None:
    """Otherwise every boot would leave the host open for a moment."""
    when = "systemctl show -P ActiveEnterTimestampMonotonic kbstate-firewall.service network-pre.target docker.service"
    loaded, network, docker = (int(line) for line in walled.host.run(when).stdout.split())
    assert 0 < loaded <= network
    assert loaded < docker


HOLD = f"""
exec 3<>/dev/tcp/$address/{OPEN} 4<>/dev/tcp/$address/{PUBLISHED}
n=0
until [ -e /tmp/let-go ]; do
    for number in 3 4; do
        echo $n >&$number
        read -t 5 -r -u $number said && [ "$said" = $n ] || {{ echo "connection $number was lost after $n"; exit 1; }}
    done
    n=$((n + 1)); touch /tmp/held; sleep .05
done
echo kept
"""


@pytest.fixture
def held(walled: Scene) -> Iterator[Popen[str]]:
    """A client that speaks over two connections without an end."""
    walled.client.run("rm -f /tmp/held /tmp/let-go")
    argv = walled.client.enter(["bash", "-c", f"address={walled.host.spec.private}{HOLD}"])
    running = Popen(argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, text=True)
    wait_until(lambda: walled.client.run("test -e /tmp/held", check=False).returncode == 0)
    yield running
    walled.client.run("touch /tmp/let-go")
    running.wait(20)


def test_connections_survive_reloads_and_even_the_end_of_their_rule(
    walled: Scene, rules: tuple[str, ...], held: Popen[str]
) -> None:
    walled.host.run("systemctl reload kbstate-firewall; systemctl restart kbstate-firewall")
    walled.declare(allow(SSH), *rules[1:])
    walled.tree.apply()
    assert reached(walled.client, str(walled.host.spec.private)) == {SSH, PUBLIC}  # no new ones
    walled.declare(*rules)
    walled.tree.apply()
    walled.client.run("touch /tmp/let-go")
    said, errors = held.communicate(timeout=20)
    assert said == "kept\n", said + errors


# --- who would lock himself out ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "closed",
    [
        (allow(OPEN),),
        (allow(SSH, sources=("10.0.0.200",)),),
        (allow(2222),),
        ("Allow(ports=(22,), interface='eth1')",),
        ("Allow(ports=(22,), protocol='udp')",),
        ("Allow(ports=(22,), sources=('::/0',))",),
    ],
)
def test_rules_that_would_cut_off_kbstate_itself_are_refused(walled: Scene, closed: tuple[str, ...]) -> None:
    state = f"nft list table inet kbstate; nft -s list ruleset; md5sum {FILE} /var/lib/kbstate/ledger.json"
    was = walled.host.run(state).stdout
    declared = walled.tree.lab.controller.run(f"cat {walled.tree.path}/desired/hosts.py").stdout
    walled.declare(*closed)
    sentence = f"these rules do not admit {walled.tree.lab.controller.spec.private} to port 22 at eth0"
    for words in (["plan"], ["apply", "--auto-approve"]):
        done = walled.tree.kbstate(*words)
        assert done.returncode == 4, done.stdout + done.stderr
        assert sentence in " ".join((done.stdout + done.stderr).split())
    walled.tree.write("desired/hosts.py", declared)
    assert walled.host.run(state).stdout == was


def test_a_file_that_would_cut_off_at_the_next_boot_is_drift(walled: Scene) -> None:
    walled.host.run(f"sed -i 's|10.0.0.0/16|{walled.peer.spec.private}|' {FILE}")
    (change,) = walled.tree.plan()["changes"]
    assert [delta["path"] for delta in change["diff"]] == ["saved"]
    walled.tree.apply()
    walled.host.run("systemctl reload kbstate-firewall")
    assert reached(walled.client, str(walled.host.spec.private)) == EXPECTED["client"]


# --- drift, as a packet meets it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drift", "opened"),
    [
        (f"nft add rule inet kbstate admitted tcp dport {PUBLISHED_SHUT} accept", {PUBLISHED_SHUT}),
        (f"nft insert rule inet kbstate addressed tcp dport {SHUT} accept", {SHUT}),
        ("nft insert rule inet kbstate prerouting accept", {PUBLISHED_SHUT, DISGUISED, FOR_PEER, SHUT}),
        ("nft add table inet kbstate '{ flags dormant; }'", {PUBLISHED_SHUT, DISGUISED, FOR_PEER, SHUT}),
        ("nft delete table inet kbstate", {PUBLISHED_SHUT, DISGUISED, FOR_PEER, SHUT}),
        ("nft flush ruleset", {PUBLISHED_SHUT, DISGUISED, FOR_PEER, SHUT}),
    ],
)
def test_a_hole_is_found_and_closed(walled: Scene, drift: str, opened: set[int]) -> None:
    walled.host.run(drift)
    address = str(walled.host.spec.private)
    assert reached(walled.client, address) - EXPECTED["client"] == opened
    (change,) = walled.tree.plan()["changes"]
    assert (change["address"], change["cause"]) == ("firewall:kbstate", "drift")
    walled.tree.apply()
    walled.tree.unchanged()
    if "flush" in drift:
        walled.host.run(f"systemctl reset-failed docker; systemctl restart docker; nft '{FOREIGN}'")
        walled.settled()
        assert walled.container_reaches_out()
    assert reached(walled.client, address) == EXPECTED["client"]


# --- ufw --------------------------------------------------------------------------------------------------------


def test_ufw_is_reported_and_taken_over(lab: Lab, walled: Scene) -> None:
    """On the peer: what ufw had opened is closed, what the rules open is open, and ufw is off for good."""
    host = walled.peer
    host.run("apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq install ufw > /dev/null")
    host.run("ufw allow 22/tcp; ufw allow 7777/tcp; ufw --force enable")
    host.run("systemd-run --unit=echo perl -e '" + LISTENER + "'")
    address = str(host.spec.private)
    wait_until(lambda: reached(walled.client, address, (22, 7777)) == {22, 7777})
    ruleset = host.run("nft -s list ruleset").stdout
    tree = Tree(lab, "ufw", one_host(host, wall(allow(22, 7778))))
    for words in (["plan"], ["apply", "--auto-approve"]):
        done = tree.kbstate(*words)
        assert done.returncode == 4, done.stdout + done.stderr
        said = " ".join((done.stdout + done.stderr).split())
        assert "ufw is active and filters too: declare ufw='inactive' to have it disabled" in said
    assert host.run("nft -s list ruleset").stdout == ruleset
    tree.write("desired/hosts.py", one_host(host, wall(allow(22, 7778), ufw="inactive")))
    tree.apply()
    tree.unchanged()
    assert "Status: inactive" in host.run("ufw status").stdout
    assert reached(walled.client, address, (22, 7777, 7778)) == {22, 7778}
    host.power_cycle()
    host.run("systemd-run --unit=echo perl -e '" + LISTENER + "'")
    wait_until(lambda: reached(walled.client, address, (22, 7777, 7778)) == {22, 7778})
    assert "Status: inactive" in host.run("ufw status").stdout
    tree.unchanged()


LISTENER = """
use IO::Socket::INET;
for my $port (7777, 7778) {
    next if fork;
    my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 5, ReuseAddr => 1) or die;
    while (my $client = $server->accept) { print $client "hello\\n"; close $client }
}
wait; wait;
"""
