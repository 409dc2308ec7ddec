"""The table of kbstate in nftables: its rules as a model, its text for nft(8), and both read back from `nft -j`.

The way of a packet: `prerouting` sees what is addressed to this host before any DNAT, under the port that was asked
for. So a published port of a container meets the same rules as a port of the host, whoever translates it and whenever
Docker writes its own tables anew. `input` is left with what comes by broadcast and multicast. What leaves is not
filtered, nor what is forwarded for others; but who has a route to the containers does not get past the published ports.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import ndiff
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network, summarize_address_range
from itertools import groupby
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

TABLE = "inet kbstate"
ANYWHERE = ("0.0.0.0/0", "::/0")

Network: TypeAlias = IPv4Network | IPv6Network
Range: TypeAlias = tuple[int, int]


# --- the model --------------------------------------------------------------------------------------------------


def port_range(port: int | str) -> Range:
    """The first and the last port of `5432` or `'8000-8010'`."""
    first, dash, last = str(port).partition("-")
    if not all(part.isascii() and part.isdecimal() for part in (first, last) if part or dash):
        raise ValueError("must be a port, or a range such as '8000-8010'")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65535:
        raise ValueError("ports go from 1 to 65535, and a range from low to high")
    return low, high


def _ports(items: Iterable[int | str]) -> tuple[int | str, ...]:
    """In order, and joined where they touch, as the kernel does."""
    merged: list[Range] = []
    for low, high in sorted(port_range(item) for item in items):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return tuple(low if low == high else f"{low}-{high}" for low, high in merged)


def _sources(items: Iterable[str]) -> tuple[str, ...]:
    return _spelled(ip_network(item) for item in items)


def _spelled(networks: Iterable[Network]) -> tuple[str, ...]:
    """The fewest networks that say the same, IPv4 first, a single address without its length."""
    every = list(networks)
    fewest = (n for v in (4, 6) for n in collapse_addresses(n for n in every if n.version == v))  # type: ignore[type-var]
    return tuple(str(n.network_address) if n.num_addresses == 1 else str(n) for n in fewest)


def _comment(text: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 or c in '"\\' for c in text) or not text.strip():
        raise ValueError("must not be empty, nor contain quotes, backslashes or control characters")
    if len(text.encode()) > 120:
        raise ValueError("must not be longer than 120 bytes")  # the kernel keeps 128
    return text


Interface = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,13}[A-Za-z0-9_.*-]?$")]
"""A name, or the beginning of one: `br-*`."""
LogRate = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}/(second|minute|hour|day)$")]


class Allow(BaseModel):
    """Who may open connections to which ports, be they of the host or published by a container."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ports: Annotated[tuple[int | str, ...], Field(min_length=1), AfterValidator(_ports)]
    """Ports and ranges: `(5432, '8000-8010')`."""
    protocol: Literal["tcp", "udp"] = "tcp"
    sources: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_sources)] = ("0.0.0.0/0",)
    """Addresses and networks. Anyone with IPv4 unless declared; IPv6 only where it is named (`::/0`)."""
    interface: Interface | None = None
    """Where they must come in."""
    comment: Annotated[str, AfterValidator(_comment)] | None = None

    @property
    def networks(self) -> tuple[Network, ...]:
        return tuple(ip_network(source) for source in self.sources)

    def by_version(self) -> Iterator[Allow]:
        """One rule for IPv4 and one for IPv6: nftables has no rule for both."""
        for _, group in groupby(self.sources, lambda source: ip_network(source).version):
            yield self.model_copy(update={"sources": tuple(group)})


def admits(rules: Iterable[Allow], source: str, port: int, interface: str = "") -> bool:
    """Whether a new TCP connection from this address, coming in at this interface, reaches this port."""
    address = ip_address(source.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or any(
        rule.protocol == "tcp"
        and any(low <= port <= high for low, high in map(port_range, rule.ports))
        and any(address in network for network in rule.networks)
        and (rule.interface is None or named(interface, rule.interface))
        for rule in rules
    )


def named(interface: str, pattern: str) -> bool:
    return interface.startswith(pattern[:-1]) if pattern.endswith("*") else interface == pattern


# --- its text ---------------------------------------------------------------------------------------------------

KNOWN = "ct state established,related accept"
NEIGHBOURS = "nd-neighbor-advert, nd-neighbor-solicit, nd-router-advert, nd-router-solicit"
LISTENERS = "mld-listener-done, mld-listener-query, mld-listener-report, mld2-listener-report"


def chains(rules: Iterable[Allow], bridges: Sequence[str], log: str) -> dict[str, list[str]]:
    """Every chain of the table as lines: hook and policy first, where it has them. Source: nft(8).

    A packet of a known connection is not looked at twice; a rule that is taken back ends no connection.
    """
    return {
        "prerouting": [  # after conntrack (-200), before DNAT (-100)
            "type filter hook prerouting priority -150; policy accept;",
            KNOWN,
            "fib daddr type local goto addressed",
        ],
        "input": [
            "type filter hook input priority 0; policy drop;",
            KNOWN,
            "fib daddr type local accept",  # prerouting let it in, perhaps under another port
            "goto addressed",
        ],
        "forward": [
            "type filter hook forward priority 0; policy accept;",
            KNOWN,
            "ct status dnat accept",  # a published port: prerouting let it in
            *(f'iifname "{bridge}" accept' for bridge in bridges),
            *(f'oifname "{bridge}" drop' for bridge in bridges),
        ],
        "addressed": [
            'iif "lo" accept',
            "ct state invalid drop",
            "ip protocol icmp accept",
            # a router on the way cannot forge what must have come without passing one
            f"ip6 hoplimit 255 icmpv6 type {{ {NEIGHBOURS} }} accept",
            f"icmpv6 type {{ {LISTENERS} }} accept",  # or switches stop handing on what neighbours ask
            "jump admitted",
            *([f'limit rate {log} burst 5 packets log prefix "kbstate: "'] if log != "off" else []),
            "drop",
        ],
        "admitted": [_allow_line(rule) for rule in rules],
    }


def _allow_line(rule: Allow) -> str:
    version = rule.networks[0].version
    family = {4: "ip", 6: "ip6"}[version]
    source = f"meta nfproto ipv{version}" if rule.sources[0] in ANYWHERE else f"{family} saddr {_set(rule.sources)}"
    interface = f'iifname "{rule.interface}" ' if rule.interface else ""
    comment = f' comment "{rule.comment}"' if rule.comment else ""
    return f"{interface}{source} {rule.protocol} dport {_set(rule.ports)} accept{comment}"


def render(rules: Iterable[Allow], bridges: Sequence[str], log: str) -> str:
    """The file for `nft -f`: one transaction, in which the table is replaced and no other is touched."""
    lines = [
        "#!/usr/sbin/nft -f",
        "# written by kbstate",
        f"add table {TABLE}",  # so that there is one to delete
        f"delete table {TABLE}",
        f"table {TABLE} {{",
    ]
    for name, body in chains(rules, bridges, log).items():
        counted = (f"{line[:-4]}counter drop" if line.endswith("drop") else line for line in body)
        lines += [f"\tchain {name} {{", *(f"\t\t{line}" for line in counted), "\t}"]
    return "\n".join([*lines, "}", ""])


# --- read back --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """The table as it is loaded. `strays` are lines that are not ours, and ours that are missing or moved."""

    rules: tuple[Allow, ...]
    bridges: tuple[str, ...]
    log: str
    strays: tuple[str, ...]


def read(items: Iterable[Mapping[str, Any]]) -> Table:
    """The items of `nft -j list table`. Counters and handles say nothing. Source: libnftables-json(5)."""
    live: dict[str, list[str]] = {}
    rules: list[Allow] = []
    strays: list[str] = []
    for (sort, item), *_ in (list(entry.items()) for entry in items):
        if sort == "chain":
            live[item["name"]] = [_hook(item)] if "hook" in item else []
        elif sort == "rule" and item["chain"] == "admitted" and (rule := _allow(item)):
            rules.append(rule)
        elif sort == "rule":
            live.setdefault(item["chain"], []).append(_line(item))
        elif sort == "table":
            strays += [f"the table: has flags {item['flags']}"] if item.get("flags") else []
        elif sort != "metainfo":
            strays.append(f"the table: has the {sort} {item.get('name', '')}".rstrip())
    bridges = tuple(dict.fromkeys(_quoted(live.get("forward", ()), 'iifname "', '" accept')))
    log = next(_quoted(live.get("addressed", ()), "limit rate ", ' burst 5 packets log prefix "kbstate: "'), "off")
    return Table(tuple(rules), bridges, log, (*strays, *_strays(live, chains((), bridges, log))))


def _quoted(lines: Iterable[str], before: str, after: str) -> Iterator[str]:
    """What stands between these two on lines that hold nothing else."""
    return (line[len(before) : -len(after)] for line in lines if line.startswith(before) and line.endswith(after))


def _strays(live: Mapping[str, list[str]], ours: Mapping[str, list[str]]) -> Iterator[str]:
    for chain in [*ours, *(chain for chain in live if chain not in ours)]:
        if chain not in live:
            yield f"the table: lacks the chain {chain}"
            continue
        if chain not in ours:
            yield f"the table: has the chain {chain}"
        for sign, line in ((text[0], text[2:]) for text in ndiff(ours.get(chain, []), live.get(chain, []))):
            if sign in "+-":
                yield f"{chain}: {'has' if sign == '+' else 'lacks'} {line}"


def _hook(chain: Mapping[str, Any]) -> str:
    return f"type {chain['type']} hook {chain['hook']} priority {chain['prio']}; policy {chain.get('policy')};"


def _allow(rule: Mapping[str, Any]) -> Allow | None:
    """One of our rules in whatever spelling; None if it says anything else."""
    fields: dict[str, Any] = {"comment": rule.get("comment")}
    *statements, last = [s for s in rule["expr"] if "counter" not in s]
    try:
        for statement in statements:
            match = statement["match"]
            said = _condition(_left(match["left"]), match["right"])
            if match["op"] != "==" or said.keys() & fields.keys():
                return None
            fields |= said
        return Allow(**{"sources": ANYWHERE, **fields}) if last == {"accept": None} else None
    except (KeyError, ValueError, TypeError):
        return None


def _condition(left: str, right: Any) -> dict[str, Any]:
    match left:
        case "tcp dport" | "udp dport":
            return {"protocol": left[:3], "ports": tuple(_spell(item) for item in _items(right))}
        case "ip saddr" | "ip6 saddr":
            return {"sources": _spelled(n for item in _items(right) for n in _networks(item))}
        case "meta nfproto":
            return {"sources": (dict(zip(("ipv4", "ipv6"), ANYWHERE, strict=True))[right],)}
        case "iifname":
            return {"interface": right}
    raise ValueError(left)


def _networks(item: Any) -> Iterable[Network]:
    if isinstance(item, dict) and "range" in item:
        first, last = map(ip_address, item["range"])
        return summarize_address_range(first, last)
    return [ip_network(_spell(item))]


def _line(rule: Mapping[str, Any]) -> str:
    """A rule as nft would write it, or nearly: what is not known here stays JSON."""
    comment = [f'comment "{rule["comment"]}"'] if "comment" in rule else []
    return " ".join([*(_statement(s) for s in rule["expr"] if "counter" not in s), *comment])


def _statement(statement: Mapping[str, Any]) -> str:
    match statement:
        case {"match": {"op": op, "left": left, "right": right}}:
            usual = "in" if "ct" in left else "=="
            return f"{_left(left)} {'' if op == usual else f'{op} '}{_right(left, right)}"
        case {"jump": {"target": chain}} | {"goto": {"target": chain}}:
            return f"{next(iter(statement))} {chain}"
        case {"limit": {"rate": rate, "per": per, "burst": burst, **more}} if not more:
            return f"limit rate {rate}/{per} burst {burst} packets"
        case {"log": {"prefix": prefix, **more}} if not more:
            return f'log prefix "{prefix}"'
    ((name, value),) = statement.items()
    return name if value is None else json.dumps(statement, sort_keys=True)


def _left(left: Mapping[str, Any]) -> str:
    match left:
        case {"payload": {"protocol": protocol, "field": field}}:
            return f"{protocol} {field}"
        case {"meta": {"key": key}}:
            return str(key) if key in INTERFACES else f"meta {key}"
        case {"ct": {"key": key, **more}} if not more:
            return f"ct {key}"
        case {"fib": {"result": result, "flags": flags}}:
            return f"fib {flags if isinstance(flags, str) else ' . '.join(flags)} {result}"
    return json.dumps(left, sort_keys=True)


def _right(left: Mapping[str, Any], right: Any) -> str:
    if left.get("meta", {}).get("key") in INTERFACES and isinstance(right, str):
        return f'"{right}"'
    items = sorted(_spell(item) for item in _items(right))
    return ",".join(items) if isinstance(right, list) else _set(items)


INTERFACES = ("iif", "iifname", "oif", "oifname")


def _items(value: Any) -> list[Any]:
    match value:
        case {"set": list(items)} | list(items):
            return items
    return [value]


def _spell(item: Any) -> str:
    match item:
        case str() | int():
            return str(item)
        case {"range": [first, last]}:
            return f"{first}-{last}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
    return json.dumps(item, sort_keys=True)


def _set(items: Sequence[int | str]) -> str:
    return str(items[0]) if len(items) == 1 else f"{{ {', '.join(map(str, items))} }}"
