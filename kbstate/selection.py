"""Which resources a run is about: the selectors of the command line, and what they come to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from kbstate.diff import Declared

if TYPE_CHECKING:
    from kbstate.desired import Host

Option: TypeAlias = Literal["target", "exclude", "replace", "module", "allow_destroy"]


@dataclass(frozen=True)
class Selection:
    """The selectors of one run: `kind:name` or `host/kind:name`, with wildcards as in fnmatch; `module` names modules."""

    target: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    allow_destroy: tuple[str, ...] = ()

    def check(self, hosts: Iterable[Host], removed: Mapping[str, Iterable[Declared]] | None = None) -> None:
        """Raises SelectorError for a selector that matches nothing on any host.

        `removed` is, by host, what is only in the ledger; while it is None, `allow_destroy` is not judged.
        """
        raise NotImplementedError

    def matches(self, option: Option, host: str, address: str, module: str) -> bool:
        """Whether any selector of this option names the resource."""
        raise NotImplementedError

    def chosen(self, host: str, items: Iterable[Declared], requires: Mapping[str, Collection[str]]) -> frozenset[str]:
        """The addresses of a host that the run is about.

        `requires` maps an address to the addresses that it requires directly, as plan has resolved them.
        """
        raise NotImplementedError
