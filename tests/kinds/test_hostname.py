"""The name of a host."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kbstate.kinds.hostname import Hostname, Names
from tests.kinds.case import LabCase, change_of, scripts, steps_of

DESIRED = Hostname(hostname="haproxy-01").bound(lambda _: None)


@pytest.mark.parametrize(
    ("names", "fields", "steps"),
    [
        (("haproxy-01", "haproxy-01"), {}, []),
        (("debian", "haproxy-01"), {"hostname": ("debian", "haproxy-01")}, ["write_file"]),
        (("", "haproxy-01"), {"hostname": ("", "haproxy-01")}, ["write_file"]),
        (("haproxy-01", "debian"), {"running": ("debian", "haproxy-01")}, ["set_name"]),
    ],
)
def test_update(names: tuple[str, str], fields: dict[str, tuple[str, str]], steps: list[str]) -> None:
    change = change_of(DESIRED, {"names": names})
    assert ({d.path: (d.before, d.after) for d in change.diff} if change else {}) == fields
    assert [s.op.__name__ for s in (steps_of(change) if change else [])] == steps  # type: ignore[union-attr]


def test_steps() -> None:
    change = change_of(DESIRED, {"names": ("a", "b")})
    assert change is not None
    write, name = steps_of(change)
    assert write.args["content"] == b"haproxy-01\n"
    assert scripts(name) == "hostname -- haproxy-01"


def test_no_longer_declared() -> None:
    assert change_of(Hostname(absent=True), {"names": ("a", "b")}) is None


def test_process() -> None:
    assert Names().process([None], "running\nstatic\n") == {None: ("static", "running")}
    assert Names().process([None], "running\n") == {None: ("", "running")}


@pytest.mark.parametrize("hostname", ["", "-a", "a-", "A", "a_b", "a b", "$(id)", "a\n", "a..b", "x" * 65, "'"])
def test_hostile(hostname: str) -> None:
    with pytest.raises(ValidationError):
        Hostname(hostname=hostname)


def test_problems() -> None:
    assert list(Hostname().problems())


LAB = Hostname(hostname="kb-lab")

LAB_CASES: list[LabCase] = [
    LabCase((LAB,), LAB.address, "hostname", "echo other > /etc/hostname", alone=True),
    LabCase((LAB,), LAB.address, "running", "hostname other", alone=True),
]
