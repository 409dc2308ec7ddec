"""Modules of the kernel."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.kernel_module import KernelModule, LoadedModules, names, parse, render
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, RecordedCase, change_of, scripts, steps_of

DESIRED = KernelModule(name="nf-conntrack", loaded=True, boot=True, options={"hashsize": "65536"})
OURS = ("/etc/modules-load.d/kbstate-nf_conntrack.conf", "nf_conntrack\n")
THEIRS = ("/etc/modules-load.d/modules.conf", "# /etc/modules\nnf-conntrack\n")


def options(text: str) -> PathState:
    return PathState("file", "0644", "0", "0", "root", "root", len(text), 1.0, "", "0" * 64, text.encode())


RIGHT: dict[str, Any] = {"loaded": True, "boot": (OURS,), "options": options("options nf_conntrack hashsize=65536\n")}


@pytest.mark.parametrize(
    ("facts", "fields", "steps"),
    [
        ({}, {}, []),
        ({"boot": (THEIRS,)}, {}, []),
        ({"loaded": False}, {"loaded": (False, True)}, ["load"]),
        ({"boot": ()}, {"boot": (False, True)}, ["load_at_boot"]),
        ({"options": None}, {"options.hashsize": (None, "65536")}, ["write_file"]),
        ({"options": options("options nf_conntrack hashsize=1 acct=1\n")}, None, ["write_file"]),
    ],
)
def test_update(facts: dict[str, Any], fields: dict[str, Any] | None, steps: list[str]) -> None:
    change = change_of(DESIRED, {**RIGHT, **facts})
    found = {d.path: (d.before, d.after) for d in change.diff} if change else {}
    assert found == (
        fields if fields is not None else {"options.acct": ("1", None), "options.hashsize": ("1", "65536")}
    )
    assert [s.op.__name__ for s in (steps_of(change) if change else [])] == steps  # type: ignore[union-attr]


def test_not_at_boot() -> None:
    never = KernelModule(name="nf_conntrack", boot=False)
    change = change_of(never, RIGHT)
    assert change is not None
    assert "rm -f" in scripts(steps_of(change)[0])
    refused = never.observe(**{**RIGHT, "boot": (THEIRS,)})
    assert isinstance(refused, Unknown)
    assert THEIRS[0] in refused.reason


def test_delete_takes_our_files_and_leaves_the_module() -> None:
    gone = KernelModule(name="nf_conntrack", absent=True)
    change = change_of(gone, RIGHT)
    assert change is not None
    assert [s.op.__name__ for s in steps_of(change)] == ["remove_file", "remove_file"]  # type: ignore[union-attr]
    assert change_of(gone, {"loaded": True, "boot": (THEIRS,), "options": None}) is None


def test_process() -> None:
    output = "nf_conntrack\next4\next4\nloop\n"
    assert LoadedModules().process(["nf_conntrack", "loop", "dummy"], output) == {
        "nf_conntrack": True,
        "loop": True,
        "dummy": False,
    }
    assert names("# a\n; b\n\n nf-conntrack \nloop") == {"nf_conntrack", "loop"}


@pytest.mark.parametrize("name", ["", "a b", "-a", "../a", "$(id)", "a\n", "a'"])
def test_hostile(name: str) -> None:
    with pytest.raises(ValidationError):
        KernelModule(name=name)
    with pytest.raises(ValidationError):
        KernelModule(name="a", options={"x": f"{name} '"})


def test_problems() -> None:
    assert list(KernelModule(name="a").problems())


@given(st.dictionaries(st.from_regex("[a-z_]{1,8}", fullmatch=True), st.from_regex("[a-z0-9,=]{1,8}", fullmatch=True)))
def test_what_is_written_is_read(options: dict[str, str]) -> None:
    assert parse("loop", render("loop", options)) == options


LAB = KernelModule(name="kb_lab", boot=True, options={"size": "4"})

LAB_CASES: list[LabCase] = [
    LabCase((LAB,), LAB.address, "boot", "rm /etc/modules-load.d/kbstate-kb_lab.conf", alone=True),
    LabCase((LAB,), LAB.address, "options", "sed -i s/size=4/size=5/ /etc/modprobe.d/kbstate-kb_lab.conf", alone=True),
]

RECORDED_CASES: list[RecordedCase] = [
    RecordedCase(
        DESIRED,
        {**RIGHT, "loaded": False},
        "loaded",
        "modules belong to the kernel, which lab hosts share with the machine",
    ),
]
