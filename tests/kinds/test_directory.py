"""Directories: attributes, types that are in the way, and what is never removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kbstate.kinds.directory import Directory
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, steps_of
from tests.real import converge, look

DESIRED = Directory(path="/srv/kb", owner="root", group="kb", mode="0750")


def state(**changed: Any) -> PathState:
    values = {"type": "directory", "mode": "0750", "uid": "0", "gid": "9", "user": "root", "group": "kb", "target": ""}
    return PathState(**{**values, "size": 4096, "changed": 1.0, **changed})


@pytest.mark.parametrize(
    ("live", "fields"),
    [
        (state(), {}),
        (state(user="kb"), {"owner": ("kb", "root")}),
        (state(group="root"), {"group": ("root", "kb")}),
        (state(mode="2750"), {"mode": ("2750", "0750")}),
    ],
)
def test_update(live: PathState, fields: dict[str, Any]) -> None:
    found = change_of(DESIRED, {"state": live})
    assert ({d.path: (d.before, d.after) for d in found.diff} if found else {}) == fields
    assert found is None or [s.op.__name__ for s in steps_of(found)] == ["set_attributes"]  # type: ignore[union-attr]


def test_another_type_is_a_conflict() -> None:
    observed = DESIRED.observe(state(type="symlink"))
    assert isinstance(observed, Unknown)
    assert observed.reason == "a symlink is in its place: remove it, or declare it as one"


def test_owners_by_number_and_what_is_not_ours() -> None:
    assert change_of(Directory(path="/srv/kb", group="9"), {"state": state(user="x", mode="0777")}) is None


def test_create_delete_and_needs() -> None:
    found = change_of(DESIRED, {"state": None})
    assert found is not None
    assert [s.op.__name__ for s in steps_of(found)] == ["make_directory"]  # type: ignore[union-attr]
    gone = change_of(Directory(path="/srv/kb", absent=True), {"state": state()})
    assert gone is not None
    assert [s.op.__name__ for s in steps_of(gone)] == ["remove_directory"]  # type: ignore[union-attr]
    needs = {"directory:/srv", "mount:/srv", "mount:/srv/kb", "user:root", "group:kb"}
    assert needs <= set(DESIRED.needs())
    assert "directory:/srv/kb" not in set(DESIRED.needs())
    assert list(Directory(path="/", absent=True).problems()) == ["the root directory cannot be absent"]


def test_a_directory_is_converged_for_real(tmp_path: Path) -> None:
    path = f"{tmp_path}/a 'b'"
    desired = Directory(path=path, owner="root", mode="2755")
    created = converge(desired)
    assert created is not None
    assert created.action == "create"
    Path(path).chmod(0o0700)
    updated = converge(desired)
    assert updated is not None
    assert updated.fields == {"mode"}
    Path(path, "precious").touch()
    with pytest.raises(AssertionError, match="is not empty: it holds precious"):
        converge(Directory(path=path, absent=True))
    Path(path, "precious").unlink()
    assert converge(Directory(path=path, absent=True)) is not None


def test_a_link_to_a_directory_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert isinstance(look(Directory(path=f"{tmp_path}/link", mode="0700")), Unknown)


def lab(name: str, field: str, drift: str) -> LabCase:
    directory = Directory(path=f"/srv/kb-dir-{name}", owner="root", group="root", mode="0750")
    return LabCase((directory,), directory.address, field, drift.replace("DIR", directory.path))


LAB_CASES: list[LabCase] = [
    lab("owner", "owner", "chown nobody DIR"),
    lab("group", "group", "chgrp adm DIR"),
    lab("mode", "mode", "chmod 2777 DIR"),
    lab("gone", "", "rmdir DIR"),
]
