"""The differ: which changes, of which cause, with which deltas, and what is left as unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from kbstate.diff import Declared, compare, difference, digest
from kbstate.ledger import Entry, Ledger
from kbstate.resource import Change, Impact, Observed, Replaces, Resource, Unknown, Unordered
from kbstate.secret import Hasher, Secret
from tests.kinds.case import HASHER, entry_of


class Port(BaseModel):
    host: int
    guest: int


class Widget(Resource):
    kind: ClassVar[str] = "widget"
    name: str
    size: int | None = None
    image: Annotated[str | None, Replaces()] = None
    tags: Annotated[tuple[str, ...] | None, Unordered()] = None
    words: tuple[str, ...] | None = None
    ports: tuple[Port, ...] | None = None
    env: dict[str, str] | None = None
    secret: Secret | None = None
    secrets: dict[str, Secret] | None = None

    def impact(self, change: Change) -> Impact | None:
        return "drops connections" if change.action == "replace" else None


@pytest.fixture(autouse=True, scope="module")
def _unregister() -> Iterator[None]:
    yield
    Resource.registry.pop("widget", None)


def diff(wanted: Widget, live: Widget | None, entry: Entry | None = None, **more: bool) -> Change | None:
    return difference(Declared(wanted, "m"), live, entry, HASHER, **more)


def w(**fields: Any) -> Widget:
    return Widget(name="w", **fields)


def deltas(change: Change | None) -> dict[str, tuple[Any, Any]]:
    return {delta.path: (delta.before, delta.after) for delta in change.diff} if change else {}


# --- actions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "live", "action"),
    [
        (w(size=1), w(size=1), None),
        (w(size=1), w(size=2), "update"),
        (w(size=1), None, "create"),
        (w(), w(size=2), None),  # not ours
        (w(size=1, image="a"), w(size=1, image="b"), "replace"),
        (w(size=1, image="a"), w(size=2, image="a"), "update"),
        (w(absent=True), None, None),
        (w(absent=True), w(size=1), "delete"),
        (w(tags=("b", "a")), w(tags=("a", "b")), None),
        (w(words=("b", "a")), w(words=("a", "b")), "update"),
        (w(size=0), w(size=None), "update"),
    ],
)
def test_action(wanted: Widget, live: Widget | None, action: str | None) -> None:
    change = diff(wanted, live)
    assert (change.action if change else None) == action


def test_removed_from_the_desired_state() -> None:
    change = difference(Declared(w(size=1), "m", removed=True), w(size=1), entry_of(w(size=1)), HASHER)
    assert change is not None
    assert (change.action, change.cause, change.after) == ("delete", "pending", None)
    assert difference(Declared(w(), "m", removed=True), None, entry_of(w()), HASHER) is None


def test_replacing_on_demand() -> None:
    change = diff(w(size=1), w(size=1), replace=True)
    assert change is not None
    assert (change.action, change.cause, change.diff, change.impact) == ("replace", "pending", (), "drops connections")


# --- causes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("applied", "live", "wanted", "cause"),
    [
        (None, 2, 1, "new"),
        (1, 2, 1, "drift"),
        (2, 2, 1, "pending"),
        (3, 2, 1, "both"),
    ],
)
def test_cause(applied: int | None, live: int, wanted: int, cause: str) -> None:
    change = diff(w(size=wanted), w(size=live), entry_of(w(size=applied)) if applied else None)
    assert change is not None
    assert change.cause == cause


def test_cause_over_several_fields() -> None:
    applied = entry_of(w(size=1, words=("a",)))
    assert getattr(diff(w(size=1, words=("b",)), w(size=2, words=("a",)), applied), "cause") == "both"  # noqa: B009
    assert getattr(diff(w(size=1, env={}), w(size=1, env={"A": "b"}), applied), "cause") == "pending"  # noqa: B009


def test_cause_of_a_create_and_a_delete() -> None:
    assert getattr(diff(w(size=1), None), "cause") == "new"  # noqa: B009
    assert getattr(diff(w(size=1), None, entry_of(w(size=1))), "cause") == "drift"  # noqa: B009
    assert getattr(diff(w(size=1), None, entry_of(w(size=2))), "cause") == "both"  # noqa: B009
    assert getattr(diff(w(size=1), None, entry_of(w(absent=True))), "cause") == "new"  # noqa: B009
    assert getattr(diff(w(absent=True), w()), "cause") == "new"  # noqa: B009
    assert getattr(diff(w(absent=True), w(), entry_of(w(absent=True))), "cause") == "drift"  # noqa: B009
    assert getattr(diff(w(absent=True), w(), entry_of(w(size=1))), "cause") == "pending"  # noqa: B009


def test_another_key_is_not_taken_for_a_drift_of_the_host_alone() -> None:
    entry = entry_of(w(secret=Secret("a")))
    change = difference(Declared(w(secret=Secret("b")), "m"), w(secret=Secret("a")), entry, Hasher(b"another"))
    assert change is not None
    assert change.cause == "both"


# --- deltas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "live", "expected"),
    [
        (w(size=1), w(size=2), {"size": (2, 1)}),
        (w(env={"A": "1", "B": "2"}), w(env={"A": "1", "C": "3"}), {"env.B": (None, "2"), "env.C": ("3", None)}),
        (w(words=("a", "b")), w(words=("a",)), {"words[1]": (None, "b")}),
        (w(words=("a", "c")), w(words=("a", "b")), {"words[1]": ("b", "c")}),
        (
            w(ports=(Port(host=1, guest=2), Port(host=3, guest=4))),
            w(ports=(Port(host=1, guest=2), Port(host=5, guest=4))),
            {"ports[1].host": (5, 3)},
        ),
        (w(env={}), w(env=None), {"env": (None, {})}),
        (w(env={"net.ipv4": "1"}), w(env={"net.ipv4": "0"}), {"env.net.ipv4": ("0", "1")}),
    ],
)
def test_deltas(wanted: Widget, live: Widget, expected: dict[str, Any]) -> None:
    change = diff(wanted, live)
    assert deltas(change) == expected
    assert change is not None
    assert change.fields == {path.split(".")[0].split("[")[0] for path in expected}


def test_secrets_only_differ() -> None:
    wanted = w(size=1, secret=Secret("new-s3cret"), secrets={"A": Secret("x-s3cret")})
    change = diff(
        wanted, w(size=1, secret=Secret("old-s3cret"), secrets={"A": Secret("y-s3cret"), "B": Secret("z-s3cret")})
    )
    assert change is not None
    assert deltas(change) == {"secret": (None, None), "secrets": (None, None)}
    assert change.sensitive == ("secret", "secrets")
    assert (change.before, change.after) == ({"size": 1}, {"size": 1})
    for secret in ("new-s3cret", "old-s3cret", "x-s3cret", "y-s3cret", "z-s3cret"):
        assert secret not in change.model_dump_json() + repr(change)
        assert HASHER.digest(secret.encode()) not in change.model_dump_json()
    assert change.before_hash != change.after_hash


def test_a_secret_in_the_place_of_plain_text_hides_both() -> None:
    live = w().model_copy(update={"env": {"A": Secret("live-s3cret")}})
    change = diff(w(env={"A": "plain"}), live)
    assert change is not None
    assert "live-s3cret" not in change.model_dump_json()
    assert "plain" not in change.model_dump_json()


JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(),
        "image": st.text(max_size=3),
        "tags": st.lists(st.text(max_size=2), max_size=3).map(tuple),
        "words": st.lists(st.text(max_size=2), max_size=4).map(tuple),
        "env": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
        "secret": st.binary(max_size=3).map(Secret),
    },
)


@given(FIELDS)
def test_what_is_as_declared_needs_nothing(fields: dict[str, Any]) -> None:
    assert diff(w(**fields), w(**fields)) is None
    assert diff(w(**fields), w(**fields), entry_of(w(size=9))) is None


@given(FIELDS, FIELDS)
def test_a_change_names_exactly_what_differs(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    change = diff(w(**wanted), w(**live))
    differing = {
        name
        for name, value in wanted.items()
        if (
            sorted(value) != sorted(live.get(name) or ()) or live.get(name) is None
            if name == "tags"
            else value != live.get(name)
        )
    }
    assert (change.fields if change else set()) == differing
    if change:
        assert all(json.loads(delta.model_dump_json())["path"] == delta.path for delta in change.diff)
        for delta in change.diff:
            assert "secret" in delta.path or delta.before != delta.after or delta.path == "tags"


@given(FIELDS, FIELDS, FIELDS)
def test_the_cause_is_who_moved(applied: dict[str, Any], live: dict[str, Any], wanted: dict[str, Any]) -> None:
    change = diff(w(**wanted), w(**live), entry_of(w(**applied)))
    if change is None:
        return
    before, after = w(**live).projection(wanted, HASHER), w(**wanted).projection(wanted, HASHER)
    last = w(**applied).projection(wanted, HASHER)
    fields = [name for name in wanted if before[name] != after[name]]
    desired = any(applied.get(name) is None or last[name] != after[name] for name in fields)
    host = any(applied.get(name) is not None and last[name] != before[name] for name in fields)
    assert change.cause == ("both" if desired and host else "drift" if host else "pending")


# --- many -------------------------------------------------------------------------------------------------------


def run(items: list[Declared], observed: Mapping[str, Observed], replace: frozenset[str] = frozenset()) -> Any:
    return compare(items, observed, Ledger(), HASHER, replace)


A, B = Widget(name="a", size=1), Widget(name="b", size=1)


def test_compare_sorts_out() -> None:
    found = run([Declared(A, "m"), Declared(B, "m")], {"widget:a": A, "widget:b": B.model_copy(update={"size": 2})})
    assert found.unchanged == ["widget:a"]
    assert [change.address for change in found.changes] == ["widget:b"]
    assert found.unknown == {}


def test_what_was_not_observed_is_unknown_and_never_created() -> None:
    found = run([Declared(A, "m")], {})
    assert (found.changes, found.unknown) == ([], {"widget:a": "it is not in the observation"})


def test_unknown_is_lifted_by_what_this_plan_mends() -> None:
    observed = {"widget:a": Unknown("the daemon is down", until=("widget:b",)), "widget:b": None}
    found = run([Declared(A, "m"), Declared(B, "m")], observed)
    first, second = found.changes
    assert (first.address, first.action, second.address) == ("widget:b", "create", "widget:a")
    assert (second.after_unknown, second.reason, second.action) == (True, "the daemon is down", "update")
    assert found.unknown == {}


@pytest.mark.parametrize(
    ("until", "other"),
    [
        (("widget:c",), None),
        ((), None),
        (("widget:b",), B),  # nothing of it changes
    ],
)
def test_unknown_that_nothing_mends_stays(until: tuple[str, ...], other: Widget | None) -> None:
    observed: dict[str, Observed] = {"widget:a": Unknown("why", until=until), "widget:b": other}
    assert run([Declared(A, "m"), Declared(B, "m")], observed).unknown == {"widget:a": "why"}


def test_a_deletion_mends_nothing_and_is_not_lifted() -> None:
    observed: dict[str, Observed] = {"widget:a": Unknown("why", until=("widget:*",)), "widget:b": B}
    gone = Widget(name="b", absent=True)
    assert run([Declared(A, "m"), Declared(gone, "m")], observed).unknown == {"widget:a": "why"}
    observed["widget:b"] = None
    removed = Declared(A, "m", removed=True)
    assert run([removed, Declared(B, "m")], observed).unknown == {"widget:a": "why"}


def test_replace_names_addresses() -> None:
    found = run([Declared(A, "m"), Declared(B, "m")], {"widget:a": A, "widget:b": B}, frozenset({"widget:b"}))
    assert [(change.address, change.action) for change in found.changes] == [("widget:b", "replace")]


def test_a_change_holds_both_sides_for_its_steps() -> None:
    change = diff(w(size=1), w(size=2))
    assert change is not None
    assert (change._desired, change._observed) == (w(size=1), w(size=2))


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_digest_depends_on_values_alone(value: dict[str, Any]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert digest(value) == digest(backwards)
    assert digest(value) != digest({**value, "another": 1})
