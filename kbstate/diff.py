"""Desired, observed and last applied in; changes out. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kbstate.ledger import Entry, Ledger, recorded
from kbstate.resource import Action, Cause, Change, Delta, Json, Observed, Resource, Unknown
from kbstate.secret import Hasher


@dataclass(frozen=True)
class Declared:
    """A desired resource with the module that it belongs to; or one that is only still in the ledger."""

    resource: Resource
    module: str
    removed: bool = False
    """No longer declared; created by kbstate, so it is deleted."""


@dataclass
class Differences:
    """What one host's comparison came to."""

    changes: list[Change] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    """Address → reason."""
    unchanged: list[str] = field(default_factory=list)


def compare(
    declared: Iterable[Declared],
    observed: Mapping[str, Observed],
    ledger: Ledger,
    hasher: Hasher,
    replace: frozenset[str],
) -> Differences:
    """Every difference between what is declared and what was observed; `replace` names what is to be made anew.

    Unknown that a change of this very comparison may lift becomes a change known only after apply.
    """
    result = Differences()
    liftable: list[tuple[Declared, Unknown]] = []
    for item in declared:
        address = item.resource.address
        live = observed.get(address, Unknown("it is not in the observation"))
        if isinstance(live, Unknown):
            liftable.append((item, live))
        elif change := difference(item, live, ledger.entries.get(address), hasher, address in replace):
            result.changes.append(change)
        else:
            result.unchanged.append(address)
    _lift(liftable, result, ledger)
    return result


def difference(
    item: Declared, live: Resource | None, entry: Entry | None, hasher: Hasher, replace: bool = False
) -> Change | None:
    """The change that makes one resource as declared, or None if it is."""
    wanted = None if item.removed or item.resource.absent else item.resource
    if wanted is None and live is None:
        return None
    if wanted is None or live is None:
        return _whole(item, wanted, live, entry, hasher)
    fields = wanted.declared()
    before, after = live.projection(fields, hasher), wanted.projection(fields, hasher)
    if before == after and not replace:
        return None
    differing = [name for name in fields if before[name] != after[name]]
    action: Action = "replace" if replace or wanted.replacing() & set(differing) else "update"
    cause = _cause(differing, before, after, entry, hasher) if differing else "pending"
    return _change(item, action, cause, wanted, live, before=before, after=after)


def _whole(
    item: Declared, wanted: Resource | None, live: Resource | None, entry: Entry | None, hasher: Hasher
) -> Change:
    """Create or delete."""
    if wanted is not None:
        after = wanted.projection(wanted.declared(), hasher)
        same = entry is not None and entry.fields == {name: recorded(value) for name, value in after.items()}
        cause: Cause = "new" if entry is None or entry.absent else "drift" if same else "both"
        return _change(item, "create", cause, wanted, None, before=None, after=after)
    assert live is not None
    before = live.projection(live.declared(), hasher)
    cause = "pending" if item.removed or entry is None else "drift" if entry.absent else "pending"
    cause = "new" if entry is None else cause
    return _change(item, "delete", cause, None, live, before=before, after=None)


def _cause(
    fields: Iterable[str], before: Mapping[str, Json], after: Mapping[str, Json], entry: Entry | None, hasher: Hasher
) -> Cause:
    """Who moved since the last apply: the host, the desired state, or both."""
    if entry is None or entry.absent:
        return "new"
    host = desired = False
    for name in fields:
        applied = entry.fields.get(name)
        if applied is None:
            desired = True  # declared since
            continue
        desired |= applied != recorded(after[name])
        host |= applied != recorded(before[name])
    return "both" if host and desired else "drift" if host else "pending"


def _change(
    item: Declared,
    action: Action,
    cause: Cause,
    wanted: Resource | None,
    live: Resource | None,
    *,
    before: dict[str, Json] | None,
    after: dict[str, Json] | None,
) -> Change:
    hidden = (wanted.sensitive() if wanted else frozenset()) | (live.sensitive() if live else frozenset())
    change = Change(
        address=item.resource.address,
        kind=item.resource.kind,
        module=item.module,
        action=action,
        cause=cause,
        before=_shown(before, hidden),
        after=_shown(after, hidden),
        diff=tuple(_deltas(before, after, hidden)) if before is not None and after is not None else (),
        sensitive=tuple(sorted(hidden & set((before or {}) | (after or {})))),
        before_hash=digest(before) if before is not None else None,
        after_hash=digest(after) if after is not None else None,
    )
    change._desired, change._observed = wanted, live
    impact = (wanted or live or item.resource).impact(change)
    final = change.model_copy(update={"impact": impact})
    final._desired, final._observed = wanted, live
    return final


def _shown(values: dict[str, Json] | None, hidden: frozenset[str]) -> dict[str, Json] | None:
    return None if values is None else {k: v for k, v in values.items() if k not in hidden}


def _deltas(before: dict[str, Json], after: dict[str, Json], hidden: frozenset[str]) -> Iterable[Delta]:
    """DeepDiff over plain data, field by field; a secret field only says that it differs."""
    for name, new in after.items():
        old = before[name]
        if old == new:
            continue
        if name in hidden:
            yield Delta(path=name)
        elif isinstance(old, dict | list) and isinstance(new, dict | list):
            yield from _deep(name, old, new)
        else:
            yield Delta(path=name, before=old, after=new)


def _deep(name: str, old: Json, new: Json) -> Iterable[Delta]:
    from deepdiff import DeepDiff  # 360 ms: only when something differs

    tree = DeepDiff(old, new, view="tree", ignore_order=False, threshold_to_diff_deeper=0)
    found = [item for kind in tree.values() for item in kind]
    if not found:
        return [Delta(path=name, before=old, after=new)]
    return sorted(
        (
            Delta(path=name + _path(item.path(output_format="list")), before=_json(item.t1), after=_json(item.t2))
            for item in found
        ),
        key=lambda delta: delta.path,
    )


def _path(keys: list[str | int]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def _json(value: object) -> Json:
    return None if type(value).__name__ == "NotPresent" else value  # type: ignore[return-value]


def _lift(waiting: list[tuple[Declared, Unknown]], result: Differences, ledger: Ledger) -> None:
    """Unknown because of what this plan mends is known after apply; the rest stays Unknown."""
    from fnmatch import fnmatchcase

    mended = {change.address for change in result.changes if change.action != "delete"}
    for item, unknown in waiting:
        address = item.resource.address
        if any(fnmatchcase(m, pattern) for m in mended for pattern in unknown.until) and not item.removed:
            change = Change(
                address=address,
                kind=item.resource.kind,
                module=item.module,
                action="update",
                cause="drift" if address in ledger.entries else "new",
                after_unknown=True,
                reason=unknown.reason,
            )
            change._desired = item.resource
            result.changes.append(change)
        else:
            result.unknown[address] = unknown.reason


def digest(value: object) -> str:
    """SHA-256 over canonical JSON (RFC 8785 in spirit: sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
