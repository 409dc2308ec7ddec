"""What stands in for the outside world: the package archive and the image registry, at an address of their own.

Run as `python -m kbstate.lab.infra LAB`. The registry is a child of this process and dies with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection

from kbstate.lab import network, registry, syscalls
from kbstate.lab.archive import archive_port
from kbstate.lab.errors import LabError
from kbstate.lab.inventory import INFRA, INFRA_ADDRESS, HostSpec
from kbstate.lab.mirror import mirror
from kbstate.lab.pieces import obtain
from kbstate.lab.places import discard, labs_dir
from kbstate.lab.processes import alive, daemon, kill, marked, record, until

_SPEC = HostSpec(INFRA, private=INFRA_ADDRESS)
_START_SECONDS = 20.0


def home(lab: str) -> Path:
    """The files of a lab's infra."""
    return labs_dir() / lab / INFRA


def running(lab: str) -> bool:
    """Whether both servers answer."""
    return alive(home(lab) / "process") is not None and (home(lab) / "ready").exists()


def start(lab: str) -> None:
    """Start both servers, unless they run; what an interruption left of them is thrown away."""
    if running(lab):
        return
    tree, store = obtain(mirror()), registry.store()
    stop(lab)
    place = home(lab)
    place.mkdir(parents=True)
    shutil.copytree(store, place / "store")  # a copy: what a test pushes or deletes there is nobody else's
    (place / "archive").symlink_to(tree)
    network.plug(lab, _SPEC)
    network.configure(lab, _SPEC)
    log = place / "log"
    daemon("kbstate.lab.infra", lab, mark=place, log=log)
    if not until(lambda: running(lab), _START_SECONDS):
        raise LabError(f"the lab's package mirror and registry do not start: {_last_words(log)}")


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return " / ".join([line for line in lines if line.strip()][-3:]) or "no word why"


def stop(lab: str) -> None:
    """Stop both and remove what they wrote."""
    for process in marked(home(lab)):
        kill(process)
    network.unplug(lab, _SPEC)
    discard(home(lab))


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Successes are of no interest; errors come through log_error, which calls this one with a code."""
        if args and str(args[0]).startswith("code"):
            super().log_message(format, *args)


def _answers() -> bool:
    try:
        with create_connection((INFRA_ADDRESS, registry.PORT), 1):
            return True
    except OSError:
        return False


def _registry(place: Path) -> subprocess.Popen[bytes]:
    config = place / "registry.yml"
    config.write_text(registry.configuration(place / "store", INFRA_ADDRESS))
    child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", str(config)])
    if not until(_answers, _START_SECONDS):
        raise LabError("the registry does not answer")
    return child


def main(lab: str) -> None:
    """Serve until killed; when the registry ends, all ends."""
    place = home(lab)
    record(os.getpid(), place / "process")
    syscalls.setns(network.namespace_file(lab, INFRA), syscalls.NEWNET)
    handler = partial(_Handler, directory=str(place / "archive"))
    server = _Server((INFRA_ADDRESS, archive_port()), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    child = _registry(place)
    (place / "ready").touch()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    child.wait()


if __name__ == "__main__":
    main(sys.argv[1])
