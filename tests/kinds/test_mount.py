"""Mounted file systems, and the table of them."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.fstab import FstabEntry, parse
from kbstate.kinds.mount import Mount, Mounted, Mounts, RealDevices
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of

BY_ID = "/dev/disk/by-id/scsi-0HC_Volume_1"
DESIRED = Mount(
    path="/mnt/data", source=BY_ID, fstype="ext4", options=("noexec", "nofail"), boot=True, mounted=True
).bound(lambda _: None)
LIVE = Mounted("/dev/sdb", frozenset({"/dev/sdb", "UUID=1-2"}), "ext4", frozenset({"rw", "noexec", "relatime"}))
ENTRY = f"{BY_ID} /mnt/data ext4 nofail,noexec 0 2\n"


def table(text: str) -> PathState:
    return PathState("file", "0644", "0", "0", "root", "root", len(text), 1.0, "", "0" * 64, text.encode())


RIGHT: dict[str, Any] = {"live": LIVE, "table": table(f"# x\n{ENTRY}"), "device": "/dev/sdb"}


@pytest.mark.parametrize(
    ("facts", "fields", "steps"),
    [
        ({}, {}, []),
        ({"live": None}, {"mounted"}, ["mount"]),
        ({"table": table("")}, {"boot"}, ["put_entry"]),
        ({"table": table(ENTRY.replace(BY_ID, "/dev/sdb"))}, {"source"}, ["put_entry"]),
        ({"table": table(ENTRY.replace("ext4", "xfs"))}, {"fstype"}, ["put_entry"]),
        ({"table": table(ENTRY.replace("nofail,", ""))}, {"options"}, ["put_entry"]),
        ({"live": Mounted("/dev/sdb", LIVE.names, "ext4", frozenset({"rw"}))}, {"in_use"}, ["remount"]),
        ({"live": Mounted("/dev/sdb", LIVE.names, "ext4", frozenset({"ro", "noexec"}))}, {"in_use"}, ["remount"]),
    ],
)
def test_update(facts: dict[str, Any], fields: set[str], steps: list[str]) -> None:
    change = change_of(DESIRED, {**RIGHT, **facts})
    assert (set(change.fields) if change else set()) == set(fields)
    assert [s.op.__name__ for s in (steps_of(change) if change else [])] == steps  # type: ignore[union-attr]


def test_create() -> None:
    change = change_of(DESIRED, {"live": None, "table": None, "device": "/dev/sdb"})
    assert change is not None
    assert change.action == "create"
    put, mount = steps_of(change)
    assert "/mnt/data ext4 noexec,nofail 0 2" in scripts(put)
    assert "mount -t ext4 -o noexec,nofail -- " in scripts(mount)


def test_delete_needs_leave_and_is_never_lazy() -> None:
    change = change_of(Mount(path="/mnt/data", absent=True), {"live": LIVE, "table": table(ENTRY)})
    assert change is not None
    assert DESIRED.before_delete()
    unmount, put = steps_of(change)
    assert "umount -- /mnt/data" in scripts(unmount)
    assert "-l" not in scripts(unmount).replace("--", "").split()
    assert "new=''" in scripts(put)
    assert change_of(Mount(path="/mnt/data", absent=True), {"live": None, "table": table("")}) is None


def test_unmount_only() -> None:
    off = DESIRED.model_copy(update={"mounted": False, "in_use": None})
    change = change_of(off, RIGHT)
    assert change is not None
    assert [s.op.__name__ for s in steps_of(change)] == ["unmount"]  # type: ignore[union-attr]


def test_another_source_is_a_conflict() -> None:
    other = Mounted("/dev/sdc", frozenset({"/dev/sdc"}), "ext4", frozenset())
    observed = DESIRED.observe(**{**RIGHT, "live": other})
    assert isinstance(observed, Unknown)
    assert "/dev/sdc" in observed.reason


def test_problems() -> None:
    assert list(Mount(path="/mnt/a").problems())
    assert list(Mount(path="/", source="/dev/a", fstype="ext4", boot=True).problems())
    assert list(Mount(path="/a", source="/b", fstype="none", options=("bind",), boot=True).problems())
    assert not list(DESIRED.problems())
    assert not list(Mount(path="/a", absent=True).problems())


@pytest.mark.parametrize("text", ["a b", "a,b", "a\n", "#", "\\040"])
def test_hostile_options(text: str) -> None:
    with pytest.raises(ValidationError):
        Mount(path="/mnt/a", options=(text,))


def test_hostile_paths() -> None:
    for path in ("relative", "/a/../b", "/a\nb", "/a/"):
        with pytest.raises(ValidationError):
            Mount(path=path)
    hostile = Mount(path="/mnt/a b'$(id)#", source="//srv/x y", fstype="cifs", boot=True, mounted=True)
    change = change_of(hostile, {"live": None, "table": None, "device": "//srv/x y"})
    assert change is not None
    put, mount = steps_of(change)
    assert "//srv/x\\040y /mnt/a\\040b" in scripts(put)
    assert scripts(mount).count("'/mnt/a b'\"'\"'$(id)#'") >= 3


FINDMNT = """{
   "filesystems": [
      {"target": "/", "source": "/dev/vda[/x]", "fstype": "ext4", "options": "rw,relatime",
       "uuid": null, "label": null, "partuuid": null, "partlabel": null},
      {"target": "/mnt/data", "source": "tmpfs", "fstype": "tmpfs", "options": "rw",
       "uuid": null, "label": null, "partuuid": null, "partlabel": null},
      {"target": "/mnt/data", "source": "/dev/sdb", "fstype": "ext4", "options": "rw,noexec",
       "uuid": "1-2", "label": null, "partuuid": null, "partlabel": null}
   ]
}"""


def test_process() -> None:
    found = Mounts().process(["/mnt/data", "/none"], FINDMNT)
    assert found == {
        "/mnt/data": Mounted("/dev/sdb", frozenset({"/dev/sdb", "UUID=1-2"}), "ext4", frozenset({"rw", "noexec"})),
        "/none": None,
    }
    assert RealDevices().process([BY_ID], "/dev/sdb\n") == {BY_ID: "/dev/sdb"}


FIELD = st.text(alphabet="ab/\\ #\t=-", min_size=1, max_size=8)


@given(FIELD, FIELD, st.sampled_from(["ext4", "none"]))
def test_an_entry_that_is_written_is_read(source: str, path: str, fstype: str) -> None:
    entry = FstabEntry(source, path, fstype, ("a", "b"), "0", "2")
    assert list(parse(f"# x\n{entry.line()}\n")) == [entry]


@given(st.text())
def test_any_table_is_read(text: str) -> None:
    assert all(len(entry.options) >= 1 for entry in parse(text))


def edited(text: str, entry: FstabEntry) -> str:
    """What the operation's program makes of a table."""
    from kbstate.fstab import _escape, put_entry

    [script] = put_entry(entry.path, entry)
    start, end = script.index("at="), script.index(' < $f > "$t"')
    run = subprocess.run(
        ["sh", "-c", script[start:end]], input=text, capture_output=True, text=True, check=True, env=os.environ
    )
    assert _escape(entry.path) in run.stdout
    return run.stdout


def test_the_edit_keeps_the_rest() -> None:
    entry = FstabEntry("/dev/new", "/mnt/a b", "ext4", ("noexec",), "0", "2")
    before = (
        "# head\n/dev/old /mnt/a\\040b ext4 rw 0 2\nUUID=1 none swap sw 0 0\n#/dev/x /mnt/a\\040b ext4\n/dev/y /y xfs\n"
    )
    after = edited(before, entry)
    assert after == before.replace("/dev/old /mnt/a\\040b ext4 rw 0 2", "/dev/new /mnt/a\\040b ext4 noexec 0 2")
    assert edited(after, entry) == after
    assert edited("# head\n", entry) == "# head\n/dev/new /mnt/a\\040b ext4 noexec 0 2\n"


LAB = Mount(path="/mnt/kb", source="tmpfs", fstype="tmpfs", options=("noexec", "size=1m"), boot=True, mounted=True)

LAB_CASES: list[LabCase] = [
    LabCase((LAB,), LAB.address, "mounted", "umount /mnt/kb", alone=True),
    LabCase((LAB,), LAB.address, "in_use", "mount -o remount,exec,ro /mnt/kb", alone=True),
    LabCase((LAB,), LAB.address, "boot", "sed -i /kb/d /etc/fstab", alone=True),
    LabCase((LAB,), LAB.address, "source", "sed -i 's/^tmpfs/none/' /etc/fstab", alone=True),
    LabCase((LAB,), LAB.address, "fstype", "sed -i 's/ tmpfs / ramfs /' /etc/fstab", alone=True),
    LabCase((LAB,), LAB.address, "options", "sed -i 's/size=1m/size=2m/' /etc/fstab", alone=True),
    LabCase((LAB,), LAB.address, "", "umount /mnt/kb; sed -i /kb/d /etc/fstab", alone=True),
]
