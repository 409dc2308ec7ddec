"""A static /etc/resolv.conf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, StringConstraints

from kbstate.kinds.hosts import HostName
from kbstate.paths import write_file
from kbstate.resource import AnyRead, Change, Fact, Meta, Read, Resource, Step, Unknown
from kbstate.shell import q

FILE = "/etc/resolv.conf"
Address = Annotated[str, AfterValidator(lambda text: str(ip_address(text)))]
Option = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(:[0-9]+)?$")]


class ResolvConf(Fact[None, tuple[str, str]]):
    """What the path links to (empty: a file of its own), and the text that is read there; None if there is nothing."""

    def command(self, wanted: Sequence[None]) -> str:
        return f'f={FILE}; [ -e $f ] || [ -L $f ] || exit 0; echo "is $(readlink $f)"; [ ! -e $f ] || cat $f'

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, tuple[str, str] | Unknown | None]:
        head, _, text = output.partition("\n")
        return {None: (head.removeprefix("is ").strip(), text) if head.startswith("is ") else None}


class Resolver(Resource):
    """Name servers, search domains and options, in a file that no other program owns: a link to one is replaced."""

    kind: ClassVar[str] = "resolver"

    name: Literal["system"] = "system"
    nameservers: tuple[Address, ...] | None = None
    search: tuple[HostName, ...] | None = ()
    options: tuple[Option, ...] | None = ()
    link: str | None = ""
    """Where /etc/resolv.conf links to; empty: it is a file. Filled in, not declared."""
    must_resolve: Annotated[HostName | None, Meta()] = None
    """A name that must resolve with the new file before it is put in place."""

    def problems(self) -> Iterator[str]:
        if not self.nameservers and not self.absent:
            yield "nameservers are missing"
        if len(self.nameservers or ()) > 3:
            yield "only the first three nameservers are ever asked"
        if self.link:
            yield "link cannot be declared"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"live": Read(ResolvConf)}

    def observe(self, live: tuple[str, str] | None) -> Self | None:
        if self.absent or live is None:
            return None  # no longer ours: a host without name servers is of no use
        link, text = live
        return type(self)().model_copy(update={"link": link, **parse(text)})

    def steps(self, change: Change) -> Iterator[Step]:
        text = render(self.nameservers or (), self.search or (), self.options or ())
        check = f"sh -c {q(TRIAL)} try {{path}} {q(self.must_resolve)}" if self.must_resolve else None
        arguments = {"owner": "root", "group": "root", "mode": "0644", "validate": check}
        yield Step(write_file, {"path": FILE, "content": text.encode(), **arguments}, "write the file")

    def backup(self) -> Iterator[str]:
        yield FILE


TRIAL = f"""
set -eu; chmod 0644 -- "$1"; there=$(readlink -f {FILE}); [ -e "$there" ] || exit 0
export new=$1 there name=$2
timeout 20 unshare --mount sh -c 'mount --bind -- "$new" "$there" && getent ahosts "$name"' > /dev/null ||
    {{ echo "$2 does not resolve with the new name servers" >&2; exit 1; }}
"""
"""Look a name up while only this process sees the candidate as the host's file."""


def render(nameservers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> str:
    lines = ["# written by kbstate", *(f"nameserver {server}" for server in nameservers)]
    lines += [f"search {' '.join(search)}"] if search else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """Later `search` lines replace earlier ones, `domain` is a search list of one. Source: resolv.conf(5)."""
    found: dict[str, tuple[str, ...]] = {"nameservers": (), "search": (), "options": ()}
    for line in text.split("\n"):
        keyword, *values = line.split() or [""]
        if line[:1].isspace():
            continue  # a keyword starts its line
        if keyword == "nameserver":
            found["nameservers"] += tuple(values[:1])
        elif keyword in ("search", "domain"):
            found["search"] = tuple(values)
        elif keyword == "options":
            found["options"] += tuple(values)
    return found
