"""The life of a lab: what is left of it, what an interruption does to it, and its command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kbstate.lab import cgroups, pieces
from kbstate.lab.lab import Lab
from kbstate.lab.processes import identity, marked
from tests.conftest import Hosts
from tests.lab.test_lab import beside, ssh

pytestmark = pytest.mark.lab


def command(*words: str, lab: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "kbstate.lab", words[0], "--lab", lab, *words[1:]]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)


# Nothing is left, whatever happened


def remains(name: str) -> list[str]:
    """All of a lab that is still on the machine."""
    found = [str(path) for path in Path("/run/netns").glob(f"kb-{name}-*")]
    found += [f"process {pid}" for pid in marked(Lab(name).home)]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/labs/{name}/" in line]
    groups = [hierarchy.mountpoint / cgroups.group(name) for hierarchy in cgroups.hierarchies()]
    return found + [str(path) for path in [*groups, Lab(name).home] if path.exists()]


def test_nothing_outlives_down() -> None:
    name = beside("pass")
    lab = Lab(name)
    lab.down()
    lab.up(["bare-01", "dock-01"])
    lab.host("dock-01").run("docker run -d busybox:1.36 sleep 1000")
    lab.host("bare-01").power_off()
    inits = [host.init for host in lab.hosts() if host.init]
    assert remains(name)
    lab.down()
    assert not remains(name)
    assert len(inits) == 2
    assert not [pid for pid in inits if identity(pid)]
    lab.down()


@pytest.mark.parametrize("delay", [0.1, 0.35, 0.5, 0.8])
@pytest.mark.parametrize("then", ["up", "down"])
def test_a_killed_up_can_be_resumed_or_taken_down(then: str, delay: float) -> None:
    name = beside("kill")
    Lab(name).down()
    argv = [sys.executable, "-m", "kbstate.lab", "up", "--lab", name, "bare-01", "bare-02"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lab = Lab(name)
    try:
        if then == "up":
            lab.up(["bare-01", "bare-02"])
            assert [host.state for host in lab.status().hosts] == ["running"] * 3
            for host in ("bare-01", "bare-02"):
                assert ssh(lab, lab.host(host), "hostname").stdout.strip() == host
            supervisors = [pid for pid in marked(lab.home / "hosts") if b"supervisor" in _argv(pid)]
            assert len(supervisors) == 3, "one for each host, none forgotten"
    finally:
        lab.down()
    assert not remains(name)


@pytest.mark.parametrize("delay", [0.2, 0.25, 0.3, 0.4])
def test_a_killed_down_can_be_finished(delay: float) -> None:
    name = beside("down")
    Lab(name).up(["bare-01"])
    argv = [sys.executable, "-m", "kbstate.lab", "down", "--lab", name]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    Lab(name).down()
    assert not remains(name)


def _argv(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_killed_supervisor_takes_its_host_along(bare: Hosts) -> None:
    host = bare()
    init = host.init
    os.kill(int((host.home / "supervisor").read_text().split()[0]), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while init and identity(init):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert host.state == "off"
    host.power_cycle()
    assert host.state == "running"


def test_a_killed_build_leaves_nothing_that_looks_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSTATE_LAB_DIR", str(tmp_path))
    script = "contained(['sh', '-c', f'echo > {where}/half; sleep 876.5'])"
    program = (
        "from kbstate.lab.pieces import Piece, obtain; from kbstate.lab.processes import contained; "
        f"obtain(Piece('slow', ('x',), lambda where: {script}))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("cache/.new-slow/half")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.3)
    assert "sleep 876.5" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    built = pieces.obtain(pieces.Piece("slow", ("x",), lambda where: (where / "whole").touch()))
    assert [path.name for path in built.iterdir()] == ["whole"]


# The command line


def test_the_command_line_from_up_to_down() -> None:
    name = beside("cli")
    Lab(name).down()
    try:
        assert command("up", "bare-01", lab=name).returncode == 0
        found = json.loads(command("status", "--json", lab=name).stdout)
        assert [(host["name"], host["state"]) for host in found["hosts"]] == [
            ("install-01", "running"),
            ("bare-01", "running"),
        ]
        assert command("exec", "bare-01", "--", "hostname", lab=name).stdout == "bare-01\n"
        assert command("exec", "bare-01", "--", "sh", "-c", "exit 7", lab=name).returncode == 7
        assert command("power", "bare-01", "off", lab=name).returncode == 0
        assert "bare-01     off" in command("status", lab=name).stdout
        assert command("power", "bare-01", "on", lab=name).returncode == 0
        assert "Reached target" in command("console", "bare-01", "--log", lab=name).stdout
        rebuilt = command("rebuild", "bare-01", lab=name)
        assert (rebuilt.returncode, "now knows bare-01 by its new key" in rebuilt.stderr) == (0, True)
    finally:
        assert command("down", lab=name).returncode == 0
    assert command("status", lab=name).stdout == f"lab {name} is not up\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("up", "nope"), "the lab has no host 'nope': it has install-01, "),
        (("exec", "bare-01", "--", "true"), "bare-01 is absent: `kbstate lab up bare-01` makes it"),
        (("power", "bare-01", "on"), "bare-01 does not exist: `kbstate lab up bare-01` makes it"),
        (("power", "bare-01", "maybe"), "'maybe' is not on, off or cycle"),
        (("rebuild", "bare-01"), "bare-01 does not exist: `kbstate lab up bare-01` makes it"),
    ],
)
def test_errors_are_one_sentence(words: tuple[str, ...], said: str) -> None:
    done = command(*words, lab="none")
    assert done.returncode in (1, 64)
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_lab_name_that_could_meet_another() -> None:
    assert command("status", lab="a-b").stderr == (
        "'a-b' cannot name a lab: up to 12 lower-case letters and digits, a letter first\n"
    )
