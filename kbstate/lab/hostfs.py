"""The file systems of a host, mounted in its own mount namespace just before its init starts."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from kbstate.lab.cgroups import Hierarchy
from kbstate.lab.places import discard
from kbstate.lab.syscalls import BIND, NODEV, NOEXEC, NOSUID, PRIVATE, RDONLY, REC, REMOUNT, mount

_SAFE = NOSUID | NODEV | NOEXEC

# Kernel parameters of the whole machine that server roles set, and the value a host finds: files stand in for them.
# Where the kernel's own value has more digits than a role would write, a shorter one stands here, because
# systemd-sysctl does not truncate what it writes to.
_STAND_INS = {
    "vm/swappiness": "60",
    "vm/overcommit_memory": "0",
    "vm/max_map_count": "65530",
    "vm/dirty_ratio": "20",
    "vm/dirty_background_ratio": "10",
    "vm/vfs_cache_pressure": "100",
    "vm/min_free_kbytes": "67584",
    "fs/file-max": "65536",
    "fs/nr_open": "65536",
    "fs/aio-max-nr": "65536",
    "fs/inotify/max_user_instances": "128",
    "fs/inotify/max_user_watches": "8192",
    "kernel/pid_max": "32768",
    "kernel/panic": "0",
    "kernel/sysrq": "1",
    "kernel/core_pattern": "core",
    "kernel/kptr_restrict": "0",
    "kernel/dmesg_restrict": "1",
    "fs/protected_fifos": "1",
    "fs/protected_hardlinks": "1",
    "fs/protected_regular": "2",
    "fs/protected_symlinks": "1",
    "net/core/rmem_max": "212992",
    "net/core/wmem_max": "212992",
    "net/core/netdev_max_backlog": "1000",
    "net/netfilter/nf_conntrack_max": "65536",
}
_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "net/tun": (10, 200),
    "fuse": (10, 229),
}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_OWN_DISK = ("docker", "containerd")
_SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def _over(source: Path | str, target: Path) -> None:
    """Bind-mount one file or directory over another."""
    mount(source, target, flags=BIND)


def _overlay(home: Path, root: Path, layers: Sequence[Path]) -> None:
    """The disk: what the host wrote over what it shares with others.

    `volatile` leaves out the waiting for the real disk, which makes package installation twice as fast; after an
    unclean end the kernel wants the marker removed by hand, as a sign that this was meant.
    """
    discard(home / "work" / "work" / "incompat")
    lower = ":".join(str(layer) for layer in layers)
    options = f"lowerdir={lower},upperdir={home}/upper,workdir={home}/work"
    try:
        mount("overlay", root, "overlay", data=f"{options},volatile")
    except OSError:  # an older kernel
        mount("overlay", root, "overlay", data=options)


def _proc(home: Path, root: Path) -> None:
    """/proc with the host's own network parameters, and nothing by which it could touch the machine."""
    proc, stand_ins = root / "proc", home / "sysctl"
    mount("proc", proc, "proc", _SAFE)
    _over(proc / "sys", proc / "sys")
    _over(proc / "sys/net", proc / "sys/net")
    mount(None, proc / "sys", flags=BIND | REMOUNT | RDONLY | _SAFE)
    stand_ins.mkdir(exist_ok=True)
    for key, value in _STAND_INS.items():
        if (proc / "sys" / key).exists():
            file = stand_ins / key.replace("/", ".")
            file.write_text(value + "\n")
            _over(file, proc / "sys" / key)
    (home / "swaps").write_text(_SWAPS)
    _over(home / "swaps", proc / "swaps")
    for name in ("sysrq-trigger", "kcore", "kmsg"):
        if (proc / name).exists():
            _over("/dev/null", proc / name)
    (home / "boot_id").write_text(f"{uuid.uuid4()}\n")
    _over(home / "boot_id", proc / "sys/kernel/random/boot_id")


def _dev(root: Path, console: str) -> None:
    """/dev with the devices that any process may have, and the pseudo terminal that is the console."""
    dev = root / "dev"
    mount("tmpfs", dev, "tmpfs", NOSUID, "mode=755,size=4m")
    for name in ("pts", "shm", "mqueue", "net"):
        (dev / name).mkdir()
    for name, (major, minor) in _DEVICES.items():
        os.mknod(dev / name, 0o020666, os.makedev(major, minor))
        (dev / name).chmod(0o666)
    for name, target in _LINKS.items():
        (dev / name).symlink_to(target)
    mount("devpts", dev / "pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", dev / "shm", "tmpfs", NOSUID | NODEV, "mode=1777")
    (dev / "console").touch(0o600)
    _over(console, dev / "console")


def _cgroups(root: Path, machine: Sequence[Hierarchy]) -> None:
    """Control groups as the machine has them, mounted anew: from inside the namespace only the host's own are seen."""
    top = root / "sys/fs/cgroup"
    if all(hierarchy.unified for hierarchy in machine):
        mount("cgroup2", top, "cgroup2", _SAFE)
        return
    mount("tmpfs", top, "tmpfs", _SAFE, "mode=755,size=4m")
    for hierarchy in machine:
        place = top / hierarchy.below
        place.mkdir(parents=True, exist_ok=True)
        if hierarchy.unified:
            mount("cgroup2", place, "cgroup2", _SAFE)
        else:
            mount("cgroup", place, "cgroup", _SAFE, hierarchy.options)


def _run(home: Path, root: Path) -> None:
    """/run, with the socket on which init says that it has finished starting."""
    run = root / "run"
    mount("tmpfs", run, "tmpfs", NOSUID | NODEV, "mode=755,size=256m")
    (run / "lock").mkdir()
    (run / "host").mkdir()
    (run / "host/notify").touch()
    _over(home / "notify", run / "host/notify")


def _own_disk(home: Path, root: Path) -> None:
    """The directories where the host stacks overlays of its own, which cannot be done on an overlay."""
    for name in _OWN_DISK:
        (home / name).mkdir(mode=0o711, exist_ok=True)
        inside = root / "var/lib" / name
        inside.mkdir(mode=0o711, exist_ok=True)
        _over(home / name, inside)


def assemble(home: Path, layers: Sequence[Path], console: str, binds: dict[str, str], machine: list[Hierarchy]) -> Path:
    """Mount all that the host needs; to be called in its new mount, cgroup and network namespaces."""
    mount(None, "/", flags=REC | PRIVATE)
    root = home / "root"
    root.mkdir(exist_ok=True)
    _overlay(home, root, layers)
    _proc(home, root)
    mount("sysfs", root / "sys", "sysfs", _SAFE | RDONLY)
    _run(home, root)
    _dev(root, console)
    _cgroups(root, machine)
    _own_disk(home, root)
    for source, target in binds.items():
        inside = root / target.lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        _over(source, inside)
        mount(None, inside, flags=BIND | REMOUNT | RDONLY)
    return root
