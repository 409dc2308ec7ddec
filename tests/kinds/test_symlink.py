"""Symlinks: where they lead, and what they never replace."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from kbstate.kinds.symlink import Symlink
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, steps_of
from tests.real import converge, look

DESIRED = Symlink(path="/opt/current", target="releases/2")


def state(target: str, sort: str = "symlink") -> PathState:
    return PathState(sort, "0777", "0", "0", "root", "root", len(target), 1.0, target)


def test_update() -> None:
    assert change_of(DESIRED, {"state": state("releases/2")}) is None
    found = change_of(DESIRED, {"state": state("releases/1")})
    assert found is not None
    assert [(d.path, d.before, d.after) for d in found.diff] == [("target", "releases/1", "releases/2")]
    assert [s.op.__name__ for s in steps_of(found)] == ["make_symlink"]  # type: ignore[union-attr]


@pytest.mark.parametrize("sort", ["file", "directory"])
def test_another_type_is_a_conflict(sort: str) -> None:
    observed = DESIRED.observe(state("", sort))
    assert isinstance(observed, Unknown)
    assert observed.reason == f"a {sort} is in its place: remove it, or declare it as one"


def test_create_delete_needs_and_problems() -> None:
    found = change_of(DESIRED, {"state": None})
    assert found is not None
    assert [s.op.__name__ for s in steps_of(found)] == ["make_symlink"]  # type: ignore[union-attr]
    gone = change_of(Symlink(path="/opt/current", absent=True), {"state": state("x")})
    assert gone is not None
    assert [s.op.__name__ for s in steps_of(gone)] == ["remove_file"]  # type: ignore[union-attr]
    assert {"directory:/opt", "mount:/opt"} <= set(DESIRED.needs())
    assert list(Symlink(path="/opt/current").problems()) == ["target is missing"]
    assert not list(Symlink(path="/opt/current", absent=True).problems())


@pytest.mark.parametrize("target", ["", "a\nb", "a\x00", "x" * 4096])
def test_hostile_targets(target: str) -> None:
    with pytest.raises(ValidationError):
        Symlink(path="/x", target=target)


def test_a_link_is_converged_for_real(tmp_path: Path) -> None:
    link = tmp_path / "link"
    created = converge(Symlink(path=str(link), target="-n 'a' $(b)"))
    assert created is not None
    assert str(link.readlink()) == "-n 'a' $(b)"
    updated = converge(Symlink(path=str(link), target=str(tmp_path)))
    assert updated is not None
    assert updated.action == "update"
    assert converge(Symlink(path=str(link), absent=True)) is not None
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_its_place_for_real(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("precious")
    assert isinstance(look(Symlink(path=f"{tmp_path}/f", target="x")), Unknown)


LAB = Symlink(path="/opt/kb-link", target="/opt/kb-releases/2")
GONE = Symlink(path="/opt/kb-gone", target="nowhere")

LAB_CASES: list[LabCase] = [
    LabCase((LAB,), LAB.address, "target", "ln -sfn /opt/kb-releases/1 /opt/kb-link"),
    LabCase((GONE,), GONE.address, "", "rm /opt/kb-gone"),
]
