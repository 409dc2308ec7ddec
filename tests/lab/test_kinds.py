"""Every field of every kind on a real host: one drift injected, detected, named, repaired, then an empty plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from tests.conftest import Hosts
from tests.kinds.case import LabCase
from tests.lab.rounds import rounds
from tests.lab.tree import Tree

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def kinds_host(module_bare: Hosts) -> Host:
    return module_bare()


@pytest.fixture(scope="module")
def docker_host(module_dock: Hosts) -> Host:
    return module_dock()


HOSTS = """
from kbstate import Host
from tests.lab.rounds import resources


def hosts(site):
    declared = resources(docker={docker}, number={number})
    return [Host(name="{host}", address="{address}", modules={{"cases": declared}})]
"""


@pytest.mark.parametrize("number", range(len(rounds(docker=False))))
def test_without_docker(lab: Lab, kinds_host: Host, number: int) -> None:
    _round(lab, kinds_host, docker=False, number=number)


@pytest.mark.parametrize("number", range(len(rounds(docker=True))))
def test_with_docker(lab: Lab, docker_host: Host, number: int) -> None:
    _round(lab, docker_host, docker=True, number=number)


def _round(lab: Lab, host: Host, docker: bool, number: int) -> None:
    try:
        _try(lab, host, docker, number)
    except BaseException:
        lab.rebuild(host.name)  # what a failed round leaves behind is not for the next one to fail of
        raise


def _try(lab: Lab, host: Host, docker: bool, number: int) -> None:
    cases = rounds(docker)[number]
    text = HOSTS.format(docker=docker, number=number, host=host.name, address=host.spec.private)
    tree = Tree(lab, f"kinds-{host.name}-{number}", text)
    for case in cases:
        if case.prepare:
            host.run(case.prepare)
    tree.apply("--allow-destroy", "*")  # what the round before left behind goes too
    tree.unchanged()
    for case in cases:
        host.run(case.drift)
    found = {change["address"]: change for change in tree.plan()["changes"]}
    problems = [problem for case in cases if (problem := _problem(case, found.get(case.address)))]
    declared = {resource.address for case in cases for resource in case.resources}
    assert not problems, "\n".join(problems)
    assert set(found) <= declared
    tree.apply("--allow-destroy", "*")
    tree.unchanged()


def _problem(case: LabCase, change: dict[str, Any] | None) -> str | None:
    """What is wrong with how the drift was found; None if nothing is."""
    if change is None:
        return f"{case.name}: not detected after `{case.drift}`"
    if change["cause"] != "drift":
        return f"{case.name}: the cause is {change['cause']}"
    if not case.field:
        return None if change["actions"] == ["create"] else f"{case.name}: {change['actions']} instead of create"
    fields = {delta["path"].split(".")[0].split("[")[0] for delta in change["diff"]}
    return None if fields == {case.field} else f"{case.name}: the fields that differ are {sorted(fields)}"


def test_the_runner_sees_what_is_not_found() -> None:
    case = LabCase((), "file:/x", "mode", "chmod 600 /x")
    right: Callable[..., dict[str, Any]] = lambda **more: {  # noqa: E731
        "cause": "drift",
        "actions": ["update"],
        "diff": [{"path": "mode"}],
        **more,
    }
    assert _problem(case, right()) is None
    assert _problem(case, None) == "file:/x-mode: not detected after `chmod 600 /x`"
    assert _problem(case, right(cause="new")) == "file:/x-mode: the cause is new"
    assert _problem(case, right(diff=[{"path": "owner"}])) == "file:/x-mode: the fields that differ are ['owner']"
    absent = LabCase((), "file:/x", "", "rm /x")
    assert _problem(absent, right(actions=["create"])) is None
    assert _problem(absent, right()) == "file:/x-absent: ['update'] instead of create"
