"""Look at a host: all that its resources ask, in one remote execution, and what they make of the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from kbstate.batch import Facts
from kbstate.diff import Declared
from kbstate.kinds import kind_named
from kbstate.ledger import Entry, Ledger, LedgerFact
from kbstate.resource import AnyRead, Observed, Read, Resource, Unknown

if TYPE_CHECKING:
    from kbstate.desired import Host

LEDGER = Read(LedgerFact)


class Source(Protocol):
    """Whatever answers reads: a session, in tests a table."""

    def facts(self, reads: Iterable[AnyRead]) -> Facts: ...


@dataclass(frozen=True)
class Observation:
    """What was seen on one host."""

    host: str
    observed: Mapping[str, Observed]
    """Address → the live resource, None (absent) or Unknown."""
    ledger: Ledger | Unknown
    removed: tuple[Declared, ...]
    """What kbstate created, as the ledger knows it, and is no longer declared."""
    collected_at: str
    """ISO 8601, UTC."""


def collect(source: Source, host: Host) -> Observation:
    """Look at everything that is declared; at what is only in the ledger in a second execution, if there is any.

    Raises UnreachableError and UnreadableError.
    """
    declared = host.declared
    facts = source.facts([LEDGER, *reads_of(declared)])
    ledger: Ledger | Unknown = facts[LEDGER]
    observed = observe(declared, facts)
    removed: tuple[Declared, ...] = ()
    if isinstance(ledger, Ledger):
        ledger = ledger.moved(host.moved)
        removed = left_behind(ledger, {item.resource.address for item in declared})
        if removed:
            observed = {**observed, **look(source, removed)}
    return Observation(host.name, observed, ledger, removed, now())


def look(source: Source, items: Iterable[Declared]) -> dict[str, Observed]:
    """Look at these resources now, in one execution."""
    wanted = tuple(items)
    return observe(wanted, source.facts(reads_of(wanted)))


def reads_of(items: Iterable[Declared]) -> list[AnyRead]:
    """All that these resources ask, each once."""
    return list(dict.fromkeys(read for item in items for read in item.resource.reads().values()))


def observe(items: Iterable[Declared], facts: Facts) -> dict[str, Observed]:
    """What each resource makes of the answers; pure."""
    return {item.resource.address: observe_one(item.resource, facts) for item in items}


def observe_one(resource: Resource, facts: Facts) -> Observed:
    """The live resource, None if it is absent, Unknown if any of its facts is or they do not fit together."""
    answers = {name: facts.get(read, Unknown("it was not asked")) for name, read in resource.reads().items()}
    unknown = [answer for answer in answers.values() if isinstance(answer, Unknown)]
    if unknown:
        # what nothing can lift is said first: while it stands, looking again does not help
        return next((answer for answer in unknown if not answer.until), unknown[0])
    try:
        return resource.observe(**answers)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return Unknown(f"what is there cannot be declared ({place}: {first['msg']})")
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        return Unknown(f"what is there cannot be understood ({type(error).__name__}: {error})"[:300])


def left_behind(ledger: Ledger, declared: set[str]) -> tuple[Declared, ...]:
    """What the ledger says that kbstate created, and nobody declares any more."""
    known = {**ledger.intents, **ledger.entries}
    gone = [(address, entry) for address, entry in known.items() if address not in declared]
    items = (_from_entry(address, entry) for address, entry in gone if entry.created and not entry.absent)
    return tuple(item for item in items if item is not None)


def _from_entry(address: str, entry: Entry) -> Declared | None:
    """The resource with its identity alone; None where this version no longer knows its kind."""
    kind = kind_named(entry.kind)
    if kind is None:
        return None
    try:
        resource = kind.model_validate({**entry.identity, "absent": True})
    except ValidationError:
        return None
    return Declared(resource, entry.module, removed=True) if resource.address == address else None


def now() -> str:
    """The time as it is written everywhere: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
