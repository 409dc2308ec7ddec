"""The cases of all kinds, packed into as few rounds as can be: those of one round do not disturb each other."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Sequence
from importlib import import_module

from kbstate.resource import Resource
from tests import kinds as package
from tests.kinds.case import LabCase


def every_case() -> list[LabCase]:
    """`LAB_CASES` of every file of tests of a kind, in order."""
    modules = (import_module(f"{package.__name__}.{module.name}") for module in pkgutil.iter_modules(package.__path__))
    return [case for module in modules for case in getattr(module, "LAB_CASES", ())]


def rounds(docker: bool) -> list[list[LabCase]]:
    """The rounds of the hosts with Docker, or of those without."""
    return pack(case for case in every_case() if case.docker is docker)


def pack(cases: Iterable[LabCase]) -> list[list[LabCase]]:
    """Each case into the first round where its address is not drifting already and nothing is declared otherwise."""
    found: list[list[LabCase]] = []
    for case in cases:
        for other in found:
            if not case.alone and not other[0].alone and _fits(case, other):
                other.append(case)
                break
        else:
            found.append([case])
    return found


def _fits(case: LabCase, others: Sequence[LabCase]) -> bool:
    declared = {resource.address: resource.model_dump() for other in others for resource in other.resources}
    return all(case.address != other.address for other in others) and all(
        declared.get(resource.address, resource.model_dump()) == resource.model_dump() for resource in case.resources
    )


def resources(docker: bool, number: int) -> list[Resource]:
    """What the host of a round declares; for the desired file on the controller."""
    by_address = {r.address: r for case in rounds(docker)[number] for r in case.resources}
    return list(by_address.values())
