"""`make demo`: haproxy-01 from an empty Debian to a serving load balancer, and back again after a power cut.

    scripts/demo.py [--keep]       keep the lab afterwards, to try things
    scripts/demo.py --record       write anew what is shown where no lab can be had

All that kbstate does here is run on the lab's controller, as an operator would. Exit code: 0 if every step came out as
it should.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kbstate.errors import KbstateError
from kbstate.lab.inventory import of_role
from kbstate.lab.lab import Lab
from kbstate.lab.requirements import unavailable

ROOT = Path(__file__).resolve().parents[1]
HOST = "haproxy-01"
RECORDED = ROOT / "examples" / "recorded" / f"{HOST}.json"
EXAMPLE_CREDENTIALS = "desired/credentials.example"
UP_SECONDS = 120.0
"""How long a host may take after a power cut until all its checks pass."""


class Unexpected(Exception):
    """A step did not come out as it should; the text says which and how."""


@dataclass
class Demo:
    """The steps, each shown with its command and timed."""

    lab: Lab
    phases: list[tuple[str, float]] = field(default_factory=list)

    def phase(self, name: str, began: float) -> None:
        """Remember how long a phase took."""
        self.phases.append((name, time.monotonic() - began))

    def kbstate(self, *words: str, expected: int = 0) -> None:
        """Run kbstate on the controller, shown as typed there. Raises Unexpected."""
        command = ["kbstate", *words]
        say(f"\ninstall-01 # {shlex.join(command)}")
        began = time.monotonic()
        code = self._run(command).returncode
        self.phase(shlex.join(command), began)
        if code != expected:
            raise Unexpected(f"`{shlex.join(command)}` ended with {code} instead of {expected}")

    def _run(self, command: Sequence[str], quiet: bool = False) -> subprocess.CompletedProcess[bytes]:
        output = subprocess.DEVNULL if quiet else None
        entered = self.lab.controller.enter(command)
        return subprocess.run(entered, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)

    # The story

    def build(self) -> None:
        """An empty host, and what it will connect to."""
        title(f"The lab: an empty {HOST}, its controller and its upstreams")
        began = time.monotonic()
        self.lab.down(progress=quietly)  # what an interrupted demo left
        upstreams = [host.name for role in ("database", "redis", "queue") for host in of_role(role)]
        self.lab.up([*upstreams, HOST], progress=say)
        self.phase("lab: empty host, controller, upstreams", began)

    def converge(self) -> float:
        """From an empty host to "no changes" with all checks green. The seconds it took."""
        title(f"From an empty {HOST} to a serving one")
        began = time.monotonic()
        self.kbstate("plan", HOST)
        self.kbstate("apply", HOST, "--auto-approve")
        self.as_declared()
        return time.monotonic() - began

    def as_declared(self) -> None:
        """No changes, and every check passes: containers, ports as seen from the controller, HAProxy's backends."""
        self.kbstate("plan", HOST, "--detailed-exitcode")
        self.kbstate("check", HOST)

    def power_cut(self) -> float:
        """Cut the power, switch on. The seconds from the cut until every check passed."""
        title("A power cut")
        say(f"# kbstate lab power {HOST} cycle")
        began = time.monotonic()
        self.lab.host(HOST).power_cycle()
        self.phase(f"kbstate lab power {HOST} cycle", began)
        booted = time.monotonic()
        while self._run(["kbstate", "check", HOST], quiet=True).returncode != 0:
            if time.monotonic() - booted > UP_SECONDS:
                break  # shown below, with what is wrong
            time.sleep(0.5)
        self.phase("containers and backends come up by themselves", booted)
        took = time.monotonic() - began
        self.as_declared()
        return took

    def summary(self, converged: float, recovered: float) -> None:
        """What it came to."""
        title("Summary")
        for name, seconds in self.phases:
            say(f"  {seconds:6.1f} s  {name}")
        say(f'\nEmpty {HOST} to "no changes" with all checks green: {converged:.1f} s.')
        say(f"Power cut to all checks green again, with no changes: {recovered:.1f} s.")


def say(text: str) -> None:
    print(text, flush=True)


def quietly(text: str) -> None:
    """No progress."""


def title(text: str) -> None:
    say(f"\n=== {text}")


def on_a_lab(keep: bool) -> int:
    """The whole story; the lab is gone afterwards, unless it is kept."""
    lab = Lab(os.environ.get("KBSTATE_LAB") or "demo")
    demo = Demo(lab)
    try:
        demo.build()
        converged = demo.converge()
        recovered = demo.power_cut()
        demo.summary(converged, recovered)
        if keep:
            say(f"The lab stays: `kbstate lab console --lab {lab.name}` is a shell on the controller.")
        return 0
    except (Unexpected, KbstateError) as error:
        say(f"\nThe demo failed: {error}.")
        return 1
    finally:
        if not keep:
            lab.down(progress=say)


def from_a_record(reason: str) -> int:
    """What can be shown without a lab: the plan, made from what was seen on an empty host."""
    say(f"No lab can be had here, so this only shows the plan of an empty {HOST} as it was once observed: {reason}.")
    words = ["plan", HOST, "--observed", str(RECORDED.relative_to(ROOT)), "--credentials", EXAMPLE_CREDENTIALS]
    say(f"\n# {shlex.join(['kbstate', *words])}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KBSTATE_")}
    command = [sys.executable, "-m", "kbstate", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def record() -> int:
    """Observe an empty host, for those who can have no lab."""
    lab = Lab("record")
    try:
        lab.up([HOST], progress=say)
        words = [
            "collect",
            HOST,
            "--credentials",
            f"/opt/kbstate/src/{EXAMPLE_CREDENTIALS}",
            "--out",
            "/root/seen.json",
        ]
        lab.controller.run(["kbstate", *words])
        RECORDED.parent.mkdir(parents=True, exist_ok=True)
        RECORDED.write_text(lab.controller.run(["cat", "/root/seen.json"]).stdout)
    finally:
        lab.down(progress=say)
    return 0


def main() -> int:
    words = sys.argv[1:]
    if words not in ([], ["--keep"], ["--record"]):
        say(f"Unknown: {shlex.join(words)}; there is --keep, and --record")
        return 64
    if words == ["--record"]:
        return record()
    reason = unavailable()
    return from_a_record(reason) if reason else on_a_lab(keep="--keep" in words)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("\nInterrupted; run it again at any time.")
        sys.exit(130)
