"""The SSH host keys that the controller knows: exactly those that the lab gave it, never learnt from the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from kbstate.lab import inventory
from kbstate.lab.host import Host
from kbstate.lab.places import labs_dir, read_json, write_json

_KNOWN_HOSTS = "/root/.ssh/known_hosts"


def _record(home: Path) -> Path:
    return home / "trusted.json"


def _trusted(home: Path) -> dict[str, str]:
    found: dict[str, str] = read_json(_record(home)) or {}
    return found


def knows(home: Path, name: str) -> bool:
    """Whether the controller was given a key of this host."""
    return name in _trusted(home)


def fingerprint(host_key: str) -> str:
    """As ssh-keygen shows it."""
    digest = hashlib.sha256(base64.b64decode(host_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def write(controller: Host) -> None:
    """Write known_hosts on the controller, out of band."""
    lines = []
    for name, key in sorted(_trusted(labs_dir() / controller.lab).items()):
        names = [name, *inventory.spec(name).addresses]
        lines.append(f"{','.join(names)} {key}\n")
    controller.write(_KNOWN_HOSTS, "".join(lines))


def accept(controller: Host, hosts: Sequence[Host], progress: Callable[[str], None]) -> None:
    """Have the controller know the keys that these hosts have now; a key that takes another's place is told."""
    if not hosts:
        return
    home = labs_dir() / controller.lab
    trusted = _trusted(home)
    for host in hosts:
        key, before = host.host_key, trusted.get(host.name)
        if key is None:
            continue
        if before not in (None, key):
            progress(f"{controller.name} now knows {host.name} by its new key {fingerprint(key)}")
        trusted[host.name] = key
    write_json(_record(home), trusted)
    write(controller)


def forget(home: Path, name: str) -> None:
    """Drop the record of a host that was thrown away; the controller's file keeps it until it is next written."""
    trusted = _trusted(home)
    if trusted.pop(name, None):
        write_json(_record(home), trusted)
