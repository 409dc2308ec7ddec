"""JSON Schema of the kinds, for editors and other tools. Pure."""

from __future__ import annotations

from kbstate import kinds as package
from kbstate.errors import UsageError, meant
from kbstate.resource import Json, Resource

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def kinds() -> dict[str, type[Resource]]:
    """Every kind by its name, sorted; imports them all."""
    package.load_all()
    own = {name: kind for name, kind in Resource.registry.items() if kind.__module__.startswith(f"{package.__name__}.")}
    return dict(sorted(own.items()))


def schema(kind: str | None = None) -> dict[str, Json]:
    """The JSON Schema (draft 2020-12) of one kind, or of all: an object with a resource of each kind's schema.

    Raises UsageError for a kind that there is not, with a suggestion.
    """
    from pydantic.json_schema import models_json_schema

    known = kinds()
    if kind is not None and kind not in known:
        raise UsageError(f"there is no kind '{kind}': {meant(kind, known)}")
    if kind is not None:
        return {"$schema": DIALECT, **known[kind].model_json_schema()}
    references, definitions = models_json_schema([(model, "validation") for model in known.values()])
    properties: dict[str, Json] = {name: references[model, "validation"] for name, model in known.items()}
    return {
        "$schema": DIALECT,
        "title": "kbstate",
        "description": "The kinds of resources of kbstate, each by its name.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **definitions,
    }
