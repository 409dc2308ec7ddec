"""What makes a copy of the base one particular host: written into its upper directory before its first boot."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kbstate.lab import network
from kbstate.lab.archive import archive_host
from kbstate.lab.errors import LabError
from kbstate.lab.inventory import INFRA_ADDRESS, PRIVATE_BITS, PUBLIC_BITS, HostSpec
from kbstate.lab.processes import call

_LOGINS = {"root": ("/root", 0), "operator": ("/home/operator", 1000), "nopass": ("/home/nopass", 1001)}
_USERS = 100
_DOCKER_MIRROR = f"[Service]\nEnvironment=DOCKER_OPTS=--registry-mirror=http://{INFRA_ADDRESS}:5000\n"


@dataclass(frozen=True)
class Seed:
    """The disk of a host that is not running: its upper directory over the layers that it shares."""

    host: HostSpec
    upper: Path
    layers: Sequence[Path]
    login: Path
    """The lab's private SSH key; the public one is beside it."""

    def below(self, path: str) -> Path | None:
        """Where a shared layer has this path."""
        found = (layer / path.lstrip("/") for layer in self.layers)
        return next((place for place in found if os.path.lexists(place)), None)

    def directory(self, path: str, mode: int = 0o755, owner: int = 0, group: int = 0) -> Path:
        """A directory, with the owner and mode that the layer below gives it."""
        place = self.upper / path.lstrip("/")
        if place.is_dir():
            return place
        if place != self.upper:
            self.directory(str(Path("/", path).parent))
        place.mkdir()
        if lower := self.below(path):
            known = lower.stat()
            mode, owner, group = known.st_mode & 0o7777, known.st_uid, known.st_gid
        place.chmod(mode)
        os.chown(place, owner, group)
        return place

    def file(self, path: str, text: str, mode: int = 0o644, owner: int = 0, group: int = 0) -> None:
        """A file with this text."""
        place = self.directory(str(Path(path).parent)) / Path(path).name
        place.unlink(missing_ok=True)
        place.touch(mode)
        place.write_text(text)
        place.chmod(mode)
        os.chown(place, owner, group)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        place = self.directory(str(Path(path).parent)) / Path(path).name
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    def login_of(self, user: str) -> tuple[int, int]:
        """The numbers of a user and its group that a layer brings."""
        for layer in self.layers:
            file = layer / "etc/passwd"
            for line in file.read_text().splitlines() if file.exists() else ():
                fields = line.split(":")
                if fields[0] == user:
                    return int(fields[2]), int(fields[3])
        raise LabError(f"{self.host.name} has no user {user}")


def _interfaces(host: HostSpec) -> str:
    bits = {"eth0": PRIVATE_BITS, "eth1": PUBLIC_BITS}
    text = "auto lo\niface lo inet loopback\n"
    for card, address in network.cards(host).items():
        text += f"\nauto {card}\niface {card} inet static\n\taddress {address}/{bits[card]}\n"
    return text


def _host_key(seed: Seed) -> str:
    """A new SSH host key; its public half is returned."""
    seed.directory("/etc/ssh")
    private = seed.upper / "etc/ssh/ssh_host_ed25519_key"
    call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{seed.host.name}", "-f", private])
    return " ".join(private.with_suffix(".pub").read_text().split()[:2])


def furnish(seed: Seed) -> str:
    """Give the host its name, addresses, keys and logins; return its public SSH host key."""
    name = seed.host.name
    login_key = seed.login.with_suffix(".pub").read_text()
    seed.directory("/")
    seed.file("/etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    seed.file("/etc/hostname", f"{name}\n")
    seed.file("/etc/hosts", f"127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n\n{INFRA_ADDRESS}\t{archive_host()}\n")
    seed.file("/etc/network/interfaces", _interfaces(seed.host))
    seed.file("/etc/systemd/system/docker.service.d/lab.conf", _DOCKER_MIRROR)
    for home, uid in _LOGINS.values():
        group = _USERS if uid else 0
        seed.directory(f"{home}/.ssh", 0o700, uid, group)
        seed.file(f"{home}/.ssh/authorized_keys", login_key, 0o600, uid, group)
    return _host_key(seed)
