"""The time zone."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kbstate.kinds.timezone import Localtime, Timezone
from tests.kinds.case import LabCase, change_of, scripts, steps_of

PARIS = Timezone(zone="Europe/Paris")


@pytest.mark.parametrize(
    ("localtime", "before"),
    [
        (("/usr/share/zoneinfo/Europe/Paris", "Europe/Paris"), None),
        (("../usr/share/zoneinfo/Europe/Paris", ""), None),
        (("/usr/share/zoneinfo/Etc/UTC", "Etc/UTC"), "Etc/UTC"),
        (("/usr/share/zoneinfo/Europe/Paris", "Etc/UTC"), "Europe/Paris, but Etc/UTC in /etc/timezone"),
        (("copy", ""), "a copy of some zone"),
        (("", ""), "UTC"),
    ],
)
def test_update(localtime: tuple[str, str], before: str | None) -> None:
    change = change_of(PARIS, {"localtime": localtime})
    assert ([(d.path, d.before, d.after) for d in change.diff] if change else None) == (
        [("zone", before, "Europe/Paris")] if before else None
    )
    if change:
        assert "z=Europe/Paris" in scripts(steps_of(change)[0])


def test_no_longer_declared() -> None:
    assert change_of(Timezone(absent=True), {"localtime": ("/usr/share/zoneinfo/Etc/UTC", "")}) is None


def test_process() -> None:
    assert Localtime().process([None], "/usr/share/zoneinfo/Etc/UTC\nEtc/UTC\n") == {
        None: ("/usr/share/zoneinfo/Etc/UTC", "Etc/UTC")
    }
    assert Localtime().process([None], "\n") == {None: ("", "")}


@pytest.mark.parametrize("zone", ["", "../x", "Europe/../x", "a b", "$(id)", "Europe/Paris\n", "-x", "'"])
def test_hostile(zone: str) -> None:
    with pytest.raises(ValidationError):
        Timezone(zone=zone)


def test_problems() -> None:
    assert list(Timezone().problems())
    assert not list(PARIS.problems())


LAB_CASES: list[LabCase] = [
    LabCase((PARIS,), PARIS.address, "zone", "ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime", alone=True),
    LabCase((PARIS,), PARIS.address, "zone", "echo Etc/UTC > /etc/timezone", alone=True),
]
