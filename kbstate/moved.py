"""What is different between a saved plan and one made anew, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kbstate.resource import Change

if TYPE_CHECKING:
    from kbstate.plan import HostPlan, Plan


def moved(saved: HostPlan | Plan, fresh: HostPlan | Plan) -> list[str]:
    """What is different in a plan made anew, a sentence each; empty if the digests are equal."""
    from kbstate.plan import HostPlan

    if saved.digest == fresh.digest:
        return []
    if isinstance(saved, HostPlan) and isinstance(fresh, HostPlan):
        return list(_moved(saved, fresh)) or ["the order of its changes"]
    before, after = _by_name(saved), _by_name(fresh)
    result = [f"{name} is no longer in the plan" for name in before if name not in after]
    result += [f"{name} is new in the plan" for name in after if name not in before]
    for name, host in after.items():
        if name in before:
            result += [f"{name}: {what}" for what in _moved(before[name], host)]
    return result or ["the order or the selectors of the plan"]


def _by_name(plan: HostPlan | Plan) -> dict[str, HostPlan]:
    from kbstate.plan import HostPlan

    hosts = (plan,) if isinstance(plan, HostPlan) else plan.hosts
    return {host.name: host for host in hosts}


def _moved(saved: HostPlan, fresh: HostPlan) -> Iterator[str]:
    old = {change.address: change for change in saved.changes}
    new = {change.address: change for change in fresh.changes}
    for address in (*old, *(a for a in new if a not in old)):
        if address not in new:
            reason = fresh.unknown.get(address)
            yield f"{address} cannot be read now ({reason})" if reason else f"{address} has no change any more"
        elif address not in old:
            yield f"{address} has a change now ({new[address].action})"
        elif difference := _difference(old[address], new[address]):
            yield f"{address}: {difference}"
    for address in sorted(saved.unknown.keys() ^ fresh.unknown.keys()):
        if address not in old and address not in new:
            yield f"{address} {'could' if address in saved.unknown else 'can no longer'} not be read"
    if saved.errors != fresh.errors:
        yield "; ".join(fresh.errors) or f"it said before: {'; '.join(saved.errors)}"
    if saved.unchanged != fresh.unchanged:
        yield f"as declared: {fresh.unchanged} instead of {saved.unchanged}"


def _difference(old: Change, new: Change) -> str | None:
    if old.action != new.action:
        return f"{new.action} instead of {old.action}"
    what = {
        "what is on the host moved": old.before_hash != new.before_hash or old.after_unknown != new.after_unknown,
        "what is declared moved": old.after_hash != new.after_hash,
        "its cause moved": old.cause != new.cause,
        "what it requires or brings about moved": (old.requires, old.effects, old.impact, old.reason)
        != (new.requires, new.effects, new.impact, new.reason),
    }
    return " and ".join(sentence for sentence, true in what.items() if true) or None
