"""Names in /etc/hosts: ours exactly, everybody else's untouched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.hosts import EDIT, HostsFile, parse
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, steps_of

ENTRIES: dict[str, tuple[str, ...]] = {
    "127.0.1.1": ("haproxy-01.keybuzz.io", "haproxy-01"),
    "10.0.0.120": ("db-master-01",),
    "10.0.0.9": (),
}
DESIRED = HostsFile(entries=ENTRIES)
RIGHT = (
    "127.0.0.1 localhost\n127.0.1.1 haproxy-01.keybuzz.io haproxy-01\n"
    "10.0.0.120 db-master-01 # primary\n::1 localhost\n"
)


def state(text: str) -> PathState:
    return PathState("file", "0644", "0", "0", "root", "root", len(text), 1.0, "", "0" * 64, text.encode())


def fields(text: str) -> dict[str, Any]:
    change = change_of(DESIRED, {"state": state(text)})
    assert change is None or [s.op.__name__ for s in steps_of(change)] == ["put_names"]  # type: ignore[union-attr]
    return {d.path: (d.before, d.after) for d in change.diff} if change else {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RIGHT, {}),
        (RIGHT + "10.0.0.50 other\n", {}),
        (RIGHT + "2001:db8::1 db-master-01\n", {}),  # of another family: no conflict
        (RIGHT + "10.0.0.9 old\n", {"entries.10.0.0.9[0]": ("old", None)}),
        (RIGHT + "10.0.0.99 DB-master-01 x\n", {"entries.10.0.0.99": (["DB-master-01"], None)}),
        (RIGHT.replace("db-master-01", "db"), {"entries.10.0.0.120[0]": ("db", "db-master-01")}),
        (RIGHT.replace("10.0.0.120 db", "# 10.0.0.120 db"), {"entries.10.0.0.120": (None, ["db-master-01"])}),
    ],
)
def test_update(text: str, expected: dict[str, Any]) -> None:
    assert fields(text) == expected


def test_unknown_absent_and_problems() -> None:
    link = PathState("symlink", "0777", "0", "0", "root", "root", 1, 1.0, "/x")
    assert isinstance(DESIRED.observe(link), Unknown)
    assert change_of(HostsFile(absent=True), {"state": state(RIGHT)}) is None
    assert list(HostsFile().problems())
    assert list(HostsFile(entries={"10.0.0.1": ("a",), "10.0.0.2": ("A",)}).problems())
    assert not list(HostsFile(entries={"10.0.0.1": ("a",), "::2": ("a",)}).problems())


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\n", "$(id)", "#", "a'"])
def test_hostile(name: str) -> None:
    with pytest.raises(ValidationError):
        HostsFile(entries={"10.0.0.1": (name,)})
    with pytest.raises(ValidationError):
        HostsFile(entries={name: ("a",)})


def edited(text: str, entries: dict[str, tuple[str, ...]], tmp_path: Path) -> str:
    """What the operation's program makes of a file."""
    wanted = tmp_path / "wanted"
    wanted.write_text("".join(" ".join((address, *names)) + "\n" for address, names in entries.items()))
    run = subprocess.run(
        ["awk", EDIT], input=text.encode(), env={**os.environ, "wanted": str(wanted)}, capture_output=True, check=True
    )
    return run.stdout.decode()


def test_edit(tmp_path: Path) -> None:
    before = (
        "# keep\n127.0.0.1\tlocalhost\n127.0.1.1 old\n\n10.0.0.9 gone\n10.0.0.99 db-master-01 x # note\n"
        "10.0.0.98 DB-MASTER-01\n127.0.1.1 older\n::1 localhost"
    )
    after = edited(before, ENTRIES, tmp_path)
    assert after == (
        "# keep\n127.0.0.1\tlocalhost\n127.0.1.1 haproxy-01.keybuzz.io haproxy-01\n\n10.0.0.99 x # note\n"
        "::1 localhost\n10.0.0.120 db-master-01\n"
    )
    assert edited(after, ENTRIES, tmp_path) == after
    assert fields(after) == {}


LINES = st.text(alphabet="abc.#\t 0129:\n", max_size=60)


@given(LINES)
def test_any_file_is_read(text: str) -> None:
    assert all(isinstance(names, tuple) for _, names in parse(text))


def test_an_edited_file_is_always_as_declared(tmp_path: Path) -> None:
    @given(
        st.lists(
            st.sampled_from(
                ["10.0.0.120 x db-master-01", "#c", "", "::1 a", "10.0.0.9 z", "1.2.3.4 haproxy-01 b", "x y"]
            )
        )
    )
    def check(lines: list[str]) -> None:
        assert fields(edited("\n".join(lines), ENTRIES, tmp_path)) == {}

    check()


LAB = HostsFile(entries={"10.9.0.1": ("kb-one.example", "kb-one"), "10.9.0.2": ("kb-two",), "10.9.0.3": ()})

LAB_CASES: list[LabCase] = [
    LabCase((LAB,), LAB.address, "entries", "sed -i /kb-two/d /etc/hosts", alone=True),
    LabCase((LAB,), LAB.address, "entries", "sed -i '1i 10.9.0.7 other kb-one # old' /etc/hosts", alone=True),
    LabCase((LAB,), LAB.address, "entries", "echo 10.9.0.3 back >> /etc/hosts", alone=True),
]
