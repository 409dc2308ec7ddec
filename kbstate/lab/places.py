"""Where the lab keeps its files, and the locks that let several labs and several commands share them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kbstate.lab.errors import LabError

SOURCE = Path(__file__).resolve().parents[2]
"""The checkout that this code runs from; the controller mounts it."""

_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


def work_dir() -> Path:
    """The lab's directory: $KBSTATE_LAB_DIR, or /var/lib/kbstate-lab."""
    return Path(os.environ.get("KBSTATE_LAB_DIR") or "/var/lib/kbstate-lab").absolute()


def cache_dir() -> Path:
    """What all labs share and what is built once."""
    return work_dir() / "cache"


def labs_dir() -> Path:
    """One directory for each lab that is up."""
    return work_dir() / "labs"


def default_name() -> str:
    """The name of the lab that this command is about: $KBSTATE_LAB, or `lab`."""
    return os.environ.get("KBSTATE_LAB") or "lab"


def checked_name(name: str) -> str:
    """The name, if names of namespaces and cgroups can be made of it without meeting another lab's."""
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} cannot name a lab: up to 12 lower-case letters and digits, a letter first")
    return name


@contextmanager
def locked(file: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of this name; the kernel lets go of it when the process dies."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def discard(path: Path) -> None:
    """Remove a tree: renamed first, so that nobody meets it half removed."""
    if not path.exists():
        return
    trash = path.parent / f".gone-{uuid.uuid4().hex[:8]}"
    path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)
    if trash.exists():
        raise LabError(f"{trash} cannot be removed: something is still mounted or running in it")


def sweep() -> None:
    """Remove what an interrupted removal left."""
    for place in (labs_dir(), cache_dir()):
        for trash in place.glob(".gone-*"):
            shutil.rmtree(trash, ignore_errors=True)


def write_json(file: Path, value: object) -> None:
    """Write the whole file or nothing."""
    fresh = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    fresh.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    fresh.rename(file)


def read_json(file: Path) -> Any:
    """What the file holds, or None when there is no file."""
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return None
