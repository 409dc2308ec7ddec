"""What requires what, as a picture in the languages of Mermaid and Graphviz. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from kbstate.desired import Host
from kbstate.diff import Declared
from kbstate.order import order, requirements


def mermaid(hosts: Sequence[Host]) -> str:
    """A flowchart; arrows lead from a resource to what it requires."""
    lines = ["flowchart LR"]
    for number, host in enumerate(hosts):
        names, items, edges = _parts(host, f"h{number}n")
        lines.append(f'  subgraph h{number}["{_quoted(host.name)}"]')
        for place, module in enumerate(dict.fromkeys(item.module for item in items)):
            lines.append(f'    subgraph h{number}m{place}["{_quoted(module)}"]')
            inside = (item.resource.address for item in items if item.module == module)
            lines += [f'      {names[address]}["{_quoted(address)}"]' for address in inside]
            lines.append("    end")
        lines.append("  end")
        lines += [f"  {names[a]} --> {names[b]}" for a, b in edges]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Mermaid knows entities by number (`#34;`), and no backslashes."""
    return "".join(c if c.isalnum() or c in " :/._-@" else f"#{ord(c)};" for c in text)


def _label(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def dot(hosts: Sequence[Host]) -> str:
    """A digraph; arrows lead from a resource to what it requires."""
    lines = ["digraph kbstate {", "  rankdir=LR; node [shape=box];"]
    for number, host in enumerate(hosts):
        names, items, edges = _parts(host, f"h{number}n")
        lines.append(f"  subgraph cluster_h{number} {{ label={_label(host.name)};")
        for place, module in enumerate(dict.fromkeys(item.module for item in items)):
            lines.append(f"    subgraph cluster_h{number}m{place} {{ label={_label(module)};")
            inside = (item.resource.address for item in items if item.module == module)
            lines += [f"      {names[address]} [label={_label(address)}];" for address in inside]
            lines.append("    }")
        lines.append("  }")
        lines += [f"  {names[a]} -> {names[b]};" for a, b in edges]
    return "\n".join([*lines, "}"])


def _parts(host: Host, prefix: str) -> tuple[dict[str, str], tuple[Declared, ...], list[tuple[str, str]]]:
    """Short names of the nodes, the resources in order, and the arrows. Raises CycleError."""
    items = order(host.declared)
    names = {item.resource.address: f"{prefix}{i}" for i, item in enumerate(items)}
    return names, items, list(_arrows(items))


def _arrows(items: Sequence[Declared]) -> Iterator[tuple[str, str]]:
    """Without those that only say what others say already (by way of a third)."""
    requires = requirements(items)
    above: dict[str, set[str]] = {}
    for item in items:  # what is required comes first
        address = item.resource.address
        direct = requires.every[address]
        by_way = set().union(*(above[first] for first in direct)) if direct else set()
        above[address] = by_way | set(direct)
        yield from ((address, first) for first in direct if first not in by_way)
