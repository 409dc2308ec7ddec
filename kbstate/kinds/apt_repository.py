"""A source of packages for APT with the key that signs it: one `.sources` file, proven by APT before it counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from kbstate.kinds.file import File
from kbstate.paths import PathQuery, Paths, PathState
from kbstate.resource import AnyRead, Change, Read, Resource, Step, Unknown, Unordered
from kbstate.shell import feed, q

SOURCES = "/etc/apt/sources.list.d"
KEYRINGS = "/etc/apt/keyrings"
ARMOR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"


def _uri(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*:[!-~]+", text):
        raise ValueError("must be a URI such as 'https://download.docker.com/linux/debian', without blanks")
    return text


def _is_a_key(content: str | bytes | None) -> str | bytes | None:
    """Armoured, or an OpenPGP packet that is a public key (tag 6, old or new format). Source: RFC 9580, 4.2."""
    data = content.encode() if isinstance(content, str) else content
    if data is not None and not data.lstrip().startswith(ARMOR) and data[:1] not in b"\x98\x99\x9a\xc6":
        raise ValueError("must be a public key, armoured (-----BEGIN PGP PUBLIC KEY BLOCK-----) or binary")
    if data == b"":
        raise ValueError("must not be empty")
    return content


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
"""APT ignores a file with other characters in its name (but dots). Source: sources.list(5)."""
Uri = Annotated[str, AfterValidator(_uri)]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+~:-]*$|^/$|^\./$")]
Key = Annotated[str | bytes, AfterValidator(_is_a_key)]


class AptRepository(Resource):
    """A repository. Its package lists are fetched, and its signature is checked, before its file is put in place."""

    kind: ClassVar[str] = "apt_repository"

    name: Name
    types: Annotated[tuple[Literal["deb", "deb-src"], ...], Field(min_length=1)] = ("deb",)
    uris: tuple[Uri, ...] | None = None
    suites: tuple[Word, ...] | None = None
    """Names such as `bookworm`, or a path that ends in `/` where there are no components."""
    components: tuple[Word, ...] = ()
    architectures: Annotated[tuple[Word, ...], Unordered()] = ()
    """All that the host has unless given."""
    enabled: bool = True
    signing_key: Key | None = None
    """The key by which alone it may be signed. Without one, APT's own keys count."""
    strays: tuple[str, ...] = ()
    """Observed only: other fields and stanzas in the file."""
    readable: bool = True
    """Observed only: whether file and key are root's, and APT may read them, which it does as a user of its own."""

    @property
    def path(self) -> str:
        return f"{SOURCES}/{self.name}.sources"

    @property
    def key_path(self) -> str:
        """APT tells the form of a key by its suffix."""
        key = self.signing_key.encode() if isinstance(self.signing_key, str) else self.signing_key
        return f"{KEYRINGS}/{self.name}.{'asc' if (key or b'').lstrip().startswith(ARMOR) else 'gpg'}"

    @property
    def key_file(self) -> File:
        return File(path=self.key_path, content=self.signing_key)

    def problems(self) -> Iterator[str]:
        if self.absent:
            return
        if not self.uris or not self.suites:
            yield "uris and suites are missing"
        for suite in self.suites or ():
            if suite.endswith("/") == bool(self.components):
                yield f"suite {suite}: components go with a suite unless it ends in '/', and only then without"
        for uri in self.uris or ():
            if re.match(r"[a-z+]+://[^/]*@", uri):
                yield "uris must not hold a password: put it into a file in /etc/apt/auth.conf.d"
        if self.strays or not self.readable:
            yield "strays and readable are observed, not declared"

    def reads(self) -> Mapping[str, AnyRead]:
        key = {} if self.signing_key is None else {"key": self.key_file.reads()["state"]}
        return {"state": Read(Paths, PathQuery(self.path, "")), **key}

    def observe(self, state: PathState | None, key: PathState | None = None) -> Self | Unknown | None:
        if state is None:
            return None
        if state.type != "file" or state.content is None:
            return Unknown(f"{self.path} is a {state.type}, or too large")
        live = self.key_file.observe(key)
        if isinstance(live, Unknown):
            return live
        values = read(
            state.content.decode("utf-8", "surrogateescape"), None if self.signing_key is None else self.key_path
        )
        places = [place for place in (state, key) if place is not None]
        readable = all(place.uid == "0" and int(place.mode, 8) & 0o066 == 0o044 for place in places)
        values |= {"signing_key": live.content if live else "", "readable": readable}
        return type(self)(name=self.name).model_copy(update=values)

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove_repository, {"name": self.name}, "remove the repository and its key")
            return
        key = self.signing_key.encode() if isinstance(self.signing_key, str) else self.signing_key
        arguments = {
            "name": self.name,
            "sources": render(self),
            "key": key,
            "key_path": self.key_path,
            "fetch": self.enabled,
        }
        yield Step(put_repository, arguments, "fetch its lists, and put it in place if it is signed as it must be")

    def needs(self) -> Iterator[str]:
        yield from ("package:ca-certificates", "hosts:*", "resolver:*", f"file:{KEYRINGS}/*", "file:/etc/apt/*")

    def backup(self) -> Iterator[str]:
        yield from (self.path, self.key_path)


# --- the file ---------------------------------------------------------------------------------------------------

LISTS: Mapping[str, str] = {
    "types": "Types",
    "uris": "URIs",
    "suites": "Suites",
    "components": "Components",
    "architectures": "Architectures",
}
"""The fields that hold a list, and how the file spells them. Source: sources.list(5), "DEB822-STYLE FORMAT"."""


def render(repository: AptRepository) -> str:
    lines = [f"{spelled}: {' '.join(getattr(repository, name) or ())}" for name, spelled in LISTS.items()]
    lines = [line for line in lines if not line.endswith(": ")]
    enabled = [] if repository.enabled else ["Enabled: no"]
    signed = [] if repository.signing_key is None else [f"Signed-By: {repository.key_path}"]
    return "\n".join(["# written by kbstate", *lines, *enabled, *signed, ""])


def read(text: str, signed_by: str | None) -> dict[str, object]:
    """The fields of a repository from the text of its file; whatever else is in it is a stray."""
    first, *others = list(stanzas(text)) or [{}]
    values: dict[str, object] = {name: tuple(first.pop(name, "").split()) for name in LISTS}
    values["enabled"] = first.pop("enabled", "yes").lower() not in ("no", "false", "without", "off", "disable")
    signed = first.pop("signed-by", None)
    strays = [f"{name}: {value}" for name, value in first.items()]
    if signed != signed_by:
        strays.append("Signed-By is missing" if signed is None else f"Signed-By: {signed}")
    strays += ["a stanza for " + (other.get("uris") or "nothing") for other in others]
    return {**values, "strays": tuple(strays)}


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """Fields by lower-case name, lines that go on joined by blanks. Source: deb822(5)."""
    lines = [line for line in text.split("\n") if not line.startswith("#")]
    for block in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in block.split("\n"):
            if line[:1] in (" ", "\t"):
                fields[name] = f"{fields.get(name, '')} {line.strip()}".strip()
            elif line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields:
            yield fields


# --- operations -------------------------------------------------------------------------------------------------

ONLY_OURS = '-o Dir::Etc::sourcelist="$d/candidate.sources" -o Dir::Etc::sourceparts=/dev/null'
FETCH = f"apt-get update --error-on=any -o APT::Get::List-Cleanup=0 {ONLY_OURS}"


def put_repository(name: str, sources: str, key: bytes | None, key_path: str, fetch: bool) -> Iterator[str]:
    """Let APT fetch and verify the candidate alone, then read it with all other sources, and only then put it in place.

    So neither a wrong key nor one that contradicts another file stops every later use of APT. Source: apt-get(8).
    """
    suffix = key_path.rpartition(".")[2]
    other = f"{KEYRINGS}/{name}.{'gpg' if suffix == 'asc' else 'asc'}"
    yield "\n".join(
        [
            f'set -eu; umask 022; n={q(name)}; d=$(mktemp -d -p /etc/apt .kbXXXXXX); chmod 0755 "$d"',
            """trap 'rm -rf -- "$d"' EXIT""",
            feed('cat > "$d/$n.sources"', sources.encode()).rstrip("\n"),
            feed(f'cat > "$d/key.{suffix}"', key).rstrip("\n") if key is not None else ":",
            f'sed "s|^Signed-By:.*|Signed-By: $d/key.{suffix}|" "$d/$n.sources" > "$d/candidate.sources"',
            *(FETCHING if fetch else ()),
            f'mkdir "$d/parts"; cp -a {SOURCES}/. "$d/parts" 2>/dev/null || true; cp "$d/$n.sources" "$d/parts"',
            'apt-get indextargets -o Dir::Etc::sourceparts="$d/parts" > /dev/null',
            f"mkdir -p -m 0755 {KEYRINGS} {SOURCES}",
            f'mv -fT -- "$d/key.{suffix}" {q(key_path)}; rm -f -- {q(other)}' if key is not None else ":",
            f'mv -fT -- "$d/$n.sources" {SOURCES}/"$n".sources; sync -- {KEYRINGS} {SOURCES}',
        ]
    )


FETCHING = (
    f"i=0; until e=$({FETCH} 2>&1 < /dev/null); do i=$((i + 1))",
    # APT's own timer may be fetching: that is waited for, as no other failure is
    'case "$e" in *"Could not get lock"*) [ "$i" -gt 24 ] || { sleep 5; continue; } ;; esac',
    """printf '%s\\n' "$e" | tail -n 8 >&2; exit 1; done""",
)


def remove_repository(name: str) -> Iterator[str]:
    """Remove the file and the key; what was fetched goes at the next `apt-get update`."""
    files = (f"{SOURCES}/{name}.sources", f"{KEYRINGS}/{name}.asc", f"{KEYRINGS}/{name}.gpg")
    yield "rm -f -- " + " ".join(q(file) for file in files)
