"""A mounted file system: mounted now, and in /etc/fstab for the next boot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StringConstraints

from kbstate import fstab
from kbstate.fstab import FstabEntry
from kbstate.paths import PathState, parents
from kbstate.resource import AbsPath, AnyRead, Change, Fact, Line, Read, Resource, Step, Unknown, Unordered
from kbstate.shell import q, words

FsType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Option = Annotated[str, StringConstraints(pattern=r"^[^\s,#\\]+$")]

SHOWN = frozenset({"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "sync", "dirsync"})
"""Options that the kernel shows of every mounted file system, and that `remount` changes. Source: mount(8)."""


@dataclass(frozen=True)
class Mounted:
    """What is mounted at a path, the uppermost if there are several."""

    source: str
    names: frozenset[str]
    """All that an entry in fstab may call the source: its device, UUID=…, LABEL=…."""
    fstype: str
    options: frozenset[str]


class Mounts(Fact[str, Mounted]):
    """What is mounted at paths. Source: findmnt(8)."""

    def command(self, wanted: Sequence[str]) -> str:
        return "findmnt --json --list --output TARGET,SOURCE,FSTYPE,OPTIONS,UUID,LABEL,PARTUUID,PARTLABEL"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, Mounted | Unknown | None]:
        found: dict[str, Mounted | Unknown | None] = dict.fromkeys(wanted)
        for row in json.loads(output)["filesystems"]:
            if row["target"] in found:
                found[row["target"]] = _mounted(row)  # later ones lie over earlier ones
        return found


def _mounted(row: Mapping[str, Any]) -> Mounted:
    tags = (f"{tag.upper()}={row[tag]}" for tag in ("uuid", "label", "partuuid", "partlabel") if row.get(tag))
    return Mounted(
        row["source"], frozenset({row["source"], *tags}), row["fstype"], frozenset(row["options"].split(","))
    )


class RealDevices(Fact[str, str]):
    """The device behind each source that is a path (/dev/disk/by-id/…), in one process. Source: readlink(1)."""

    def command(self, wanted: Sequence[str]) -> str:
        return f"readlink -m -- {words(dict.fromkeys(wanted))}"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, str | Unknown | None]:
        return dict(zip(dict.fromkeys(wanted), output.splitlines(), strict=True))


class Mount(Resource):
    """A mount. What uses the file system is never cut off: unmounting is refused by the kernel then, and never lazy."""

    kind: ClassVar[str] = "mount"
    identity: ClassVar[tuple[str, ...]] = ("path",)

    path: AbsPath
    source: Line | None = Field(default=None, min_length=1)
    fstype: FsType | None = None
    options: Annotated[tuple[Option, ...] | None, Unordered()] = None
    boot: bool | None = None
    """Whether it is in /etc/fstab; source, fstype and options are those there if it is, else those in use."""
    mounted: bool | None = None
    in_use: Annotated[tuple[Option, ...] | None, Unordered()] = None
    """Those of the options that the kernel shows as in force; filled in, not declared."""

    def problems(self) -> Iterator[str]:
        if self.absent:
            return
        if self.source is None or self.fstype is None:
            yield "source and fstype are missing"
        if self.boot is None and self.mounted is None:
            yield "nothing is declared: boot or mounted"
        if self.fstype == "swap" or self.path == "/":
            yield "swap and the root file system are not for this kind"
        if {"bind", "rbind"} & set(self.options or ()):
            yield "bind mounts are not for this kind: the kernel does not tell where they come from"

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        in_use = tuple(sorted(SHOWN & set(self.options))) if self.options is not None and self.mounted else None
        return self.model_copy(update={"in_use": in_use})

    def reads(self) -> Mapping[str, AnyRead]:
        device = {"device": Read(RealDevices, self.source)} if (self.source or "").startswith("/") else {}
        return {"live": Read(Mounts, self.path), "table": fstab.read(), **device}

    def observe(
        self, live: Mounted | None, table: PathState | None, device: str | None = None
    ) -> Self | Unknown | None:
        entries = fstab.entries(table)
        if isinstance(entries, Unknown):
            return entries
        entry = next((e for e in entries if e.path.rstrip("/") == self.path and e.fstype != "swap"), None)
        if live is None and entry is None:
            return None
        if live and self.source and self.mounted is not None and not live.names & {self.source, device}:
            return Unknown(f"{live.source} is mounted there, not {self.source}: unmount it by hand")
        shown = SHOWN & live.options if live else frozenset(self.in_use or ())
        values = {
            "source": entry.source if entry else self.source,
            "fstype": entry.fstype if entry else live.fstype if live else None,
            "options": entry.options if entry else self.options,
            "boot": entry is not None,
            "mounted": live is not None,
            "in_use": tuple(sorted(shown & SHOWN)),
        }
        return type(self)(path=self.path).model_copy(update=values)

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete" or (self.mounted is False and "mounted" in change.fields):
            yield Step(unmount, {"path": self.path}, "unmount it")
        if change.action == "delete" or (self.boot is False and "boot" in change.fields):
            yield Step(fstab.put_entry, {"path": self.path, "entry": None}, "remove it from /etc/fstab")
        if change.action == "delete":
            return
        if self.boot and (change.action != "update" or change.fields & {"boot", "source", "fstype", "options"}):
            yield Step(fstab.put_entry, {"path": self.path, "entry": self._entry()}, "put it into /etc/fstab")
        if self.mounted and (change.action != "update" or "mounted" in change.fields):
            yield Step(mount, {"entry": self._entry()}, "mount it")
        elif self.mounted and "in_use" in change.fields:
            yield Step(remount, {"path": self.path, "options": self.in_use or ()}, "remount it with its options")

    def _entry(self) -> FstabEntry:
        order = "2" if self.fstype in ("ext2", "ext3", "ext4") else "0"  # the order of fsck at boot
        return FstabEntry(self.source or "", self.path, self.fstype or "", self.options or ("defaults",), "0", order)

    def needs(self) -> Iterator[str]:
        yield "package:*"
        yield from (f"mount:{parent}" for parent in parents(self.path))

    def before_delete(self) -> str | None:
        return f"unmounts {self.path}: what is stored there is out of reach until it is mounted again"

    def backup(self) -> Iterator[str]:
        yield fstab.FSTAB


def mount(entry: FstabEntry) -> Iterator[str]:
    """Mount it where nothing is hidden by it. Source: mount(8)."""
    path = q(entry.path)
    yield "\n".join(
        [
            f"set -eu; mkdir -p -- {path}",
            f'[ -z "$(ls -A -- {path})" ] || {{ echo "it would hide what is in" {path} >&2; exit 1; }}',
            f"mount -t {q(entry.fstype)} -o {q(','.join(entry.options))} -- {q(entry.source)} {path}",
        ]
    )


def remount(path: str, options: Sequence[str]) -> Iterator[str]:
    """Set the options that the kernel shows, those that are not declared taken back."""
    opposite = {"ro": "rw", "nosuid": "suid", "nodev": "dev", "noexec": "exec", "noatime": "relatime", "sync": "async"}
    every = [option if option in options else opposite[option] for option in opposite] + [*set(options) - set(opposite)]
    yield f"mount -o {q('remount,' + ','.join(every))} -- {q(path)}"


def unmount(path: str) -> Iterator[str]:
    """Unmount it, or say who uses it. Source: umount(8); never --lazy: that only hides it."""
    yield "\n".join(
        [
            f"set -eu; mountpoint -q -- {q(path)} || exit 0",
            f"umount -- {q(path)} || {{ command -v fuser >/dev/null && fuser -vm -- {q(path)} >&2; exit 1; }}",
        ]
    )
