"""The directories of the platform below /opt/keybuzz; what a container mounts stands with the container."""

from __future__ import annotations

from collections.abc import Iterator

from kbstate import Directory, Resource

ROOT = "/opt/keybuzz"
SCRIPTS = f"{ROOT}/scripts"
SECRETS = f"{ROOT}/secrets"


def keybuzz_tree() -> Iterator[Resource]:
    yield plain(ROOT)
    yield plain(SCRIPTS)
    yield Directory(path=SECRETS, owner="root", group="root", mode="0700")


def plain(path: str) -> Directory:
    """One that everyone may look into."""
    return Directory(path=path, owner="root", group="root", mode="0755")


def mounted(path: str, gid: int) -> Directory:
    """One whose files a container reads: the container's group may, and it changes nothing."""
    return Directory(path=path, owner="root", group=str(gid), mode="0750")


def owned(path: str, uid: int, gid: int) -> Directory:
    """One in which a container makes its sockets."""
    return Directory(path=path, owner=str(uid), group=str(gid), mode="0750")
