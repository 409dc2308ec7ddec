"""The lab itself: that its hosts behave like servers, and that nothing of it reaches the machine or outlives it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from kbstate.lab import credentials, inventory, network
from kbstate.lab.errors import LabError
from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from kbstate.lab.places import default_name
from tests.conftest import Hosts

pytestmark = pytest.mark.lab


def beside(end: str) -> str:
    """The name of another lab of this session, which no other session uses."""
    return default_name()[:8] + end


def ssh(lab: Lab, host: Host, text: str) -> subprocess.CompletedProcess[str]:
    return lab.controller.run(["ssh", "-o", "BatchMode=yes", f"root@{host.spec.private}", text], check=False)


# A host is a server


def test_an_empty_host_is_up_in_seconds_and_takes_ssh(
    lab: Lab, bare: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    host = bare()
    up = time.monotonic() - began
    said = ssh(lab, host, "systemctl is-system-running --wait; hostname; cat /proc/1/comm; cat /etc/debian_version")
    reached = time.monotonic() - began
    with capsys.disabled():
        print(f"\nan empty host: up after {up:.2f} s, answered over SSH after {reached:.2f} s")
    state, name, init, version = said.stdout.split()
    assert (state, name, init) == ("running", host.name, "systemd")
    assert version.startswith("12.")
    assert host.run("command -v docker", check=False).returncode != 0


def test_power_cycle_keeps_the_disk_and_nothing_else(bare: Hosts) -> None:
    host = bare()
    host.run(
        "echo kept > /root/kept; echo lost > /run/lost; ip address add 10.0.9.9/32 dev eth0; nft add table ip lost"
    )
    before = host.run("cat /proc/sys/kernel/random/boot_id").stdout
    host.power_cycle()
    assert host.run("cat /root/kept").stdout == "kept\n"
    assert not host.run("ls /run/lost", check=False).stdout
    assert "10.0.9.9" not in host.run("ip address").stdout
    assert "lost" not in host.run("nft list tables").stdout
    assert host.run("cat /proc/sys/kernel/random/boot_id").stdout != before


def test_power_off_ends_every_process_and_on_starts_again(bare: Hosts) -> None:
    host = bare()
    host.run("systemd-run --quiet sleep 4321.5")
    host.power_off()
    assert host.state == "off"
    assert "4321.5" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    with pytest.raises(LabError, match=f"{host.name} is off: `kbstate lab power {host.name} on` starts it"):
        host.run("true")
    host.power_on()
    host.wait()
    assert host.run("hostname").stdout.strip() == host.name


def test_reboot_from_inside_over_ssh(lab: Lab, bare: Hosts) -> None:
    host = bare()
    host.run("echo kept > /root/kept")
    before = host.init
    ssh(lab, host, "systemctl reboot")
    deadline = time.monotonic() + 60
    while host.init in (before, None) or host.state != "running":
        assert time.monotonic() < deadline, host.boot_log[-500:]
        time.sleep(0.05)
    assert ssh(lab, host, "cat /root/kept").stdout == "kept\n"


def test_poweroff_from_inside_leaves_it_off(bare: Hosts) -> None:
    host = bare()
    host.run(["systemctl", "--no-block", "poweroff"])
    deadline = time.monotonic() + 60
    while host.state != "off":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "Reached target" in host.boot_log


def test_docker_from_the_signed_mirror_and_an_image_by_its_production_name(
    lab: Lab, bare: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    host = bare()
    sources = host.run("cat /etc/apt/sources.list").stdout
    assert "trusted" not in sources
    began = time.monotonic()
    host.run("apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y docker.io nftables")
    installed = time.monotonic()
    host.run("docker pull haproxy:2.8.5")
    pulled = time.monotonic()
    with capsys.disabled():
        print(f"\ndocker.io installed in {installed - began:.1f} s, haproxy pulled in {pulled - installed:.1f} s")
    digests = json.loads(host.run("docker image inspect haproxy:2.8.5").stdout)[0]["RepoDigests"]
    assert digests == [f"haproxy@{lab.digests['haproxy:2.8.5']}"]
    assert host.run("docker run --rm haproxy:2.8.5 id").stdout.startswith("uid=99(haproxy) gid=99(haproxy)")
    assert not host.run("ls /etc/docker/daemon.json", check=False).stdout


def test_a_changed_index_is_refused(lab: Lab, bare: Hosts) -> None:
    host = bare()
    archive = lab.home / "infra/archive"
    real = archive.resolve()
    changed = lab.home / "changed"
    release = "debian/dists/bookworm/InRelease"
    subprocess.run(["cp", "-as", real, changed], check=True)
    (changed / release).unlink()
    (changed / release).write_text((real / release).read_text().replace("main/binary-amd64", "main/binary-amd65"))
    archive.unlink()
    archive.symlink_to(changed)
    try:
        said = host.run("apt-get update", check=False)
        assert "BADSIG" in said.stdout + said.stderr
    finally:
        archive.unlink()
        archive.symlink_to(real)


def test_docker_is_there_at_once_on_a_dock_host(lab: Lab, dock: Hosts) -> None:
    host = dock()
    host.run("docker pull -q busybox:1.36 && docker pull -q busybox:latest && docker pull -q haproxy:2.8.5-bookworm")
    ids = host.run("docker image inspect --format '{{.Id}}' busybox:1.36 busybox:latest").stdout.split()
    assert ids[0] == ids[1]
    assert lab.digests["haproxy:2.8.5"] == lab.digests["haproxy:2.8.5-bookworm"] != lab.digests["haproxy:2.8.6"]
    host.run("docker run -d --name keeps --restart always busybox:1.36 sleep 1000")
    host.power_cycle()
    host.wait_serving()
    deadline = time.monotonic() + 20
    while host.run("docker inspect --format '{{.State.Running}}' keeps").stdout.strip() != "true":
        assert time.monotonic() < deadline
    said = host.run("docker run --rm edoburu/pgbouncer:1.18.0 sh -c 'id; pgbouncer --version'").stdout
    assert said.startswith("uid=70(postgres) gid=70(postgres)")
    assert "PgBouncer 1.18" in said


# What the machine is protected from


def test_a_host_cannot_touch_the_machine(bare: Hosts) -> None:
    host = bare()
    swappiness = Path("/proc/sys/vm/swappiness").read_text()
    host.run("sysctl -w vm.swappiness=11 && sysctl -n vm.swappiness | grep -qx 11")
    assert Path("/proc/sys/vm/swappiness").read_text() == swappiness
    assert host.run("sysctl -w kernel.panic_on_oops=1", check=False).stderr
    assert host.run("date -s '2001-01-01'", check=False).returncode != 0
    assert not host.run("ls /dev/vd* /dev/sd*", check=False).stdout
    assert host.run("modprobe dummy", check=False).returncode != 0


def test_no_packet_can_leave(lab: Lab, bare: Hosts) -> None:
    host = bare()
    machine = subprocess.run(["ip", "-oneline", "address"], capture_output=True, text=True, check=True).stdout
    for address in (*host.spec.addresses, inventory.INFRA_ADDRESS, lab.controller.spec.addresses[0]):
        assert f" {address}/" not in machine
    names = {link["ifname"] for link in json.loads(host.run("ip -json link").stdout)}
    assert names == {"lo", "eth0", "eth1"}
    assert not host.run("ip route show default").stdout
    route = subprocess.run(
        ["ip", "netns", "exec", network.namespace(lab.name, "sw"), "ip", "-json", "link"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    masters = {link.get("master") for link in json.loads(route.stdout)}
    assert masters <= {None, "private", "public"}, "only ports of the lab are on its bridges"
    assert host.run("ping -c 1 -W 1 9.9.9.9", check=False).returncode != 0


def test_two_labs_with_the_same_addresses_do_not_meet(lab: Lab, bare: Hosts) -> None:
    host = bare()
    host.run("echo first > /root/which")
    other = Lab(beside("two"))
    other.down()
    try:
        other.up([host.name])
        other.host(host.name).run("echo second > /root/which")
        assert ssh(lab, host, "cat /root/which").stdout == "first\n"
        assert ssh(other, other.host(host.name), "cat /root/which").stdout == "second\n"
    finally:
        other.down()
    assert ssh(lab, host, "cat /root/which").stdout == "first\n"


# Trust


def test_rebuilt_host_is_empty_and_known_only_by_an_explicit_act(
    lab: Lab, bare: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    host = bare()
    host.run("echo gone > /root/gone")
    before, machine = host.host_key, host.run("cat /etc/machine-id").stdout
    lab.rebuild(host.name, accept_key=False)
    assert host.host_key != before
    assert host.run("cat /etc/machine-id").stdout != machine
    assert not host.run("ls /root", check=False).stdout
    refused = ssh(lab, host, "true")
    assert refused.returncode == 255
    assert "HOST IDENTIFICATION HAS CHANGED" in refused.stderr
    lab.rebuild(host.name)
    assert f"install-01 now knows {host.name} by its new key SHA256:" in capsys.readouterr().err
    assert ssh(lab, host, "true").returncode == 0


def test_every_login_of_a_host(lab: Lab, bare: Hosts) -> None:
    address = bare().spec.private
    for user, sudo, expected in (("operator", "sudo -S -p ''", "root"), ("nopass", "sudo -n", "root")):
        words = ["ssh", "-o", "BatchMode=yes", f"{user}@{address}", f"{sudo} whoami"]
        assert lab.controller.run(words, input="operator\n").stdout.strip() == expected
    refused = lab.controller.run(["ssh", "-o", "BatchMode=yes", f"operator@{address}", "sudo -n true"], check=False)
    assert refused.returncode == 1


# The controller and the site


def test_the_controller_runs_this_checkout(lab: Lab) -> None:
    controller = lab.controller
    source = "/opt/kbstate/src"
    said = controller.run(["/opt/kbstate/venv/bin/python", "-c", "import kbstate, pyinfra; print(kbstate.__file__)"])
    assert said.stdout.strip() == f"{source}/kbstate/__init__.py"
    assert controller.run(["touch", f"{source}/new"], check=False).stderr.strip().endswith("Read-only file system")
    assert controller.run("stat -c %a $KBSTATE_CREDENTIALS $KBSTATE_CREDENTIALS/*.env").stdout.split()[0] == "700"
    assert controller.run("cat $KBSTATE_CREDENTIALS/redis.env").stdout == credentials.text(
        credentials.FILES["redis.env"]
    )


def test_the_upstreams_serve_and_elect(lab: Lab, upstreams: dict[str, Host]) -> None:
    controller = lab.controller
    asked = "for n in 120 121 122; do curl -s -o /dev/null -w '%{http_code} ' http://10.0.0.$n:8008/primary; done"
    assert controller.run(asked).stdout.split() == ["200", "503", "503"]
    login = f"PGPASSWORD={credentials.DATABASE_PASSWORD} psql -h 10.0.0.120 -U keybuzz -At keybuzz -c 'select 40 + 2'"
    assert controller.run(login).stdout == "42\n"
    verifier = "select rolpassword from pg_authid where rolname = 'keybuzz'"
    found = upstreams["db-master-01"].run(["psql", "-At", "postgres", "-c", verifier], user="postgres")
    assert found.stdout.strip() == credentials.DATABASE_VERIFIER
    sentinel = "redis-cli -h 10.0.0.125 -p 26379 sentinel get-master-addr-by-name keybuzz-master"
    assert controller.run(sentinel).stdout.split() == ["10.0.0.123", "6379"]
    role = f"REDISCLI_AUTH={credentials.REDIS_PASSWORD} redis-cli -h 10.0.0.124 role"
    assert controller.run(role).stdout.split()[:2] == ["slave", "10.0.0.123"]
    for host in ("queue-01", "queue-02", "queue-03"):
        logins = upstreams[host].run("rabbitmqctl -q list_users").stdout
        assert credentials.QUEUE_USER in logins
