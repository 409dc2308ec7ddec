"""JSON Schema of the kinds, for editors and other tools. Pure."""

from __future__ import annotations

from kbstate.resource import Json


def kinds() -> tuple[str, ...]:
    """The names of all kinds, sorted."""
    raise NotImplementedError


def schema(kind: str | None = None) -> dict[str, Json]:
    """The JSON Schema (draft 2020-12) of one kind, or of all. Raises UsageError for an unknown one, with a suggestion."""
    raise NotImplementedError
