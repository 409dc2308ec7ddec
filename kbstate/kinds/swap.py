"""No swap space: not in use now, and nothing that would bring it back at the next boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Self

from kbstate import fstab
from kbstate.paths import PathState
from kbstate.resource import AnyRead, Change, Fact, Line, Read, Resource, Step, Unknown

SERVICES = ("zramswap.service", "dphys-swapfile.service")
"""Services of packages that turn swap on by themselves: zram-tools, dphys-swapfile."""


LIST = "systemctl list-unit-files --no-legend --plain --type=swap | cut -d' ' -f1"


class ActiveSwap(Fact[None, tuple[str, ...]]):
    """What is used as swap now. Source: proc(5), /proc/swaps."""

    def command(self, wanted: Sequence[None]) -> str:
        return "cat /proc/swaps"

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, tuple[str, ...] | Unknown | None]:
        rows = (line.split() for line in output.splitlines() if not line.startswith("Filename"))
        return {None: tuple(row[0] for row in rows if row)}


class SwapUnits(Fact[None, tuple[str, ...]]):
    """Units that turn swap on at boot, but those made of /etc/fstab. Source: systemd.swap(5), systemctl(1).

    zram and GPT partitions have generators; what is only in use has a unit too, but no file that it comes from.
    """

    def command(self, wanted: Sequence[None]) -> str:
        show = "systemctl show --property=Id,SourcePath,UnitFileState"
        return f"set -eu\nn=$({LIST})\n{show} -- {' '.join(SERVICES)} $n"

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, tuple[str, ...] | Unknown | None]:
        units = [dict(line.split("=", 1) for line in block.splitlines()) for block in output.strip().split("\n\n")]
        return {None: tuple(sorted(unit["Id"] for unit in units if unit and _starts(unit)))}


def _starts(unit: Mapping[str, str]) -> bool:
    return unit["UnitFileState"] in ("enabled", "enabled-runtime", "generated") and unit["SourcePath"] != fstab.FSTAB


class Swap(Resource):
    """The swap space of a host. Only that there is none can be declared."""

    kind: ClassVar[str] = "swap"

    name: Literal["system"] = "system"
    active: tuple[Line, ...] | None = ()
    """Devices and files in use now."""
    fstab: tuple[Line, ...] | None = ()
    """Sources of the entries in /etc/fstab."""
    units: tuple[Line, ...] | None = ()
    """Units that would turn it on at boot (zram, GPT partitions, .swap files)."""

    def problems(self) -> Iterator[str]:
        if self.active or self.fstab or self.units:
            yield "only the absence of swap can be declared: active, fstab and units are empty or None"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"active": Read(ActiveSwap), "table": fstab.read(), "units": Read(SwapUnits)}

    def observe(
        self, active: tuple[str, ...], table: PathState | None, units: tuple[str, ...]
    ) -> Self | Unknown | None:
        if self.absent:
            return None  # no longer ours: that is no reason to turn anything on
        entries = fstab.entries(table)
        if isinstance(entries, Unknown):
            return entries
        return type(self)(active=active, fstab=tuple(e.source for e in entries if e.fstype == "swap"), units=units)

    def steps(self, change: Change) -> Iterator[Step]:
        if "fstab" in change.fields:
            yield Step(fstab.comment_swap, {}, "make comments of the entries in /etc/fstab")
        if "units" in change.fields:
            yield Step(mask_units, {}, "mask the units that turn it on")
        if "active" in change.fields:
            yield Step(swap_off, {}, "turn it off")

    def backup(self) -> Iterator[str]:
        yield fstab.FSTAB


def mask_units() -> Iterator[str]:
    """Disable what can be disabled and mask what generators make; a mask outlives its generator."""
    yield "\n".join(
        [
            "set -eu",
            f"for u in {' '.join(SERVICES)}; do systemctl disable --quiet --now $u 2>/dev/null || true; done",
            f"n=$({LIST})",
            'for u in $n; do case "$(systemctl show --property=UnitFileState --value -- "$u")" in',
            'generated) systemctl mask --quiet -- "$u" ;;',
            'enabled*) systemctl disable --quiet -- "$u"; systemctl disable --quiet --runtime -- "$u" ;;',
            "esac; done",
        ]
    )


def swap_off() -> Iterator[str]:
    """Turn off what is in use, if what lies in it fits into memory. Source: swapoff(8)."""
    yield "\n".join(
        [
            "set -eu",
            "used=$(awk 'NR > 1 { sum += $4 } END { print sum + 0 }' /proc/swaps)",
            "free=$(awk '$1 == \"MemAvailable:\" { print $2 }' /proc/meminfo)",
            '[ "$used" -lt "$free" ] || { echo "$used KiB of swap in use, $free KiB of memory free" >&2; exit 1; }',
            'awk \'NR > 1 { print $1 }\' /proc/swaps | while IFS= read -r s; do swapoff -- "$(printf %b "$s")"; done',
        ]
    )
