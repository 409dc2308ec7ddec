"""A user of the host: numbers, groups, home, shell and password, as the host's own files have them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator

from kbstate.kinds.group import AccountName, AccountNumber, GroupEntry, Groups
from kbstate.paths import parents
from kbstate.resource import (
    AbsPath,
    Account,
    AnyRead,
    Change,
    Fact,
    Line,
    Meta,
    Read,
    Resource,
    Step,
    Unknown,
    Unordered,
)
from kbstate.secret import Secret
from kbstate.shell import feed, q, words


def _no_colon(text: str) -> str:
    if ":" in text:
        raise ValueError("must not contain ':', which parts the fields of /etc/passwd")
    return text


PasswdPath = Annotated[AbsPath, AfterValidator(_no_colon)]
PasswdText = Annotated[Line, AfterValidator(_no_colon)]

HASH = re.compile(rb"\$[a-z0-9]+\$[^:\s!*]+|\*|")
"""What may be declared as a hash: not a password by mistake. Source: crypt(5)."""


@dataclass(frozen=True)
class PasswdEntry:
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    comment: str
    home: str
    shell: str


class Passwd(Fact[None, tuple[PasswdEntry, ...]]):
    """Every user. Source: getent(1), passwd(5)."""

    def command(self, wanted: Sequence[None]) -> str:
        return "getent passwd"

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, tuple[PasswdEntry, ...] | Unknown | None]:
        rows = (line.split(":") for line in output.split("\n") if line)
        return {None: tuple(_entry(row) for row in rows)}


def _entry(row: Sequence[str]) -> PasswdEntry:
    name, _, uid, gid, comment, home, shell = row
    return PasswdEntry(name, int(uid), int(gid), comment, home, shell)


class Shadow(Fact[str, Secret]):
    """The second field of shadow(5). Root sees an entry of every user, so to see none is not to be root."""

    def command(self, wanted: Sequence[str]) -> str:
        return f"getent shadow {words(dict.fromkeys(wanted))} || [ $? = 2 ]"  # 2: some of them are not there

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, Secret | Unknown | None]:
        found = {name: Secret(rest.split(":")[0]) for name, _, rest in (x.partition(":") for x in output.split("\n"))}
        return {name: found.get(name) for name in wanted}


class User(Resource):
    """A user. Its home is made with it, but stays when it is removed."""

    kind: ClassVar[str] = "user"

    name: AccountName
    uid: AccountNumber | None = None
    """Files in its home change with it."""
    group: Account | None = None
    """The primary group; a new user without one gets a group of its own name."""
    groups: Annotated[tuple[AccountName, ...] | None, Unordered()] = None
    """All groups of which it is a member besides."""
    shell: PasswdPath | None = None
    home: PasswdPath | None = None
    """What was in the old one stays there."""
    comment: PasswdText | None = None
    password: Secret | None = None
    """The hash, as mkpasswd(1) makes it; `Secret("*")` is no password at all."""
    locked: bool | None = None
    """Whether no password lets it in; a key still does."""
    system: Annotated[bool, Meta()] = False
    """Whether a new one gets a number below those of people, and no home."""

    def problems(self) -> Iterator[str]:
        if self.password is not None and not HASH.fullmatch(self.password.reveal()):
            yield "password must be a hash such as mkpasswd(1) makes, not the password itself"
        if self.password is not None and self.password.reveal() in (b"", b"*") and self.locked is False:
            yield "without a password it cannot be unlocked"
        if self.password is not None and not self.password.reveal():
            yield "an empty password would let anybody in"
        if self.absent and self.name == "root":
            yield "root cannot be absent"

    def reads(self) -> Mapping[str, AnyRead]:
        secret = self.password is not None or self.locked is not None
        shadow = {"shadow": Read(Shadow, self.name)} if secret else {}
        return {"passwd": Read(Passwd), "table": Read(Groups), **shadow}

    def observe(
        self, passwd: tuple[PasswdEntry, ...], table: tuple[GroupEntry, ...], shadow: Secret | None = None
    ) -> Self | Unknown | None:
        entry = next((entry for entry in passwd if entry.name == self.name), None)
        if entry is None:
            return None
        if shadow is None and "shadow" in self.reads():
            return Unknown("it has no entry in /etc/shadow: run 'pwconv' on the host, or leave password and locked out")
        names = {group.gid: group.name for group in table}
        stored = shadow.reveal() if shadow else b""
        values = {
            "uid": entry.uid,
            "group": str(entry.gid) if (self.group or "").isdigit() else names.get(entry.gid, str(entry.gid)),
            "groups": tuple(sorted(group.name for group in table if self.name in group.members)),
            "shell": entry.shell,
            "home": entry.home,
            "comment": entry.comment,
            "password": Secret(stored.lstrip(b"!")) if self.password is not None else None,
            "locked": stored.startswith((b"!", b"*")) if shadow else None,
        }
        return type(self)(name=self.name).model_copy(update=values)

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(delete_user, {"name": self.name}, "remove the user, but not its home")
            return
        new = change.action != "update"
        fields = frozenset(self.declared()) if new else change.fields
        if new:
            yield Step(add_user, {"name": self.name, "system": self.system, **self._options(fields)}, "add the user")
        elif options := self._options(fields):
            yield Step(change_user, {"name": self.name, **options}, f"set {', '.join(options)}")
        if self.password is not None and "password" in fields:
            yield Step(set_password, {"name": self.name, "password": self.password}, "set the password")
        if self.locked is not None and (fields & {"locked", "password"}):
            arguments = {"name": self.name, "locked": self.locked}
            yield Step(lock_user, arguments, "lock the password" if self.locked else "unlock the password")

    def _options(self, fields: frozenset[str]) -> dict[str, object]:
        return {name: getattr(self, name) for name in OPTIONS if name in fields}

    def needs(self) -> Iterator[str]:
        yield from (f"group:{name}" for name in (self.group, *(self.groups or ())) if name)
        yield "package:*"  # which may bring the shell
        for parent in parents(self.home or f"/home/{self.name}"):
            yield from (f"directory:{parent}", f"mount:{parent}")

    def before_delete(self) -> str | None:
        return "removes the user; its home stays, and its files keep a number without a name"

    def backup(self) -> Iterator[str]:
        yield from ("/etc/passwd", "/etc/shadow", "/etc/group")


OPTIONS: Mapping[str, str] = {
    "uid": "--uid",
    "group": "--gid",
    "groups": "--groups",
    "shell": "--shell",
    "home": "--home",
    "comment": "--comment",
}
"""The options of useradd(8) and usermod(8)."""


def _words(options: Mapping[str, object]) -> str:
    every = {OPTIONS[name]: ",".join(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return words(word for option in every.items() for word in option)


def add_user(name: str, system: bool, **options: object) -> Iterator[str]:
    """A user that cannot log in by a password yet. Source: useradd(8)."""
    kind = "--system --no-create-home" if system else "--create-home"
    script = ["set -eu", f"u={q(name)}"]
    if "group" not in options:  # useradd makes one of its name, and gives up where there is one
        script += ['g=--user-group; if getent group "$u" > /dev/null; then g="--gid $u"; fi', 'set -- $g "$u"']
    else:
        script.append('set -- "$u"')
    yield "\n".join([*script, f'useradd {kind} {_words(options)} "$@"'])


def change_user(name: str, **options: object) -> Iterator[str]:
    """Source: usermod(8); refuses a new number while the user has processes."""
    yield f"usermod {_words(options)} {q(name)}"


def set_password(name: str, password: Secret) -> Iterator[str]:
    """Set the hash, a lock on an old one kept. Source: chpasswd(8), shadow(5)."""
    yield "\n".join(
        [
            f"set -eu; u={q(name)}",
            'case "$(getent shadow "$u" | cut -d: -f2)" in "!"?*) lock=! ;; *) lock= ;; esac',
            feed('{ printf "%s:%s" "$u" "$lock"; cat; echo; } | chpasswd --encrypted', password.reveal()),
        ]
    )


def lock_user(name: str, locked: bool) -> Iterator[str]:
    """Source: usermod(8), which does not unlock where there is no password."""
    yield f"usermod {'--lock' if locked else '--unlock'} {q(name)}"


def delete_user(name: str) -> Iterator[str]:
    """Source: userdel(8); refuses while the user has processes."""
    yield f"userdel {q(name)}"
