"""The Debian archive that this machine uses: read from its apt configuration, so that no name is written here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from kbstate.lab.errors import LabError

SUITE = "bookworm"
COMPONENTS = "main"
_APT = Path("/etc/apt")


def _deb822(text: str) -> list[tuple[str, str]]:
    """(URI, suites) of every stanza of a .sources file."""
    found = []
    for stanza in text.split("\n\n"):
        fields = {
            line.partition(":")[0].strip().lower(): line.partition(":")[2].strip()
            for line in stanza.splitlines()
            if ":" in line and not line.startswith("#")
        }
        found += [(uri, fields.get("suites", "")) for uri in fields.get("uris", "").split()]
    return found


def _one_line(text: str) -> list[tuple[str, str]]:
    """(URI, suite) of every line of a sources.list."""
    found = []
    for line in text.splitlines():
        words = [word for word in line.split() if not (word.startswith("[") or word.endswith("]"))]
        if len(words) > 2 and words[0] == "deb":
            found.append((words[1], words[2]))
    return found


def _sources() -> list[tuple[str, str]]:
    found = []
    for file in sorted(_APT.glob("sources.list.d/*.sources")):
        found += _deb822(file.read_text())
    for file in [_APT / "sources.list", *sorted(_APT.glob("sources.list.d/*.list"))]:
        if file.exists():
            found += _one_line(file.read_text())
    return found


@cache
def archive_uri() -> str:
    """The URI of Debian's main archive."""
    for uri, suites in _sources():
        if urlsplit(uri).path.rstrip("/").endswith("/debian") and urlsplit(uri).scheme.startswith("http") and suites:
            return uri.rstrip("/")
    raise LabError("this machine's apt configuration names no Debian archive, which the lab copies from")


def archive_host() -> str:
    """The host name of the archive; inside a lab it means the lab's mirror."""
    return urlsplit(archive_uri()).hostname or ""


def archive_port() -> int:
    """The TCP port at which the lab's mirror answers: the one that the hosts' sources ask."""
    return urlsplit(host_uri()).port or 80


def host_uri() -> str:
    """The archive as the hosts name it: without TLS, for the mirror has no certificate and apt checks signatures."""
    return "http" + archive_uri().removeprefix("https").removeprefix("http")


def sources_list(uri: str | None = None) -> str:
    """The stock sources of a Debian host, from another place where one is named."""
    uri = uri or host_uri()
    return (
        f"deb {uri} {SUITE} {COMPONENTS}\n"
        f"deb {uri} {SUITE}-updates {COMPONENTS}\n"
        f"deb {uri}-security {SUITE}-security {COMPONENTS}\n"
    )
