"""How a host is reached: one connection, one execution, strict host keys, sudo with and without a password."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest

from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from tests.conftest import Hosts
from tests.lab.tree import Tree, one_host

pytestmark = pytest.mark.lab

RESOURCES = 'Package(name="sudo"), File(path="/etc/motd", content="hello\\n", mode="0644"), Timezone(zone="Etc/UTC")'


@pytest.fixture(scope="module")
def host(module_bare: Hosts) -> Host:
    return module_bare()


@pytest.fixture
def tree(lab: Lab, host: Host) -> Tree:
    return Tree(lab, "connection", one_host(host, RESOURCES))


def _sessions(host: Host, work: Callable[[], object]) -> list[str]:
    """What sshd logged meanwhile: connections let in, and commands started."""
    host.run("echo 'LogLevel VERBOSE' > /etc/ssh/sshd_config.d/verbose.conf; systemctl reload ssh; journalctl --sync")
    cursor = host.run("journalctl -q -n 0 --show-cursor").stdout.rpartition("cursor: ")[2].strip()
    work()
    host.run("journalctl --sync")
    log = host.run(["journalctl", "-q", "-o", "cat", "-u", "ssh", "--after-cursor", cursor]).stdout
    return re.findall(r"^(Accepted publickey|Starting session: \w+)", log, re.MULTILINE)


def test_a_plan_is_one_connection_and_one_execution(host: Host, tree: Tree) -> None:
    tree.apply()
    assert _sessions(host, tree.unchanged) == ["Accepted publickey", "Starting session: command"]


def test_applying_is_one_connection_too(host: Host, tree: Tree) -> None:
    host.run("rm /etc/motd")
    assert _sessions(host, tree.apply) == ["Accepted publickey", "Starting session: command"]


@pytest.mark.parametrize(
    ("user", "password"), [("root", None), ("nopass", None), ("nopass", "not asked for"), ("operator", "operator")]
)
def test_root_by_any_way(lab: Lab, host: Host, user: str, password: str | None) -> None:
    more = {"user": repr(user)} | ({"sudo_password": f"Secret({password!r})"} if password else {})
    tree = Tree(lab, "sudo", one_host(host, RESOURCES, **more))
    host.run("echo changed > /etc/motd")
    tree.apply()
    tree.unchanged()
    assert host.run("cat /etc/motd").stdout == "hello\n"


@pytest.mark.parametrize(
    ("user", "password", "sentence"),
    [
        ("operator", None, "sudo asks operator for a password: declare sudo_password for the host, or NOPASSWD on it"),
        ("operator", "wrong", "sudo did not accept the password of operator"),
        (
            "nobody-here",
            None,
            "the login as nobody-here@{address} was refused: is the right key offered, and authorised",
        ),
    ],
)
def test_no_way_to_root(lab: Lab, host: Host, user: str, password: str | None, sentence: str) -> None:
    more = {"user": repr(user)} | ({"sudo_password": f"Secret({password!r})"} if password else {})
    done = Tree(lab, "no-sudo", one_host(host, RESOURCES, **more)).kbstate("plan")
    assert done.returncode == 4
    assert sentence.format(address=host.spec.private) in _one_line(done.stdout + done.stderr)


def test_the_password_is_on_no_command_line(lab: Lab, host: Host) -> None:
    host.run("echo operator:swordfish-7 | chpasswd")
    more = {"user": "'operator'", "sudo_password": "Secret('swordfish-7')"}
    running = Tree(lab, "sudo-ps", one_host(host, RESOURCES, **more)).start("plan")
    look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    seen = host.run(f"for i in $(seq 100); do {look}; sleep .01; done | grep -a -e '[k]bstate' -e '[s]wordfish'").stdout
    assert running.wait(60) == 0
    host.run("echo operator:operator | chpasswd")
    assert "kbstate" in seen
    assert "swordfish" not in seen


@pytest.fixture
def other_key(host: Host) -> Iterator[None]:
    """The host gets a new key that nobody has been told of."""
    host.run("mkdir /root/keys; mv /etc/ssh/ssh_host_* /root/keys; ssh-keygen -A; systemctl restart ssh")
    yield
    host.run("rm /etc/ssh/ssh_host_*; mv /root/keys/* /etc/ssh; rmdir /root/keys; systemctl restart ssh")


@pytest.mark.usefixtures("other_key")
def test_a_changed_host_key_is_refused(tree: Tree) -> None:
    done = tree.kbstate("plan")
    assert done.returncode == 4
    assert "its SSH host key is another than the known one" in _one_line(done.stdout + done.stderr)
    done = tree.kbstate("apply", "--auto-approve")
    assert done.returncode == 4
    assert "ssh-keygen -R" in _one_line(done.stderr)


def test_an_unknown_host_key_is_refused(tree: Tree) -> None:
    done = tree.kbstate("plan", "--known-hosts", "/dev/null")
    assert done.returncode == 4
    assert "its SSH host key is not known: check it at its console" in _one_line(done.stdout + done.stderr)


def test_ssh_config_cannot_switch_the_check_off(tree: Tree) -> None:
    tree.write("ssh_config", "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n")
    done = tree.kbstate("plan", "--ssh-config", f"{tree.path}/ssh_config")
    assert done.returncode == 4
    assert "its SSH host key is not known" in _one_line(done.stdout + done.stderr)


def test_nobody_answers(lab: Lab, host: Host) -> None:
    closed = Tree(lab, "closed", one_host(host, RESOURCES, port="2"))
    assert "no SSH server answers at root@" in _one_line(closed.kbstate("plan").stdout)
    host.run("nft add table ip hole; nft add chain ip hole in '{ type filter hook input priority 0; }'")
    host.run("nft add rule ip hole in tcp dport 3 drop")
    began = time.monotonic()
    silent = Tree(lab, "silent", one_host(host, RESOURCES, port="3")).kbstate("plan", "--timeout", "2", "--json")
    assert time.monotonic() - began < 15
    host.run("nft delete table ip hole")
    assert silent.returncode == 4
    (said,) = json.loads(silent.stdout)["hosts"]
    assert not said["reachable"]
    assert "did not answer in time" in said["errors"][0]


def test_a_talkative_login_shell_does_not_matter(host: Host, tree: Tree) -> None:
    host.run(
        "cp /root/.bashrc /root/bashrc; sed -i '1i echo Welcome to this host; echo on stderr too >&2' /root/.bashrc"
    )
    tree.apply()
    tree.unchanged()
    host.run("mv /root/bashrc /root/.bashrc")


def test_one_unreachable_host_hides_no_other(lab: Lab, host: Host) -> None:
    text = f"""
from kbstate import *


def hosts(site):
    modules = {{"base": [{RESOURCES}]}}
    return [
        Host(name="gone-01", address="{host.spec.private}", port=2, modules=modules),
        Host(name="{host.name}", address="{host.spec.private}", modules=modules),
    ]
"""
    done = Tree(lab, "two", text).kbstate("plan")
    assert done.returncode == 4
    assert "gone-01" in done.stdout
    assert f"{host.name}  no changes" in done.stdout


def _one_line(text: str) -> str:
    return " ".join(text.split())
