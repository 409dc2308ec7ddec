"""Container images without any registry: Debian's own packages, laid out like the official images of production.

The tags are labels under which production knows the images; the programs inside are Debian's. An image is the same to
the last byte whenever and wherever it is made of the same packages, so that its digest can be relied on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kbstate.lab.mirror import closure
from kbstate.lab.places import discard
from kbstate.lab.processes import call

_EPOCH = "1970-01-01T00:00:00Z"
_APPLETS = """
sh ash cat chmod chown cp date dd df echo egrep env false find getent grep head hostname id kill ln ls mkdir mv nc
netstat ping printf ps pwd rm sed sleep stat sync tail tar test timeout touch tr true uname vi wc wget whoami
"""
_DROPPED = """
usr/share usr/lib/x86_64-linux-gnu/perl* usr/lib/x86_64-linux-gnu/gconv usr/lib/systemd lib/systemd
var/lib var/cache etc/init.d etc/cron* etc/logrotate.d etc/haproxy
"""
_TREE = ("bin", "etc", "proc", "sys", "dev", "run", "tmp", "var", "usr/local/bin", "usr/local/etc")
_ENTRYPOINT_HAPROXY = """#!/bin/sh
set -e
# as in the official image: options alone are haproxy's, and haproxy runs as master with workers, in the foreground
if [ "${1#-}" != "$1" ]; then set -- haproxy "$@"; fi
if [ "$1" = haproxy ]; then shift; set -- haproxy -W -db "$@"; fi
exec "$@"
"""
_ENTRYPOINT_PGBOUNCER = """#!/bin/sh
exec "$@"
"""


@dataclass(frozen=True)
class Image:
    """One image and the names under which the registry has it."""

    name: str
    tags: tuple[str, ...]
    package: str
    config: dict[str, object]
    environment: tuple[str, ...] = ()
    user: str = "root"
    uid: int = 0
    home: str = "/"
    files: Mapping[str, str] = field(default_factory=dict)
    """Scripts, made executable."""
    links: Mapping[str, str] = field(default_factory=dict)


def _haproxy(version: str, *more: str) -> Image:
    return Image(
        name=f"haproxy-{version}",
        tags=(f"library/haproxy:{version}", *more),
        package="haproxy",
        user="haproxy",
        uid=99,
        home="/var/lib/haproxy",
        files={"usr/local/bin/docker-entrypoint.sh": _ENTRYPOINT_HAPROXY, "usr/local/etc/haproxy/.keep": ""},
        environment=(f"HAPROXY_VERSION={version}",),
        config={
            "User": "haproxy",
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
            "WorkingDir": "/var/lib/haproxy",
            "StopSignal": "SIGUSR1",
        },
    )


IMAGES: tuple[Image, ...] = (
    _haproxy("2.8.5", "library/haproxy:2.8.5-bookworm"),
    _haproxy("2.8.6"),
    Image(
        name="pgbouncer-1.18.0",
        tags=("edoburu/pgbouncer:1.18.0",),
        package="pgbouncer",
        user="postgres",
        uid=70,
        home="/var/lib/postgresql",
        files={"entrypoint.sh": _ENTRYPOINT_PGBOUNCER},
        links={"usr/bin/pgbouncer": "/usr/sbin/pgbouncer"},
        config={
            "User": "postgres",
            "Entrypoint": ["/entrypoint.sh"],
            "Cmd": ["/usr/sbin/pgbouncer", "/etc/pgbouncer/pgbouncer.ini"],
            "ExposedPorts": {"5432/tcp": {}},
        },
    ),
    Image(
        name="busybox-1.36",
        tags=("library/busybox:1.36", "library/busybox:latest"),
        package="busybox-static",
        config={"Cmd": ["sh"]},
    ),
)
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _logins(image: Image, root: Path) -> None:
    passwd = ["root:x:0:0:root:/root:/bin/sh", "nobody:x:65534:65534:nobody:/nonexistent:/bin/false"]
    group = ["root:x:0:", "nogroup:x:65534:"]
    if image.uid:
        passwd.append(f"{image.user}:x:{image.uid}:{image.uid}::{image.home}:/bin/sh")
        group.append(f"{image.user}:x:{image.uid}:")
    (root / "etc/passwd").write_text("\n".join([*passwd, ""]))
    (root / "etc/group").write_text("\n".join([*group, ""]))
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")


def _fill(image: Image, root: Path) -> None:
    """The root file system of an image."""
    root.mkdir()
    for package in dict.fromkeys((*closure(image.package), *closure("busybox-static"))):
        call(["dpkg-deb", "--extract", package, root])
    for pattern in _DROPPED.split():
        for path in root.glob(pattern):
            discard(path)
    for directory in _TREE:
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for applet in _APPLETS.split():
        if not os.path.lexists(root / "bin" / applet):
            (root / "bin" / applet).symlink_to("/bin/busybox")
    _logins(image, root)
    for name, text in image.files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    for name, target in image.links.items():
        (root / name).symlink_to(target)
    home = root / image.home.lstrip("/")
    home.mkdir(parents=True, exist_ok=True)
    os.chown(home, image.uid, image.uid)


def _timeless(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _add(archive: tarfile.TarFile, name: str, content: BinaryIO, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    archive.addfile(entry, content)


def _document(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def write_archive(image: Image, root: Path, target: Path) -> None:
    """Write an image in the format of `docker save`, the same bytes for the same files."""
    layer = target.with_suffix(".layer")
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, path.name, filter=_timeless)  # which sorts what is in a directory
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = _document(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _EPOCH,
            "config": image.config | {"Env": [_PATH, *image.environment]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": _EPOCH, "created_by": "kbstate lab"}],
        }
    )
    identifier = hashlib.sha256(config).hexdigest()
    entry = {"Config": f"{identifier}.json", "RepoTags": list(image.tags), "Layers": [f"{digest}/layer.tar"]}
    with tarfile.open(target, "w") as archive, layer.open("rb") as content:
        _add(archive, f"{identifier}.json", io.BytesIO(config), len(config))
        manifest = _document([entry])
        _add(archive, "manifest.json", io.BytesIO(manifest), len(manifest))
        _add(archive, f"{digest}/layer.tar", content, layer.stat().st_size)
    layer.unlink()


def make(image: Image, scratch: Path) -> Path:
    """Make the archive of an image in this directory."""
    root, target = scratch / image.name, scratch / f"{image.name}.tar"
    _fill(image, root)
    write_archive(image, root, target)
    discard(root)
    return target
