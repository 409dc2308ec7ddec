"""Bad input: a clear sentence, the right exit code, nothing changed on a host, nothing run that was not meant to be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from subprocess import CompletedProcess

import pytest

from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from tests.conftest import Hosts
from tests.lab.hostile import DIRECTORY, GROUPS, PAYLOADS
from tests.lab.tree import Tree, one_host

pytestmark = pytest.mark.lab

BROKEN = "/usr/local/sbin"
"""Programs here come before the real ones."""
ED25519 = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"
MOTD = 'File(path="/etc/motd", content="hello\\n", mode="0644")'


@pytest.fixture(scope="module")
def host(module_dock: Hosts) -> Host:
    made = module_dock()
    made.run("docker pull -q busybox:1.36")
    return made


@pytest.fixture(scope="module")
def other(module_bare: Hosts) -> Host:
    return module_bare()


@pytest.fixture
def tree(lab: Lab, host: Host) -> Callable[..., Tree]:
    def make(*resources: str) -> Tree:
        return Tree(lab, "bad-input", one_host(host, ", ".join(resources)))

    return make


def fingerprint(host: Host) -> str:
    """All that kbstate could have changed: files with their attributes and content, accounts, units, containers."""
    places = f"/etc /home /opt /root /srv /usr/local /var/lib/kbstate -xdev -path {BROKEN} -prune -o"
    files = f"find {places} -printf '%p %y %m %U %G %s %T@ %l\\n'"
    running = "systemctl list-units --plain --no-legend -t service,timer | sed 's/ .*//'"
    units = f"systemctl list-unit-files --no-legend; {running}"
    mounts = "mount | grep -v /run/ | sort"
    rest = f"sysctl -n net.core.somaxconn vm.swappiness; nft -s list ruleset; docker ps -a --no-trunc -q; {mounts}"
    stable = "grep -v -e run-docker -e systemd-tmpfiles -e /etc/mtab -e user@ -e user-runtime-dir -e ssh@ -e session"
    return host.run(f"{{ {files} 2>/dev/null | sort; {units}; {rest}; }} 2>&1 | {stable}", check=False).stdout


def one_line(done: CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def refused(tree: Tree, host: Host, code: int, sentence: str) -> None:
    """Plan and apply say so, and nothing is changed."""
    was = fingerprint(host)
    for words in (["plan"], ["apply", "--auto-approve"]):
        done = tree.kbstate(*words)
        assert done.returncode == code, done.stdout + done.stderr
        assert sentence in one_line(done)
        assert "Traceback" not in done.stdout + done.stderr
    assert fingerprint(host) == was


# --- what is wrong before any connection ------------------------------------------------------------------------

HEADER = "ENV\tIP_PUBLIQUE\tHOSTNAME\tIP_PRIVEE\tFQDN\tUSER_SSH\tPOOL\tROLE\tSUBROLE\tDOCKER_STACK\tCORE\tNOTES\n"
ROW = "prod\t-\t{name}\t{address}\t-\troot\tx\tx\tx\t-\tyes\t{notes}\n"
FROM_INVENTORY = f"""
from kbstate import *


def hosts(site):
    return [Host(name=s.hostname, address=s.address, modules={{"base": [{MOTD}]}}) for s in site.inventory.where()]
"""


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        (MOTD.replace("mode", "mod"), "file:/etc/motd: field 'mod' does not exist: did you mean mode"),
        (MOTD.replace('"0644"', "420"), "file:/etc/motd: field 'mode'"),
        (f"{MOTD}, {MOTD}", "file:/etc/motd is declared twice"),
        ('File(path="/etc/motd", content=template("no-such.j2"))', "no-such.j2"),
        ('File(path="/etc/motd", content=site.credentials["redis.env", "REDIS_PASSWORD"])', "redis.env"),
        (
            'File(path="/etc/a", content="x", requires=("file:/etc/b",)), '
            'File(path="/etc/b", content="x", requires=("file:/etc/a",))',
            "these require each other in a circle: file:/etc/a",
        ),
        ('File(path="/etc/../etc/motd", content="x")', "must be an absolute path without '.', '..' or '//'"),
        ("1/0", "ZeroDivisionError"),
    ],
)
def test_a_faulty_desired_state_touches_no_host(
    host: Host, tree: Callable[..., Tree], resources: str, sentence: str
) -> None:
    made = tree(resources)
    logins = "journalctl --sync; journalctl -q -o cat -u ssh | grep -c '^Accepted'"
    was = host.run(logins, check=False).stdout
    refused(made, host, 1, sentence)
    assert host.run(logins, check=False).stdout == was
    assert "hosts.py:" in one_line(made.kbstate("validate"))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (ROW.format(name="$(touch /tmp/pwned)", address="{address}", notes="-"), "HOSTNAME"),
        (ROW.format(name="-oProxyCommand=pwn", address="{address}", notes="-"), "HOSTNAME"),
        (ROW.format(name="x", address="-oProxyCommand=pwn", notes="-"), "IP_PRIVEE"),
        (ROW.format(name="x", address="10.0.0.999", notes="-"), "IP_PRIVEE"),
        ("prod\t-\tx\n", "the row has 3 columns where 12 are expected"),
        (ROW.format(name="x", address="{address}", notes="a\0b"), "NOTES"),
    ],
)
def test_a_hostile_inventory_touches_no_host(lab: Lab, host: Host, row: str, sentence: str) -> None:
    made = Tree(lab, "bad-inventory", FROM_INVENTORY)
    made.write("desired/servers.tsv", HEADER + row.replace("{address}", str(host.spec.private)))
    refused(made, host, 1, sentence)
    assert "servers.tsv" in one_line(made.kbstate("validate"))
    nowhere_pwned(lab.controller, host)


# --- what lies on the host --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "resource", "sentence"),
    [
        ("mkdir /etc/kb-x", 'File(path="/etc/kb-x", content="x")', "a directory is in its place"),
        ("ln -s /etc/passwd /etc/kb-x", 'File(path="/etc/kb-x", content="x")', "a symlink is in its place"),
        ("mkfifo /etc/kb-x", 'File(path="/etc/kb-x", content="x")', "a fifo is in its place"),
        ("echo x > /etc/kb-x", 'Directory(path="/etc/kb-x")', "a file is in its place"),
        ("ln -s /root /etc/kb-x", 'Directory(path="/etc/kb-x", mode="0777")', "a symlink is in its place"),
        ("mkdir /etc/kb-x", 'Symlink(path="/etc/kb-x", target="/root")', "a directory is in its place"),
        ("mkdir /etc/kb-x", 'File(path="/etc/kb-x", absent=True)', "a directory is in its place"),
        ("mkdir /etc/cron.d/kb-x", CRON := 'Cron(name="kb-x", schedule="@daily", command="true")', "directory"),
        ("mkdir /etc/systemd/system/kb-x.service", 'Unit(name="kb-x.service", content="[Unit]\\n")', "directory"),
        ("mkdir /etc/sysctl.d/kb-x.conf", 'Sysctl(name="kb-x", values={"net.core.somaxconn": "99"})', "directory"),
        ("ln -s /etc/passwd /etc/cron.d/kb-x", CRON, "symlink"),
    ],
)
def test_what_is_of_another_type_is_left_alone(
    host: Host, tree: Callable[..., Tree], prepare: str, resource: str, sentence: str
) -> None:
    host.run("rm -rf /etc/kb-x /etc/cron.d/kb-x /etc/systemd/system/kb-x.service /etc/sysctl.d/kb-x.conf")
    host.run(prepare)
    refused(tree(resource), host, 4, sentence)
    host.run("rm -rf /etc/kb-x /etc/cron.d/kb-x /etc/systemd/system/kb-x.service /etc/sysctl.d/kb-x.conf")


def test_a_file_in_the_way_of_a_directory_fails_alone(host: Host, tree: Callable[..., Tree]) -> None:
    host.run("rm -rf /etc/motd /etc/kb-x; echo x > /etc/kb-x")
    done = tree('File(path="/etc/kb-x/y", content="x")', MOTD).kbstate("apply", "--auto-approve")
    assert done.returncode == 1
    assert "file:/etc/kb-x/y" in done.stderr
    assert host.run("cat /etc/kb-x /etc/motd; ls -A /etc | grep -c '[.]kb' || true").stdout == "x\nhello\n0\n"
    host.run("rm /etc/kb-x")


def test_what_is_not_utf_8_is_shown_and_replaced(host: Host, tree: Callable[..., Tree]) -> None:
    host.run(r"printf 'caf\351 \377\376\000\n' > /etc/motd")
    made = tree(MOTD)
    (change,) = made.plan()["changes"]
    assert [delta["path"] for delta in change["diff"] if delta["path"].startswith("content")] == ["content"]
    assert made.kbstate("plan").returncode == 0
    made.apply()
    made.unchanged()
    assert host.run("cat /etc/motd").stdout == "hello\n"


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/etc/hosts", 'HostsFile(entries={"10.0.0.9": ("gone",)})'),
        ("/etc/fstab", "Swap()"),
        ("/etc/resolv.conf", 'Resolver(nameservers=("10.0.0.2",))'),
        ("/root/.ssh/authorized_keys", f'AuthorizedKey(user="root", name="kb", public_key="{ED25519}")'),
    ],
)
def test_a_shared_file_that_is_not_utf_8_is_kept_as_it_is(
    host: Host, tree: Callable[..., Tree], path: str, resource: str
) -> None:
    """Either it is edited around what cannot be decoded, or nothing is done; never is a byte of others lost."""
    host.run(rf"cp -aL {path} /tmp/kept; printf '# caf\351\377\n' >> {path}")
    made = tree(resource)
    planned = made.kbstate("plan")
    assert planned.returncode in (0, 4), planned.stdout + planned.stderr
    made.kbstate("apply", "--auto-approve")
    assert host.run(rf"grep -a -c $'# caf\351\377' {path}").stdout == "1\n"
    host.run(f"cat /tmp/kept > {path}; rm /tmp/kept")


def test_an_enormous_file(host: Host, tree: Callable[..., Tree]) -> None:
    host.run("head -c 6000000 /dev/zero | tr '\\0' x > /etc/motd")
    made = tree(MOTD)
    text = made.kbstate("plan")
    assert text.returncode == 0
    assert "too large to show" in text.stdout
    assert len(text.stdout) < 10_000
    made.apply()
    made.unchanged()
    large = tree('File(path="/etc/motd", content="y" * 6_000_000, mode="0644")')
    assert len(large.kbstate("plan").stdout) < 10_000
    large.apply()
    large.unchanged()
    assert host.run("stat -c %s /etc/motd").stdout == "6000000\n"


# --- a fact that fails on one host of two -----------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """How a host is broken, what cannot be read for that, and the sentence that says so."""

    does: str
    address: str
    resource: str
    sentence: str
    undo: str = f"rm -f {BROKEN}/*"


CONTAINER = 'Container(name="kb-web", image="busybox:1.36", command=("sleep", "inf"), stop_timeout=0)'
PACKAGE = 'Package(name="lsof")'
FILE = 'File(path="/etc/kb-x", content="x")'
"""It is there, with another content."""


def broken(program: str, *lines: str) -> str:
    """Puts another program in the place of one."""
    text = "\\n".join(("#!/bin/sh", *lines))
    return f"printf '{text}\\n' > {BROKEN}/{program}; chmod +x {BROKEN}/{program}"


FAULTS = [
    Fault(broken("docker", "echo oh no >&2", "exit 3"), "container:kb-web", CONTAINER, "oh no"),
    Fault(broken("docker", "echo C garbage"), "container:kb-web", CONTAINER, "makes no sense"),
    Fault(broken("docker", "exit 0"), "container:kb-web", CONTAINER, "the docker client says nothing"),
    Fault(broken("docker", 'printf "\\\\377\\\\376"'), "container:kb-web", CONTAINER, "not UTF-8"),
    Fault(broken("docker", "exec yes C"), "container:kb-web", CONTAINER, "more than 512 MiB of memory"),
    Fault(broken("dpkg-query", "exec yes"), "package:lsof", PACKAGE, "larger than 64 MiB"),
    Fault(broken("docker", "kill -9 $PPID"), "container:kb-web", CONTAINER, ""),
    Fault(broken("dpkg-query", "exit 1"), "package:lsof", PACKAGE, "exit status 1"),
    Fault(broken("dpkg-query", "echo lsof"), "package:lsof", PACKAGE, "makes no sense"),
    Fault(
        "cp -a /var/lib/dpkg/status /tmp/status; echo garbage: >> /var/lib/dpkg/status",
        "package:lsof",
        PACKAGE,
        "before value of field 'garbage'",
        "cp -a /tmp/status /var/lib/dpkg/status",
    ),
    Fault(broken("find", "sleep 1; exit 1"), "file:/etc/kb-x", FILE, "it vanished while it was read"),
    Fault(broken("find", "echo"), "file:/etc/kb-x", FILE, ""),
    Fault(broken("sha256sum", "exit 1"), "file:/etc/kb-x", FILE, "its content cannot be read"),
    Fault(broken("stat", "exit 1"), "file:/etc/kb-y", FILE.replace("kb-x", "kb-y"), "makes no sense"),
    Fault(broken("base64", "cat"), "file:/etc/kb-x", FILE, ""),
    Fault(broken("systemctl", "exit 1"), "service:cron.service", 'Service(name="cron", running=False)', ""),
    Fault(broken("nft", "echo {"), "firewall:kbstate", "Firewall(rules=(Allow(ports=(22,)),))", ""),
    Fault(broken("getent", "exit 3"), "user:kb-user", 'User(name="kb-user")', ""),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.address}-{fault.does[:40]}")
def test_what_cannot_be_read_is_not_created(lab: Lab, host: Host, other: Host, fault: Fault) -> None:
    """The other host is planned and applied all the same."""
    text = f"""
from kbstate import *


def hosts(site):
    return [
        Host(name="{host.name}", address="{host.spec.private}", modules={{"base": [{fault.resource}]}}),
        Host(name="{other.name}", address="{other.spec.private}", modules={{"base": [{MOTD}]}}),
    ]
"""
    made = Tree(lab, "faults", text)
    host.run("rm -rf /etc/kb-x /var/lib/kbstate; echo old > /etc/kb-x; docker rm -f kb-web", check=False)
    other.run("rm -f /etc/motd")
    was = fingerprint(host)
    host.run(fault.does)
    planned = made.kbstate("plan", "--json")
    done = made.kbstate("apply", "--auto-approve")
    host.run(fault.undo)
    assert planned.returncode == 4, planned.stdout + planned.stderr
    first, second = json.loads(planned.stdout)["hosts"]
    assert first["changes"] == []
    said = [item["reason"] for item in first["unknown"] if item["address"] == fault.address] or first["errors"]
    assert said, planned.stdout
    assert fault.sentence in said[0]
    assert [change["address"] for change in second["changes"]] == ["file:/etc/motd"]
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert other.run("cat /etc/motd").stdout == "hello\n"
    assert without_ledger(fingerprint(host)) == without_ledger(was)  # which may name what could be read


def without_ledger(found: str) -> list[str]:
    return [line for line in found.splitlines() if not line.startswith("/var/lib/kbstate")]


def test_a_program_that_hangs_holds_nothing_up_for_ever(host: Host, tree: Callable[..., Tree]) -> None:
    host.run("rm -rf /etc/motd /var/lib/kbstate")
    host.run(broken("nft", "exec sleep 300"))
    began = time.monotonic()
    done = tree("Firewall(rules=(Allow(ports=(22,)),))", MOTD).kbstate("plan")
    took = time.monotonic() - began
    host.run(f"rm {BROKEN}/nft")
    assert done.returncode == 4
    assert "? firewall:kbstate it did not answer within 30 s" in one_line(done)
    assert "+ file:/etc/motd" in one_line(done)
    assert took < 60


# --- metacharacters ---------------------------------------------------------------------------------------------

HOSTILE = """
from kbstate import Host
from tests.lab.hostile import resources


def hosts(site):
    name, address = "{host}", "{address}"
    yield Host(name=name, address=address, modules={{"hostile": resources({number}, {group!r})}})
"""


def nowhere_pwned(*hosts: Host) -> None:
    for host in hosts:
        assert host.run("ls -d /tmp/pwned* /root/pwned* /pwned* 2>/dev/null; cat /tmp/pwned", check=False).stdout == ""


@pytest.fixture(scope="module")
def trapped(lab: Lab, host: Host) -> Iterator[Host]:
    """`pwn` is a program here and on the controller, and whoever runs it is written down."""
    pwn = "#!/bin/sh\ntr '\\0' ' ' < /proc/$PPID/cmdline >> /tmp/pwned; echo >> /tmp/pwned\n"
    for where in (host, lab.controller):
        where.write("/usr/local/bin/pwn", pwn, 0o755)
        where.run("rm -rf /tmp/pwned; pwn; test -s /tmp/pwned; rm /tmp/pwned")
    for kind in ("file", "directory", "symlink", "mount"):
        for path in (f"{DIRECTORY}/{kind}/{prefix}{payload}" for payload in PAYLOADS for prefix in ("", "x")):
            host.run(["mkdir", "-p", path.rpartition("/")[0]])
    yield host
    for where in (host, lab.controller):
        where.run("rm -f /usr/local/bin/pwn")


ROUNDS = [
    *((number, "") for number in range(len(PAYLOADS))),
    *((number, group) for group in GROUPS for number in (0, PAYLOADS.index("--help"))),
]


@pytest.mark.parametrize(("number", "group"), ROUNDS)
def test_metacharacters_are_only_characters(lab: Lab, trapped: Host, number: int, group: str) -> None:
    text = HOSTILE.format(host=trapped.name, address=trapped.spec.private, number=number, group=group)
    made = Tree(lab, "hostile", text)
    payload = PAYLOADS[number]
    runs = [
        made.kbstate("validate"),
        made.kbstate("plan"),
        made.kbstate("apply", "--auto-approve", "--allow-destroy", "*", "--reason", payload.replace("\n", " ")),
        made.kbstate("plan", "--json"),
    ]
    nowhere_pwned(trapped, lab.controller)
    assert (runs[0].returncode, runs[1].returncode in (0, 4)) == (0, True), runs[0].stderr + runs[1].stderr
    assert runs[2].returncode in (0, 1, 4), runs[2].stdout + runs[2].stderr
    for run in runs:
        assert "Traceback" not in run.stderr
        assert "\x1b" not in run.stdout + run.stderr
    left = [change["address"] for change in json.loads(runs[3].stdout)["hosts"][0]["changes"]]
    good = () if group else ("file:", "directory:", "symlink:", "container:kb-started")
    assert [address for address in left if address.startswith(good)] == [], runs[2].stderr
