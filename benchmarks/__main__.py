"""`make bench`, or python -m benchmarks [plan] [scale] [start] [--rounds N] [--near]: what README.md here describes."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.compare import Contender, rounds, table
from benchmarks.field import BIN, FAR, NEAR, ROOT, Field, Sample, field
from benchmarks.workload import FORTY, SCALE
from kbstate.lab.requirements import unavailable

FLOOR = "plain ssh, the same script"
PYINFRA_SAYS = r"(?s)Detected changes:(?!.*\)\s+[1-9])"
"""Its table, in which no operation has a number of changes."""


def say(text: str) -> None:
    print(text, flush=True)


def checked(sample: Sample, nothing_to_do: str = "") -> Sample:
    """The sample, if the command succeeded and its output has this: who finds changes measures something else."""
    if sample.status != 0 or not re.search(nothing_to_do, sample.output):
        sys.exit(f"A contender failed ({sample.status}), or found something to change:\n{sample.output[-3000:]}")
    return sample


def plan(field: Field, count: int, distances: list[str]) -> None:
    """A no-change plan of 40 resources beside the floor and the peers."""
    trees = {distance: field.tree(FORTY, distance) for distance in distances}
    field.host.run(FORTY.prepare())
    field.apply(trees[NEAR])
    for distance, tree in trees.items():
        say(f"\n=== A no-change plan of {FORTY.resources} resources, round trip {distance}")
        all_of_them = both(field, tree, distance) | peers(field, tree, distance)
        say(table(rounds(all_of_them, FLOOR, count, say)))


def both(field: Field, tree: Path, distance: str) -> dict[str, Contender]:
    """The floor and kbstate."""
    ssh, script = field.ssh(tree / "facts.sh", distance)
    return {
        FLOOR: lambda: checked(field.measure(ssh, script)),
        "kbstate plan": lambda: checked(field.measure(field.plan(tree)), r"No changes\."),
    }


def peers(field: Field, tree: Path, distance: str) -> dict[str, Contender]:
    """The others, on the same resources."""

    def ansible(tuned: bool) -> Sample:
        return checked(field.measure(field.ansible(tree, distance, tuned)), "changed=0")

    return {
        "pyinfra --dry": lambda: checked(field.measure(field.pyinfra(tree, distance)), PYINFRA_SAYS),
        "ansible --check --diff, tuned": lambda: ansible(tuned=True),
        "ansible --check --diff": lambda: ansible(tuned=False),
    }


def scale(field: Field, count: int) -> None:
    """Plans of more and more files: time and memory should grow with them, and no faster."""
    for workload in SCALE:
        tree = field.tree(workload, NEAR)
        field.host.run(workload.prepare())
        field.apply(tree)
        say(f"\n=== A no-change plan of {workload.name}, round trip {NEAR}")
        say(table(rounds(both(field, tree, NEAR), FLOOR, count, say)))


def start(scratch: Path, count: int) -> None:
    """How fast the commands start that reach no host, beside Python itself."""
    here = Field(None, None, scratch)  # type: ignore[arg-type]  # no lab is needed
    site = ["--desired", str(ROOT / "desired"), "--credentials", str(ROOT / "desired/credentials.example")]

    def run(*command: str) -> Contender:
        return lambda: checked(here.measure([str(BIN / command[0]), *command[1:]], inside=False))

    commands = {
        "python -c pass": run("python", "-c", "pass"),
        "kbstate --version": run("kbstate", "--version"),
        "kbstate --help": run("kbstate", "--help"),
        "kbstate validate (2 hosts)": run("kbstate", "validate", *site),
    }
    say("\n=== Starting")
    say(table(rounds(commands, "python -c pass", count, say)))
    say("\n=== Imports of the command line (python -X importtime), and of what is loaded only where it is used")
    modules = ("kbstate", "kbstate.cli", "kbstate.desired", "kbstate.plan", "kbstate.session", "deepdiff", "pyinfra")
    for module in modules:
        sample = here.measure([str(BIN / "python"), "-X", "importtime", "-c", f"import {module}"], inside=False)
        say(f"  {module:16} {imported(checked(sample).output, module):6.0f} ms")


def imported(output: str, module: str) -> float:
    """Milliseconds that the import of a module took with all that it imports."""
    for line in reversed(output.splitlines()):
        if found := re.fullmatch(rf"import time:\s+\d+ \|\s+(\d+) \| *{re.escape(module)}", line):
            return int(found[1]) / 1000
    sys.exit(f"Python did not say how long the import of {module} took")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["plan", "scale", "start"], help="plan, scale, start; all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--near", action="store_true", help="without the delay of 50 ms, which takes longest")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - {"plan", "scale", "start"}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="kbstate-bench-") as scratch:
        if "start" in chosen.parts:
            start(Path(scratch), chosen.rounds)
        if {"plan", "scale"} & set(chosen.parts):
            if reason := unavailable():
                say(f"The parts plan and scale are left out: {reason}.")
                return 0
            on_lab(Path(scratch), chosen.parts, chosen.rounds, [NEAR] if chosen.near else [NEAR, FAR])
    return 0


def on_lab(scratch: Path, parts: list[str], count: int, distances: list[str]) -> None:
    """The parts that need a host."""
    with field(scratch) as found, found.far():
        todo: dict[str, Callable[[], None]] = {
            "plan": lambda: plan(found, count, distances),
            "scale": lambda: scale(found, count),
        }
        for name, part in todo.items():
            if name in parts:
                part()


if __name__ == "__main__":
    sys.exit(main())
