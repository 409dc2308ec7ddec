"""Directories of drop-ins that are read at boot (`sysctl.d`, `modules-load.d`): files in the order that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from kbstate.resource import Fact, Unknown
from kbstate.shell import q

Texts: TypeAlias = tuple[tuple[str, str], ...]
"""Paths with what they hold."""


class BootFiles(Fact[str, Texts]):
    """Every file of a drop-in directory with its text, in order. Source: systemd-analyze(1), `cat-config`.

    What /etc, /run and /usr/lib hold under the same name is shown once, as it counts.
    """

    def command(self, wanted: Sequence[str]) -> str:
        show = "systemd-analyze cat-config --no-pager"
        every = (f"echo '## '{q(name)}; {show} {q(name)}" for name in dict.fromkeys(wanted))
        return "set -e\n" + "\n".join(every)

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, Texts | Unknown | None]:
        directories: dict[str, list[tuple[str, list[str]]]] = {}
        files: list[tuple[str, list[str]]] = []
        for line in output.splitlines():
            if line.startswith("## ") and line[3:] in wanted:
                files = directories.setdefault(line[3:], [])
            elif line.startswith("# /") and line.endswith(".conf"):
                files.append((line[2:], []))
            elif files:
                files[-1][1].append(line)
        return {name: tuple((path, "\n".join(lines)) for path, lines in found) for name, found in directories.items()}
