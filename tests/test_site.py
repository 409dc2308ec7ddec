"""The desired state of haproxy-01 and haproxy-02: what the site asks for, and what must never be in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kbstate.checks import ContainerCheck, HaproxyCheck, PortCheck
from kbstate.desired import Desired, Host, load
from kbstate.errors import DesiredError
from kbstate.kinds.container import Container
from kbstate.kinds.directory import Directory
from kbstate.kinds.file import File
from kbstate.kinds.firewall import Firewall
from kbstate.kinds.hosts import HostsFile
from kbstate.kinds.image import Image
from kbstate.kinds.sysctl import Sysctl
from kbstate.kinds.unit import Unit
from kbstate.lab import credentials as lab
from kbstate.nft import admits
from kbstate.resource import Resource
from kbstate.secret import Hasher, Secret

DESIRED = Path(__file__).parents[1] / "desired"
CREDENTIALS = DESIRED / "credentials.example"
TREE = "/opt/keybuzz"
HAPROXY_CFG = f"{TREE}/haproxy/conf/haproxy.cfg"
REDIS_CFG = f"{TREE}/haproxy/conf/redis.cfg"
ADDRESSES = {"haproxy-01": "10.0.0.11", "haproxy-02": "10.0.0.12"}
ADMIN, OUTSIDE = "10.0.0.250", "203.0.113.50"

R = TypeVar("R", bound=Resource)


@cache
def site() -> Desired:
    return load(DESIRED, CREDENTIALS)


def one(name: str) -> Host:
    (host,) = site().select([name])
    return host


def resource(kind: type[R], address: str, name: str = "haproxy-01") -> R:
    found = one(name).lookup(address)
    assert isinstance(found, kind), address
    return found


def text(path: str, name: str = "haproxy-01") -> str:
    """The content of a declared file."""
    content = resource(File, f"file:{path}", name).content
    return content.reveal().decode() if isinstance(content, Secret) else str(content)


@pytest.fixture(params=sorted(ADDRESSES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the desired state, to be changed."""
    return Path(shutil.copytree(DESIRED, tmp_path / "desired"))


def edited(file: Path, old: str, new: str) -> None:
    before = file.read_text()
    assert old in before, old
    file.write_text(before.replace(old, new))


# --- the hosts --------------------------------------------------------------------------------------------------


def test_the_two_load_balancers_are_applied_one_at_a_time() -> None:
    assert {host.name: host.address for host in site().hosts} == ADDRESSES
    assert {host.role for host in site().hosts} == {"internal-haproxy"}


def test_both_are_the_same_but_for_name_and_address() -> None:
    """With the names and addresses of the one in the place of those of the other there is no difference left."""
    assert said("haproxy-01") != said("haproxy-02")
    assert json.loads(swapped(json.dumps(said("haproxy-01")))) == said("haproxy-02")


def said(name: str) -> dict[str, Any]:
    """All that is declared but what is secret or the digest of a file; the files themselves are there."""
    found = {}
    for item in one(name).declared:
        hidden = {*item.resource.sensitive(), "started_with", "reloaded_with"}
        found[item.resource.address] = item.resource.projection(set(item.resource.declared()) - hidden, Hasher(None))
    return found


def swapped(text: str) -> str:
    other = {"haproxy-01": "haproxy-02", "10.0.0.11": "10.0.0.12"}
    both = {**other, **{new: old for old, new in other.items()}}
    return re.sub("|".join(rf"\b{re.escape(word)}\b" for word in both), lambda found: both[found[0]], text)


@pytest.mark.parametrize(
    "address",
    [
        *(f"package:{p}" for p in ("curl", "wget", "jq", "ca-certificates", "gnupg", "redis-tools")),
        *("timezone:system", "time_sync:system", "swap:system", "sysctl:99-keybuzz", "resolver:system"),
        *("hostname:system", "hosts:system", "user:keybuzz", "service:ssh.service", "service:systemd-journald.service"),
        *("package:docker.io", "service:docker.service", "file:/etc/docker/daemon.json", "docker:engine"),
        *("firewall:kbstate", "package:nftables", f"directory:{TREE}", f"directory:{TREE}/secrets"),
        *(f"directory:{TREE}/scripts", f"file:{TREE}/scripts/redis-update-master.sh"),
        *("unit:redis-update-master.service", "unit:redis-update-master.timer", "service:redis-update-master.timer"),
        *("container:haproxy", "image:haproxy:2.8.5", f"file:{HAPROXY_CFG}", "container:pgbouncer"),
        *(f"file:{TREE}/pgbouncer/conf/pgbouncer.ini", f"file:{TREE}/pgbouncer/conf/userlist.txt"),
    ],
)
def test_what_the_site_asks_for_is_declared(name: str, address: str) -> None:
    assert one(name).lookup(address) is not None


def test_its_own_name_stands_for_its_private_address(name: str) -> None:
    entries = resource(HostsFile, "hosts:system", name).entries or {}
    assert name in entries[ADDRESSES[name]]
    assert {"10.0.0.120", "10.0.0.123", "10.0.0.126", ADMIN} <= entries.keys()


def test_kernel_parameters() -> None:
    values = resource(Sysctl, "sysctl:99-keybuzz").values or {}
    wanted = {
        "net.core.somaxconn": "65535",
        "net.ipv4.tcp_fin_timeout": "15",
        "net.ipv4.tcp_keepalive_time": "300",
        "net.ipv4.tcp_tw_reuse": "1",
        "vm.swappiness": "10",
    }
    assert values.items() >= wanted.items()
    assert {key for key in values if key.startswith("fs.inotify.")}


def test_docker_logs_to_bounded_files() -> None:
    settings = json.loads(text("/etc/docker/daemon.json"))
    assert settings["log-driver"] == "json-file"
    assert settings["log-opts"] == {"max-size": "20m", "max-file": "3"}
    assert settings["storage-driver"] == "overlay2"
    assert settings["exec-opts"] == ["native.cgroupdriver=systemd"]


def test_ssh_takes_no_password() -> None:
    hardening = text("/etc/ssh/sshd_config.d/00-keybuzz.conf").splitlines()
    assert {"PasswordAuthentication no", "PermitRootLogin prohibit-password"} <= set(hardening)
    assert "file:/etc/ssh/sshd_config.d/00-keybuzz.conf" in one("haproxy-01").lookup("service:ssh.service").reload_on  # type: ignore[union-attr]


# --- the firewall -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [5432, 6432, 6379, 5672, 8404, 22])
def test_services_are_for_the_private_network_only(name: str, port: int) -> None:
    rules = resource(Firewall, "firewall:kbstate", name).rules or ()
    assert admits(rules, "10.0.200.7", port)
    assert admits(rules, ADMIN, port)
    assert not admits(rules, OUTSIDE, port)


def test_pgbouncer_itself_is_for_the_peer_only(name: str) -> None:
    rules = resource(Firewall, "firewall:kbstate", name).rules or ()
    (peer,) = set(ADDRESSES.values()) - {ADDRESSES[name]}
    assert admits(rules, peer, 6433)
    assert not admits(rules, "10.0.200.7", 6433)
    assert not admits(rules, ADMIN, 6433)


def test_every_port_that_haproxy_serves_is_open_and_no_other(name: str) -> None:
    served = {int(port) for port in re.findall(r"^ +bind :(\d+)$", text(HAPROXY_CFG, name), re.MULTILINE)}
    rules = resource(Firewall, "firewall:kbstate", name).rules or ()
    opened = {port for rule in rules for port in rule.ports}
    assert opened == served | {22, 6433}


# --- secrets ----------------------------------------------------------------------------------------------------

VALUES = [
    value
    for values in lab.FILES.values()
    for key, value in values.items()
    if key.endswith(("PASSWORD", "VERIFIER", "HASH_KEY"))
]


def test_no_secret_is_in_anything_that_is_shown_or_run(name: str) -> None:
    for item in one(name).declared:
        shown = repr(item.resource) + item.resource.model_dump_json()
        for value in VALUES:
            assert value not in shown, item.resource.address
            assert value.encode().hex() not in shown, item.resource.address


@pytest.mark.parametrize("path", [REDIS_CFG, f"{TREE}/pgbouncer/conf/userlist.txt", f"{TREE}/secrets/redis.auth"])
def test_what_holds_a_secret_is_one(path: str) -> None:
    assert isinstance(resource(File, f"file:{path}").content, Secret)


def test_secrets_are_read_by_their_container_or_by_root_alone(name: str) -> None:
    for item in one(name).declared:
        if isinstance(item.resource, File) and isinstance(item.resource.content, Secret):
            assert item.resource.owner == "root"
            in_container = "/conf/" in item.resource.path
            assert item.resource.mode == ("0640" if in_container else "0600"), item.resource.address


def test_the_example_credentials_are_those_of_the_lab() -> None:
    from kbstate.credentials import Credentials

    example = Credentials(CREDENTIALS)
    for file, values in lab.FILES.items():
        for key, value in values.items():
            assert example.text(file, key) == value, f"{file}: {key}"


@pytest.mark.parametrize(("file", "key"), [("redis.env", "REDIS_PASSWORD"), ("postgres.env", "POSTGRES_VERIFIER")])
def test_a_credential_that_is_missing_is_named(tree: Path, file: str, key: str) -> None:
    credentials = tree / "credentials.example" / file
    credentials.write_text("".join(line for line in credentials.open() if not line.startswith(key)))
    with pytest.raises(DesiredError, match=f"{file}: {key} is missing"):
        load(tree, tree / "credentials.example")


def test_a_password_in_the_place_of_a_verifier_is_refused(tree: Path) -> None:
    edited(tree / "credentials.example/postgres.env", lab.DATABASE_VERIFIER, "hunter2")
    with pytest.raises(DesiredError, match="POSTGRES_VERIFIER is no SCRAM verifier") as raised:
        load(tree, tree / "credentials.example")
    assert "hunter2" not in str(raised.value)


# --- containers and their files ---------------------------------------------------------------------------------

CONTAINERS = ["haproxy", "pgbouncer"]


@pytest.mark.parametrize("service", CONTAINERS)
def test_containers_are_on_the_network_of_the_host_and_say_nothing_secret(service: str) -> None:
    container = resource(Container, f"container:{service}")
    assert (container.network, container.restart, container.privileged) == ("host", "always", False)
    assert (container.env, container.labels) == ({}, {})


@pytest.mark.parametrize("service", CONTAINERS)
def test_what_a_container_mounts_belongs_to_root_and_its_group(service: str) -> None:
    container = resource(Container, f"container:{service}")
    image = resource(Image, f"image:{container.image}")
    assert container.user == f"{image.uid}:{image.gid}"
    for mount in container.mounts or ():
        directory = resource(Directory, f"directory:{mount.source}")  # never a file by itself
        owner = "root" if mount.read_only else str(image.uid)
        assert (directory.owner, directory.group, directory.mode) == (owner, str(image.gid), "0750")
    for item in one("haproxy-01").declared:
        if isinstance(item.resource, File) and item.resource.path.startswith(f"{TREE}/{service}/conf/"):
            file = item.resource
            assert (file.owner, file.group, file.mode) == ("root", str(image.gid), "0640")
            assert file.address in container.reload_on


@pytest.fixture
def loaded_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Host]:
    def with_versions(versions: dict[str, str]) -> Host:
        for variable, value in versions.items():
            monkeypatch.setenv(variable, value)
        return load(DESIRED, CREDENTIALS).hosts[0]

    return with_versions


def test_versions_are_overridden_by_variables(loaded_with: Callable[[dict[str, str]], Host]) -> None:
    host = loaded_with({"HAPROXY_IMAGE_TAG": "2.8.6", "PGBOUNCER_IMAGE_UID": "71", "PGBOUNCER_IMAGE_GID": "72"})
    assert host.lookup("image:haproxy:2.8.6") is not None
    assert host.lookup("image:haproxy:2.8.5") is None
    assert host.lookup("container:haproxy").image == "haproxy:2.8.6"  # type: ignore[union-attr]
    assert "haproxy:2.8.6 haproxy -c" in host.lookup(f"file:{HAPROXY_CFG}").validate_with  # type: ignore[union-attr]
    assert host.lookup("container:pgbouncer").user == "71:72"  # type: ignore[union-attr]
    assert host.lookup(f"file:{TREE}/pgbouncer/conf/userlist.txt").group == "72"  # type: ignore[union-attr]


def test_another_tag_takes_the_digest_of_the_old_one_away(loaded_with: Callable[[dict[str, str]], Host]) -> None:
    digest = f"sha256:{'a' * 64}"
    pinned = loaded_with({"HAPROXY_IMAGE_DIGEST": digest}).lookup("image:haproxy:2.8.5")
    assert pinned is not None
    assert pinned.digest == digest  # type: ignore[attr-defined]


@pytest.mark.parametrize("tag", ["", "latest"])
def test_a_version_that_pins_nothing_is_refused(loaded_with: Callable[[dict[str, str]], Host], tag: str) -> None:
    with pytest.raises(DesiredError):
        loaded_with({"HAPROXY_IMAGE_TAG": tag})


# --- the configuration of HAProxy and PgBouncer -----------------------------------------------------------------


def test_pgbouncer_falls_back_on_the_own_port_of_the_peer(name: str) -> None:
    (other,) = set(ADDRESSES) - {name}
    configuration = text(HAPROXY_CFG, name)
    assert "    server local 127.0.0.1:6433\n" in configuration
    assert f"    server {other} {ADDRESSES[other]}:6433 backup\n" in configuration
    assert f"{ADDRESSES[other]}:6432" not in configuration  # that would lead back here


def test_every_upstream_of_the_inventory_is_served(name: str) -> None:
    configuration = text(HAPROXY_CFG, name) + text(REDIS_CFG, name)
    for n in range(3):
        assert f"10.0.0.{120 + n}:5432\n" in configuration
        assert f"10.0.0.{123 + n}:6379\n" in configuration
        assert f"10.0.0.{126 + n}:5672\n" in configuration
    assert "uri /primary" in configuration
    assert "check port 8008" in configuration


def test_the_password_of_redis_is_framed_for_the_check() -> None:
    (frame,) = re.findall(r"send-binary (\w+)$", text(REDIS_CFG), re.MULTILINE)
    password = lab.REDIS_PASSWORD.encode()
    assert bytes.fromhex(frame) == b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(password), password)


def test_pgbouncer_pools_transactions_and_goes_through_haproxy() -> None:
    settings = text(f"{TREE}/pgbouncer/conf/pgbouncer.ini").splitlines()
    assert "* = host=127.0.0.1 port=5432" in settings  # no user=, or nobody could log on as themselves
    assert {"listen_port = 6433", "pool_mode = transaction", "auth_type = scram-sha-256"} <= set(settings)


def test_the_userlist_holds_the_verifier_alone() -> None:
    users = text(f"{TREE}/pgbouncer/conf/userlist.txt")
    assert users == f'; written by kbstate\n"{lab.DATABASE_USER}" "{lab.DATABASE_VERIFIER}"\n'


# --- the follower -----------------------------------------------------------------------------------------------


def test_the_follower_asks_every_sentinel_and_changes_no_declared_file(name: str) -> None:
    unit = resource(Unit, "unit:redis-update-master.service", name).content or ""
    assert "SENTINELS=10.0.0.123:26379 10.0.0.124:26379 10.0.0.125:26379" in unit
    (state,) = re.findall(r"STATE_FILE=(\S+)", unit)
    assert one(name).lookup(f"file:{state}") is None


def test_the_script_is_clean(tmp_path: Path) -> None:
    """As shellcheck(1) sees it, which the tests need on this machine."""
    script = tmp_path / "script.sh"
    script.write_text(text(f"{TREE}/scripts/redis-update-master.sh"))
    subprocess.run(["sh", "-n", script], check=True)
    assert "redis-cli -a" not in script.read_text()
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- checks -----------------------------------------------------------------------------------------------------


def test_health_is_both_containers_the_four_ports_and_every_backend(name: str) -> None:
    checks = one(name).checks
    assert {c.container for c in checks if isinstance(c, ContainerCheck)} == {"haproxy", "pgbouncer"}
    assert {c.port for c in checks if isinstance(c, PortCheck)} == {5432, 6432, 6379, 5672}
    (page,) = (c for c in checks if isinstance(c, HaproxyCheck))
    both = text(HAPROXY_CFG, name) + text(REDIS_CFG, name)
    assert set(page.backends or ()) == set(re.findall(r"^backend (\S+)", both, re.MULTILINE))
    assert f"stats uri {page.path}\n" in both
    assert f"bind :{page.port}\n" in both


# --- bad inventories --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("prod\t203.0.113.12\thaproxy-02", "test\t203.0.113.12\thaproxy-02", "one load balancer beside each other"),
        ("\tredis\tsentinel\t", "\tredis\tcluster\t", "three servers with ROLE=redis and SUBROLE=sentinel"),
        ("\torchestrator\tinstall\t", "\torchestrator\tother\t", "one server with ROLE=orchestrator"),
        ("\t10.0.0.120\t", "\t-\t", "db-master-01 has no IP_PRIVEE"),
    ],
)
def test_an_inventory_that_lacks_something_is_refused(tree: Path, old: str, new: str, message: str) -> None:
    edited(tree / "servers.tsv", old, new)
    with pytest.raises(DesiredError, match=message):
        load(tree, CREDENTIALS)


# --- HAProxy's own judgement ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The command of a real HAProxy: that of this machine, or the one that the lab makes its image of."""
    if found := shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin"):
        yield [found]
        return
    from kbstate.lab.mirror import closure

    root = tmp_path_factory.mktemp("haproxy")
    for package in closure("haproxy"):
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
    yield ["env", f"LD_LIBRARY_PATH={root}/usr/lib/x86_64-linux-gnu", f"{root}/usr/sbin/haproxy"]


@pytest.mark.lab
def test_haproxy_accepts_its_configuration(haproxy: list[str], name: str, tmp_path: Path) -> None:
    done = judged(haproxy, tmp_path, text(HAPROXY_CFG, name), text(REDIS_CFG, name))
    assert done.returncode == 0, done.stderr
    assert "[ALERT]" not in done.stderr
    # on a host that the follower has not yet run on
    warnings = [line for line in done.stderr.splitlines() if "[WARNING]" in line]
    assert all("server state file" in line for line in warnings), done.stderr


@pytest.mark.lab
def test_haproxy_would_refuse_a_broken_one(haproxy: list[str], tmp_path: Path) -> None:
    broken = text(HAPROXY_CFG).replace("default_backend be_pg_primary", "default_backend nobody")
    assert judged(haproxy, tmp_path, broken, text(REDIS_CFG)).returncode == 1


def judged(haproxy: list[str], directory: Path, *configurations: str) -> subprocess.CompletedProcess[str]:
    files = []
    for number, configuration in enumerate(configurations):
        (directory / f"{number}.cfg").write_text(configuration)
        files += ["-f", str(directory / f"{number}.cfg")]
    return subprocess.run([*haproxy, "-c", *files], capture_output=True, text=True, check=False)
