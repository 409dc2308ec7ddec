"""The JSON of a plan, exactly as `plan --json` prints it and a saved plan holds it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from kbstate.errors import KbstateError
from kbstate.resource import Action, Cause, Change, Delta, Impact, Json

if TYPE_CHECKING:
    from kbstate.plan import HostPlan

FORMAT_VERSION: Literal["1"] = "1"

Actions: TypeAlias = (
    tuple[Literal["create"]]
    | tuple[Literal["update"]]
    | tuple[Literal["delete"]]
    | tuple[Literal["delete"], Literal["create"]]
)


class PlanFileError(KbstateError):
    """A saved plan cannot be used: damaged, of another format, or no plan at all."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class DeltaDocument(Strict):
    """One difference; a secret one has its path alone."""

    path: str
    before: Json = None
    after: Json = None


class ChangeDocument(Strict):
    """One change."""

    address: str
    kind: str
    module: str
    actions: Actions
    cause: Cause
    before: dict[str, Json] | None
    after: dict[str, Json] | None
    diff: tuple[DeltaDocument, ...]
    sensitive: tuple[str, ...]
    effects: tuple[str, ...]
    impact: Impact | None
    requires: tuple[str, ...]
    before_hash: str | None
    after_hash: str | None
    preflights: tuple[str, ...] = ()
    after_unknown: bool = False
    reason: str | None = None

    def change(self) -> Change:
        action: Action = "replace" if len(self.actions) == 2 else self.actions[0]
        fields = {name: getattr(self, name) for name in type(self).model_fields if name not in ("actions", "diff")}
        return Change(action=action, diff=tuple(Delta(**delta.model_dump()) for delta in self.diff), **fields)


class UnknownDocument(Strict):
    """One resource that could not be read, or that cannot be decided for that."""

    address: str
    reason: str


class HostDocument(Strict):
    """One host."""

    name: str
    reachable: bool
    complete: bool
    errors: tuple[str, ...]
    changes: tuple[ChangeDocument, ...]
    unknown: tuple[UnknownDocument, ...]
    unchanged: int
    forgotten: tuple[str, ...]
    left_out: tuple[UnknownDocument, ...]


class SelectionDocument(Strict):
    """The selectors that the plan was made with, and is made anew with."""

    target: tuple[str, ...]
    exclude: tuple[str, ...]
    replace: tuple[str, ...]
    module: tuple[str, ...]
    allow_destroy: tuple[str, ...]


class SummaryDocument(Strict):
    """How many resources of all hosts are in which state."""

    add: int
    change: int
    replace: int
    delete: int
    unknown: int
    unchanged: int


class PlanDocument(Strict):
    """The whole document."""

    format_version: Literal["1"]
    kbstate_version: str
    created_at: str
    digest: str
    selection: SelectionDocument
    hosts: tuple[HostDocument, ...]
    summary: SummaryDocument


def host_document(host: HostPlan) -> dict[str, Json]:
    """One host as plain data."""
    return {
        "name": host.name,
        "reachable": host.reachable,
        "complete": host.complete,
        "errors": list(host.errors),
        "changes": [_change(change) for change in host.changes],
        "unknown": _reasons(host.unknown),
        "unchanged": host.unchanged,
        "forgotten": list(host.forgotten),
        "left_out": _reasons(host.left_out),
    }


def _reasons(reasons: dict[str, str]) -> Json:
    return [{"address": address, "reason": reason} for address, reason in reasons.items()]


def _change(change: Change) -> dict[str, Json]:
    document: dict[str, Json] = {
        "address": change.address,
        "kind": change.kind,
        "module": change.module,
        "actions": ["delete", "create"] if change.action == "replace" else [change.action],
        "cause": change.cause,
        "before": change.before,
        "after": change.after,
        "diff": [_delta(delta, change.sensitive) for delta in change.diff],
        "sensitive": list(change.sensitive),
        "effects": list(change.effects),
        "impact": change.impact,
        "requires": list(change.requires),
        "before_hash": change.before_hash,
        "after_hash": change.after_hash,
    }
    if change.preflights:
        document["preflights"] = list(change.preflights)
    if change.after_unknown:
        document["after_unknown"] = True
    if change.reason:
        document["reason"] = change.reason
    return document


def _delta(delta: Delta, sensitive: tuple[str, ...]) -> Json:
    if delta.path in sensitive:
        return {"path": delta.path}
    return {"path": delta.path, "before": delta.before, "after": delta.after}


def parse(text: str, path: str) -> PlanDocument:
    """A saved plan, taken as it is. Raises PlanFileError."""
    import json

    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise PlanFileError(f"{path} is damaged: it is no JSON document; make the plan anew") from None
    if not isinstance(data, dict) or "format_version" not in data or "digest" not in data:
        raise PlanFileError(f"{path} is no saved plan: give the FILE of `kbstate plan --out FILE`")
    if data["format_version"] != FORMAT_VERSION:
        raise PlanFileError(
            f"{path} has format version {str(data['format_version'])[:20]!r}, this kbstate reads {FORMAT_VERSION!r}: "
            "make the plan anew"
        )
    try:
        return PlanDocument.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PlanFileError(f"{path} is damaged: {where}: {first['msg']}; make the plan anew") from None
