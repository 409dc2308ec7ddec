"""Names of hosts in /etc/hosts: those that are declared, with every other line kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, StringConstraints

from kbstate.paths import PathQuery, Paths, PathState
from kbstate.resource import AnyRead, Change, Read, Resource, Step, Unknown
from kbstate.shell import feed

FILE = "/etc/hosts"
Address = Annotated[str, AfterValidator(lambda text: str(ip_address(text)))]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?$")]


class HostsFile(Resource):
    """What /etc/hosts says of some addresses and names.

    A declared address has one line with exactly the declared names (none: no line), the canonical one first. A declared
    name stands for no other address of the same family, since the resolver takes the first line that has it.
    """

    kind: ClassVar[str] = "hosts"

    name: Literal["system"] = "system"
    entries: dict[Address, tuple[HostName, ...]] | None = None

    def problems(self) -> Iterator[str]:
        if self.entries is None and not self.absent:
            yield "entries are missing"
        seen: dict[tuple[int, str], str] = {}
        for address, names in (self.entries or {}).items():
            for name in names:
                if (other := seen.setdefault((ip_address(address).version, name.lower()), address)) != address:
                    yield f"{name} stands for {other} and for {address}"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"state": Read(Paths, PathQuery(FILE, ""))}

    def observe(self, state: PathState | None) -> Self | Unknown | None:
        if self.absent:
            return None  # no longer ours: the names stay
        if state is not None and (state.type != "file" or state.content is None):
            return Unknown(f"{FILE} is a {state.type}, or too large")
        text = state.content.decode("utf-8", "surrogateescape") if state and state.content else ""
        found = {a: names for a, names in (self.entries or {}).items() if not names}  # no line, as declared
        found.update(self._ours(text))
        return type(self)().model_copy(update={"entries": found})

    def _ours(self, text: str) -> dict[str, tuple[str, ...]]:
        """The names of our addresses, and our names where they stand for other addresses."""
        declared = self.entries or {}
        taken = {(ip_address(address).version, name.lower()) for address, names in declared.items() for name in names}
        found: dict[str, tuple[str, ...]] = {}
        for address, names in parse(text):
            version = ip_address(address).version
            ours = names if address in declared else tuple(n for n in names if (version, n.lower()) in taken)
            if ours:
                found[address] = (*found.get(address, ()), *ours)
        return found

    def steps(self, change: Change) -> Iterator[Step]:
        yield Step(put_names, {"entries": dict(self.entries or {})}, "write the names")

    def backup(self) -> Iterator[str]:
        yield FILE


def parse(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lines of the file as address and names; what is no address is left out. Source: hosts(5)."""
    for line in text.split("\n"):
        fields = line.partition("#")[0].split()
        try:
            address = str(ip_address(fields[0])) if fields else ""
        except ValueError:
            continue
        if address:
            yield address, tuple(fields[1:])


EDIT = r"""
function family(address) { return address ~ /:/ ? 6 : 4 }
BEGIN {
    while ((getline line < ENVIRON["wanted"]) > 0) {
        n = split(line, word, " "); ours[word[1]] = n > 1 ? line : ""; order[++count] = word[1]
        for (i = 2; i <= n; i++) taken[family(word[1]), tolower(word[i])] = 1
    }
}
{ body = $0; sub(/#.*/, "", body); n = split(body, word, " ") }
n == 0 { print; next }
tolower(word[1]) in ours { a = tolower(word[1]); if (ours[a] != "" && !(a in done)) print ours[a]; done[a] = 1; next }
{
    rest = ""; kept = 0; dropped = 0
    for (i = 2; i <= n; i++)
        if ((family(word[1]), tolower(word[i])) in taken) dropped++
        else { rest = rest " " word[i]; kept++ }
    if (!dropped) { print; next }
    comment = index($0, "#") ? " " substr($0, index($0, "#")) : ""
    if (kept) print word[1] rest comment
}
END { for (i = 1; i <= count; i++) if (ours[order[i]] != "" && !(order[i] in done)) print ours[order[i]] }
"""
"""Our lines in the place of the old ones or after all others; our names taken from other lines; the rest as it is."""


def put_names(entries: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Edit the file whole or not at all."""
    wanted = "".join(" ".join((address, *names)) + "\n" for address, names in entries.items())
    yield "\n".join(
        [
            f"set -eu; umask 022; f={FILE}; [ -e $f ] || : > $f",
            "t=$(mktemp -p /etc .hosts.kbXXXXXX); w=$(mktemp); p=$(mktemp)",
            """trap 'rm -f -- "$t" "$w" "$p"' EXIT""",
            feed('cat > "$w"', wanted.encode()).rstrip("\n"),
            feed('cat > "$p"', EDIT.encode()).rstrip("\n"),
            'wanted=$w awk -f "$p" < $f > "$t"',
            'chown --reference=$f -- "$t"; chmod --reference=$f -- "$t"; sync -- "$t"; mv -fT -- "$t" $f; sync -- /etc',
        ]
    )
