"""Cases of kinds as data, and the few functions that run them without a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kbstate.diff import Declared, difference
from kbstate.ledger import Entry, recorded
from kbstate.resource import Change, Resource, Step, Unknown
from kbstate.secret import Hasher

HASHER = Hasher(b"test key")


@dataclass(frozen=True)
class LabCase:
    """One drift of one field, for `tests/lab/test_kinds.py`.

    The runner applies `resources` (the one at `address` and what it needs), runs `drift` on the host as root, expects
    the plan to name exactly `address` with a difference in `field` (empty: the whole resource is created) and cause
    `drift`, applies, and expects an empty plan. Cases with different addresses share a round, so they must not disturb
    each other; `alone` gives a case a round of its own.
    """

    resources: tuple[Resource, ...]
    address: str
    field: str
    drift: str
    prepare: str = ""
    """Run on the bare host before anything is applied."""
    docker: bool = False
    """Needs a running Docker engine: the runner sees to it."""
    alone: bool = False

    @property
    def name(self) -> str:
        return f"{self.address}-{self.field or 'absent'}"


@dataclass(frozen=True)
class RecordedCase:
    """A drift of a field that no lab host can show, from recorded facts; see `test_every_field.py`."""

    desired: Resource
    facts: Mapping[str, object]
    field: str
    reason: str
    """Why it cannot be had on a lab host."""


def change_of(desired: Resource, facts: Mapping[str, object], applied: Resource | None = None) -> Change | None:
    """The change for one resource with these facts, as if `applied` had been applied last."""
    live = desired.observe(**facts)
    assert not isinstance(live, Unknown), live
    entry = entry_of(applied) if applied else None
    return difference(Declared(desired, "test"), live, entry, HASHER)


def entry_of(resource: Resource) -> Entry:
    fields = resource.projection(resource.declared(), HASHER)
    return Entry(
        kind=resource.kind,
        module="test",
        identity={name: str(getattr(resource, name)) for name in resource.identity},
        fields={name: recorded(value) for name, value in fields.items()},
        created=True,
        absent=resource.absent,
    )


def steps_of(change: Change) -> list[Step]:
    """The steps of a change, as apply would take them."""
    resource = change._observed if change.action == "delete" else change._desired
    assert resource is not None
    return list(resource.steps(change))


def scripts(step: Step) -> str:
    """The shell text that one of our own operations yields."""
    assert not isinstance(step.op, str), step.op
    return "\n".join(step.op(**step.args))
