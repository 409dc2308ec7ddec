"""No field of any kind without a drift that shows it: on a lab host, or from recorded facts where a lab host cannot."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from kbstate import kinds
from kbstate.resource import Resource
from tests.kinds.case import LabCase, RecordedCase, change_of


def registered() -> dict[str, type[Resource]]:
    """Every kind that kbstate itself has."""
    for module in pkgutil.walk_packages(kinds.__path__, f"{kinds.__name__}."):
        import_module(module.name)
    ours = f"{kinds.__name__}."
    return {name: kind for name, kind in Resource.registry.items() if kind.__module__.startswith(ours)}


KINDS = registered()
FIELDS = [(name, field) for name, kind in sorted(KINDS.items()) for field in kind.compared()]

ELSEWHERE = {("image", "digest"): ("tests.lab.test_docker", "test_a_tag_that_stands_for_another_digest")}
"""Drifts on a lab host that cannot be declared beforehand: each lab has digests of its own."""


def test_module(kind: str) -> str:
    """The file of tests of a kind is named as the file that defines it."""
    return f"tests.kinds.test_{KINDS[kind].__module__.removeprefix(f'{kinds.__name__}.').replace('.', '_')}"


test_module.__test__ = False  # type: ignore[attr-defined]


def listed(kind: str, name: str) -> tuple[Any, ...]:
    """A list of cases in the tests of a kind; a kind without tests has none, and so fails for each of its fields."""
    there = find_spec(test_module(kind)) is not None
    return tuple(getattr(import_module(test_module(kind)), name, ())) if there else ()


def lab_cases(kind: str) -> list[LabCase]:
    return [case for case in listed(kind, "LAB_CASES") if case.address.partition(":")[0] == kind]


def recorded_cases(kind: str) -> list[RecordedCase]:
    return [case for case in listed(kind, "RECORDED_CASES") if case.desired.kind == kind]


def every_recorded() -> list[RecordedCase]:
    return [case for kind in sorted(KINDS) for case in recorded_cases(kind)]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_a_field_has_a_drift(kind: str, field: str) -> None:
    if (kind, field) in ELSEWHERE:
        module, name = ELSEWHERE[kind, field]
        assert callable(getattr(import_module(module), name))
        return
    shown = {case.field for case in lab_cases(kind)} | {case.field for case in recorded_cases(kind)}
    assert field in shown, f"no LabCase in {test_module(kind)} drifts {kind}.{field}, and no RecordedCase says why not"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_case_is_of_a_field_that_there_is(kind: str) -> None:
    assert {case.field for case in lab_cases(kind)} <= {"", *KINDS[kind].compared()}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_case_is_right_as_it_stands(kind: str) -> None:
    """Nothing that loading the desired state would refuse, and the address is one of its resources."""
    for case in lab_cases(kind):
        by_address = {resource.address: resource for resource in case.resources}
        assert case.address in by_address, case.name
        for resource in by_address.values():
            assert list(resource.problems()) == [], case.name
        target = by_address[case.address].bound(by_address.get)
        assert not case.field or case.field in target.declared(), f"{case.name}: the field is not declared"


@pytest.mark.parametrize("case", every_recorded(), ids=lambda case: f"{case.desired.address}-{case.field}")
def test_a_recorded_drift_is_named(case: RecordedCase) -> None:
    change = change_of(case.desired, case.facts, applied=case.desired)
    assert change is not None
    assert change.fields == {case.field}
    assert change.cause == "drift"
    assert case.reason
