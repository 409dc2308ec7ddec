"""A kind made for tests of what does not care about kinds, and hosts made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from kbstate.collect import Observation
from kbstate.desired import Host
from kbstate.diff import Declared
from kbstate.ledger import Entry, Ledger, recorded
from kbstate.plan import HostPlan, plan_host
from kbstate.resource import Change, Impact, Meta, Observed, Replaces, Resource, Unknown
from kbstate.secret import Hasher, Secret
from kbstate.selection import Selection

HASHER = Hasher(b"test key")


class Thing(Resource):
    """Anything: a value, a secret, and all that may be said about others."""

    kind: ClassVar[str] = "thing"

    name: str
    value: str | None = "new"
    secret: Secret | None = None
    shape: Annotated[str | None, Replaces()] = None
    wants: Annotated[tuple[str, ...], Meta()] = ()
    follows: Annotated[tuple[str, ...], Meta()] = ()
    destroys: Annotated[str | None, Meta()] = None
    interrupts: Annotated[Impact | None, Meta()] = None

    def needs(self) -> Iterator[str]:
        yield from self.wants

    def watches(self) -> Mapping[str, str]:
        return dict.fromkeys(self.follows, "restarts")

    def impact(self, change: Change) -> Impact | None:
        return self.interrupts

    def before_delete(self) -> str | None:
        return self.destroys


class Other(Thing):
    """A thing of another kind."""

    kind: ClassVar[str] = "other"


def host(*things: Resource, name: str = "h1", **modules: list[Resource]) -> Host:
    return Host(name=name, address="192.0.2.1", modules={"main": list(things), **modules})


def entry(resource: Resource, *, created: bool = True, requires: tuple[str, ...] = ()) -> Entry:
    fields = resource.projection(resource.declared(), HASHER)
    return Entry(
        kind=resource.kind,
        module="main",
        identity={name: str(getattr(resource, name)) for name in resource.identity},
        fields={name: recorded(value) for name, value in fields.items()},
        created=created,
        requires=requires,
    )


def seen(
    host: Host,
    live: Mapping[str, Observed] | None = None,
    *,
    ledger: Ledger | Unknown | None = None,
    removed: tuple[Resource, ...] = (),
) -> Observation:
    """What is named in `live` as it says, all else as declared; what is removed is still there."""
    observed: dict[str, Observed] = {item.resource.address: item.resource for item in host.declared}
    observed |= {resource.address: resource for resource in removed}
    gone = tuple(Declared(resource, "old", removed=True) for resource in removed)
    return Observation(
        host.name, {**observed, **(live or {})}, Ledger() if ledger is None else ledger, gone, "2026-01-01T00:00:00Z"
    )


def planned(
    host: Host,
    live: Mapping[str, Observed] | None = None,
    *,
    ledger: Ledger | Unknown | None = None,
    removed: tuple[Resource, ...] = (),
    selection: Selection | None = None,
) -> HostPlan:
    return plan_host(host, seen(host, live, ledger=ledger, removed=removed), HASHER, selection or Selection())


def absent(host: Host) -> dict[str, Observed]:
    """Nothing that is declared is there."""
    return dict.fromkeys(item.resource.address for item in host.declared)


def actions(plan: HostPlan) -> list[str]:
    return [f"{change.action} {change.address}" for change in plan.changes]
