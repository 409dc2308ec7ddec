"""What lies at a path: the fact and the operations that every kind made of files shares."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

from kbstate.resource import Fact, Unknown
from kbstate.secret import Secret
from kbstate.shell import feed, q, words

LARGEST = 4 * 1024 * 1024
"""Bytes of a file whose content is read for a diff; of a larger one only the hash is known."""

TYPES = {"f": "file", "d": "directory", "l": "symlink", "p": "fifo", "s": "socket"} | {
    "b": "block device",
    "c": "character device",
}


@dataclass(frozen=True)
class PathQuery:
    """A path, and what is wanted of its content.

    `expected` is the SHA-256 that makes sending the content needless; empty: send it in any case (a secret, whose plain
    hash is not handed around); None: the content is not wanted.
    """

    path: str
    expected: str | None = None


@dataclass(frozen=True)
class PathState:
    """What `find -printf` tells of one path.

    `content` is None where it was not wanted, equal to the expected, or too large.
    """

    type: str
    mode: str
    uid: str
    gid: str
    user: str
    group: str
    size: int
    changed: float
    """Change time (ctime) in seconds: unlike mtime it cannot be set back."""
    target: str
    sha256: str | None = None
    content: bytes | None = None


class Paths(Fact[PathQuery, PathState]):
    """State of any number of paths in a fixed number of processes. Source: find(1), sha256sum(1)."""

    seconds: ClassVar[int] = 120

    def command(self, wanted: Sequence[PathQuery]) -> str:
        every = words(dict.fromkeys(w.path for w in wanted))
        hashed = [w for w in wanted if w.expected is not None]
        lines = [
            f"set -- {every}",
            # %y type, %m mode, %C@ ctime; NUL ends a record because a link target may hold anything
            r"""find "$@" -maxdepth 0 -printf '%y|%m|%U|%G|%u|%g|%s|%C@|%p|%l\0' 2>/dev/null | base64 -w0; echo""",
            # what find did not show: absent, or not to be read? only stat's message tells
            'for p; do [ -e "$p" ] || [ -L "$p" ] || { e=$(stat -- "$p" 2>&1) || '
            """printf 'N %s %s\\n' "$(printf %s "$p" | base64 -w0)" "$(printf %s "$e" | base64 -w0)"; }; done""",
        ]
        if hashed:
            expected = "\n".join(f"{w.expected or '-' * 64}  {w.path}" for w in hashed) + "\n"
            lines += [
                f"set -- {words(dict.fromkeys(w.path for w in hashed))}",
                'h=$(find "$@" -maxdepth 0 -type f -exec sha256sum -- {} + 2>/dev/null)',
                """printf '%s\\n' "$h" | sed 's/^/H /'""",
                f"{{ printf '%s\\n' \"$h\"; printf '%s' {q(expected)}; }} | sort | uniq -u | cut -c67- | sort -u | "
                'while IFS= read -r p; do if [ -f "$p" ] && [ ! -L "$p" ]; then '
                """printf 'C %s ' "$(printf %s "$p" | base64 -w0)"; """
                f'[ "$(stat -c %s -- "$p")" -le {LARGEST} ] && base64 -w0 -- "$p"; echo; fi; done',
            ]
        return "\n".join([*lines, "true"])

    def process(self, wanted: Sequence[PathQuery], output: str) -> Mapping[PathQuery, PathState | Unknown | None]:
        first, *rest = output.split("\n")
        states: dict[str, PathState | Unknown | None] = {}
        for record in base64.b64decode(first).decode("utf-8", "surrogateescape").split("\0")[:-1]:
            kind, mode, uid, gid, user, group, size, changed, path, target = _fields(record, {w.path for w in wanted})
            states[path] = PathState(
                TYPES.get(kind, kind), mode.rjust(4, "0"), uid, gid, user, group, int(size), float(changed), target
            )
        hashes: dict[str, str] = {}
        contents: dict[str, bytes] = {}
        for line in rest:
            tag, _, answer = line.partition(" ")
            if tag == "H":
                hashes[answer[66:]] = answer[:64]
            elif tag == "C":
                path, _, data = answer.partition(" ")
                contents[_decode(path)] = base64.b64decode(data)
            elif tag == "N":
                path, _, message = answer.partition(" ")
                states[_decode(path)] = _not_shown(_decode(message))
        vanished = Unknown("it vanished while it was read")
        return {w: _complete(states.get(w.path, vanished), w, hashes, contents) for w in wanted}


def _fields(record: str, known: set[str]) -> list[str]:
    """Path and link target may both hold the separator: the path is one that was asked for."""
    head, rest = record.split("|", 8)[:8], record.split("|", 8)[8]
    path = max((p for p in known if rest.startswith(p + "|")), key=len)
    return [*head, path, rest[len(path) + 1 :]]


def _decode(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "surrogateescape")


def _not_shown(message: str) -> Unknown | None:
    reason = message.rsplit(": ", 1)[-1].strip()
    if reason in ("No such file or directory", "Not a directory"):
        return None
    return Unknown(reason)


def _complete(
    state: PathState | Unknown | None, query: PathQuery, hashes: Mapping[str, str], contents: Mapping[str, bytes]
) -> PathState | Unknown | None:
    if not isinstance(state, PathState) or query.expected is None or state.type != "file":
        return state
    found = hashes.get(query.path)
    if found is None:
        return Unknown("its content cannot be read")
    content = contents.get(query.path)
    if content is not None and hashlib.sha256(content).hexdigest() != found:
        content = None if state.size > LARGEST else content
    return PathState(**{**state.__dict__, "sha256": found, "content": content})


# --- operations -------------------------------------------------------------------------------------------------


def write_file(
    path: str,
    content: bytes | Secret,
    *,
    owner: str | None,
    group: str | None,
    mode: str | None,
    validate: str | None = None,
) -> Iterator[str]:
    """Replace a file whole or not at all: a temporary name beside it with final owner and mode, checked, fsync, rename.

    What is None is kept from the file that is replaced; of a new one it is root, root and 0644 (0600 for a secret).
    `validate` is a shell command in which `{path}` stands for the candidate; if it fails the old file stays.
    """
    directory, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
    fresh_mode = "0600" if isinstance(content, Secret) else "0644"
    data = content.reveal() if isinstance(content, Secret) else content
    check = f"{validate.replace('{path}', chr(34) + '$t' + chr(34))} >&2" if validate else ":"
    yield "\n".join(
        [
            "set -eu; umask 077",
            f"f={q(path)}",
            f"t=$(mktemp -p {q(directory)} {q('.' + name[:200] + '.kbXXXXXX')})",
            """trap 'rm -f -- "$t"' EXIT""",
            feed('cat > "$t"', data).rstrip("\n"),
            'if [ -f "$f" ] && [ ! -L "$f" ]; then chown --reference="$f" -- "$t"; chmod --reference="$f" -- "$t"; '
            f'else chown 0:0 -- "$t"; chmod {fresh_mode} -- "$t"; fi',
            f'chown {q(f"{owner or str()}:{group or str()}")} -- "$t"' if owner or group else ":",
            f'chmod {q(mode)} -- "$t"' if mode else ":",
            check,
            f'sync -- "$t"; mv -fT -- "$t" "$f"; sync -- {q(directory)}; trap - EXIT',
        ]
    )


def set_attributes(path: str, owner: str | None, group: str | None, mode: str | None) -> Iterator[str]:
    """Owner, group and mode of what is there, never through a symlink; mode last, since chown clears setuid."""
    script = ["set -eu"]
    if owner or group:
        script.append(f"chown -h {q(f'{owner or str()}:{group or str()}')} -- {q(path)}")
    if mode:
        script.append(f"chmod {q(mode)} -- {q(path)}")
    yield "\n".join(script)


def remove_file(path: str) -> Iterator[str]:
    """Remove a file or symlink; refuses a directory."""
    yield f"rm -f -- {q(path)}; sync -- {q(PurePosixPath(path).parent)}"


def parents(path: str) -> Iterator[str]:
    """The directories above a path, nearest first."""
    return (str(parent) for parent in PurePosixPath(path).parents)
