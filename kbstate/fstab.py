"""The table of file systems: reading it, and editing single entries with everything else kept as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kbstate.paths import PathQuery, Paths, PathState
from kbstate.resource import Read, Unknown
from kbstate.shell import q

FSTAB = "/etc/fstab"


@dataclass(frozen=True)
class FstabEntry:
    """One line. Source: fstab(5)."""

    source: str
    path: str
    fstype: str
    options: tuple[str, ...] = ("defaults",)
    dump: str = "0"
    order: str = "0"

    def line(self) -> str:
        fields = (self.source, self.path, self.fstype, ",".join(self.options), self.dump, self.order)
        return " ".join(_escape(field) for field in fields)


def _escape(field: str) -> str:
    return re.sub(r"[\s\\#]", lambda match: f"\\{ord(match.group()):03o}", field)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def read() -> Read:
    return Read(Paths, PathQuery(FSTAB, ""))


def entries(state: PathState | None) -> tuple[FstabEntry, ...] | Unknown:
    """The entries of the file as it was read; without a file there are none."""
    if state is None:
        return ()
    if state.type != "file" or state.content is None:
        return Unknown(f"{FSTAB} is a {state.type}, or too large")
    return tuple(parse(state.content.decode("utf-8", "surrogateescape")))


def parse(text: str) -> Iterator[FstabEntry]:
    for line in text.split("\n"):
        fields = [_unescape(field) for field in line.split()]
        if len(fields) >= 3 and not line.lstrip().startswith("#"):
            options = tuple((fields[3:4] or ["defaults"])[0].split(","))
            yield FstabEntry(fields[0], fields[1], fields[2], options, *fields[4:6])


def put_entry(path: str, entry: FstabEntry | None) -> Iterator[str]:
    """Put one entry in the place of those for the same path, or after all others; None removes them."""
    program = """
        { same = $0 !~ /^[ \\t]*#/ && $2 == ENVIRON["at"] && $3 != "swap" }
        same && new != "" { print new; new = "" }
        !same
        END { if (new != "") print new }"""
    words = f"at={q(_escape(path))} new={q(entry.line() if entry else '')}"
    yield _edit(f"{words} awk 'BEGIN {{ new = ENVIRON[\"new\"] }}{program}'")


def comment_swap() -> Iterator[str]:
    """Make comments of the entries for swap space."""
    yield _edit("""awk '$0 !~ /^[ \\t]*#/ && $3 == "swap" { print "# " $0; next } { print }'""")


def _edit(filter_command: str) -> str:
    """Replace the file whole or not at all; systemd's generator makes units of it, so it has to look again."""
    return "\n".join(
        [
            f"set -eu; umask 022; f={FSTAB}; [ -e $f ] || : > $f",
            "t=$(mktemp -p /etc .fstab.kbXXXXXX)",
            """trap 'rm -f -- "$t"' EXIT""",
            f'{filter_command} < $f > "$t"',
            'chown --reference=$f -- "$t"; chmod --reference=$f -- "$t"',
            'cmp -s -- "$t" $f || { sync -- "$t"; mv -fT -- "$t" $f; sync -- /etc; trap - EXIT; }',
            "systemctl daemon-reload",
        ]
    )
