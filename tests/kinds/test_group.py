"""Groups: their number, and that none goes without consent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.group import Group, GroupEntry, Groups
from tests.kinds.case import LabCase, change_of, scripts, steps_of

TABLE = (GroupEntry("root", 0, ()), GroupEntry("kb", 990, ("a", "b")))


def test_update() -> None:
    assert change_of(Group(name="kb", gid=990), {"groups": TABLE}) is None
    assert change_of(Group(name="kb"), {"groups": TABLE}) is None
    found = change_of(Group(name="kb", gid=1500), {"groups": TABLE})
    assert found is not None
    assert [(d.path, d.before, d.after) for d in found.diff] == [("gid", 990, 1500)]
    assert scripts(steps_of(found)[0]) == "groupmod --gid 1500 kb"


@pytest.mark.parametrize(
    ("group", "script"),
    [
        (Group(name="new"), "groupadd new"),
        (Group(name="new", gid=0), "groupadd --gid 0 new"),
        (Group(name="new", gid=99, system=True), "groupadd --gid 99 --system new"),
    ],
)
def test_create(group: Group, script: str) -> None:
    found = change_of(group, {"groups": TABLE})
    assert found is not None
    assert found.action == "create"
    assert scripts(steps_of(found)[0]) == script


def test_delete() -> None:
    gone = Group(name="kb", absent=True)
    found = change_of(gone, {"groups": TABLE})
    assert found is not None
    assert scripts(steps_of(found)[0]) == "if getent group kb >/dev/null; then groupdel kb; fi"
    assert gone.before_delete()
    assert list(Group(name="root", absent=True).problems()) == ["root cannot be absent"]


@pytest.mark.parametrize("name", ["", "A", "-x", "0", "a b", "a\n", "a:b", "$(id)", "x" * 33, "ü"])
def test_hostile_names(name: str) -> None:
    with pytest.raises(ValidationError):
        Group(name=name)


@pytest.mark.parametrize("gid", [-1, 4294967294, "x"])
def test_hostile_numbers(gid: int) -> None:
    with pytest.raises(ValidationError):
        Group(name="kb", gid=gid)


def test_process() -> None:
    assert Groups().process([None], "root:x:0:\nkb:x:990:a,b\n") == {None: TABLE}


@given(st.text(alphabet="a:0,\n", min_size=1, max_size=40).filter(lambda text: text.strip("\n") != ""))
def test_process_takes_nothing_by_halves(output: str) -> None:
    try:
        entries = Groups().process([None], output)[None]
    except ValueError:
        return
    assert isinstance(entries, tuple)
    assert len(entries) == len([line for line in output.split("\n") if line])


GID, GONE = Group(name="kb-grp-gid", gid=1990), Group(name="kb-grp-gone", gid=1991)

LAB_CASES: list[LabCase] = [
    LabCase((GID,), GID.address, "gid", "groupmod --gid 1980 kb-grp-gid"),
    LabCase((GONE,), GONE.address, "", "groupdel kb-grp-gone"),
]
