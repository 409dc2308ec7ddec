"""The contract of a kind: what is declared, compared, projected and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from kbstate.kinds.file import File
from kbstate.resource import (
    AbsPath,
    Account,
    Change,
    Delta,
    Line,
    Meta,
    Mode,
    Replaces,
    Resource,
    Unknown,
    Unordered,
    plain,
)
from kbstate.secret import Hasher, Secret

HASHER = Hasher(b"key")


class Inner(BaseModel):
    secret: Secret | None = None
    number: int = 1


class Sample(Resource):
    kind: ClassVar[str] = "sample"
    identity: ClassVar[tuple[str, ...]] = ("group", "name")

    group: str
    name: str
    text: str | None = None
    items: Annotated[tuple[str, ...] | None, Unordered()] = None
    image: Annotated[str | None, Replaces()] = None
    how: Annotated[str, Meta()] = "x"
    inner: Inner | None = None
    many: dict[str, Secret] | None = None

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"


@pytest.fixture(autouse=True, scope="module")
def _unregister() -> Iterator[None]:
    yield
    Resource.registry.pop("sample", None)


SAMPLE = Sample(group="g", name="n", text="t", items=("b", "a"))


def test_address_and_registry() -> None:
    assert SAMPLE.address == "sample:g/n"
    assert File(path="/etc/x").address == "file:/etc/x"
    assert Resource.registry["sample"] is Sample


def test_where_is_the_line_that_declares_it() -> None:
    assert SAMPLE.where is not None
    assert SAMPLE.where.file == __file__
    line = open(__file__, encoding="utf-8").read().splitlines()[SAMPLE.where.line - 1]  # noqa: PTH123, SIM115
    assert line.startswith("SAMPLE = Sample(")


@pytest.mark.parametrize("path", ["/srv/pydantic/site/hosts.py", "/srv/kbstate-site/hosts.py", "hosts.py"])
def test_where_is_right_whatever_the_directory_is_called(path: str) -> None:
    from kbstate import resource

    for file in (path, f"{resource.PACKAGE}-site/hosts.py"):
        scope: dict[str, Any] = {"Sample": Sample}
        exec(compile("\n\nx = Sample(group='g', name='n')", file, "exec"), scope)
        assert str(scope["x"].where) == f"{file}:3"


def test_what_is_compared_declared_and_replaced() -> None:
    assert Sample.compared() == ("text", "items", "image", "inner", "many")
    assert SAMPLE.declared() == ("text", "items")
    assert Sample.replacing() == {"image"}


def test_what_a_kind_leaves_out_has_a_default() -> None:
    assert [*SAMPLE.problems(), *SAMPLE.needs(), *SAMPLE.backup(), *SAMPLE.parts()] == []
    assert (SAMPLE.watches(), SAMPLE.before_delete(), SAMPLE.bound(lambda address: None)) == ({}, None, SAMPLE)
    change = Change(address="sample:g/n", kind="sample", module="m", action="update", cause="drift")
    assert SAMPLE.impact(change) is None
    for method in (SAMPLE.reads, SAMPLE.observe, lambda: list(SAMPLE.steps(change))):
        with pytest.raises(NotImplementedError):
            method()


def test_a_resource_is_frozen_and_knows_its_fields() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SAMPLE.text = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="unknown_field"):
        Sample(group="g", name="n", unknown_field=1)  # type: ignore[call-arg]


def test_projection() -> None:
    assert SAMPLE.projection(("text", "items"), HASHER) == {"text": "t", "items": ["a", "b"]}
    secret = Sample(
        group="g", name="n", inner=Inner(secret=Secret("s3cret")), many={"b": Secret("x"), "a": Secret("y")}
    )
    found = secret.projection(secret.declared(), HASHER)
    assert found["inner"] == {"secret": HASHER.digest(b"s3cret"), "number": 1}
    assert list(found["many"]) == ["a", "b"]  # type: ignore[arg-type]
    assert "s3cret" not in json.dumps(found)
    assert secret.sensitive() == {"inner", "many"}
    assert SAMPLE.sensitive() == frozenset()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.builds(Secret, st.binary()),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner) | st.frozensets(st.integers()),
    max_leaves=8,
)


@given(VALUES)
def test_anything_is_plain_json_and_shows_no_secret(value: object) -> None:
    first, again = plain(value, HASHER), plain(value, HASHER)
    assert json.loads(json.dumps(first)) == json.loads(json.dumps(again))


def test_plain() -> None:
    assert (
        plain(b"\x00", HASHER)
        == f"binary, 1 bytes, sha256:{'6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'}"
    )
    assert plain({2, 1}, HASHER) == [1, 2]
    assert plain({2: ("a", None)}, HASHER) == {"2": ["a", None]}
    assert plain(complex(1), HASHER) == "(1+0j)"


def test_unknown_is_neither_absent_nor_a_value() -> None:
    assert Unknown("why") == Unknown("why")
    assert Unknown("why") is not None
    assert Unknown("why", until=("service:*",)) != Unknown("why")


def test_fields_of_a_change() -> None:
    paths = ("ports[0].host", "ports[1]", "env.A.B", "mode")
    change = Change(
        address="x:y",
        kind="x",
        module="m",
        action="update",
        cause="drift",
        diff=tuple(Delta(path=path) for path in paths),
    )
    assert change.fields == {"ports", "env", "mode"}


# --- shared types -----------------------------------------------------------------------------------------------


def accepts(kind: Any, value: str) -> str | None:
    try:
        result: str = TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None
    return result


@given(st.text(max_size=20))
def test_a_path_that_is_taken_is_harmless(text: str) -> None:
    path = accepts(AbsPath, text)
    if path is not None:
        assert path == text
        assert path.startswith("/")
        assert not {".", ".."} & set(path.split("/"))
        path.encode()  # can be handed to a host
        assert path.isprintable() or all(ord(c) >= 32 for c in path)


@given(st.text(max_size=20))
def test_a_line_is_one_line_of_unicode(text: str) -> None:
    line = accepts(Line, text)
    assert (line is None) == any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in text)


@pytest.mark.parametrize("text", ["\x7f", "a\x1f", "\n", "\t", "\ud800"])
def test_what_is_no_line(text: str) -> None:
    assert accepts(Line, text) is None


@pytest.mark.parametrize(("given_mode", "mode"), [("644", "0644"), ("0644", "0644"), ("4755", "4755"), ("000", "0000")])
def test_a_mode_has_four_digits(given_mode: str, mode: str) -> None:
    assert accepts(Mode, given_mode) == mode


@pytest.mark.parametrize("text", ["", "64", "06444", "0o644", "888", "u+s", " 644", "644\n", "٠٦٤٤"])
def test_what_is_no_mode(text: str) -> None:
    assert accepts(Mode, text) is None


@pytest.mark.parametrize("text", ["root", "_apt", "systemd-network", "0", "4294967295", "www-data"])
def test_accounts(text: str) -> None:
    assert accepts(Account, text) == text


@pytest.mark.parametrize("text", ["", "Root", "a b", "a:b", "-a", "0a", "root\n", "$x", "1" * 11, "a" * 33, "é"])
def test_what_is_no_account(text: str) -> None:
    assert accepts(Account, text) is None
