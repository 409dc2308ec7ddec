"""What an apply writes into the ledger: what it is about to create, and what was seen to be as declared. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kbstate.ledger import RUNS_KEPT, Entry, Ledger, Run, recorded, write_ledger
from kbstate.resource import Change, Resource, Unknown
from kbstate.secret import Hasher

if TYPE_CHECKING:
    from kbstate.collect import Observation
    from kbstate.desired import Host
    from kbstate.plan import HostPlan


UNSEEN = Unknown("it was not looked at")


def intended(ledger: Ledger, changes: Iterable[Change], run: Run) -> Ledger:
    """The ledger with a run that has started, and what it is about to create."""
    made = {
        change.address: _entry(change._desired, change.module, created=True)
        for change in changes
        if change.action == "create" and change._desired is not None
    }
    return ledger.model_copy(
        update={"intents": {**ledger.intents, **made}, "runs": (*ledger.runs, run)[-RUNS_KEPT:]},
    )


def converged(ledger: Ledger, host: Host, after: Observation, plan: HostPlan, hasher: Hasher) -> Ledger:
    """The ledger after a run, from what was seen at its end.

    What is as declared is written down with its values, whether this run made it so or it was so. What is not keeps
    what was last applied. What is gone, or left the desired state and is not ours to delete, is dropped.
    """
    entries: dict[str, Entry] = {}
    intents: dict[str, Entry] = {}
    known = {**ledger.entries, **ledger.intents}
    for item in host.declared:
        resource, address = item.resource, item.resource.address
        before = known.get(address)
        if _as_declared(resource, after, hasher):
            # what was declared absent and is absent is nobody's creation
            created = not resource.absent and (before.created if before else False)
            entries[address] = _entry(resource, item.module, created, hasher, plan_requires(plan, address, before))
        else:
            if address in ledger.entries:
                entries[address] = ledger.entries[address]
            if address in ledger.intents:
                intents[address] = ledger.intents[address]
    declared = {item.resource.address for item in host.declared}
    gone = {
        item.resource.address for item in after.removed if after.observed.get(item.resource.address, UNSEEN) is None
    }
    entries |= {a: e for a, e in known.items() if e.created and not e.absent and a not in declared | gone}
    return ledger.model_copy(update={"entries": entries, "intents": intents})


def plan_requires(plan: HostPlan, address: str, before: Entry | None) -> tuple[str, ...]:
    """The requirements as the plan resolved them, for the order in which things are deleted one day."""
    change = next((change for change in plan.changes if change.address == address), None)
    return change.requires if change else before.requires if before else ()


def _as_declared(resource: Resource, after: Observation, hasher: Hasher) -> bool:
    live = after.observed.get(resource.address, UNSEEN)
    if isinstance(live, Unknown):
        return False
    if resource.absent or live is None:
        return resource.absent and live is None
    fields = resource.declared()
    return live.projection(fields, hasher) == resource.projection(fields, hasher)


def _entry(
    resource: Resource, module: str, created: bool, hasher: Hasher | None = None, requires: tuple[str, ...] = ()
) -> Entry:
    values = resource.projection(resource.declared(), hasher) if hasher and not resource.absent else {}
    return Entry(
        kind=resource.kind,
        module=module,
        identity={name: str(getattr(resource, name)) for name in resource.identity},
        fields={name: recorded(value) for name, value in values.items()},
        created=created,
        absent=resource.absent,
        requires=requires,
    )


def ledger_script(ledger: Ledger) -> str:
    """The shell text that replaces the ledger on the host."""
    return "\n".join(write_ledger(ledger.model_dump_json()))
