"""Which resources a run is about: the selectors of the command line, and what they come to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

from kbstate.diff import Declared
from kbstate.errors import SelectorError, meant

if TYPE_CHECKING:
    from kbstate.desired import Host

Option: TypeAlias = Literal["target", "exclude", "replace", "module", "allow_destroy"]
OPTIONS: tuple[Option, ...] = ("target", "exclude", "replace", "module", "allow_destroy")


@dataclass(frozen=True)
class Selection:
    """The selectors of one run: `kind:name` or `host/kind:name`, with wildcards as in fnmatch.

    Those of `module` are names of modules.
    """

    target: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    allow_destroy: tuple[str, ...] = ()

    def check(self, hosts: Iterable[Host], removed: Mapping[str, Iterable[Declared]] | None = None) -> None:
        """Raises SelectorError for a selector that matches nothing on any host.

        `removed` is, by host, what is only in the ledger; while it is None, `allow_destroy` is not judged.
        """
        known = [(host.name, item) for host in hosts for item in host.declared]
        known += [(host, item) for host, items in (removed or {}).items() for item in items]
        for option in OPTIONS:
            if option == "allow_destroy" and removed is None:
                continue
            for selector in getattr(self, option):
                if not any(
                    _matches(option, selector, host, item.resource.address, item.module) for host, item in known
                ):
                    names = dict.fromkeys(_names(option, selector, known))
                    flag = "--" + option.replace("_", "-")
                    raise SelectorError(f"{flag} {selector} matches nothing: {meant(selector, names)}")

    def matches(self, option: Option, host: str, address: str, module: str) -> bool:
        """Whether any selector of this option names the resource."""
        return any(_matches(option, selector, host, address, module) for selector in getattr(self, option))

    def chosen(self, host: str, items: Iterable[Declared], requires: Mapping[str, Collection[str]]) -> frozenset[str]:
        """The addresses of a host that the run is about.

        With a target that is the target and all that it requires; a module leaves out what is in no named one; what is
        excluded takes with it all that requires it. `requires` maps an address to those that it requires directly.
        """
        known = {item.resource.address: item.module for item in items}

        def named(option: Option) -> set[str]:
            return {address for address, module in known.items() if self.matches(option, host, address, module)}

        excluded = _closure(named("exclude"), _inverse(requires))
        start = named("target") if self.target else set(known)
        wanted = _closure(start - excluded, requires) & set(known)
        return frozenset(wanted & named("module") if self.module else wanted)


def _matches(option: Option, selector: str, host: str, address: str, module: str) -> bool:
    """An exact name is itself, whatever wildcards it seems to hold."""
    name = module if option == "module" else f"{host}/{address}" if _names_host(selector) else address
    return name == selector or fnmatchcase(name, selector)


def _names_host(selector: str) -> bool:
    return "/" in selector.split(":", 1)[0]


def _names(option: Option, selector: str, known: Iterable[tuple[str, Declared]]) -> Iterator[str]:
    """What the selector could have named."""
    for host, item in known:
        address = item.resource.address
        yield item.module if option == "module" else f"{host}/{address}" if _names_host(selector) else address


def _inverse(requires: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    required_by: dict[str, list[str]] = {}
    for address, needed in requires.items():
        for other in needed:
            required_by.setdefault(other, []).append(address)
    return required_by


def _closure(start: Iterable[str], edges: Mapping[str, Collection[str]]) -> set[str]:
    """What can be reached, the start included."""
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        address = waiting.pop()
        if address not in reached:
            reached.add(address)
            waiting.extend(edges.get(address, ()))
    return reached
