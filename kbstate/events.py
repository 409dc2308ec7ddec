"""What apply says while it runs: values; `kbstate.report.events` prints them."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

EventType: TypeAlias = Literal[
    "planned", "step_start", "step_done", "step_failed", "rolled_back", "check", "summary", "note"
]


class Event(BaseModel):
    """One line of `apply --json`; a field that says nothing is left out. A `note` is for people and not in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: EventType
    host: str
    address: str | None = None
    text: str | None = None
    """Of a step: what it is for; of a failure: what went wrong; of a note: the sentence."""
    seconds: float | None = None
    number: int | None = None
    """Of `total` changes, from 1."""
    total: int | None = None
    digest: str | None = None
    """Of the plan that is applied (`planned`)."""
    changes: dict[str, int] | None = None
    """Counts of the plan that is applied (`planned`): add, change, replace, delete."""
    name: str | None = None
    target: str | None = None
    ok: bool | None = None
    detail: str | None = None
    ms: int | None = None
    """The fields of a check."""
    done: tuple[str, ...] | None = None
    failed: tuple[str, ...] | None = None
    not_attempted: tuple[str, ...] | None = None
    """Addresses (`summary`)."""
    exit_code: int | None = None

    def to_json(self) -> str:
        """One line."""
        return self.model_dump_json(exclude_none=True)
