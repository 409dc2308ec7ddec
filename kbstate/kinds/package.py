"""A Debian package: installed or not, at a pinned version, held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Self

from pydantic import StringConstraints

from kbstate.paths import disk_space
from kbstate.resource import AnyRead, Change, Fact, Meta, Preflight, Read, Resource, Step, Unknown
from kbstate.shell import q

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.+:~-]*$")]


@dataclass(frozen=True)
class PackageState:
    version: str
    held: bool


class Packages(Fact[str, PackageState]):
    """Every installed package. Source: dpkg-query(1), `db:Status-*`."""

    def command(self, wanted: Sequence[str]) -> str:
        return r"dpkg-query -W -f '${Package}\t${db:Status-Want}\t${db:Status-Status}\t${Version}\n'"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, PackageState | Unknown | None]:
        states: dict[str, PackageState | Unknown | None] = dict.fromkeys(wanted)
        for line in output.splitlines():
            name, want, status, version = line.split("\t")
            if name not in states or status in ("not-installed", "config-files"):
                continue
            if status == "installed":
                states[name] = PackageState(version, want == "hold")
            else:
                states[name] = Unknown(f"dpkg left it {status}: run 'dpkg --configure -a' on the host")
        return states


class TakenAlong(Fact[str, tuple[str, ...]]):
    """The packages that removing one would remove with it. Source: apt-get(8), `--simulate`."""

    def command(self, wanted: Sequence[str]) -> str:
        simulate = "apt-get --simulate -qq --allow-change-held-packages remove"
        return "\n".join(f"echo {q(name)} $({simulate} {q(name)} 2>&1 || echo failed)" for name in wanted)

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, tuple[str, ...] | Unknown | None]:
        found: dict[str, tuple[str, ...] | Unknown | None] = {}
        for name, *words in (line.split() for line in output.splitlines()):
            removed = tuple(word for mark, word in pairwise(words) if mark in ("Remv", "Purg"))
            found[name] = tuple(other for other in removed if other != name)
            if words[-1:] == ["failed"]:
                # APT does not know a package that is not there and that no source has: then nothing goes with it
                missing = " ".join(words).endswith(f"Unable to locate package {name} failed")
                found[name] = () if missing else Unknown(f"what its removal takes along: {' '.join(words[:-1])[:300]}")
        return found


class Package(Resource):
    """A package from the host's APT sources. Without `version`, any installed version is as declared."""

    kind: ClassVar[str] = "package"

    name: Name
    version: Version | None = None
    held: bool | None = None
    takes_along: Annotated[tuple[str, ...], Meta()] = ()
    """Observed only: what its removal would remove too."""

    def reads(self) -> Mapping[str, AnyRead]:
        state = {"state": Read(Packages, self.name)}
        return {**state, "others": Read(TakenAlong, self.name)} if self.absent else state

    def observe(self, state: PackageState | None, others: tuple[str, ...] | None = None) -> Self | None:
        if state is None:
            return None
        return type(self)(name=self.name, version=state.version, held=state.held, takes_along=others or ())

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step("apt.packages", {**APT, "packages": [self.name], "present": False, "update": False}, "remove it")
            return
        if change.action != "update" or "version" in change.fields:
            wanted = f"{self.name}={self.version}" if self.version else self.name
            yield Step("apt.packages", {**APT, "packages": [wanted]}, "install it", together="packages")
        if self.held is not None and (self.held or "held" in change.fields):
            yield Step(hold, {"name": self.name, "held": self.held}, "hold it" if self.held else "release the hold")

    def preflight(self, change: Change) -> Iterator[Preflight]:
        if change.action != "update" or "version" in change.fields:
            yield disk_space("/var", MEGABYTES)

    def needs(self) -> Iterator[str]:
        yield "apt_repository:*"

    def before_delete(self) -> str | None:
        return f"removes {', '.join(self.takes_along)} too" if self.takes_along else None


MEGABYTES = 200
"""What apt wants of disk space for its lists and archives, before what it installs."""

APT: Mapping[str, object] = {
    "present": True,
    "latest": False,
    "update": True,  # a bare host has no package lists yet, and old ones name files that are gone
    "cache_time": None,
    "upgrade": False,
    "force": False,
    "no_recommends": True,
    "allow_downgrades": True,
    "purge": False,
    "extra_install_args": "--allow-change-held-packages -o DPkg::Lock::Timeout=120",
    "extra_uninstall_args": "--allow-change-held-packages -o DPkg::Lock::Timeout=120",
}
"""Every argument of pyinfra's apt.packages, since some of its defaults act."""


def hold(name: str, held: bool) -> Iterator[str]:
    """Keep a package at its version, or release it. Source: apt-mark(8)."""
    yield f"apt-mark {'hold' if held else 'unhold'} {q(name)}"
