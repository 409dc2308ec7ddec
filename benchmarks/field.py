"""Where it is measured: an empty lab host, and commands of this machine run in the network of the lab's controller."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workload import Workload
from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from kbstate.lab.network import namespace_file

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
NEAR, FAR = "0 ms", "50 ms"
FAR_PORT = 2222
ROUND_TRIP_MS = 50


@dataclass(frozen=True)
class Sample:
    """One run of a command. Seconds by the clock; memory at its peak, in MiB."""

    seconds: float
    memory: float
    status: int
    output: str


@dataclass(frozen=True)
class Field:
    """A lab host, and how tools reach it, near or far."""

    lab: Lab
    host: Host
    scratch: Path

    def endpoint(self, distance: str) -> tuple[str, int]:
        """Address and port at this distance."""
        return (self.host.spec.addresses[0], 22) if distance == NEAR else ("127.0.0.1", FAR_PORT)

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command in the controller's network namespace: only there are lab hosts reached."""
        return ["nsenter", f"--net={namespace_file(self.lab.name, 'install-01')}", "--", *command]

    def measure(self, command: Sequence[str], input: Path | None = None, inside: bool = True) -> Sample:
        """Run it with little in its environment, timed."""
        argv = self.inside(command) if inside else list(command)
        output = self.scratch / "output"
        with output.open("wb") as out, (input or Path(os.devnull)).open("rb") as source:
            began = time.perf_counter()
            process = subprocess.Popen(
                argv, stdin=source, stdout=out, stderr=subprocess.STDOUT, env=self.environment, cwd=self.scratch
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        return Sample(seconds, usage.ru_maxrss / 1024, process.returncode, output.read_text(errors="replace"))

    @property
    def environment(self) -> Mapping[str, str]:
        """No user's configuration counts."""
        return {
            "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.scratch),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "ANSIBLE_CONFIG": str(self.scratch / "ansible.cfg"),
            "PYTHONPATH": str(ROOT),
        }

    # The tools

    def ssh(self, script: Path, distance: str) -> tuple[list[str], Path]:
        """Plain ssh that runs a script: the floor. Command, and what comes on its standard input."""
        return ["ssh", "-F", str(self.scratch / "ssh_config"), _alias(distance), "sh", "-s"], script

    def plan(self, tree: Path) -> list[str]:
        """A no-change plan; exit code 2 if there are changes."""
        where = ["--desired", str(tree / "desired"), "--credentials", str(tree / "credentials")]
        where += ["--ssh-config", str(self.scratch / "ssh_config")]
        return ["kbstate", "plan", "bench", "--detailed-exitcode", *where]

    def ansible(self, tree: Path, distance: str, tuned: bool = False) -> list[str]:
        """A dry run with differences; tuned: as its documentation advises for speed.

        Its control connection ends 3 s after a run, not 60, so that each run begins like those of the others.
        """
        settings = [f"ANSIBLE_SSH_ARGS=-F {self.scratch}/ssh_config -o ControlMaster=auto -o ControlPersist=3s"]
        if tuned:
            settings += ["ANSIBLE_PIPELINING=True", "ANSIBLE_GATHERING=explicit"]
        command = ["ansible-playbook", "--check", "--diff", "-i", f"{_alias(distance)},", "playbook.yml"]
        return ["env", f"--chdir={tree}", *settings, *command]

    def pyinfra(self, tree: Path, distance: str) -> list[str]:
        """A dry run."""
        return ["env", f"--chdir={tree}", "pyinfra", "--dry", f"{_alias(distance)}.py", "deploy.py"]

    # Making it

    def tree(self, workload: Workload, distance: str) -> Path:
        """The workload in every language, and its fact script."""
        where = self.scratch / f"{workload.name} at {distance}".replace(" ", "-")
        address, port = self.endpoint(distance)
        workload.kbstate(where, address, port)
        workload.ansible(where)
        workload.pyinfra(where)
        inventory = f"hosts = [({_alias(distance)!r}, {{'ssh_config_file': {str(self.scratch / 'ssh_config')!r}}})]\n"
        (where / f"{_alias(distance)}.py").write_text(inventory)
        command = [sys.executable, "-m", "benchmarks.script", str(where / "desired"), str(where / "credentials")]
        text = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        (where / "facts.sh").write_bytes(text)
        return where

    def apply(self, tree: Path) -> None:
        """Make the host as declared, so that a plan finds nothing."""
        command = self.plan(tree)
        command[1:4] = ["apply", "bench", "--auto-approve"]
        done = self.measure(command)
        assert done.status == 0, done.output

    def _write_configuration(self) -> None:
        names = self.endpoint(NEAR)[0], f"[127.0.0.1]:{FAR_PORT}"
        key = self.host.host_key or ""
        (self.scratch / "known_hosts").write_text("".join(f"{name} {key}\n" for name in names))
        (self.scratch / "ssh_config").write_text(
            f"Host {_alias(NEAR)}\n  HostName {names[0]}\n"
            f"Host {_alias(FAR)}\n  HostName 127.0.0.1\n  Port {FAR_PORT}\n"
            f"Host *\n  User root\n  IdentityFile {self.lab.login}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.scratch}/known_hosts\n  StrictHostKeyChecking yes\n"
        )
        (self.scratch / "ansible.cfg").write_text("[defaults]\nretry_files_enabled = False\n")

    @contextmanager
    def far(self) -> Iterator[None]:
        """While it lasts, the host is also reached with a delay."""
        address = self.endpoint(NEAR)[0]
        relay = [sys.executable, "-m", "benchmarks.delay", str(FAR_PORT), address, "22", str(ROUND_TRIP_MS)]
        process = subprocess.Popen(self.inside(relay), cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _alias(distance: str) -> str:
    return "near" if distance == NEAR else "far"


@contextmanager
def field(scratch: Path) -> Iterator[Field]:
    """A lab with one empty host that also has Python, which Ansible cannot do without."""
    lab = Lab(os.environ.get("KBSTATE_LAB") or "bench")
    try:
        lab.down(progress=lambda text: None)
        lab.up(["bare-01"])
        host = lab.host("bare-01")
        host.run("apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install python3 python3-apt")
        found = Field(lab, host, scratch)
        found._write_configuration()
        yield found
    finally:
        lab.down()
