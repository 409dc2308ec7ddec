"""The process behind a host: it powers it on, keeps its console, and boots it again when it asks for a reboot.

Run as `python -m kbstate.lab.supervisor LAB HOST`. It dies: the host dies with it. Nothing but this process and the
host's own mount namespace holds the host's mounts, so nothing of them can be left behind.
"""

from __future__ import annotations

import fcntl
import os
import pty
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from kbstate.lab import cgroups, hostfs, network, syscalls
from kbstate.lab.inventory import spec
from kbstate.lab.places import labs_dir, read_json
from kbstate.lab.processes import MARK, record

_INIT = ["/sbin/init", "systemd.getty_auto=no"]
_ENVIRONMENT = {
    "container": "kbstate-lab",
    "NOTIFY_SOCKET": "/run/host/notify",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "dumb",
}


@dataclass(frozen=True)
class Machine:
    """What does not change from boot to boot."""

    lab: str
    name: str
    home: Path
    layers: list[Path]
    binds: dict[str, str]


def _become_init(machine: Machine, console: str) -> None:
    """In the child: enter namespaces, mount, give up what a host must not have, and turn into init."""
    syscalls.setns(network.namespace_file(machine.lab, machine.name), syscalls.NEWNET)
    hierarchies = cgroups.hierarchies()
    cgroups.join(cgroups.group(machine.lab, machine.name))
    syscalls.unshare(syscalls.NEWNS | syscalls.NEWUTS | syscalls.NEWIPC | syscalls.NEWCGROUP)
    root = hostfs.assemble(machine.home, machine.layers, console, machine.binds, hierarchies)
    syscalls.sethostname(machine.name)
    syscalls.enter_root(root)
    for capability in syscalls.FORBIDDEN_CAPABILITIES.values():
        syscalls.drop_capability(capability)
    os.setsid()
    terminal = os.open("/dev/console", os.O_RDWR | os.O_NOCTTY)
    for fd in (0, 1, 2):
        os.dup2(terminal, fd)
    syscalls.die_with_parent(signal.SIGKILL)
    os.execve(_INIT[0], _INIT, {**_ENVIRONMENT, MARK: str(machine.home)})


def _start(machine: Machine, console: str) -> int:
    """Fork init into a new pid namespace; such a namespace dies with its init, so each boot needs one."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.NEWPID)
    pid = os.fork()
    if pid == 0:
        try:
            _become_init(machine, console)
        except BaseException as error:
            os.write(2, f"{machine.name} cannot be started: {error}\n".encode())
        os._exit(99)
    syscalls.setns(f"/proc/self/fd/{own}", syscalls.NEWPID)
    os.close(own)
    return pid


def _listen() -> socket.socket:
    """The socket for init's word that it has finished starting (the working directory is the host's)."""
    Path("notify").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    listener.bind("notify")
    Path("notify").chmod(0o666)
    return listener


def _watch(pid: int, listener: socket.socket, terminal: int) -> None:
    """Keep the console's text and note when init is ready, until init ends."""
    ended = os.pidfd_open(pid)
    with selectors.DefaultSelector() as selector, Path("console.log").open("ab", buffering=0) as log:
        for source in (ended, listener.fileno(), terminal):
            selector.register(source, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if listener.fileno() in ready and b"READY=1" in listener.recv(65536).split(b"\n"):
                Path("ready").write_text(f"{time.time()}\n")
            if terminal in ready:
                log.write(os.read(terminal, 65536))
            elif ended in ready:
                break
    os.close(ended)


def _boot(machine: Machine) -> bool:
    """One life of the host; true when it ended by asking for a reboot."""
    network.plug(machine.lab, spec(machine.name))
    with _listen() as listener:
        terminal, slave = pty.openpty()
        pid = _start(machine, os.ttyname(slave))
        record(pid, Path("init"))
        _watch(pid, listener, terminal)
        for fd in (terminal, slave):
            os.close(fd)
    for name in ("init", "ready"):
        Path(name).unlink(missing_ok=True)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP  # as reboot(2) in a pid namespace says it


def _alone() -> bool:
    """Whether no other supervisor has this host: one may still be starting that an interrupted command began."""
    lock = os.open("supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held, open, until this process ends
    except BlockingIOError:
        return False
    return True


def main(lab: str, name: str) -> None:
    """Keep the host running until it is switched off."""
    home = labs_dir() / lab / "hosts" / name
    os.chdir(home)
    if not _alone():
        return
    for stale in ("init", "ready"):
        Path(stale).unlink(missing_ok=True)
    record(os.getpid(), Path("supervisor"))
    recorded = read_json(home / "host.json")
    layers = [Path(layer) for layer in recorded["layers"]]
    machine = Machine(lab, name, home, layers, recorded["binds"])
    while _boot(machine):
        pass


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
