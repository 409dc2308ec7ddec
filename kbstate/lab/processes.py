"""Commands that must succeed, and the identity of processes that outlive the command that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kbstate.lab.errors import LabError
from kbstate.lab.places import SOURCE, work_dir

MARK = "KBSTATE_LAB_MARK"


def call(argv: Sequence[str | Path], *, input: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """The output of a command that must succeed."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, input=input, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"the program {words[0]} is not installed here") from None
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise LabError(
            f"`{' '.join(words)[:200]}` failed ({done.returncode}): {' / '.join(said[-3:]) or 'no word why'}"
        )
    return done.stdout


def contained(argv: Sequence[str | Path], *, input: str | None = None) -> str:
    """The same for a long command: alone in a pid namespace, so that nothing of it survives the one who called it."""
    tied = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return call([*tied, *argv], input=input)


def until(true: Callable[[], bool], seconds: float, every: float = 0.01) -> bool:
    """Wait for something that the kernel tells nobody about; False when it did not come in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


def identity(pid: int) -> str | None:
    """A process named so that its number, given to another one later, does not name that one; None when gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else f"{pid} {fields[19]}"


def record(pid: int, file: Path) -> None:
    """Have this file name the process: at once and whole, for others wait for it to appear."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(identity(pid) or "")
    fresh.rename(file)


def alive(file: Path) -> int | None:
    """The process that this file names, if it still runs."""
    try:
        said = file.read_text().strip()
        pid = int(said.split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return pid if identity(pid) == said else None


def kill(pid: int, seconds: float = 10) -> None:
    """Kill a process of the lab and wait until it is gone."""
    named = identity(pid)
    if named is None:
        return
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    if not until(lambda: identity(pid) != named, seconds):
        raise LabError(f"process {pid} does not die")


def daemon(module: str, *words: str, mark: Path, log: Path) -> None:
    """Start one of the lab's own processes so that it outlives this one, marked with the directory it works for."""
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(SOURCE),
        "PYTHONUNBUFFERED": "1",
        "KBSTATE_LAB_DIR": str(work_dir()),
        MARK: str(mark),
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        argv = [sys.executable, "-m", module, *words]
        subprocess.Popen(
            argv, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )


def marked(directory: Path) -> Iterator[int]:
    """The lab's own processes that work for something in this directory."""
    for proc in Path("/proc").iterdir():
        if not proc.name.isdigit():
            continue
        try:
            environ = (proc / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for entry in environ:
            name, _, value = entry.partition(b"=")
            if name == MARK.encode() and Path(os.fsdecode(value)).is_relative_to(directory):
                yield int(proc.name)
