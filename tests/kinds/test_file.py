"""Files: what differs, what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kbstate.kinds.file import File
from kbstate.paths import LARGEST, PathState
from kbstate.resource import Unknown
from kbstate.secret import MASK, Secret
from tests.kinds.case import LabCase, change_of, scripts, steps_of
from tests.real import change, converge, look

RIGHT = File(path="/etc/kb.conf", content="a = 1\n", owner="root", group="root", mode="0644")


def state(content: bytes | None = b"a = 1\n", **changed: Any) -> PathState:
    values = {"type": "file", "mode": "0644", "uid": "0", "gid": "0", "user": "root", "group": "root", "target": ""}
    return PathState(**{**values, "size": 6, "changed": 1.0, "sha256": "0" * 64, "content": content, **changed})


@pytest.mark.parametrize(
    ("live", "fields", "steps"),
    [
        (state(), {}, []),
        (state(b"a = 2\n"), {"content": ("a = 2\n", "a = 1\n")}, ["write_file"]),
        (state(user="kb"), {"owner": ("kb", "root")}, ["set_attributes"]),
        (state(group="kb"), {"group": ("kb", "root")}, ["set_attributes"]),
        (state(mode="4644"), {"mode": ("4644", "0644")}, ["set_attributes"]),
        (state(b""), {"content": ("", "a = 1\n")}, ["write_file"]),
    ],
)
def test_update(live: PathState, fields: dict[str, Any], steps: list[str]) -> None:
    found = change_of(RIGHT, {"state": live})
    assert ({d.path: (d.before, d.after) for d in found.diff} if found else {}) == fields
    taken = steps_of(found) if found else []
    assert [s.op.__name__ for s in taken] == steps  # type: ignore[union-attr]


def test_what_is_not_declared_is_not_ours() -> None:
    assert change_of(File(path="/etc/kb.conf"), {"state": state(b"anything", mode="0777", user="kb")}) is None


def test_owners_are_compared_by_number_where_declared_so() -> None:
    numbers = File(path="/etc/kb.conf", owner="99", group="0")
    found = change_of(numbers, {"state": state(uid="99", user="haproxy")})
    assert found is None


@pytest.mark.parametrize("sort", ["directory", "symlink", "socket"])
def test_another_type_is_a_conflict(sort: str) -> None:
    observed = RIGHT.observe(state(type=sort))
    assert isinstance(observed, Unknown)
    assert observed.reason == f"a {sort} is in its place: remove it, or declare it as one"


def test_large_and_binary_content() -> None:
    found = change_of(RIGHT, {"state": state(None, size=LARGEST + 1, sha256="f" * 64)})
    assert found is not None
    assert found.diff[0].before == f"(too large to show, sha256:{'f' * 64})"
    found = change_of(RIGHT, {"state": state(b"\xff\x00")})
    assert found is not None
    assert str(found.diff[0].before).startswith("binary, 2 bytes, sha256:")
    same = File(path="/x", content=b"\xff")
    assert change_of(same, {"state": state(b"\xff")}) is None


def test_a_secret_only_says_that_it_differs() -> None:
    desired = File(path="/etc/kb.secret", content=Secret("tr0ub4dor&3"), mode="0600")
    assert desired.reads()["state"].subject.expected == ""  # type: ignore[union-attr]
    found = change_of(desired, {"state": state(b"old s3cret", mode="0600")})
    assert found is not None
    assert (found.sensitive, [(d.path, d.before, d.after) for d in found.diff]) == (
        ("content",),
        [("content", None, None)],
    )
    assert "tr0ub4dor" not in repr(found) + found.model_dump_json() + repr(steps_of(found))
    assert "s3cret" not in repr(found) + found.model_dump_json()
    assert MASK in repr(steps_of(found))
    assert change_of(desired, {"state": state(b"tr0ub4dor&3", mode="0600")}) is None


def test_create_and_delete() -> None:
    found = change_of(RIGHT, {"state": None})
    assert found is not None
    [step] = steps_of(found)
    assert (found.action, step.args["content"], step.args["mode"]) == ("create", b"a = 1\n", "0644")
    gone = change_of(File(path="/etc/kb.conf", absent=True), {"state": state()})
    assert gone is not None
    assert "rm -f -- /etc/kb.conf" in scripts(steps_of(gone)[0])
    assert change_of(File(path="/etc/kb.conf", absent=True), {"state": None}) is None


def test_problems_needs_and_backup() -> None:
    assert list(File(path="/x", validate_with="true").problems()) == ["validate_with must name the candidate as {path}"]
    assert {"directory:/etc", "mount:/etc", "directory:/", "user:root", "group:root"} <= set(RIGHT.needs())
    assert list(RIGHT.backup()) == ["/etc/kb.conf"]


@pytest.mark.parametrize("path", ["", "a", "./a", "/a/../b", "/a//b", "/a/", "/a\n", "/a\x00", "/\udcff", "/."])
def test_hostile_paths(path: str) -> None:
    with pytest.raises(ValidationError):
        File(path=path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "644 "),
        ("mode", "0888"),
        ("mode", "12345"),
        ("mode", "u+s"),
        ("owner", "a b"),
        ("owner", "-x"),
        ("group", "$x"),
    ],
)
def test_hostile_attributes(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        File(path="/x", **{field: value})


def test_a_file_is_converged_for_real(tmp_path: Path) -> None:
    path = f"{tmp_path}/a 'b' $(c)"
    desired = File(path=path, content="é\n", mode="4711", validate_with="grep é {path}")
    created = converge(desired)
    assert created is not None
    assert created.action == "create"
    assert converge(desired) is None
    Path(path).write_bytes(b"\xff\xfe")
    Path(path).chmod(0o755)
    updated = converge(desired)
    assert updated is not None
    assert updated.fields == {"content", "mode"}
    gone = converge(File(path=path, absent=True))
    assert gone is not None
    assert list(tmp_path.iterdir()) == []


def test_a_refused_candidate_leaves_the_file_and_the_change(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("good\n")
    desired = File(path=str(file), content="bad\n", validate_with="grep good {path}")
    with pytest.raises(AssertionError):
        converge(desired)
    assert file.read_text() == "good\n"
    assert change(desired) is not None


def test_a_directory_in_its_place_for_real(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    assert isinstance(look(File(path=f"{tmp_path}/f", content="x")), Unknown)
    assert isinstance(look(File(path=f"{tmp_path}/f", absent=True)), Unknown)


def lab(name: str, field: str, drift: str, **fields: Any) -> LabCase:
    values = {"content": "a = 1\n", "owner": "root", "group": "root", "mode": "0640", **fields}
    file = File(path=f"/etc/kb-file-{name}", **values)
    return LabCase((file,), file.address, field, drift.replace("FILE", file.path))


LAB_CASES: list[LabCase] = [
    lab("content", "content", "echo a = 2 > FILE"),
    lab("binary", "content", "printf '\\377' > FILE", content=b"\x00\xfe"),
    lab("secret", "content", "echo other > FILE", content=Secret("s3cret")),
    lab("owner", "owner", "chown nobody FILE"),
    lab("group", "group", "chgrp adm FILE"),
    lab("number", "group", "chgrp adm FILE", group="99"),
    lab("mode", "mode", "chmod 4755 FILE"),
    lab("gone", "", "rm FILE"),
]
