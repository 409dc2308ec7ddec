"""One SSH connection to one host with one remote execution that lives as long as it is needed.

The user's own OpenSSH connects (its config, agent and jump hosts hold), host keys are always checked. On the host a
small loop of bash (`agent.bash`) reads requests from its standard input, runs each as a script of `sh` as root, and
answers in one line. So there is one connection, one execution and at most one sudo, whatever is asked; and the loop's
end (the connection is gone, or nothing was heard for two minutes) frees the host's lock.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import secrets
import select
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from kbstate.errors import HeldError, HostError, UnreachableError, UnreadableError
from kbstate.secret import Secret
from kbstate.shell import q
from kbstate.unreachable import why_unreachable

HEARTBEAT = 20.0
"""Seconds between two signs of life; the loop on the host gives up after 120 without one."""
KEPT = 64 * 1024
"""Bytes of a step's output that are kept, from its end."""


@dataclass(frozen=True)
class Options:
    """How to connect; None leaves it to the user's OpenSSH."""

    ssh_config: Path | None = None
    known_hosts: Path | None = None
    timeout: float = 10.0
    """Seconds until a host that does not answer is called unreachable."""
    lock_timeout: float = 0.0
    """Seconds to wait for another run to end."""


@dataclass(frozen=True)
class Target:
    """Where to connect and as whom. Whoever is not root becomes it by sudo."""

    name: str
    address: str
    user: str = "root"
    port: int = 22
    sudo_password: Secret | None = None


@dataclass(frozen=True)
class Owner:
    """Who holds a host; `at` in ISO 8601, UTC."""

    by: str
    at: str
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What a script came to. Status 124 and 137: it ran out of time."""

    status: int
    output: bytes
    errors: str


AGENT = (Path(__file__).parent / "agent.bash").read_text()


class Channel:
    """A connection that has been started; every method may raise UnreachableError or UnreadableError."""

    def __init__(self, target: Target, options: Options) -> None:
        self.target, self.options = target, options
        self._nonce = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self._errors = bytearray()
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self._ready = False

    def start(self) -> None:
        """Let OpenSSH connect; returns at once, so that other work fits into the handshake."""
        # a session of its own: an interrupt at the terminal is for us to handle, not for ssh to die of
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._keep_errors, daemon=True)
        self._reader.start()
        password = self.target.sudo_password
        hello = password.reveal() + b"\n" if password and self.target.user != "root" else b""
        self._send(hello + self._nonce.encode() + b"\n")
        threading.Thread(target=self._beat, daemon=True).start()

    def command(self) -> list[str]:
        """The argument list of OpenSSH. Source: ssh(1), ssh_config(5)."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(max(1, round(self.options.timeout))),
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "RequestTTY": "no",
            "RemoteCommand": "none",
            "LogLevel": "ERROR",
        }
        if self.options.known_hosts:
            options["UserKnownHostsFile"] = f'"{self.options.known_hosts}"'
            options["GlobalKnownHostsFile"] = "/dev/null"
        words = ["ssh", *(["-F", str(self.options.ssh_config)] if self.options.ssh_config else [])]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return [*words, "-l", self.target.user, "-p", str(self.target.port), "--", self.target.address, self._remote()]

    def _remote(self) -> str:
        sudo = ""
        if self.target.user != "root":
            sudo = "sudo -S -p '' -- " if self.target.sudo_password else "sudo -n -- "
        # sudo drops the variable, and how we came decides which firewall would lock us out
        came = 'KBSTATE_SSH_CONNECTION="$SSH_CONNECTION"'
        return f"exec {sudo}env {came} bash -c {q(AGENT)} kbstate {self._nonce}"

    # requests

    def read(self, script: str, seconds: int) -> Answer:
        """Run a script that changes nothing."""
        packed = _packed(script)
        self._send(f"read {seconds} {len(packed)}\n".encode() + packed)
        return self._answer(seconds)

    def step(self, script: str, name: str, seconds: int) -> Answer:
        """Run a script that may change something, under the lock; `name` is what others are told that they wait for."""
        packed = _packed(script)
        label = base64.b64encode(name.encode()).decode() or "="
        self._send(f"step {seconds} {len(packed)} {label} {KEPT}\n".encode() + packed)
        return self._answer(seconds)

    def lock(self, owner: Owner) -> None:
        """Become the host's one writer until the channel is closed.

        Two locks of flock(2): `owner` is held by the loop alone, `busy` also by the running step, so that a killed
        run's last step is waited for. Raises HeldError, which says who holds it.
        """
        wait = self.options.lock_timeout
        sent = base64.b64encode(json.dumps(asdict(owner)).encode()).decode()
        self._send(f"lock {wait:g} {sent}\n".encode())
        match self._words(time.monotonic() + 2 * wait + self.options.timeout + 60):
            case ["locked"]:
                return
            case ["held", what, said]:
                raise HeldError(self.target.name, _holder(what, _unpacked(said).decode(errors="replace")))
        raise UnreadableError(self.target.name, "/run/kbstate cannot be written, which holds the lock of the host")

    def close(self) -> None:
        """End the loop on the host, which frees the lock."""
        self._closed.set()
        process = self._process
        if process is None:
            return
        with self._sending:
            if process.stdin and not process.stdin.closed:
                try:
                    process.stdin.close()
                except OSError:  # it is gone already
                    pass
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        self._reader.join(5)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        self._process = None

    # the wire

    def _send(self, data: bytes) -> None:
        process = self._process
        assert process is not None and process.stdin is not None, "the channel is not started"
        with self._sending:
            try:
                process.stdin.write(data)
                process.stdin.flush()
            except (BrokenPipeError, ValueError):
                pass  # the answer that does not come says why

    def _beat(self) -> None:
        while not self._closed.wait(HEARTBEAT):
            self._send(b"\n")

    def _keep_errors(self) -> None:
        process = self._process
        assert process is not None and process.stderr is not None
        while chunk := os.read(process.stderr.fileno(), 65536):
            self._errors += chunk
            del self._errors[:-KEPT]

    def _answer(self, seconds: int) -> Answer:
        said = self._words(time.monotonic() + seconds + self.options.timeout + 30)
        match said:
            case ["answer", output, errors]:
                output_, _, status = _unpacked(output).rpartition(b"\n")
                if status.isdigit():
                    return Answer(int(status), output_, _unpacked(errors).decode(errors="replace"))
        raise UnreadableError(
            self.target.name, "its answer makes no sense; does the login shell there print something?"
        )

    def _words(self, until: float) -> list[str]:
        """The next line that the loop says, after its first one."""
        if not self._ready:
            first = self._line(time.monotonic() + self.options.timeout + 30)
            if first != ["ready", "0"]:
                raise UnreachableError(self.target.name, f"{self.target.user} did not become root there")
            self._ready = True
        return self._line(until)

    def _line(self, until: float) -> list[str]:
        mark = self._nonce.encode() + b" "
        scanned = 0
        while True:
            end = self._buffer.find(b"\n", scanned)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                scanned = 0
                if line.startswith(mark):
                    return line[len(mark) :].decode("ascii", "replace").split(" ")
                continue  # what the login shell there prints
            scanned = len(self._buffer)
            self._more(until)

    def _more(self, until: float) -> None:
        process = self._process
        assert process is not None and process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise UnreadableError(self.target.name, "it stopped answering; what was asked may still be running there")
        chunk = os.read(process.stdout.fileno(), 1 << 20)
        if not chunk:
            raise self._ended(process)
        self._buffer += chunk

    def _ended(self, process: subprocess.Popen[bytes]) -> HostError:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.terminate()
        self._reader.join(5)
        errors = self._errors.decode(errors="replace")
        if self._ready:
            last = (errors.strip().splitlines() or ["no word why"])[-1]
            return UnreadableError(self.target.name, f"the connection was lost: {last[:200]}")
        return UnreachableError(self.target.name, why_unreachable(self.target, errors, process.returncode))


def _packed(script: str) -> bytes:
    # parsed as a whole before anything of it runs: a script that was cut off does nothing
    return gzip.compress(b"{\n" + script.encode("utf-8", "surrogateescape") + b"\n} </dev/null\n", 1)


def _unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def _holder(what: str, said: str) -> str:
    if what == "step":
        return f"the last step of a run that ended is still at work: {said or 'unknown'}; try again when it is done"
    try:
        owner = Owner(**json.loads(said))
    except (ValueError, TypeError):
        return "another run holds it"
    reason = f" ({owner.reason})" if owner.reason else ""
    return f"held by {owner.by} since {owner.at}{reason}; wait for that run, or use --lock-timeout"
