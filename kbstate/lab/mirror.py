"""A partial mirror of the Debian archive: the real signed indexes, and of the packages only those that are needed.

It is laid out like the archive and served under the archive's own name, so that a host keeps its stock sources and
checks the real signatures.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kbstate.lab import packages
from kbstate.lab.archive import archive_uri, sources_list
from kbstate.lab.base import base
from kbstate.lab.errors import LabError
from kbstate.lab.pieces import Piece, obtain, source
from kbstate.lab.places import discard
from kbstate.lab.processes import call

_INDEX = "main/binary-amd64/Packages.xz"


class _Apt:
    """apt-get of this machine, acting as if it were on a host made of the base."""

    def __init__(self, root: Path, scratch: Path) -> None:
        scratch.mkdir(parents=True)
        sources, nothing = scratch / "sources.list", scratch / "nothing"
        sources.write_text(sources_list(archive_uri()))
        nothing.touch()
        self.archives, self.lists = scratch / "cache/archives", scratch / "state/lists"
        self.empty = scratch / "empty"
        for directory in (self.archives, self.lists, self.empty):
            (directory / "partial").mkdir(parents=True)
        options = {
            "Dir::Etc": root / "etc/apt",
            "Dir::Etc::SourceList": sources,
            "Dir::State": scratch / "state",
            "Dir::State::status": root / "var/lib/dpkg/status",
            "Dir::Cache": scratch / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::GzipIndexes": "true",
            "Acquire::CompressionTypes::Order::": "xz",
            "Acquire::Check-Valid-Until": "false",
            "APT::Get::List-Cleanup": "false",
            "Debug::NoLocking": "1",
        }
        self.from_nothing = f"Dir::State::status={nothing}"
        self._argv = ["apt-get", "-qq", "-y"]
        for key, value in options.items():
            self._argv += ["-o", f"{key}={value}"]

    def update(self) -> None:
        call([*self._argv, "update"])

    def fetch(self, *request: str) -> dict[str, str]:
        """Download what this request would install; file name -> path in the archive."""
        # asked with an empty directory of archives, or apt leaves out what an earlier request downloaded
        said = call([*self._argv, "-o", f"Dir::Cache::archives={self.empty}", "--print-uris", *request])
        found = {}
        for line in said.splitlines():
            if line.startswith("'"):
                uri, name = line.split()[:2]
                found[name] = unquote(urlsplit(uri.strip("'")).path).lstrip("/")
        call([*self._argv, "--download-only", *request])
        return found


def _requests() -> list[list[str]]:
    lean = [*packages.FOR_HOSTS, *packages.ROLE_PACKAGES.values()]
    requests = [["--no-install-recommends", "install", *names] for names in lean]
    requests += [["--install-recommends", "install", *names] for names in packages.WITH_RECOMMENDED]
    return [*requests, ["dist-upgrade"]]


def _place(apt: _Apt, where: Path, found: dict[str, str]) -> None:
    for name, path in found.items():
        place = where / path
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(apt.archives / name, place)


def _add_pool(apt: _Apt, where: Path) -> None:
    for request in _requests():
        _place(apt, where, apt.fetch(*request))


def _add_closures(apt: _Apt, where: Path) -> None:
    """The packages of images, each with all that it needs on an empty disk, and the list of them."""
    for package in packages.IMAGE_PACKAGES:
        found = apt.fetch("-o", apt.from_nothing, "--no-install-recommends", "install", package)
        _place(apt, where, found)
        (where / f"{package}.closure").write_text("".join(f"{path}\n" for path in sorted(found.values())))


def closure(package: str) -> list[Path]:
    """The package files that an image of this package is made of."""
    tree = obtain(mirror())
    return [tree / line for line in (tree / f"{package}.closure").read_text().splitlines()]


def _index_digest(release: str) -> str:
    lines = release.partition("\nSHA256:")[2].splitlines()
    for words in (line.split() for line in lines):
        if len(words) == 3 and words[2] == _INDEX:
            return words[0]
    raise LabError(f"the archive's index does not list {_INDEX}")


def _add_index(release: Path, where: Path, site: str) -> None:
    """Lay down the InRelease that apt fetched and the very index that it names."""
    path = release.name.partition("_")[2].removesuffix("_InRelease").replace("_", "/")
    digest = _index_digest(release.read_text())
    hashed = where / path / Path(_INDEX).parent / "by-hash/SHA256" / digest
    hashed.parent.mkdir(parents=True, exist_ok=True)
    (where / path / "InRelease").write_bytes(release.read_bytes())
    uri = f"{site}/{path}/{Path(_INDEX).parent}/by-hash/SHA256/{digest}"
    call(["/usr/lib/apt/apt-helper", "download-file", uri, hashed, f"SHA256:{digest}"])
    os.link(hashed, where / path / _INDEX)


def _build(where: Path) -> None:
    scratch = where / ".scratch"
    apt = _Apt(obtain(base()) / "root", scratch)
    apt.update()
    _add_pool(apt, where)
    _add_closures(apt, where)
    site = "{0.scheme}://{0.netloc}".format(urlsplit(archive_uri()))
    releases = sorted(apt.lists.glob("*_InRelease"))
    if not releases:
        raise LabError("apt fetched no index of the Debian archive")
    for release in releases:
        _add_index(release, where, site)
    discard(scratch)


def mirror() -> Piece:
    """The mirror's tree."""
    recipe = (source(__name__), source(packages), str(base().path))
    return Piece("mirror", recipe, _build)
