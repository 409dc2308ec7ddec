"""Control groups of a host, in every hierarchy that the machine has: v1, hybrid and v2."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kbstate.lab.errors import LabError
from kbstate.lab.processes import kill, until

_TOP = Path("/sys/fs/cgroup")
_DYING_SECONDS = 20.0


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy."""

    mountpoint: Path
    unified: bool
    options: str

    @property
    def below(self) -> str:
        """The place under /sys/fs/cgroup: empty for a machine that has v2 alone."""
        return str(self.mountpoint.relative_to(_TOP)) if self.mountpoint != _TOP else ""


def hierarchies() -> list[Hierarchy]:
    """Every cgroup hierarchy mounted here."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mountpoint = Path(left.split()[4])
        kind, _, options = right.split()[:3]
        if kind in ("cgroup", "cgroup2") and mountpoint.is_relative_to(_TOP):
            kept = ",".join(word for word in options.split(",") if word not in ("rw", "ro", "relatime"))
            found.append(Hierarchy(mountpoint, kind == "cgroup2", kept))
    return found


def group(lab: str, host: str = "") -> str:
    """The name of a lab's group, or of a host's in it."""
    return f"kbstate-{lab}/{host}" if host else f"kbstate-{lab}"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError:  # a controller that this kernel does not delegate: the host does without it
        pass


def _copy_cpuset(directory: Path) -> None:
    for key in ("cpuset.cpus", "cpuset.mems"):
        own = directory / key
        if own.exists() and not own.read_text().strip():
            own.write_text((directory.parent / key).read_text())


def join(name: str) -> None:
    """Move the calling process into this group of every hierarchy."""
    for hierarchy in hierarchies():
        directory = hierarchy.mountpoint / name
        directory.mkdir(parents=True, exist_ok=True)
        for ancestor in (hierarchy.mountpoint, directory.parent):
            if hierarchy.unified:
                for controller in (ancestor / "cgroup.controllers").read_text().split():
                    _write(ancestor / "cgroup.subtree_control", f"+{controller}")
        if not hierarchy.unified:
            for level in (directory.parent, directory):
                _write(level / "cgroup.clone_children", "1")
                _copy_cpuset(level)
            if (directory / "devices.deny").exists():
                _write(directory / "devices.deny", "b *:* rw")  # the real disks are nobody's business in there
        (directory / "cgroup.procs").write_text("0")


def members(name: str) -> set[int]:
    """The processes in this group and in those below it."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for top, _, _ in os.walk(hierarchy.mountpoint / name):
            try:
                found.update(map(int, (Path(top) / "cgroup.procs").read_text().split()))
            except OSError:  # removed meanwhile
                pass
    return found


def _remove(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def clear(name: str) -> None:
    """Kill what is in this group and remove it from every hierarchy. Raises LabError when something does not die."""
    for pid in members(name):
        kill(pid)
    for hierarchy in hierarchies():
        for top, _, _ in os.walk(hierarchy.mountpoint / name, topdown=False):
            if not until(partial(_remove, Path(top)), _DYING_SECONDS):
                raise LabError(f"the control group {top} cannot be removed: processes in it do not die")
