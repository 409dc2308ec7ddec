"""The plan: what apply would do to each host, in order, as a value that is shown, saved, compared and refused. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict

from kbstate import document, errors
from kbstate.diff import Declared, compare, digest
from kbstate.ledger import Ledger
from kbstate.moved import moved
from kbstate.order import Requirements, order_changes, requirements
from kbstate.resource import Change, Json, Unknown
from kbstate.secret import Hasher
from kbstate.selection import Selection

__all__ = ["HostPlan", "Plan", "destroys", "moved", "plan_host", "refuse_unsafe"]

if TYPE_CHECKING:
    from kbstate.collect import Observation
    from kbstate.desired import Host


class HostPlan(BaseModel):
    """What apply would do to one host."""

    model_config = ConfigDict(frozen=True)

    name: str
    reachable: bool = True
    complete: bool = True
    """Whether everything that the run is about could be read."""
    errors: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    """In the order in which apply makes them."""
    unknown: dict[str, str] = {}
    """Address → reason, of what could not be read and of what cannot be decided for that."""
    unchanged: int = 0
    forgotten: tuple[str, ...] = ()
    """Addresses that leave the ledger and stay on the host: they had been there before kbstate."""
    left_out: dict[str, str] = {}
    """Address → reason, of changes that are not made because the selectors leave out what they require."""

    @property
    def digest(self) -> str:
        """Over all that the host's part of the plan says."""
        return digest(document.host_document(self))

    @classmethod
    def failed(cls, name: str, error: str, reachable: bool = True) -> Self:
        """The plan of a host that could not be reached or read."""
        return cls(name=name, reachable=reachable, complete=False, errors=(error.removeprefix(f"{name}: "),))

    @property
    def summary(self) -> document.SummaryDocument:
        actions = [change.action for change in self.changes]
        return document.SummaryDocument(
            add=actions.count("create"),
            change=actions.count("update"),
            replace=actions.count("replace"),
            delete=actions.count("delete"),
            unknown=len(self.unknown),
            unchanged=self.unchanged,
        )


class Plan(BaseModel):
    """The plan of several hosts, as it is printed and saved."""

    model_config = ConfigDict(frozen=True)

    kbstate_version: str
    created_at: str
    """ISO 8601, UTC."""
    hosts: tuple[HostPlan, ...]
    selection: Selection = Selection()

    @classmethod
    def of(cls, hosts: Iterable[HostPlan], selection: Selection) -> Self:
        """A plan made by this version of kbstate, now."""
        from importlib.metadata import version

        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(kbstate_version=version("kbstate"), created_at=now, hosts=tuple(hosts), selection=selection)

    @property
    def summary(self) -> document.SummaryDocument:
        each = [host.summary.model_dump() for host in self.hosts]
        return document.SummaryDocument(
            **{name: sum(counts[name] for counts in each) for name in document.SummaryDocument.model_fields}
        )

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(change for host in self.hosts for change in host.changes)

    @property
    def digest(self) -> str:
        """Over canonical JSON without time and versions."""
        return digest(self._content())

    def _content(self) -> dict[str, Json]:
        selectors: dict[str, Json] = {name: list(value) for name, value in asdict(self.selection).items()}
        return {
            "selection": selectors,
            "hosts": [document.host_document(host) for host in self.hosts],
            "summary": self.summary.model_dump(),
        }

    def to_json(self) -> str:
        """The document of `plan --json` and of a saved plan."""
        head = {
            "format_version": document.FORMAT_VERSION,
            "kbstate_version": self.kbstate_version,
            "created_at": self.created_at,
            "digest": self.digest,
        }
        return json.dumps({**head, **self._content()}, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, path: str = "the plan") -> Self:
        """A saved plan. Raises PlanFileError."""
        saved = document.parse(text, path)
        plan = cls(
            kbstate_version=saved.kbstate_version,
            created_at=saved.created_at,
            hosts=tuple(_host(host) for host in saved.hosts),
            selection=Selection(**saved.selection.model_dump()),
        )
        if saved.digest != plan.digest or saved.summary != plan.summary:
            raise document.PlanFileError(f"{path} was altered after it was made: make the plan anew")
        return plan

    def exit_code(self, detailed: bool = False) -> int:
        """4 if anything could not be read, else 2 if `detailed` and there are changes, else 0."""
        if not all(host.reachable and host.complete for host in self.hosts):
            return errors.UNREADABLE
        return errors.DIFFERS if detailed and self.changes else errors.OK


def _host(saved: document.HostDocument) -> HostPlan:
    return HostPlan(
        name=saved.name,
        reachable=saved.reachable,
        complete=saved.complete,
        errors=saved.errors,
        changes=tuple(change.change() for change in saved.changes),
        unknown={item.address: item.reason for item in saved.unknown},
        unchanged=saved.unchanged,
        forgotten=saved.forgotten,
        left_out={item.address: item.reason for item in saved.left_out},
    )


# --- making it --------------------------------------------------------------------------------------------------


def plan_host(host: Host, observation: Observation, hasher: Hasher, selection: Selection) -> HostPlan:
    """What apply would do to this host, from what was observed. Raises CycleError and other DesiredErrors."""
    everything = (*host.declared, *observation.removed)
    ledger = observation.ledger if isinstance(observation.ledger, Ledger) else Ledger()
    requires = requirements(host.declared)
    chosen = _chosen(host.name, everything, requires, selection)
    anew = {
        i.resource.address for i in everything if selection.matches("replace", host.name, i.resource.address, i.module)
    }
    found = compare(everything, observation.observed, ledger, hasher, frozenset(anew))
    changes = {change.address: change for change in found.changes}
    unknown = dict(found.unknown)
    if isinstance(observation.ledger, Unknown):
        _hold_deletes(changes, unknown)
    _spread(changes, unknown, requires, ledger)
    left_out = _left_out(changes, chosen, requires)
    kept = [change for address, change in changes.items() if address in chosen and address not in left_out]
    unknown = {address: reason for address, reason in unknown.items() if address in chosen}
    trouble = (observation.ledger.reason,) if isinstance(observation.ledger, Unknown) else ()
    return HostPlan(
        name=host.name,
        complete=not unknown and not trouble,
        errors=trouble,
        changes=order_changes(_explained(kept, everything), everything, ledger),
        unknown=unknown,
        unchanged=len(set(found.unchanged) & chosen),
        forgotten=_forgotten(ledger, everything, selection),
        left_out=left_out,
    )


def _chosen(host: str, everything: Iterable[Declared], requires: Requirements, selection: Selection) -> frozenset[str]:
    """What a run is about. A target wants all that may be required; an exclusion takes along only what surely is."""
    wanted = replace(selection, exclude=()).chosen(host, everything, requires.every)
    kept = replace(selection, target=(), module=()).chosen(host, everything, requires.sure)
    return wanted & kept


def _hold_deletes(changes: dict[str, Change], unknown: dict[str, str]) -> None:
    """Without a ledger that can be read nothing is deleted."""
    for address in [a for a, change in changes.items() if change.action == "delete"]:
        del changes[address]
        unknown[address] = "it would be deleted, but the ledger could not be read"


def _spread(changes: dict[str, Change], unknown: dict[str, str], requires: Requirements, ledger: Ledger) -> None:
    """A change that requires what is unknown is unknown too; so is deleting what something unknown still required."""
    roots = {address: address for address in unknown}
    waiting = list(unknown)
    required_by: dict[str, list[str]] = {}
    for address, needed in requires.every.items():
        for first in needed:
            required_by.setdefault(first, []).append(address)
    while waiting:
        source = waiting.pop(0)
        for address in required_by.get(source, ()):
            if address in roots:
                continue
            roots[address] = roots[source]
            waiting.append(address)
            if address in changes and changes[address].action != "delete":
                del changes[address]
                unknown[address] = f"requires {roots[source]}, which could not be read"
    for address in list(unknown):
        entry = ledger.entries.get(address)
        for first in entry.requires if entry else ():
            if first in changes and changes[first].action == "delete":
                del changes[first]
                unknown[first] = f"{address} required it, and could not be read"


def _left_out(changes: Mapping[str, Change], chosen: frozenset[str], requires: Requirements) -> dict[str, str]:
    """Changes of this run that would need one that the selectors leave out."""
    result: dict[str, str] = {}
    sure = Requirements(requires.sure, requires.sure)
    others = {a for a, change in changes.items() if a not in chosen and change.action != "delete"}
    for address, change in changes.items():
        if address in chosen and change.action != "delete" and others:
            missing = [a for a in sure.within(address, others) if a in others]
            if missing:
                result[address] = f"requires {missing[0]}, which this run leaves out"
    return result


def _explained(changes: list[Change], everything: Iterable[Declared]) -> list[Change]:
    """The changes with what follows from them for others, and why a delete needs leave."""
    running = {c.address for c in changes if c.action in ("update", "replace") and not c.after_unknown}
    effects: dict[str, list[str]] = {}
    for item in everything:
        if item.resource.address in running:
            for address, verb in item.resource.watches().items():
                effects.setdefault(address, []).append(f"{verb} {item.resource.address}")
    result = []
    for change in changes:
        update: dict[str, object] = {"effects": tuple(effects.get(change.address, ()))}
        if change._desired is not None and not change.after_unknown:
            update["preflights"] = tuple(check.name for check in change._desired.preflight(change))
        if why := destroys(change):
            update["reason"] = why
        result.append(change.model_copy(update=update))
    return result


def _forgotten(ledger: Ledger, everything: Iterable[Declared], selection: Selection) -> tuple[str, ...]:
    """What is in the ledger alone and was not made by kbstate; a run about some of the resources forgets nothing."""
    if selection.target or selection.exclude or selection.module:
        return ()
    known = {item.resource.address for item in everything}
    return tuple(address for address in ledger.entries if address not in known)


# --- refusing it ------------------------------------------------------------------------------------------------


def destroys(change: Change) -> str | None:
    """Why the change needs `--allow-destroy`; None if it is harmless. Only of a plan that was just made."""
    resource = change._observed if change.action in ("delete", "replace") else None
    return resource.before_delete() if resource is not None else None


def refuse_unsafe(plan: HostPlan, allow_destroy: Iterable[str]) -> None:
    """Raises UnsafePlan if the plan destroys what was not named with `--allow-destroy`."""
    allowed = tuple(allow_destroy)
    refused = []
    for change in plan.changes:
        names = (change.address, f"{plan.name}/{change.address}")
        named = any(name == pattern or fnmatchcase(name, pattern) for name in names for pattern in allowed)
        if (why := destroys(change)) and not named:
            refused.append((change, why))
    if refused:
        what = "; ".join(f"{c.action} {c.address} ({why})" for c, why in refused)
        flags = " ".join(f"--allow-destroy {c.address}" for c, _ in refused)
        raise errors.UnsafePlan(f"{plan.name}: this plan would {what}: if that is meant, add {flags}")
