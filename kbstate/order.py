"""What comes before what: requirements resolved against what is declared, and a stable order. Pure.

There are sure edges (an explicit `requires`, a watched address, a need for one certain address) and loose ones (a need
for whatever matches a wildcard, such as `package:*`). A loose edge that would close a circle is left out: it says what
is tidy, not what is necessary. A circle of sure edges is an error.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from graphlib import CycleError as Circle
from graphlib import TopologicalSorter

from kbstate.diff import Declared
from kbstate.errors import CycleError, DesiredError
from kbstate.faults import near
from kbstate.ledger import Ledger
from kbstate.resource import Change, Resource


@dataclass
class Graph:
    """Nodes, and for each what comes before it."""

    nodes: dict[str, Resource]
    sure: dict[str, dict[str, None]] = field(default_factory=dict)
    every: dict[str, dict[str, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loose: list[tuple[str, str]] = []
        for node in self.nodes:
            self.sure[node], self.every[node] = {}, {}

    def add(self, node: str, first: str) -> None:
        """`first` must come before `node`."""
        if node != first:
            self.sure[node][first] = self.every[node][first] = None

    def add_loose(self, node: str, first: str) -> None:
        """`first` had better come before `node`."""
        if node != first:
            self._loose.append((node, first))

    def settle(self) -> None:
        """Take the loose edges up, in the order in which they were added, as long as they close no circle."""
        for node, first in self._loose:
            if first not in self.every[node] and node not in self.before(first):
                self.every[node][first] = None
        self._loose.clear()

    def before(self, node: str) -> set[str]:
        """All that comes before a node, directly or not."""
        found: set[str] = set()
        waiting = [node]
        while waiting:
            fresh = [first for first in self.every[waiting.pop()] if first not in found]
            found.update(fresh)
            waiting += fresh
        return found

    def sorted(self) -> Iterator[str]:
        """Every node after what comes before it; of those that are ready, the one added first. Raises CycleError."""
        sorter = TopologicalSorter(self.every)
        try:
            sorter.prepare()
        except Circle as circle:
            raise self._cycle(circle.args[1]) from None
        place = {node: i for i, node in enumerate(self.nodes)}
        names = list(self.nodes)
        ready: list[int] = []
        while sorter.is_active():
            for node in sorter.get_ready():
                heapq.heappush(ready, place[node])
            name = names[heapq.heappop(ready)]
            yield name
            sorter.done(name)

    def _cycle(self, found: Sequence[str]) -> CycleError:
        """graphlib lists each before what requires it, and the first again at the end."""
        ring = list(reversed(found))[:-1]
        place = {node: i for i, node in enumerate(self.nodes)}
        start = ring.index(min(ring, key=place.__getitem__))
        ring = ring[start:] + ring[:start]
        shown = [f"{node} ({near(self.nodes[node].where)})" if self.nodes[node].where else node for node in ring]
        return CycleError(
            f"these require each other in a circle: {' → '.join([*shown, ring[0]])}: take one of these requirements out"
        )


@dataclass(frozen=True)
class Requirements:
    """What each declared resource requires directly, by address, as declared."""

    every: Mapping[str, tuple[str, ...]]
    sure: Mapping[str, tuple[str, ...]]
    """Without what only a wildcard of a kind names."""

    def within(self, address: str, some: Collection[str]) -> tuple[str, ...]:
        """What it requires directly, and of `some` also what it requires by way of others."""
        direct = self.every.get(address, ())
        found: dict[str, None] = dict.fromkeys(direct)
        waiting, seen = list(direct), {address, *direct}
        while waiting:
            for first in self.every.get(waiting.pop(), ()):
                if first not in seen:
                    seen.add(first)
                    waiting.append(first)
                    if first in some:
                        found[first] = None
        return tuple(found)


def requirements(declared: Iterable[Declared]) -> Requirements:
    """What is required, resolved. Raises DesiredError for an explicit requirement that is not declared."""
    graph = _declared_graph(declared)
    return Requirements(
        {node: tuple(first) for node, first in graph.every.items()},
        {node: tuple(first) for node, first in graph.sure.items()},
    )


def order(declared: Sequence[Declared]) -> tuple[Declared, ...]:
    """What is declared, requirements first; as declared where nothing decides. Raises CycleError."""
    items = {item.resource.address: item for item in declared}
    return tuple(items[node] for node in _declared_graph(declared).sorted())


def order_changes(changes: Sequence[Change], everything: Sequence[Declared], ledger: Ledger) -> tuple[Change, ...]:
    """Changes in the order in which apply makes them, each with what it requires.

    What is deleted goes in reverse order of its requirements: last what others required. It goes before what is
    created under the same name, of the same kind, or perhaps on the same port. `everything` is what is declared and
    what is removed, and `ledger` says what was required when it was last applied. Raises CycleError.
    """
    if not changes:
        return ()
    wanted = {change.address: change for change in changes}
    graph = _declared_graph(item for item in everything if not item.removed)
    requires = Requirements({node: tuple(first) for node, first in graph.every.items()}, {})
    graph = _turned(graph, everything, ledger)
    _clear_the_way(graph, changes)
    graph.settle()
    result = []
    for node in graph.sorted():
        if change := wanted.get(node):
            first = (
                tuple(a for a in graph.sure[node] if a in wanted)
                if change.action == "delete"
                else requires.within(node, wanted)
            )
            result.append(change.model_copy(update={"requires": first}))
    return tuple(result)


def _declared_graph(declared: Iterable[Declared]) -> Graph:
    graph = Graph({item.resource.address: item.resource for item in declared})
    kinds = _by_kind(graph.nodes)
    for address, resource in graph.nodes.items():
        for name in resource.requires:
            required = _matches(name, kinds)
            if not required:
                raise DesiredError(
                    f"{address} requires {name}, which is not declared: declare it, or take it out of requires",
                    near(resource.where),
                )
            for first in required:
                graph.add(address, first)
        if not resource.absent:  # what is not to exist needs nothing
            _add_needs(graph, address, resource, kinds)
    graph.settle()
    return graph


def _add_needs(graph: Graph, address: str, resource: Resource, kinds: Mapping[str, Collection[str]]) -> None:
    for pattern in (*resource.watches(), *resource.needs()):
        for first in _matches(pattern, kinds):
            if first == pattern:
                graph.add(address, first)
            else:
                graph.add_loose(address, first)


def _turned(graph: Graph, everything: Sequence[Declared], ledger: Ledger) -> Graph:
    """The graph of what is declared, with what goes away put in: requirements of two that go are turned round."""
    going = {item.resource.address: item.resource for item in everything if item.removed or item.resource.absent}
    removed = {item.resource.address for item in everything if item.removed}
    full = Graph({item.resource.address: item.resource for item in everything})
    kinds = _by_kind(going)
    for node, firsts in graph.every.items():
        for first in firsts:
            if node in going and first in going:
                full.add(first, node)
            elif first in graph.sure[node]:
                full.add(node, first)
            else:
                full.add_loose(node, first)
    for node, resource in going.items():
        needed = {a for pattern in resource.needs() for a in _matches(pattern, kinds)}
        for first in sorted(needed | (_was_required(ledger, node) & set(going))):
            full.add(first, node)
    for node, resource in full.nodes.items():
        if node in going:
            continue
        still = {a for pattern in resource.needs() for a in _matches(pattern, kinds) if a in removed}
        for first in sorted(still):  # such as a drop-in that goes: its service takes that up afterwards
            full.add_loose(node, first)
        for first in sorted((_was_required(ledger, node) & removed) - still):
            full.add(first, node)
    return full


def _was_required(ledger: Ledger, address: str) -> set[str]:
    entry = ledger.entries.get(address)
    return set(entry.requires) if entry else set()


def _clear_the_way(graph: Graph, changes: Sequence[Change]) -> None:
    """Deletes before the creates that may need their name or port."""
    creates = [change for change in changes if change.action == "create"]
    for gone in (change for change in changes if change.action == "delete"):
        for new in creates:
            comes, goes = graph.nodes[new.address], graph.nodes[gone.address]
            if comes.key == goes.key or comes.kind == goes.kind or (comes.listens and goes.listens):
                graph.add_loose(new.address, gone.address)


def _by_kind(addresses: Iterable[str]) -> dict[str, dict[str, None]]:
    kinds: dict[str, dict[str, None]] = {}
    for address in addresses:
        kinds.setdefault(address.partition(":")[0], {})[address] = None
    return kinds


def _matches(pattern: str, kinds: Mapping[str, Collection[str]]) -> list[str]:
    """The addresses that a pattern names: itself, or those of its kind that match its wildcards."""
    of_kind = kinds.get(pattern.partition(":")[0], ())
    if "*" not in pattern and "?" not in pattern:
        return [pattern] if pattern in of_kind else []
    if pattern in of_kind:
        return [pattern]
    if pattern.endswith(":*"):
        return list(of_kind)
    return [address for address in of_kind if fnmatchcase(address, pattern)]
