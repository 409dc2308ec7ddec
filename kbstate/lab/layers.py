"""Role layers: what a role's packages write over the base, kept so that a host with that role starts at once."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kbstate.lab.archive import sources_list
from kbstate.lab.base import base
from kbstate.lab.mirror import mirror
from kbstate.lab.pieces import Piece, obtain, source
from kbstate.lab.places import discard
from kbstate.lab.processes import contained

_INSIDE = """
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /tmp/lists/partial
apt() {
    apt-get -qq -y -o Dir::State::lists=/tmp/lists -o Dir::Etc::sourcelist=/mnt/lab.list -o Dir::Etc::sourceparts=- \
        -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Dpkg::Use-Pty=0 "$@"
}
{ echo '#!/bin/sh'; echo 'exit 101'; } > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
"""
_AFTER = """
rm -f /usr/sbin/policy-rc.d /var/cache/apt/*.bin /etc/machine-id /etc/ssh/ssh_host_*
"""


@dataclass(frozen=True)
class Layer:
    """What to install, and commands to run in the new root before and after."""

    name: str
    packages: tuple[str, ...]
    before: str = ""
    after: str = ""
    recipe: tuple[str, ...] = ()
    supplies: Callable[[Path], None] | None = field(default=None, compare=False)
    """Puts files into a directory that the commands find at /mnt/supplies."""


def _enter(root: Path, mounts: list[str], script: str) -> None:
    """Run a script in a root of its own: no network, no services, and no process left when it ends."""
    outside = [
        "set -eu",
        *mounts,
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",
        f"exec chroot {root} /bin/sh -c {shlex.quote(script)}",
    ]
    contained(["unshare", "--net", "/bin/sh", "-c", "\n".join(outside)])


def _build(layer: Layer, where: Path) -> None:
    scratch, root = where / ".scratch", where / ".scratch/root"
    for directory in (scratch / "work", scratch / "supplies", root, where / "root"):
        directory.mkdir(parents=True)
    (scratch / "lab.list").write_text(sources_list("file:/mnt/debian"))
    if layer.supplies:
        layer.supplies(scratch / "supplies")
    lower, tree = obtain(base()) / "root", obtain(mirror())
    mounts = [
        f"mount -t overlay overlay -o lowerdir={lower},upperdir={where}/root,workdir={scratch}/work {root}",
        f"mount -t tmpfs tmpfs {root}/mnt",
    ]
    for origin in [scratch / "supplies", *(path for path in tree.iterdir() if path.is_dir())]:
        place = f"{root}/mnt/{origin.name}"
        mounts.append(f"mkdir {place} && mount --bind {origin} {place}")
    mounts.append(f"cp {scratch}/lab.list {root}/mnt/")
    install = f"apt update\napt install --no-install-recommends {shlex.join(layer.packages)}\n"
    _enter(root, mounts, _INSIDE + layer.before + "\n" + install + layer.after + _AFTER)
    discard(scratch)


def piece(layer: Layer) -> Piece:
    """The cached form of a layer."""
    recipe = (source(__name__), str(base().path), *layer.packages, layer.before, layer.after, *layer.recipe)
    return Piece(f"layer-{layer.name}", recipe, lambda where: _build(layer, where))
