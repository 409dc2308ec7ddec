"""A public key that may log in as a user: one line of `~/.ssh/authorized_keys`, the others kept as they are."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, StringConstraints

from kbstate.kinds.group import AccountName
from kbstate.resource import AnyRead, Change, Fact, Line, Read, Resource, Step, Unknown, Unordered
from kbstate.shell import q, words

KEY_TYPE = r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
OPTION = r'[A-Za-z0-9-]+(="(\\"|[^"\\]|\\(?!"))*")?'
"""Source: sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; a backslash stands for itself but before a quote."""


def _public_key(text: str) -> str:
    """Type and key of a line such as `ssh-keygen` writes; its comment is left out, since `name` is written instead."""
    kind, _, rest = text.strip().partition(" ")
    blob = rest.split(" ")[0]
    try:
        data = base64.b64decode(blob, validate=True)
    except ValueError:
        data = b""
    one = len(text.strip().splitlines()) == 1
    if not one or not re.fullmatch(KEY_TYPE, kind) or data[4 : 4 + int.from_bytes(data[:4])] != kind.encode():
        raise ValueError("must be a public key such as 'ssh-ed25519 AAAA…', as ssh-keygen(1) writes it")
    return f"{kind} {blob}"


def _option(text: str) -> str:
    if not re.fullmatch(OPTION, text):
        raise ValueError("""must be an option of sshd(8) such as 'no-pty' or 'from="10.0.0.0/16"'""")
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9@._+:-]{0,99}$")]
PublicKey = Annotated[str, AfterValidator(_public_key)]
Option = Annotated[Line, AfterValidator(_option)]


@dataclass(frozen=True)
class KeyLine:
    """A line that holds a key. Source: sshd(8)."""

    options: tuple[str, ...]
    public_key: str
    comment: str


@dataclass(frozen=True)
class KeyFile:
    """The file of one user, empty where there is none. `strict` is as in the kind."""

    lines: tuple[KeyLine, ...]
    strict: bool
    trouble: str
    """Why it is not to be touched."""


class KeyFiles(Fact[str, KeyFile]):
    """The `authorized_keys` of any number of users; None for one who does not exist."""

    def command(self, wanted: Sequence[str]) -> str:
        names = words(dict.fromkeys(wanted))
        look = r"""find "$h/." "$h/.ssh" "$h/.ssh/authorized_keys" -maxdepth 0 -printf '%y %m %U|' 2>/dev/null"""
        return "\n".join(
            [
                f"e=$(getent passwd {names}) || [ $? = 2 ] || exit 1",
                '[ -z "$e" ] || printf \'%s\\n\' "$e" | while IFS=: read -r n _ u _ _ h _; do',
                f"""printf '%s|%s|%s|' "$n" "$u" "$({look})"; f=$h/.ssh/authorized_keys""",
                'if [ -f "$f" ]; then base64 -w0 < "$f" || exit 1; fi; echo; done',
            ]
        )

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, KeyFile | Unknown | None]:
        found: dict[str, KeyFile | Unknown | None] = dict.fromkeys(wanted)
        for line in output.splitlines():
            name, uid, *places, text = line.split("|")
            found[name] = _file([place.split(" ") for place in places if place], uid, text)
        return found


def _file(places: Sequence[Sequence[str]], uid: str, text: str) -> KeyFile:
    """Places are home, directory and file, as far as they are there: type, mode and owner of each."""
    labels = ("its home", "its .ssh", "its authorized_keys")
    wrong = [
        f"{label} is no {wanted}"
        for label, wanted, (sort, _, _) in zip(labels, ("directory", "directory", "file"), places, strict=False)
        if sort != wanted[0]
    ]
    strict = [owner in ("0", uid) and not int(mode, 8) & 0o022 for _, mode, owner in places]
    if strict and not strict[0]:
        wrong.append("its home can be written by others, so sshd takes no key from there")
    content = base64.b64decode(text).decode("utf-8", "surrogateescape")
    return KeyFile(tuple(parse(content)), all(strict), wrong[0] if wrong else "")


class AuthorizedKey(Resource):
    """A key of a user. `name` is written behind it as its comment: by that it is known when the key itself changes."""

    kind: ClassVar[str] = "authorized_key"
    identity: ClassVar[tuple[str, ...]] = ("user", "name")

    user: AccountName
    name: Name
    public_key: PublicKey | None = None
    options: Annotated[tuple[Option, ...], Unordered()] = ()
    comment: str | None = None
    """What stands behind the key; filled in from `name`, not declared."""
    doubles: tuple[str, ...] = ()
    """Observed only: further lines of that name or with that key. sshd takes the first."""
    strict: bool = True
    """Observed only: whether file and directory are the user's own, and nobody else can write there (StrictModes)."""

    @property
    def key(self) -> str:
        return f"{self.user}/{self.name}"

    def problems(self) -> Iterator[str]:
        if self.public_key is None and not self.absent:
            yield "public_key is missing"
        if self.doubles or not self.strict:
            yield "doubles and strict are observed, not declared"

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        return self.model_copy(update={"comment": self.name})

    def reads(self) -> Mapping[str, AnyRead]:
        return {"file": Read(KeyFiles, self.user)}

    def observe(self, file: KeyFile | None) -> Self | Unknown | None:
        if file is None:
            return None
        if file.trouble:
            return Unknown(f"{self.user}: {file.trouble}", until=("directory:*",))
        named = [line for line in file.lines if line.comment == self.name]
        same = [line for line in file.lines if line.public_key == self.public_key and line not in named]
        if not named and not same:
            return None
        line, *more = [*named, *same]
        values = {
            "public_key": line.public_key,
            "options": line.options,
            "comment": line.comment,
            "doubles": tuple(f"{other.public_key} {other.comment}" for other in more),
            "strict": file.strict,
        }
        return type(self)(user=self.user, name=self.name).model_copy(update=values)

    def steps(self, change: Change) -> Iterator[Step]:
        delete = change.action == "delete"
        arguments = {"user": self.user, "name": self.name, "line": None if delete else self._line()}
        yield Step(put_key, arguments, "remove its line" if delete else "write its line")

    def _line(self) -> str:
        options = [",".join(self.options)] if self.options else []
        return " ".join([*options, str(self.public_key), self.name])

    def needs(self) -> Iterator[str]:
        yield f"user:{self.user}"
        yield "directory:*"  # the home may be one

    def before_delete(self) -> str | None:
        return f"takes away a way to log in as {self.user}" if self.user == "root" else None


def parse(text: str) -> Iterator[KeyLine]:
    """The keys of a file; what is no key is left out, as sshd does."""
    for line in text.split("\n"):
        match = re.fullmatch(rf"\s*(?:({OPTION}(?:,{OPTION})*)\s+)?({KEY_TYPE})\s+(\S+)(?:\s+(.*?))?\s*", line)
        if match:
            groups = match.groups()
            kind, blob, comment = groups[-6], groups[-2], groups[-1]
            options = (found.group() for found in re.finditer(OPTION, groups[0] or ""))
            yield KeyLine(tuple(options), f"{kind} {blob}", comment or "")


EDIT = r"""
function key_of(line,   i, c, quoted) {
    sub(/^[ \t]+/, "", line)
    if (line ~ /^#/) return ""
    if (line !~ TYPE) {
        for (i = 1; i <= length(line); i++) {
            c = substr(line, i, 1)
            if (c == "\\" && substr(line, i + 1, 1) == "\"") i++
            else if (c == "\"") quoted = !quoted
            else if (!quoted && (c == " " || c == "\t")) break
        }
        line = substr(line, i); sub(/^[ \t]+/, "", line)
    }
    return line ~ TYPE ? line : ""
}
BEGIN {
    TYPE = "^(ssh-|ecdsa-|sk-)[^ \t]*[ \t]+[A-Za-z0-9+\/=]+"
    line = ENVIRON["line"]; name = ENVIRON["name"]; split(key_of(line), part, /[ \t]+/); blob = part[2]
}
{
    key = key_of($0)
    if (key == "") { print; next }
    split(key, part, /[ \t]+/); comment = key; sub(/^[^ \t]+[ \t]+[^ \t]+[ \t]*/, "", comment)
    sub(/[ \t\r]+$/, "", comment)
    if (comment != name && (blob == "" || part[2] != blob)) { print; next }
    if (line != "" && !done) print line
    done = 1
}
END { if (line != "" && !done) print line }
"""
"""Our line in the place of the old ones, or after all others."""

WRITE = """\
set -eu; umask 077; cd -- "$1"; mkdir -p .ssh; chmod go-w .ssh
t=$(mktemp -p .ssh .authorized_keys.kbXXXXXX)
trap 'rm -f -- "$t"' EXIT
f=.ssh/authorized_keys; [ -e "$f" ] || f=/dev/null
awk "$edit" < "$f" > "$t"
[ "$(id -u)" = "$2" ] || chown -h "$2:$3" .ssh "$t"
sync -- "$t"; mv -fT -- "$t" .ssh/authorized_keys; sync -- .ssh
"""
"""Runs as the user whom the directory belongs to."""


def put_key(user: str, name: str, line: str | None) -> Iterator[str]:
    """Put one line into the file, or take it out; whole or not at all."""
    yield "\n".join(
        [
            f"set -eu; u={q(user)}; export edit={q(EDIT)} name={q(name)} line={q(line or '')}",
            'e=$(getent passwd "$u") || { echo "there is no user $u: declare User for it" >&2; exit 1; }',
            "IFS=: read -r _ _ uid gid _ h _ <<KBSTATE_ENTRY\n$e\nKBSTATE_ENTRY",
            '[ -d "$h" ] || { printf "%s, the home of %s, is not there\\n" "$h" "$u" >&2; exit 1; }',
            # what lies in the user's home is the user's, or root would write where another may put links in its way
            'o=$(stat -c %u -- "$h/."); [ "$o" = "$uid" ] || o=0',
            'for p in "$h/.ssh" "$h/.ssh/authorized_keys"; do',
            '[ ! -L "$p" ] || { printf "%s is a symlink\\n" "$p" >&2; exit 1; }',
            's=$(stat -c %u -- "$p" 2>/dev/null || echo none)',
            'case $s in none|"$uid"|"$o") ;; *) chown -h "$uid:$gid" -- "$p" ;; esac',
            "done",
            'd=$h/.ssh; [ -d "$d" ] || d=$h/.; as=',
            '[ "$(stat -c %u -- "$d")" != "$uid" ] || as="setpriv --reuid=$uid --regid=$gid --init-groups"',
            f'$as sh -c {q(WRITE)} kbstate "$h" "$uid" "$gid"',
        ]
    )
