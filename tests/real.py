"""Facts and operations run for real by `sh`: on this machine below a temporary directory, or wherever a runner runs.

Operations run as root; without root they run as the root of a user namespace, which maps this user alone.
"""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeAlias

from kbstate.diff import Declared, difference
from kbstate.ledger import Entry
from kbstate.resource import Change, Fact, Observed, Read, Resource, Unknown
from tests.kinds.case import HASHER, steps_of

ROOT = os.geteuid() == 0
AS_ROOT = [] if ROOT else ["unshare", "--user", "--map-root-user"]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

Runner: TypeAlias = Callable[[str], "subprocess.CompletedProcess[bytes]"]


def here(script: str) -> subprocess.CompletedProcess[bytes]:
    """Run on this machine, as the session does on a host: the script comes in by standard input."""
    run = [*AS_ROOT, "sh", "-s"]
    return subprocess.run(run, input=script.encode(), env=ENVIRONMENT, capture_output=True, check=False)


def alone(script: str) -> subprocess.CompletedProcess[bytes]:
    """Run in a network of its own, which ends with it."""
    run = ["unshare", "--net", *AS_ROOT[1:], "sh", "-s"]
    return subprocess.run(run, input=script.encode(), env=ENVIRONMENT, capture_output=True, check=False)


def ask(fact: Fact[Any, Any], wanted: Iterable[Hashable], run: Runner = here) -> dict[Any, Any]:
    """What one fact answers for its subjects."""
    subjects = list(dict.fromkeys(wanted))
    done = run(fact.command(subjects))
    if done.returncode != 0:
        return dict.fromkeys(subjects, fact.failed(done.returncode, done.stderr.decode()))
    return dict(fact.process(subjects, done.stdout.decode()))


def look(resource: Resource, run: Runner = here) -> Observed:
    """Read its facts and observe it."""
    wanted: dict[type[Fact[Any, Any]], list[Hashable]] = defaultdict(list)
    reads = resource.reads()
    for read in reads.values():
        assert isinstance(read, Read)
        wanted[read.fact].append(read.subject)
    answers = {fact: ask(fact(), subjects, run) for fact, subjects in wanted.items()}
    facts = {name: answers[r.fact][r.subject] for name, r in reads.items() if isinstance(r, Read)}
    unknown = next((value for value in facts.values() if isinstance(value, Unknown)), None)
    return unknown or resource.observe(**facts)


def change(resource: Resource, run: Runner = here, entry: Entry | None = None) -> Change | None:
    """The change that it needs now."""
    live = look(resource, run)
    assert not isinstance(live, Unknown), live
    return difference(Declared(resource, "test"), live, entry, HASHER)


def perform(wanted: Change, run: Runner = here) -> None:
    """Run the steps of a change; the first script that fails is an AssertionError with its errors."""
    for step in steps_of(wanted):
        assert not isinstance(step.op, str), f"{step.op} is an operation of pyinfra"
        for script in step.op(**step.args):
            done = run(script)
            assert done.returncode == 0, done.stderr.decode()


def converge(resource: Resource, run: Runner = here) -> Change | None:
    """Apply it if need be, and see that nothing is left to do."""
    wanted = change(resource, run)
    if wanted is not None:
        perform(wanted, run)
    assert change(resource, run) is None
    return wanted
