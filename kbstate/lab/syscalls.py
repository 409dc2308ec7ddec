"""The few system calls that Python 3.11 does not have."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

NEWNS = 0x00020000
NEWCGROUP = 0x02000000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWPID = 0x20000000
NEWNET = 0x40000000

RDONLY = 1
NOSUID = 2
NODEV = 4
NOEXEC = 8
REMOUNT = 32
BIND = 4096
REC = 16384
PRIVATE = 1 << 18

_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24

FORBIDDEN_CAPABILITIES = {"sys_module": 16, "sys_rawio": 17, "sys_time": 25}
"""What no process of a host may have: kernel and clock are the machine's."""

_libc = ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(
    source: Path | str | None, target: Path | str, kind: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """mount(2)."""
    result = _libc.mount(
        os.fsencode(source) if source is not None else None,
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _done(result, f"mount {target}")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _done(_libc.unshare(flags), "unshare")


def setns(file: Path | str, kind: int) -> None:
    """Enter the namespace that this file stands for."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _done(_libc.setns(fd, kind), f"setns {file}")
    finally:
        os.close(fd)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    _done(_libc.sethostname(name.encode(), len(name)), "sethostname")


def enter_root(root: Path) -> None:
    """Make this directory the root of the mount namespace and let go of the old one."""
    os.chdir(root)
    _done(_libc.pivot_root(b".", b"."), "pivot_root")
    _done(_libc.umount2(b".", _DETACH), "umount the old root")
    os.chdir("/")


def drop_capability(number: int) -> None:
    """Take a capability from this process and from all that it will execute, for good."""
    _done(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "prctl")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this signal here when the parent dies, however it dies."""
    _done(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")
