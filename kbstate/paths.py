"""What lies at a path: the fact and the operations that every kind made of files shares."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

from kbstate.resource import Fact, Preflight, Unknown
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
            # %y type, %m mode, %C@ ctime; NUL ends path and target because they may hold anything else
            r"""find "$@" -maxdepth 0 -printf '%y|%m|%U|%G|%u|%g|%s|%C@|%p\0%l\0' 2>/dev/null | base64 -w0; echo""",
            # what find did not show: absent, or not to be read? stat's messages tell, a line for each in their order
            """gone() { for p; do [ -e "$p" ] || [ -L "$p" ] || printf '%s\\0' "$p"; done; }""",
            'printf \'N %s %s\\n\' "$(gone "$@" | base64 -w0)" '
            '"$(gone "$@" | xargs -0 -r stat -- 2>&1 >/dev/null | base64 -w0)"',
        ]
        if hashed:
            expected = "\n".join(f"{w.expected or '-' * 64}  {w.path}" for w in hashed) + "\n"
            lines += [
                f"set -- {words(dict.fromkeys(w.path for w in hashed))}",
                # -z keeps it from escaping backslashes in names
                """h=$(find "$@" -maxdepth 0 -type f -exec sha256sum -z -- {} + 2>/dev/null | tr '\\0' '\\n')""",
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
        found = _decode(first).split("\0")
        for record, target in zip(found[:-1:2], found[1::2], strict=True):
            kind, mode, uid, gid, user, group, size, changed, path = record.split("|", 8)
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
                gone, _, messages = answer.partition(" ")
                pairs = zip(_decode(gone).split("\0")[:-1], _decode(messages).splitlines(), strict=True)
                states.update((path, _not_shown(message)) for path, message in pairs)
        vanished = Unknown("it vanished while it was read")
        return {w: _complete(states.get(w.path, vanished), w, hashes, contents) for w in wanted}


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
    check = f"{_validation(validate)} >&2" if validate else ":"
    yield "\n".join(
        [
            "set -eu; umask 077",
            f"f={q(path)}",
            f"t=$(mktemp -p {q(directory)} {q(_hidden(name))})",
            """trap 'rm -f -- "$t"' EXIT""",
            feed('cat > "$t"', data).rstrip("\n"),
            f'm={fresh_mode}; o=0:0; if [ -f "$f" ] && [ ! -L "$f" ]; then '
            'm=$(stat -c %a -- "$f"); o=$(stat -c %u:%g -- "$f"); fi',
            'chown "$o" -- "$t"',
            f'chown {q(f"{owner or str()}:{group or str()}")} -- "$t"' if owner or group else ":",
            f"m={mode}" if mode else ":",
            'chmod "$m" -- "$t"',  # after chown, which takes setuid away
            check,
            f'sync -- "$t"; mv -fT -- "$t" "$f"; sync -- {q(directory)}; trap - EXIT',
        ]
    )


def _hidden(name: str) -> str:
    """A template for mktemp(1) beside a file of this name, within the 255 bytes that a name may have."""
    return f".{name.encode()[:200].decode(errors='ignore')}.kbXXXXXX"


def _validation(command: str) -> str:
    return command.replace("{path}", '"$t"')


def try_file(content: bytes | Secret, validate: str) -> str:
    """Shell text that runs the validation on a candidate that is never put in place."""
    data = content.reveal() if isinstance(content, Secret) else content
    return "\n".join(
        [
            "set -eu; umask 077; t=$(mktemp)",
            """trap 'rm -f -- "$t"' EXIT""",
            feed('cat > "$t"', data).rstrip("\n"),
            'chmod 644 -- "$t"' if not isinstance(content, Secret) else ":",
            f"{_validation(validate)} >&2",
        ]
    )


def disk_space(path: str, megabytes: int) -> Preflight:
    """Free disk space where this path is, or will be."""
    script = "\n".join(
        [
            f'p={q(path)}; while [ ! -e "$p" ]; do p=$(dirname -- "$p"); done',
            'm=$(df --output=avail --block-size=1M -- "$p" | tail -n 1 | tr -d " ")',
            f'[ "$m" -ge {megabytes} ] || {{ echo "only $m MB are free there" >&2; exit 1; }}',
        ]
    )
    return Preflight(f"{megabytes} MB are free in {path}", script)


def set_attributes(path: str, owner: str | None, group: str | None, mode: str | None) -> Iterator[str]:
    """Owner, group and mode of what is there, never through a symlink.

    Of a directory chmod(1) takes setuid and setgid away only if told by five digits; chown(1) takes them away unasked.
    """
    script = ["set -eu", f"f={q(path)}; m=0{mode}" if mode else f'f={q(path)}; m=0$(stat -c %04a -- "$f")']
    script.append('[ ! -L "$f" ] || { printf "%s is a symlink\\n" "$f" >&2; exit 1; }')
    if owner or group:
        script.append(f'chown -h {q(f"{owner or str()}:{group or str()}")} -- "$f"')
    yield "\n".join([*script, 'chmod "$m" -- "$f"'])


def remove_file(path: str) -> Iterator[str]:
    """Remove a file or symlink; refuses a directory."""
    parent = q(PurePosixPath(path).parent)
    yield f"set -eu\nrm -f -- {q(path)}\n[ ! -d {parent} ] || sync -- {parent}"


def make_directory(path: str, owner: str | None, group: str | None, mode: str | None) -> Iterator[str]:
    """Make a directory below one that is there; unless given root, root and 0755. Nobody gets in before all is set.

    One that a package has made since the host was looked at gets what is given.
    """
    above = q(PurePosixPath(path).parent)
    yield "\n".join(
        [
            "set -eu; umask 077",
            f'[ -d {above} ] || {{ printf "%s is not there: declare Directory for it\\n" {above} >&2; exit 1; }}',
            f"if [ -d {q(path)} ] && [ ! -L {q(path)} ]; then",
            *set_attributes(path, owner, group, mode),
            f"else\nmkdir -- {q(path)}",
            *set_attributes(path, owner or "root", group or "root", mode or "0755"),
            f"fi\nsync -- {above}",
        ]
    )


def remove_directory(path: str) -> Iterator[str]:
    """Remove an empty directory, or say what is in it."""
    yield "\n".join(
        [
            f"set -eu; d={q(path)}",
            'e=$(ls -A -- "$d" | head -n 3 | tr "\\n" " ")',
            '[ -z "$e" ] || { printf "%s is not empty: it holds %s\\n" "$d" "$e" >&2; exit 1; }',
            'rmdir -- "$d"',
        ]
    )


def make_symlink(path: str, target: str) -> Iterator[str]:
    """Put a symlink there in one rename, in the place of an old one but of nothing else."""
    directory, name = q(PurePosixPath(path).parent), PurePosixPath(path).name
    yield "\n".join(
        [
            f"set -eu; f={q(path)}",
            '[ -L "$f" ] || [ ! -e "$f" ] || { printf "%s is there and is no symlink\\n" "$f" >&2; exit 1; }',
            f"d=$(mktemp -d -p {directory} {q(_hidden(name))})",
            """trap 'rm -rf -- "$d"' EXIT""",
            f'ln -s -- {q(target)} "$d/link"; mv -fT -- "$d/link" "$f"; sync -- {directory}',
        ]
    )


def parents(path: str) -> Iterator[str]:
    """The directories above a path, nearest first."""
    return (str(parent) for parent in PurePosixPath(path).parents)
