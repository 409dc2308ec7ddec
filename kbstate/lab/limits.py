"""The one limit of the machine that a few dozen hosts meet: inotify instances, which all of root's processes share.

A host's init, message bus and login manager hold six of the usual 128. The limit is raised while any lab is up, and
put back when the last one goes.
"""

from __future__ import annotations

from pathlib import Path

from kbstate.lab.places import cache_dir, labs_dir, locked, read_json, write_json

ENOUGH = 4096
_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


def _record() -> Path:
    return cache_dir() / "inotify-instances-before.json"


def make_room() -> None:
    """Raise the limit, unless it is high enough or the machine does not let us."""
    with locked(cache_dir() / ".lock-limits"):
        before = int(_INSTANCES.read_text())
        if before >= ENOUGH:
            return
        write_json(_record(), before)
        try:
            _INSTANCES.write_text(str(ENOUGH))
        except OSError:  # a machine that is a container itself: the lab works, with fewer hosts
            _record().unlink()


def give_back() -> None:
    """Put the limit back, once no lab is up; one that somebody else has set meanwhile is left alone."""
    with locked(cache_dir() / ".lock-limits"):
        before = read_json(_record())
        if before is None or any(path.is_dir() for path in labs_dir().glob("[!.]*")):
            return
        if int(_INSTANCES.read_text()) == ENOUGH:
            _INSTANCES.write_text(str(before))
        _record().unlink()
