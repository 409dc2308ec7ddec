"""The main job: empty load balancers become serving ones, with the desired state of the repository as it stands."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from subprocess import DEVNULL, PIPE, CompletedProcess, Popen
from typing import Any

import pytest

from kbstate.lab import credentials
from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from tests.lab.test_safety import wait_until

pytestmark = pytest.mark.lab

CONFIGURATION = "file:/opt/keybuzz/haproxy/conf/haproxy.cfg"
BLOCK = "table ip blocker { chain c { type filter hook input priority 0; ip saddr 10.0.0.250 tcp dport 8404 drop; }; }"
"""The statistics of HAProxy do not answer the controller: a check fails, whatever kbstate does."""


@dataclass(frozen=True)
class Site:
    """Both load balancers and kbstate on the controller, with `desired/` as the repository has it."""

    lab: Lab
    first: Host
    second: Host
    foreign: str = ""
    """The id and start of a container that is not kbstate's."""

    def kbstate(self, *words: str, **environment: str) -> CompletedProcess[str]:
        return self.lab.controller.run(self.command(*words, **environment), check=False)

    @staticmethod
    def command(*words: str, **environment: str) -> str:
        settings = "".join(f"{name}={shlex.quote(value)} " for name, value in environment.items())
        return f"{settings}kbstate {shlex.join(words)}"

    def plan(self, *words: str, **environment: str) -> dict[str, dict[str, Any]]:
        """Its changes by address, of one host."""
        done = self.kbstate("plan", "--json", *words, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        (host,) = json.loads(done.stdout)["hosts"]
        return {change["address"]: change for change in host["changes"]}

    def apply(self, *words: str, **environment: str) -> CompletedProcess[str]:
        done = self.kbstate("apply", "--auto-approve", *words, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def unchanged(self, *hosts: str) -> None:
        done = self.kbstate("plan", "--detailed-exitcode", *hosts)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "No changes." in done.stdout

    def healthy(self, *hosts: str) -> None:
        """Every check passes, after a while."""
        wait_until(lambda: self.kbstate("check", *hosts).returncode == 0, 60)


@pytest.fixture(scope="module")
def empty(lab: Lab, haproxy_hosts: tuple[Host, Host], upstreams: dict[str, Host]) -> Site:
    """Two empty hosts, whatever other tests have made of them."""
    assert upstreams
    for host in haproxy_hosts:
        if host.run("test -d /var/lib/kbstate", check=False).returncode == 0:
            lab.rebuild(host.name)
    return Site(lab, *haproxy_hosts)


@pytest.fixture(scope="module")
def first_plan(empty: Site) -> CompletedProcess[str]:
    return empty.kbstate("plan", "--json", "--detailed-exitcode")


@pytest.fixture(scope="module")
def failed(empty: Site, first_plan: CompletedProcess[str]) -> CompletedProcess[str]:
    """Both were to be applied, and haproxy-01 did not become healthy."""
    assert first_plan.returncode == 2
    empty.first.run(["nft", BLOCK])
    done = empty.kbstate("apply", "--auto-approve")
    empty.first.run("nft delete table ip blocker")
    return done


@pytest.fixture(scope="module")
def applied(empty: Site, failed: CompletedProcess[str]) -> CompletedProcess[str]:
    """Both are applied now."""
    assert failed.returncode == 1
    was = empty.second.run("ls /opt; command -v docker", check=False).stdout
    assert "keybuzz" not in was
    assert "docker" not in was
    return empty.kbstate("apply", "--auto-approve")


@pytest.fixture(scope="module")
def site(empty: Site, applied: CompletedProcess[str]) -> Site:
    assert applied.returncode == 0, applied.stdout + applied.stderr
    empty.first.run("docker pull -q busybox:1.36; docker run -d --name foreign busybox:1.36 sleep infinity")
    return replace(empty, foreign=foreign(empty.first))


def foreign(host: Host) -> str:
    return host.run(["docker", "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "foreign"]).stdout


# --- from empty to serving --------------------------------------------------------------------------------------


def test_on_an_empty_host_all_is_to_be_added(first_plan: CompletedProcess[str]) -> None:
    assert first_plan.returncode == 2, first_plan.stderr
    hosts = json.loads(first_plan.stdout)["hosts"]
    assert [host["name"] for host in hosts] == ["haproxy-01", "haproxy-02"]
    for host in hosts:
        assert (host["complete"], host["errors"], host["unknown"]) == (True, [], [])
        assert {change["cause"] for change in host["changes"]} == {"new"}
        actions = {change["address"]: change["actions"] for change in host["changes"]}
        assert all(action in (["create"], ["update"]) for action in actions.values())
        for address in ("container:haproxy", "container:pgbouncer", CONFIGURATION, "firewall:kbstate", "docker:engine"):
            assert actions[address] == ["create"]


def test_the_second_is_not_touched_while_the_first_is_not_healthy(failed: CompletedProcess[str]) -> None:
    assert failed.returncode == 1
    assert re.search(r"haproxy-01: not healthy after apply: .*http://10.0.0.11:8404/stats", failed.stderr)
    assert "haproxy-02: not attempted, because haproxy-01 of the same role did not come out well" in failed.stderr
    assert "haproxy-01: applying" in failed.stderr
    assert "haproxy-02: applying" not in failed.stderr


def test_then_one_after_the_other(applied: CompletedProcess[str]) -> None:
    assert applied.returncode == 0, applied.stdout + applied.stderr
    said = applied.stderr
    assert "haproxy-01: nothing to change" in said
    first, second = said.split("haproxy-02: applying")
    assert "backends of HAProxy" in first  # its checks, before the next began
    assert "backends of HAProxy" in second
    assert "failed  " not in said


def test_applied_twice_there_is_nothing_to_do(site: Site) -> None:
    site.unchanged()
    before = ledgers(site)
    again = site.apply()
    assert again.stderr.count("nothing to change") == 2
    assert ledgers(site) == before


def ledgers(site: Site) -> list[str]:
    return [host.run("md5sum /var/lib/kbstate/ledger.json").stdout for host in (site.first, site.second)]


def test_every_check_is_green(site: Site) -> None:
    done = site.kbstate("check", "--json")
    assert done.returncode == 0, done.stdout
    hosts = json.loads(done.stdout)["hosts"]
    assert [(host["name"], host["healthy"]) for host in hosts] == [("haproxy-01", True), ("haproxy-02", True)]
    (targets, same) = ([check["target"] for check in host["checks"]] for host in hosts)
    assert {"container:haproxy", "container:pgbouncer"} <= set(targets)
    assert {f"10.0.0.11:{port}" for port in (5432, 6432, 6379, 5672)} <= set(targets)
    assert len(same) == len(targets)


def test_clients_are_served(site: Site, upstreams: dict[str, Host]) -> None:
    """The primary of PostgreSQL by way of PgBouncer, and the master of Redis: each with its password."""
    for address in ("10.0.0.11", "10.0.0.12"):
        where = f"host={address} port=6432 dbname={credentials.DATABASE} user={credentials.DATABASE_USER}"
        password = f"PGPASSWORD={credentials.DATABASE_PASSWORD}"
        select = "SELECT pg_is_in_recovery()"
        sql = f'{password} PGCONNECT_TIMEOUT=10 psql -XAt "{where}" -c "{select}"'
        assert upstreams["db-slave-01"].run(sql).stdout.strip() == "f"
        role = f"REDISCLI_AUTH={credentials.REDIS_PASSWORD} redis-cli -h {address} role"
        assert upstreams["redis-03"].run(role).stdout.split()[0] == "master"


def test_the_engine_runs_with_the_declared_file(site: Site) -> None:
    declared = json.loads(site.first.run("cat /etc/docker/daemon.json").stdout)
    assert declared == {
        "log-driver": "json-file",
        "log-opts": {"max-size": "20m", "max-file": "3"},
        "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=systemd"],
    }
    info = json.loads(site.first.run("docker info --format '{{json .}}'").stdout)
    assert (info["LoggingDriver"], info["Driver"], info["CgroupDriver"]) == ("json-file", "overlay2", "systemd")
    logs = site.first.run("docker inspect -f '{{json .HostConfig.LogConfig}}' haproxy").stdout
    assert json.loads(logs) == {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "3"}}


# --- secrets ----------------------------------------------------------------------------------------------------

REDIS = credentials.REDIS_PASSWORD
NEEDLES = (
    REDIS,
    REDIS.encode().hex(),
    "".join(f"\\x{byte:02x}" for byte in REDIS.encode()),
    credentials.DATABASE_PASSWORD,
    credentials.DATABASE_VERIFIER.rpartition(":")[2],
    credentials.HASH_KEY,
)


@pytest.fixture(scope="module")
def needles(site: Site) -> str:
    """A file of them on the host, where none is looked for: on a command line they would be found."""
    site.first.write("/dev/shm/needles", "\n".join(NEEDLES) + "\n")
    return "/dev/shm/needles"


def test_no_other_user_can_read_a_secret(site: Site) -> None:
    look = "grep -rlsI --devices=skip -F -f - /etc /home /opt /root /run /srv /tmp /usr/local /var"
    everything = "\n".join(NEEDLES)
    holding = site.first.run(look, check=False, input=everything).stdout.split()
    assert {"/opt/keybuzz/haproxy/conf/redis.cfg", "/opt/keybuzz/secrets/redis.auth"} <= set(holding)
    for user in ("nobody", "keybuzz"):
        assert site.first.run(look, check=False, input=everything, user=user).stdout == ""
    modes = site.first.run(["stat", "-c", "%a", *holding]).stdout.split()
    assert {mode[-1] for mode in modes} == {"0"}
    places = ("/opt/keybuzz/", "/var/lib/kbstate/backups/")
    assert [path for path in holding if not path.startswith(places)] == []


def test_no_secret_is_in_what_docker_and_the_journal_say(site: Site, needles: str) -> None:
    docker = "docker inspect haproxy pgbouncer $(docker images -q); for c in haproxy pgbouncer; do docker logs $c; done"
    every = f"{{ {docker} 2>&1; journalctl -q --no-pager -o export; cat /var/lib/kbstate/ledger.json; }}"
    assert "haproxy" in site.first.run(f"{every} | grep -a -m 1 haproxy").stdout
    assert site.first.run(f"{every} | grep -a -F -f {needles}", check=False).stdout == ""


def test_no_secret_is_on_a_command_line_while_kbstate_and_the_follower_run(site: Site, needles: str) -> None:
    site.first.run("rm /opt/keybuzz/secrets/redis.auth /opt/keybuzz/haproxy/conf/redis.cfg")
    look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    found = f"grep -a -o -F -f {needles} -e redis-update-master | sort -u"
    argv = site.first.enter(["bash", "-c", f"until [ -e /tmp/enough ]; do {look}; sleep .02; done | {found}"])
    running = Popen(argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, text=True)
    done = site.apply("haproxy-01", "--verbose")
    site.first.run("systemctl start redis-update-master.service; touch /tmp/enough")
    seen, _ = running.communicate(timeout=30)
    site.first.run("rm /tmp/enough")
    assert set(seen.split()) == {"redis-update-master"}
    assert not [needle for needle in NEEDLES if needle in done.stdout + done.stderr]
    site.unchanged("haproxy-01")


# --- selectors --------------------------------------------------------------------------------------------------

SYSCTL = "sysctl:99-keybuzz"
POOLER = "file:/opt/keybuzz/pgbouncer/conf/pgbouncer.ini"


@pytest.fixture
def drifted(site: Site) -> Site:
    """Three modules differ."""
    site.second.run("rm /etc/sysctl.d/99-keybuzz.conf")
    site.second.run("echo '# by hand' >> /opt/keybuzz/haproxy/conf/haproxy.cfg")
    site.second.run("chmod 600 /opt/keybuzz/pgbouncer/conf/pgbouncer.ini")
    return site


def test_selectors_choose_what_is_repaired(drifted: Site) -> None:
    site, host = drifted, "haproxy-02"
    assert set(site.plan(host)) == {SYSCTL, CONFIGURATION, POOLER}
    assert set(site.plan(host, "--exclude", "sysctl:*")) == {CONFIGURATION, POOLER}
    assert set(site.plan(host, "--target", f"{host}/{CONFIGURATION}")) == {CONFIGURATION}
    site.apply(host, "--target", CONFIGURATION)
    assert set(site.plan(host)) == {SYSCTL, POOLER}
    site.apply(host, "--module", "pgbouncer")
    assert set(site.plan(host)) == {SYSCTL}
    site.apply(host, "--exclude", SYSCTL)
    assert set(site.plan(host)) == {SYSCTL}
    site.apply(host)
    site.unchanged(host)
    nothing = site.kbstate("apply", "--auto-approve", host, "--target", "container:haproksy")
    assert nothing.returncode == 64
    assert "container:haproksy" in nothing.stderr


def test_replace_makes_a_container_anew_that_is_as_declared(site: Site) -> None:
    before = site.second.run("docker inspect -f '{{.Id}}' pgbouncer haproxy").stdout.split()
    planned = site.plan("haproxy-02", "--replace", "container:pgbouncer")
    assert [(address, change["actions"]) for address, change in planned.items()] == [
        ("container:pgbouncer", ["delete", "create"])
    ]
    site.apply("haproxy-02", "--replace", "container:pgbouncer")
    after = site.second.run("docker inspect -f '{{.Id}}' pgbouncer haproxy").stdout.split()
    assert (after[0] != before[0], after[1] == before[1]) == (True, True)
    site.unchanged("haproxy-02")


# --- a daemon that is down --------------------------------------------------------------------------------------


def test_what_cannot_be_seen_yet_is_repaired_but_nothing_unseen_is_replaced(site: Site) -> None:
    host = site.second
    host.run("docker rm -f pgbouncer haproxy; docker create --name haproxy --network host haproxy:2.8.5 sleep 1")
    host.run("systemctl stop docker.socket docker.service")
    text = " ".join(site.kbstate("plan", host.name).stdout.split())
    assert "~ container:haproxy ! drift (known after apply) docker daemon not running" in text
    planned = site.plan(host.name)
    assert planned["service:docker.service"]["actions"] == ["update"]
    for address in ("container:haproxy", "container:pgbouncer"):
        assert planned[address]["after_unknown"] is True
    done = site.kbstate("apply", "--auto-approve", host.name)
    assert done.returncode == 1
    sentence = "would have to be replaced, which nobody has seen in a plan: plan and apply once more"
    assert sentence in " ".join(done.stderr.split())
    assert host.run("docker inspect -f '{{.State.Running}}' pgbouncer").stdout.strip() == "true"  # made anew
    assert "sleep" in host.run("docker inspect -f '{{.Config.Cmd}}' haproxy").stdout  # left as it was
    (change,) = site.plan(host.name).values()
    assert (change["address"], change["actions"]) == ("container:haproxy", ["delete", "create"])
    site.apply(host.name)
    site.unchanged(host.name)
    site.healthy(host.name)


# --- another version --------------------------------------------------------------------------------------------

KNOCK = """
gap=0; last=$(date +%s%N)
until [ -e /tmp/enough ]; do
    try='exec 3<>/dev/tcp/10.0.0.11/5672 && printf "AMQP\\0\\0\\x9\\1" >&3 && head -c 1 <&3'
    if timeout 1 bash -c "$try" | grep -q .; then
        now=$(date +%s%N); [ $((now - last)) -le $gap ] || gap=$((now - last)); last=$now; fi 2>/dev/null
    sleep .05
done
echo $((gap / 1000000))
"""


@pytest.fixture
def knocking(site: Site) -> Iterator[Callable[[], float]]:
    """Somebody who speaks AMQP through haproxy-01 all the time; says for how many seconds nothing answered."""
    site.lab.controller.run("rm -f /tmp/enough")
    running = Popen(
        site.lab.controller.enter(["bash", "-c", KNOCK]), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, text=True
    )

    def longest() -> float:
        site.lab.controller.run("touch /tmp/enough")
        said, _ = running.communicate(timeout=20)
        return int(said) / 1000

    yield longest
    site.lab.controller.run("touch /tmp/enough")
    running.wait(20)


def test_another_version_from_the_environment(site: Site, knocking: Callable[[], float]) -> None:
    version = {"HAPROXY_IMAGE_TAG": "2.8.6"}
    planned = site.plan("haproxy-01", **version)
    assert planned["container:haproxy"]["actions"] == ["delete", "create"]
    assert planned["container:haproxy"]["impact"] == "drops connections"
    assert planned["container:haproxy"]["cause"] == "pending"
    assert "container:pgbouncer" not in planned
    site.apply("haproxy-01", **version)
    assert knocking() < 12  # seconds; HAProxy itself has five to end sessions
    running = site.first.run("docker inspect -f '{{.Config.Image}} {{.State.Running}}' haproxy").stdout.split()
    assert running == ["haproxy:2.8.6", "true"]
    assert site.kbstate("plan", "--detailed-exitcode", "haproxy-01", **version).returncode == 0
    site.apply("haproxy-01")
    assert "2.8.6" not in site.first.run("docker ps -a; docker images").stdout  # what kbstate brought, it took away
    site.unchanged("haproxy-01")
    assert foreign(site.first) == site.foreign


# --- a power cut ------------------------------------------------------------------------------------------------


def test_it_comes_back_by_itself_while_the_other_serves(site: Site) -> None:
    site.first.power_off()
    other = site.kbstate("check", "haproxy-02")
    assert other.returncode == 0, other.stdout
    both = site.kbstate("check", "--json")
    assert both.returncode == 4
    assert [host["healthy"] for host in json.loads(both.stdout)["hosts"]] == [False, True]
    began = time.monotonic()
    site.first.power_on()
    site.first.wait()
    site.healthy("haproxy-01")
    assert time.monotonic() - began < 90
    site.unchanged()
    restarts = site.first.run("docker inspect -f '{{.RestartCount}}' haproxy pgbouncer").stdout.split()
    assert restarts == ["0", "0"]
    assert foreign(site.first).split()[0] == site.foreign.split()[0]
