"""Whether a running process has taken up its declared files: what is owed is observed, not remembered.

After a successful start, restart or reload a stamp is written to `/run` with the identity of the process (a unit's
InvocationID, a container's id and start) and the digest of the files it loaded. A valid stamp answers. Without one
(rebooted, restarted by hand, crashed between writing a file and reloading), the files on the host are what the process
has loaded, unless one of them changed after it started: then what it loaded is not known, and a reload is owed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from kbstate.paths import PathQuery, Paths, PathState
from kbstate.resource import AnyRead, Fact, Read, Resource, Unknown
from kbstate.secret import Secret
from kbstate.shell import q

STAMPS = "/run/kbstate/loaded"
STALE = "older files"


class Watched(BaseModel):
    """A file that a process loads, as declared: its path and the query that the file's own kind makes of it."""

    model_config = ConfigDict(frozen=True)

    path: str
    expected: str
    sha256: str


class Stamps(Fact[str, str]):
    """The stamps by name (`unit/docker.service`, `container/haproxy`): identity and digest, a line each."""

    def command(self, wanted: Sequence[str]) -> str:
        paths = ((q(name), q(f"{STAMPS}/{name}")) for name in wanted)
        return "\n".join([*(f"[ -r {path} ] && sed 's|^|'{name}' |' {path}" for name, path in paths), "true"])

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, str | Unknown | None]:
        found: dict[str, str | Unknown | None] = dict.fromkeys(wanted)
        for name, space, stamp in (line.partition(" ") for line in output.splitlines()):
            if space:
                found[name] = stamp
        return found


def watched(addresses: Iterable[str], lookup: Callable[[str], Resource | None]) -> tuple[Watched, ...]:
    """The declared files among these addresses, in order."""
    files = (lookup(address) for address in addresses)
    return tuple(_watch(file) for file in files if file is not None and getattr(file, "content", None) is not None)


def _watch(file: Resource) -> Watched:
    content: str | bytes | Secret = getattr(file, "content")  # noqa: B009 - any kind with a path and a content will do
    data = content.reveal() if isinstance(content, Secret) else content
    data = data.encode() if isinstance(data, str) else data
    digest = hashlib.sha256(data).hexdigest()
    return Watched(path=getattr(file, "path"), expected="" if isinstance(content, Secret) else digest, sha256=digest)  # noqa: B009


def reads(stamp: str, files: Sequence[Watched]) -> dict[str, AnyRead]:
    """What `loaded_digest` needs: `stamp`, and `file0`, `file1`, … in the order of the files."""
    if not files:
        return {}
    queries: dict[str, AnyRead] = {f"file{i}": Read(Paths, PathQuery(w.path, w.expected)) for i, w in enumerate(files)}
    return {"stamp": Read(Stamps, stamp), **queries}


def declared_digest(files: Sequence[Watched]) -> str | None:
    """The digest of the files as declared; None if nothing is watched."""
    return _digest((w.path, w.sha256) for w in files) if files else None


def loaded_digest(
    files: Sequence[Watched], identity: str, started: float, stamp: str | None, states: Mapping[str, PathState | None]
) -> str | None:
    """The digest of what the process with this identity, started at this Unix time, has loaded."""
    if not files:
        return None
    if stamp is not None and stamp.split(" ")[0] == identity:
        return stamp.split(" ")[1]
    live = [states[f"file{i}"] for i in range(len(files))]
    if any(state is None or state.changed > started for state in live):
        return STALE
    return _digest((w.path, state.sha256 or "") for w, state in zip(files, live, strict=True) if state is not None)


def _digest(pairs: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(repr(list(pairs)).encode()).hexdigest()


def stamp_script(stamp: str, identity_command: str, digest: str) -> str:
    """Shell lines that write the stamp; `identity_command` prints the identity of the process as it runs now."""
    path = q(f"{STAMPS}/{stamp}")
    return (
        f'umask 077; mkdir -p "$(dirname {path})"; i=$({identity_command}) && '
        f'printf "%s %s\\n" "$i" {q(digest)} > {path}.new && mv -f {path}.new {path}'
    )
