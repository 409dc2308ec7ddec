"""Hosts to test on, and what happens to the tests that need them where none can be had.

A test that takes one of the fixtures below is a lab test. Where no lab can run, lab tests are left out and the summary
says so and why; with CI=true they fail instead. A session has a lab of its own: `$KBSTATE_LAB`, or `test`. It is
destroyed at the end, unless KBSTATE_LAB_KEEP is set, and begun anew if an earlier session was interrupted.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from kbstate.lab.host import Host
from kbstate.lab.inventory import HOSTS, of_role
from kbstate.lab.lab import Lab
from kbstate.lab.places import cache_dir
from kbstate.lab.requirements import unavailable

# how long an example takes says more about the machine than about the code
settings.register_profile("kbstate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kbstate")

_LEFT_OUT = pytest.StashKey[str]()
Hosts = Callable[[], Host]


os.environ.setdefault("KBSTATE_LAB", "test")


# Left out, never skipped


@pytest.hookimpl(trylast=True)  # after -k and -m, so that only what would have run is counted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses the lab, and have it run last; leave it out where there can be none."""
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker("lab")
    lab_tests = [item for item in items if item.get_closest_marker("lab")]
    items.sort(key=lambda item: item in lab_tests)
    for item in lab_tests:
        item.user_properties.append(("lab", "yes"))  # for scripts/verify.py
    if not lab_tests or os.environ.get("CI") == "true":
        return
    if reason := unavailable():
        items[:] = [item for item in items if item not in lab_tests]
        config.hook.pytest_deselected(items=lab_tests)
        config.stash[_LEFT_OUT] = f"LEFT OUT: {len(lab_tests)} tests on lab hosts, because {reason}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out."""
    if said := config.stash.get(_LEFT_OUT, ""):
        terminalreporter.write_line(said, yellow=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """With CI=true a missing lab is a failure."""
    if item.get_closest_marker("lab") and (reason := unavailable()):
        pytest.fail(reason, pytrace=False)


# The lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with its package mirror, its registry and the controller; other hosts come as they are asked for."""
    found = Lab()
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f".session-{found.name}").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail(f"another test session uses lab {found.name!r}: set KBSTATE_LAB to another name", pytrace=False)
        keep = bool(os.environ.get("KBSTATE_LAB_KEEP"))
        if not keep:
            found.down()
        found.up(["install-01"])
        yield found
        if not keep:
            found.down()


@contextmanager
def _fresh(lab: Lab, kind: str) -> Iterator[Hosts]:
    """A factory of fresh hosts named KIND-NN; all that it made are destroyed at the end."""
    made: list[Host] = []

    def another() -> Host:
        names = (name for name in HOSTS if name.startswith(f"{kind}-"))
        host = next((lab.host(name) for name in names if lab.host(name).state == "absent"), None)
        assert host, f"every {kind} host of the lab is in use"
        lab.up([host.name])
        made.append(host)
        return host

    try:
        yield another
    finally:
        for host in made:
            lab.remove(host.name)


@pytest.fixture
def bare(lab: Lab) -> Iterator[Hosts]:
    """`bare()` is a fresh, empty host; it lives as long as the test."""
    with _fresh(lab, "bare") as another:
        yield another


@pytest.fixture(scope="module")
def module_bare(lab: Lab) -> Iterator[Hosts]:
    """`module_bare()` is a fresh, empty host; it lives as long as the module's tests."""
    with _fresh(lab, "bare") as another:
        yield another


@pytest.fixture
def dock(lab: Lab) -> Iterator[Hosts]:
    """`dock()` is a fresh host with a running Docker engine; it lives as long as the test."""
    with _fresh(lab, "dock") as another:
        yield another


@pytest.fixture(scope="module")
def module_dock(lab: Lab) -> Iterator[Hosts]:
    """`module_dock()` is a fresh host with a running Docker engine; it lives as long as the module's tests."""
    with _fresh(lab, "dock") as another:
        yield another


@pytest.fixture(scope="session")
def haproxy_hosts(lab: Lab) -> tuple[Host, Host]:
    """haproxy-01 and haproxy-02: empty when the session begins, and what tests make of them afterwards."""
    names = ("haproxy-01", "haproxy-02")
    lab.up(names)
    return lab.host(names[0]), lab.host(names[1])


@pytest.fixture(scope="session")
def upstreams(lab: Lab) -> dict[str, Host]:
    """The database, Redis and queue hosts, serving."""
    names = [host.name for role in ("database", "redis", "queue") for host in of_role(role)]
    lab.up(names)
    return {name: lab.host(name) for name in names}
