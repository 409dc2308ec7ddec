"""One host of a lab: made, switched on and off, entered from outside, thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from kbstate.lab import cgroups, network, seed, syscalls
from kbstate.lab.base import base
from kbstate.lab.errors import LabError
from kbstate.lab.inventory import HostSpec
from kbstate.lab.layers import piece
from kbstate.lab.pieces import obtain
from kbstate.lab.places import discard, labs_dir, locked, read_json, write_json
from kbstate.lab.processes import alive, daemon, identity, kill, marked, until
from kbstate.lab.roles import Role, role

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
_BOOT_SECONDS = 90.0
# Who enters from outside comes with all of root's rights on the machine, and outside of the host's control groups:
# here it becomes like any other process of the host, which cannot set the machine's clock or reach its disks.
_BECOME = f"""
for group in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
    [ ! -e "$group" ] || echo 0 > "$group"
done 2> /dev/null
exec setpriv --bounding-set=-{",-".join(syscalls.FORBIDDEN_CAPABILITIES)} "$@"
"""


@dataclass(frozen=True)
class Host:
    """A host, whether it exists yet or not."""

    lab: str
    spec: HostSpec

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def home(self) -> Path:
        """Its files on the machine."""
        return labs_dir() / self.lab / "hosts" / self.name

    @property
    def role(self) -> Role:
        """What it is for."""
        return role(self.spec.role)

    # What is the case

    @property
    def init(self) -> int | None:
        """The process number of its init on the machine, when it runs."""
        return alive(self.home / "init")

    @property
    def state(self) -> str:
        """absent, off, starting or running."""
        if not (self.home / "host.json").exists():
            return "absent"
        if alive(self.home / "supervisor") is None:
            return "off"
        return "running" if self.init and (self.home / "ready").exists() else "starting"

    @property
    def host_key(self) -> str | None:
        """Its public SSH host key, when it exists."""
        recorded = read_json(self.home / "host.json")
        return recorded["host_key"] if recorded else None

    @property
    def boot_log(self) -> str:
        """What its console said, over all boots since it was made."""
        try:
            return (self.home / "console.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    # Life

    def create(self, login: Path) -> bool:
        """Make its disk, unless it exists; what an interruption left half made is thrown away. True when made now.

        `login` is the private SSH key whose public half opens the host's logins.
        """
        with self._locked():
            if self.state != "absent":
                return False
            self._destroy()
            self.home.mkdir(parents=True)
            for name in ("upper", "work"):
                (self.home / name).mkdir()
            layers = [obtain(base()) / "root"]
            if self.role.layer:
                layers.insert(0, obtain(piece(self.role.layer)) / "root")
            disk = seed.Seed(self.spec, self.home / "upper", layers, login)
            host_key = seed.furnish(disk)
            if self.role.furnish:
                self.role.furnish(disk)
            recorded = {"layers": [str(layer) for layer in layers], "binds": self.role.binds, "host_key": host_key}
            write_json(self.home / "host.json", recorded)
            return True

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Write one of root's files from outside, on a running host or on the disk of one that is off."""
        with self._locked():
            if self.init is None:
                layers = [Path(layer) for layer in read_json(self.home / "host.json")["layers"]]
                seed.Seed(self.spec, self.home / "upper", layers, Path()).file(path, text, mode)
                return
        script = 'umask 077; mkdir -p "${1%/*}"; cat > "$1.new"; chmod "$2" "$1.new"; mv -f "$1.new" "$1"'
        self.run(["/bin/sh", "-c", script, "sh", path, f"{mode:o}"], input=text)

    def power_on(self) -> None:
        """Start it, if it is off; does not wait for it."""
        with self._locked():
            self._power_on()

    def _power_on(self) -> None:
        if self.state == "absent":
            raise LabError(f"{self.name} does not exist: `kbstate lab up {self.name}` makes it")
        if self.state != "off":
            return
        self._power_off()  # nothing runs that is known; what an interruption left is not
        log = self.home / "supervisor.log"
        daemon("kbstate.lab.supervisor", self.lab, self.name, mark=self.home, log=log)
        if not until((self.home / "supervisor").exists, 20):
            raise LabError(f"{self.name} cannot be started: its supervisor does not run, see {log}")

    def power_off(self) -> None:
        """Cut the power: every process of the host dies at once, its disk stays."""
        with self._locked():
            self._power_off()

    def _power_off(self) -> None:
        init, supervisor = self.init, alive(self.home / "supervisor")
        if supervisor:
            kill(supervisor)
        if init:
            kill(init)  # the death of its supervisor kills it already
        for pid in marked(self.home):
            kill(pid)  # what an interruption left before it was recorded
        for stale in ("init", "ready", "supervisor"):
            (self.home / stale).unlink(missing_ok=True)

    def power_cycle(self) -> None:
        """Cut the power, switch on again and wait."""
        with self._locked():
            self._power_off()
            self._power_on()
        self.wait()

    def reboot(self) -> None:
        """Ask it from inside to reboot, and wait for the next boot."""
        before = self.init
        if before is None:
            raise LabError(f"{self.name} is off and cannot be rebooted")
        named = identity(before)
        self.run(["systemctl", "--no-block", "reboot"], check=False)
        if not until(lambda: identity(before) != named, _BOOT_SECONDS):
            raise LabError(f"{self.name} did not go down for its reboot")
        self.wait()

    def wait(self, seconds: float = _BOOT_SECONDS) -> None:
        """Wait until its init says that it has started, and its role serves."""

        def settled() -> bool:
            return self.state in ("running", "off", "absent")

        if not until(settled, seconds) or self.state != "running":
            last = [line for line in self._log_tail() if line.strip()]
            raise LabError(f"{self.name} is {self.state} instead of running: {' / '.join(last[-3:]) or 'no word why'}")

    def wait_serving(self, seconds: float = _BOOT_SECONDS) -> None:
        """Wait until what it is there for works."""
        command = self.role.serving
        if command and not until(lambda: self.run(command, check=False).returncode == 0, seconds, every=0.2):
            raise LabError(f"{self.name} runs, but does not serve: `{command}` fails")

    def _log_tail(self) -> list[str]:
        try:
            own = (self.home / "supervisor.log").read_text(errors="replace")
        except FileNotFoundError:
            own = ""
        return (self.boot_log + own).splitlines()[-5:]

    def destroy(self) -> None:
        """Throw it away with all that it wrote."""
        with self._locked():
            self._destroy()

    def _destroy(self) -> None:
        self._power_off()
        network.unplug(self.lab, self.spec)
        cgroups.clear(cgroups.group(self.lab, self.name))
        discard(self.home)

    # The console

    def enter(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """The command that runs another one in the host without any network: out of band."""
        init = self.init
        if init is None:
            what = f"up {self.name}` makes it" if self.state == "absent" else f"power {self.name} on` starts it"
            raise LabError(f"{self.name} is {self.state}: `kbstate lab {what}")
        inside = ["runuser", "-u", user, "--", *argv] if user else list(argv)
        environment = [f"PATH={_PATH}", f"HOME={self._home_of(user)}", "LANG=C.UTF-8", f"TERM={_terminal()}"]
        environment += [f"USER={user or 'root'}", *(f"{name}={value}" for name, value in self.role.environment.items())]
        nsenter = [shutil.which("nsenter") or "nsenter", "--target", str(init), *_NAMESPACES]
        return [*nsenter, "--", "/bin/sh", "-c", _BECOME, "sh", "/usr/bin/env", "-i", *environment, *inside]

    @staticmethod
    def _home_of(user: str | None) -> str:
        return f"/home/{user}" if user and user != "root" else "/root"

    def run(
        self,
        command: Sequence[str] | str,
        check: bool = True,
        user: str | None = None,
        input: str | None = None,
        timeout: float | None = 600,
    ) -> CompletedProcess[str]:
        """Run a program, or a text as a shell script, in the host: out of band, so also without SSH or network."""
        argv = ["/bin/bash", "-c", command] if isinstance(command, str) else list(command)
        done = subprocess.run(
            self.enter(argv, user),
            input=input or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise LabError(f"{self.name}: {argv[-1]!r} ended with {done.returncode}: {' / '.join(said[-5:])}")
        return done

    def _locked(self) -> AbstractContextManager[None]:
        return locked(labs_dir() / self.lab / "locks" / self.name)


def _terminal() -> str:
    return os.environ.get("TERM") or "dumb"


def execute(argv: Sequence[str]) -> None:
    """Become this command: for a console, whose terminal and exit code are the command's own."""
    os.execv(argv[0], list(argv))
