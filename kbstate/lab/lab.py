"""A whole lab: its network, its stand-in for the outside world, its controller and its hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from kbstate.lab import cgroups, infra, inventory, layers, limits, network, pieces, registry, requirements, trust
from kbstate.lab.errors import LabError
from kbstate.lab.host import Host
from kbstate.lab.places import cache_dir, checked_name, default_name, discard, labs_dir, locked, read_json, sweep
from kbstate.lab.processes import call, kill, marked

_AT_ONCE = 6
"""Hosts that are made and booted at the same time: more only wait for each other."""

Tell = Callable[[str], None]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class HostStatus:
    """What `status` says about one host."""

    name: str
    state: str
    role: str
    addresses: list[str]


@dataclass(frozen=True)
class Status:
    """What `status` says about a lab."""

    name: str
    infra: bool
    hosts: list[HostStatus]

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


class Lab:
    """A lab by its name, whether it is up or not. Several can be up at once; they never meet.

    Every method can be called again at any time, also after one that was killed in the middle.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = checked_name(name or default_name())

    @property
    def home(self) -> Path:
        """Its files on the machine."""
        return labs_dir() / self.name

    @property
    def login(self) -> Path:
        """The private SSH key of the controller, which every host lets in."""
        return self.home / "id_ed25519"

    @property
    def controller(self) -> Host:
        """The host from which kbstate is run."""
        return self.host(inventory.CONTROLLER)

    @property
    def digests(self) -> dict[str, str]:
        """The digest of every image that the lab's registry has, by its production name."""
        found: dict[str, str] = read_json(pieces.obtain(registry.registry()) / "digests.json")
        return found

    def host(self, name: str) -> Host:
        """One of its hosts. Raises LabError when it can have none of that name."""
        return Host(self.name, inventory.spec(name))

    def hosts(self) -> list[Host]:
        """The hosts that exist."""
        known = (self.host(name) for name in inventory.HOSTS)
        return [host for host in known if host.state != "absent"]

    def status(self) -> Status:
        """What is up."""
        hosts = [HostStatus(host.name, host.state, host.spec.role, host.spec.addresses) for host in self.hosts()]
        return Status(self.name, infra.running(self.name), hosts)

    # Up

    def up(self, names: Sequence[str] = (), progress: Tell = pieces.tell, serving: bool = True) -> None:
        """Bring up these hosts (none named: the whole site) with the controller and all that they need.

        With `serving`, it waits also until what the hosts are there for works. Raises LabError.
        """
        self._require()
        wanted = self._wanted(names or inventory.DEFAULT)
        with self._locked():
            self._prepare(wanted, progress)
            began = time.monotonic()
            made = [host.name for host, new in _together(wanted, lambda host: self._boot(host, progress)) if new]
            trust.accept(self.controller, [host for host in self.hosts() if host.name in made], progress)
            if serving:
                _together(wanted, lambda host: self._serve(host, progress))
            progress(f"{len(wanted)} hosts are up after {time.monotonic() - began:.1f} s")

    def _wanted(self, names: Sequence[str]) -> list[Host]:
        """These hosts, the controller, and the others of a cluster that cannot serve without each other."""
        hosts = [self.host(name) for name in (inventory.CONTROLLER, *names)]
        clusters = dict.fromkeys(host.spec.role for host in hosts if host.role.cluster)
        others = [spec.name for role in clusters for spec in inventory.of_role(role)]
        return [self.host(name) for name in dict.fromkeys([host.name for host in hosts] + others)]

    @staticmethod
    def _require() -> None:
        if reason := requirements.unavailable():
            raise LabError(reason)

    def _prepare(self, wanted: Sequence[Host], progress: Tell) -> None:
        """All that hosts share, from the cache where it is there: key, network, mirror, registry, layers."""
        self.home.mkdir(parents=True, exist_ok=True)
        limits.make_room()
        if not self.login.exists():
            fresh = self.home / ".login"
            for stale in self.home.glob(".login*"):
                stale.unlink()
            call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{inventory.CONTROLLER}", "-f", fresh])
            fresh.with_suffix(".pub").rename(self.login.with_suffix(".pub"))
            fresh.rename(self.login)
        network.switch_on(self.name)
        if not infra.running(self.name):
            infra.start(self.name)
            progress("the package mirror and the image registry are up")
        needed = {layer.name: layer for host in wanted if (layer := host.role.layer)}
        _together([layers.piece(layer) for layer in needed.values()], pieces.obtain, at_once=2)

    def _boot(self, host: Host, progress: Tell) -> bool:
        began = time.monotonic()
        made = host.create(self.login)
        was = host.state
        host.power_on()
        host.wait()
        if was != "running":
            progress(f"{host.name} is up ({time.monotonic() - began:.1f} s)")
        return made or not trust.knows(self.home, host.name)

    @staticmethod
    def _serve(host: Host, progress: Tell) -> None:
        began = time.monotonic()
        host.wait_serving()
        if (waited := time.monotonic() - began) > 1:
            progress(f"{host.name} serves (after {waited:.1f} s more)")

    # Afterwards

    def rebuild(self, name: str, progress: Tell = pieces.tell, accept_key: bool = True) -> Host:
        """Throw a host away and make it anew, empty: with new keys and a new machine-id.

        With `accept_key`, the controller's known_hosts gets its new key, read from its disk and not from the network.
        """
        self._require()
        with self._locked():
            host = self.host(name)
            if host.state == "absent":
                raise LabError(f"{name} does not exist: `kbstate lab up {name}` makes it")
            host.destroy()
            self._prepare([host], progress)
            self._boot(host, progress)
            if name == inventory.CONTROLLER:
                trust.write(host)
            elif accept_key:
                trust.accept(self.controller, [host], progress)
            self._serve(host, progress)
            return host

    def remove(self, name: str) -> None:
        """Throw one host away; the rest stays."""
        with self._locked():
            self.host(name).destroy()
            trust.forget(self.home, name)

    def down(self, progress: Tell = pieces.tell) -> None:
        """Remove all of the lab but the cache, also what an interrupted command left."""
        with self._locked():
            was = self.home.exists() or network.namespaces(self.name)
            for pid in marked(self.home):
                kill(pid)
            cgroups.clear(cgroups.group(self.name))
            network.switch_off(self.name)
            discard(self.home)
            sweep()
            limits.give_back()
        progress(f"lab {self.name} is down" if was else f"lab {self.name} is not up")

    def _locked(self) -> AbstractContextManager[None]:
        return locked(cache_dir() / f".lock-lab-{self.name}")


def _together(things: Sequence[T], work: Callable[[T], R], at_once: int = _AT_ONCE) -> list[tuple[T, R]]:
    """Do this to all of them at the same time; the first error is raised when all have ended."""
    with ThreadPoolExecutor(at_once) as pool:
        results = [pool.submit(work, thing) for thing in things]
    return [(thing, result.result()) for thing, result in zip(things, results, strict=True)]
