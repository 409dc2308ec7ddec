"""JSON Schema of the kinds: it is one, and it says what the models say."""

import json

import pytest

from kbstate.errors import UsageError
from kbstate.schema import DIALECT, kinds, schema


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_kind(kind: str) -> None:
    found = schema(kind)
    assert found["$schema"] == DIALECT
    assert found["additionalProperties"] is False
    model = kinds()[kind]
    assert set(found["properties"]) == set(model.model_fields)  # type: ignore[arg-type]
    assert json.loads(json.dumps(found)) == found


def test_all_kinds() -> None:
    found = schema()
    assert set(found["properties"]) == set(kinds()) > {"file", "package", "service"}  # type: ignore[arg-type]
    text = json.dumps(found)
    references = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert references <= set(found["$defs"])  # type: ignore[arg-type]
    assert "File" in references


def test_a_secret_is_a_reference() -> None:
    assert "a secret; by reference to a credential" in json.dumps(schema("file"))


def test_unknown_kind() -> None:
    with pytest.raises(UsageError, match=r"^there is no kind 'fil': did you mean file"):
        schema("fil")
