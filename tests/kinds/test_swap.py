"""No swap: in use, in /etc/fstab, and in units."""

from __future__ import annotations

from typing import Any

import pytest

from kbstate.fstab import comment_swap
from kbstate.kinds.swap import ActiveSwap, Swap, SwapUnits
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, RecordedCase, change_of, scripts, steps_of

TABLE = "# keep me\nUUID=1-2 none swap sw 0 0\n/dev/sda1 / ext4 defaults 0 1\n#/dev/sdb none swap sw 0 0\n"


def table(text: str) -> PathState:
    return PathState("file", "0644", "0", "0", "root", "root", len(text), 1.0, "", "0" * 64, text.encode())


@pytest.mark.parametrize(
    ("facts", "fields", "steps"),
    [
        ({}, {}, []),
        ({"active": ("/dev/sda5",)}, {"active[0]": ("/dev/sda5", None)}, ["swap_off"]),
        ({"table": table(TABLE)}, {"fstab[0]": ("UUID=1-2", None)}, ["comment_swap"]),
        ({"units": ("dev-zram0.swap",)}, {"units[0]": ("dev-zram0.swap", None)}, ["mask_units"]),
    ],
)
def test_update(facts: dict[str, Any], fields: dict[str, Any], steps: list[str]) -> None:
    change = change_of(Swap(), {"active": (), "table": None, "units": (), **facts})
    assert ({d.path: (d.before, d.after) for d in change.diff} if change else {}) == fields
    assert [s.op.__name__ for s in (steps_of(change) if change else [])] == steps  # type: ignore[union-attr]


def test_what_is_not_ours_is_not_touched() -> None:
    change = change_of(
        Swap(fstab=None, units=None), {"active": ("/dev/sda5",), "table": table(TABLE), "units": ("a.swap",)}
    )
    assert change is not None
    assert [s.op.__name__ for s in steps_of(change)] == ["swap_off"]  # type: ignore[union-attr]


def test_no_longer_declared() -> None:
    assert change_of(Swap(absent=True), {"active": ("/dev/sda5",), "table": None, "units": ()}) is None


def test_unknown_and_problems() -> None:
    link = PathState("symlink", "0777", "0", "0", "root", "root", 1, 1.0, "/x")
    assert isinstance(Swap().observe((), link, ()), Unknown)
    assert list(Swap(active=("/swapfile",)).problems())
    assert not list(Swap().problems())


def test_process() -> None:
    swaps = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda5         partition\t1\t0\t-2\n"
    assert ActiveSwap().process([None], swaps) == {None: ("/dev/sda5",)}
    assert ActiveSwap().process([None], swaps.splitlines()[0]) == {None: ()}
    units = (
        "Id=zramswap.service\nSourcePath=\nUnitFileState=\n\n"
        "Id=dev-sda5.swap\nSourcePath=/etc/fstab\nUnitFileState=generated\n\n"
        "Id=dev-zram0.swap\nSourcePath=\nUnitFileState=generated\n\n"
        "Id=dev-sdb.swap\nSourcePath=\nUnitFileState=masked\n\n"
        "Id=dev-sdc.swap\nSourcePath=\nUnitFileState=enabled\n"
    )
    assert SwapUnits().process([None], units) == {None: ("dev-sdc.swap", "dev-zram0.swap")}


def test_swap_that_does_not_fit_into_memory_stays() -> None:
    change = change_of(Swap(), {"active": ("/dev/sda5",), "table": None, "units": ()})
    assert change is not None
    assert "MemAvailable" in scripts(steps_of(change)[0])
    assert "--all" not in scripts(steps_of(change)[0])


def test_the_edit_keeps_the_rest() -> None:
    assert "mv -fT" in "".join(comment_swap())


GENERATOR = "/run/systemd/system-generators/kb-zram"
ZRAM = f"""mkdir -p /run/systemd/system-generators
printf '#!/bin/sh\\nprintf "[Swap]\\\\nWhat=/dev/zram0\\\\n" > "$1/dev-zram0.swap"\\n' > {GENERATOR}
chmod 0755 {GENERATOR}; systemctl daemon-reload"""
ENTRY = "printf 'UUID=1-2 none swap sw 0 0\\n' >> /etc/fstab; systemctl daemon-reload"
FILE = "printf '[Swap]\\nWhat=/dev/zram1\\n[Install]\\nWantedBy=swap.target\\n' > /etc/systemd/system/dev-zram1.swap"

LAB_CASES: list[LabCase] = [
    LabCase((Swap(),), "swap:system", "fstab", ENTRY, alone=True),
    LabCase((Swap(),), "swap:system", "units", ZRAM, alone=True),
    LabCase((Swap(),), "swap:system", "units", f"{FILE}; systemctl enable dev-zram1.swap", alone=True),
]

RECORDED_CASES: list[RecordedCase] = [
    RecordedCase(
        Swap(),
        {"active": ("/dev/sda5",), "table": None, "units": ()},
        "active",
        "swap belongs to the kernel, which lab hosts share with the machine",
    ),
]
