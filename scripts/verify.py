"""`make test` and `make lint`: every check one after the other, all of them whatever fails, and a summary at the end.

    scripts/verify.py              all
    scripts/verify.py --static     without the tests: format, lint, types, imports, shell scripts

With CI=true a lab test that did not run, or was skipped, is a failure. Exit code: 0 if all is well, else 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RESULTS = ROOT / "build" / "tests.xml"
SHELL_SCRIPTS = (".ci/run", "scripts/prepare", "kbstate/agent.bash", "desired/templates/redis-update-master.sh")
PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "left out"


@dataclass(frozen=True)
class Check:
    """A command; `program` is left out with a reason where it is not installed."""

    name: str
    command: tuple[str, ...]

    @property
    def missing(self) -> bool:
        return shutil.which(self.command[0]) is None


@dataclass(frozen=True)
class Result:
    """What a check came to."""

    name: str
    outcome: str
    seconds: float = 0.0
    detail: str = ""


def _tool(name: str, *words: str) -> tuple[str, ...]:
    return (str(BIN / name), *words)


STATIC = (
    Check("format", _tool("ruff", "format", "--check", "--quiet", ".")),
    Check("lint", _tool("ruff", "check", "--quiet", ".")),
    Check("types", _tool("mypy")),
    Check("types of desired", _tool("mypy", "desired")),
    Check("imports", _tool("lint-imports", "--no-logo")),
    Check("shell scripts", ("shellcheck", *SHELL_SCRIPTS)),
)
TESTS = Check("tests", _tool("pytest", f"--junit-xml={RESULTS}", "--durations=10", "--durations-min=5"))


def run(check: Check) -> Result:
    """Run it with its output on the terminal."""
    _say(f"\n=== {check.name}")
    if check.missing:
        return Result(check.name, LEFT_OUT, detail=f"{check.command[0]} is not installed here")
    began = time.monotonic()
    code = subprocess.run(check.command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    return Result(check.name, FAILED if code else PASSED, time.monotonic() - began)


@dataclass(frozen=True)
class Counts:
    """Test cases by what they came to."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def counts(results: Path) -> tuple[Counts, Counts]:
    """The tests without a lab and those on lab hosts, which tests/conftest.py marks, from a file in JUnit's format."""
    found = {False: {"passed": 0, "failed": 0, "skipped": 0}, True: {"passed": 0, "failed": 0, "skipped": 0}}
    for case in ET.parse(results).iter("testcase"):
        lab = any(entry.get("name") == "lab" for entry in case.iter("property"))
        failed = case.find("failure") is not None or case.find("error") is not None
        found[lab]["failed" if failed else "skipped" if case.find("skipped") is not None else "passed"] += 1
    return Counts(**found[False]), Counts(**found[True])


def test() -> list[Result]:
    """Run the tests; one result for those without a lab, and one for those on lab hosts."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.unlink(missing_ok=True)
    whole = run(TESTS)
    if not RESULTS.exists():
        return [Result("tests", FAILED, whole.seconds, "pytest did not come to its end")]
    unit, lab = counts(RESULTS)
    results = [
        Result("tests", FAILED if unit.failed else PASSED, detail=str(unit)),
        _lab_result(lab),
    ]
    if whole.outcome == FAILED and not unit.failed and not lab.failed:
        results.append(Result("pytest", FAILED, whole.seconds, "it ended with an error of its own"))
    return results


def _lab_result(lab: Counts) -> Result:
    name = "tests on lab hosts"
    if lab == Counts():
        from kbstate.lab.requirements import unavailable

        reason = unavailable() or "none was chosen"
        return Result(name, FAILED if _ci() else LEFT_OUT, detail=reason)
    if lab.skipped and _ci():
        return Result(name, FAILED, detail=f"{lab}; none may be skipped here")
    return Result(name, FAILED if lab.failed else PASSED, detail=str(lab))


def _ci() -> bool:
    return os.environ.get("CI") == "true"


def _say(text: str) -> None:
    print(text, flush=True)


def summary(results: Sequence[Result], seconds: float) -> int:
    """Say what each came to. The exit code."""
    _say("\n=== summary")
    width = max(len(result.name) for result in results)
    for result in results:
        took = f"{result.seconds:.1f} s" if result.seconds else ""
        _say(f"  {result.name:{width}}  {result.outcome:8}  {result.detail or took}".rstrip())
    failed = [result.name for result in results if result.outcome == FAILED]
    left_out = [result.name for result in results if result.outcome == LEFT_OUT]
    minutes, rest = divmod(round(seconds), 60)
    _say(f"Failed: {', '.join(failed)}." if failed else "All that ran has passed.")
    if left_out:
        _say(f"Left out, for the reasons above: {', '.join(left_out)}.")
    _say(f"{minutes} min {rest} s")
    return 1 if failed else 0


def main() -> int:
    began = time.monotonic()
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
    results = [run(check) for check in STATIC]
    if "--static" not in sys.argv[1:]:
        results += test()
    return summary(results, time.monotonic() - began)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
