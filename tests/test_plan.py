"""What apply would do, as a value: made, saved, compared and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kbstate.document import PlanFileError
from kbstate.errors import DIFFERS, OK, UNREADABLE, UnsafePlan
from kbstate.ledger import Ledger
from kbstate.plan import HostPlan, Plan, moved, refuse_unsafe
from kbstate.resource import Observed, Unknown
from kbstate.secret import Secret
from kbstate.selection import Selection
from tests.things import Other, Thing, absent, actions, entry, host, planned

DOWN = Unknown("the daemon is not running")
OLD = Thing(name="a", value="old")
A, B, C = Thing(name="a"), Thing(name="b", requires=("thing:a",)), Thing(name="c", requires=("thing:b",))


def ledger_of(*things: Thing, created: bool = True) -> Ledger:
    return Ledger(entries={thing.address: entry(thing, created=created) for thing in things})


# --- unknown ----------------------------------------------------------------------------------------------------


def test_what_requires_something_unknown_is_unknown_too() -> None:
    plan = planned(host(A, B, C), {"thing:a": DOWN, "thing:b": None, "thing:c": None})
    assert plan.changes == ()
    assert plan.unknown == {
        "thing:a": "the daemon is not running",
        "thing:b": "requires thing:a, which could not be read",
        "thing:c": "requires thing:a, which could not be read",
    }
    assert not plan.complete


def test_what_is_as_declared_stays_so_whatever_it_requires() -> None:
    plan = planned(host(A, B, C), {"thing:a": DOWN, "thing:c": None})
    assert set(plan.unknown) == {"thing:a", "thing:c"}
    assert plan.unchanged == 1


@pytest.mark.parametrize("how", [{"wants": ("thing:a",)}, {"wants": ("thing:*",)}, {"follows": ("thing:a",)}])
def test_derived_requirements_count(how: dict[str, Any]) -> None:
    other = Other(name="o", **how)
    plan = planned(host(A, other), {"thing:a": DOWN, "other:o": None})
    assert plan.unknown["other:o"] == "requires thing:a, which could not be read"


def test_others_go_on() -> None:
    plan = planned(host(A, B, Other(name="o")), {"thing:a": DOWN, "other:o": None})
    assert actions(plan) == ["create other:o"]
    assert Plan.of([plan], Selection()).exit_code() == UNREADABLE


def test_nothing_is_deleted_that_something_unknown_may_still_need() -> None:
    ledger = ledger_of(A, OLD)
    ledger.entries["other:o"] = entry(Other(name="o"), requires=("thing:a",))
    plan = planned(host(Other(name="o")), {"other:o": DOWN}, ledger=ledger, removed=(A,))
    assert plan.changes == ()
    assert plan.unknown["thing:a"] == "other:o required it, and could not be read"


def test_what_is_to_go_does_not_wait_for_what_it_required() -> None:
    gone = Other(name="gone", absent=True, requires=("thing:a",))
    plan = planned(host(A, gone), {"thing:a": DOWN, "other:gone": Other(name="gone")})
    assert actions(plan) == ["delete other:gone"]


def test_what_this_plan_lifts_is_known_after_apply() -> None:
    plan = planned(host(A, B), {"thing:a": None, "thing:b": Unknown("not up", until=("thing:a",))})
    assert actions(plan) == ["create thing:a", "update thing:b"]
    assert plan.changes[1].after_unknown
    assert plan.changes[1].reason == "not up"
    assert plan.complete


def test_a_ledger_that_cannot_be_read_deletes_nothing() -> None:
    gone = Thing(name="gone", absent=True)
    broken = Unknown("the ledger is damaged")
    plan = planned(host(A, gone), {"thing:a": None, "thing:gone": Thing(name="gone")}, ledger=broken)
    assert actions(plan) == ["create thing:a"]
    assert plan.unknown == {"thing:gone": "it would be deleted, but the ledger could not be read"}
    assert (plan.complete, plan.errors) == (False, ("the ledger is damaged",))
    nothing = planned(host(A), ledger=broken)
    assert not nothing.complete
    assert Plan.of([nothing], Selection()).exit_code() == UNREADABLE


# --- what left the desired state --------------------------------------------------------------------------------


def test_what_kbstate_created_is_deleted_and_the_rest_is_forgotten() -> None:
    ledger = ledger_of(A)
    ledger.entries["thing:old"] = entry(Thing(name="old"), created=False)
    plan = planned(host(B_ALONE), ledger=ledger, removed=(A,))
    assert actions(plan) == ["delete thing:a"]
    assert plan.forgotten == ("thing:old",)


B_ALONE = Other(name="b")


def test_what_is_gone_already_needs_no_change() -> None:
    plan = planned(host(B_ALONE), {"thing:a": None}, ledger=ledger_of(A), removed=(A,))
    assert actions(plan) == []


@pytest.mark.parametrize(
    "selection", [Selection(target=("other:b",)), Selection(exclude=("other:b",)), Selection(module=("main",))]
)
def test_a_run_about_some_resources_forgets_nothing(selection: Selection) -> None:
    ledger = ledger_of(Thing(name="old"), created=False)
    assert planned(host(B_ALONE), ledger=ledger, selection=selection).forgotten == ()


# --- selectors --------------------------------------------------------------------------------------------------


def select(**selectors: tuple[str, ...]) -> HostPlan:
    made = host(A, B, C, Other(name="o", wants=("thing:*",)))
    return planned(made, absent(made), selection=Selection(**selectors))


def test_a_target_brings_what_it_requires() -> None:
    assert actions(select(target=("thing:b",))) == ["create thing:a", "create thing:b"]
    assert actions(select(target=("h1/thing:a",))) == ["create thing:a"]
    assert len(actions(select(target=("other:o",)))) == 4


def test_what_is_excluded_takes_along_what_surely_requires_it() -> None:
    assert actions(select(exclude=("thing:b",))) == ["create thing:a", "create other:o"]


def test_a_module_alone_leaves_out_what_needs_a_change_elsewhere() -> None:
    made = host(A, rest=[B, Other(name="o")])
    plan = planned(made, absent(made), selection=Selection(module=("rest",)))
    assert actions(plan) == ["create other:o"]
    assert plan.left_out == {"thing:b": "requires thing:a, which this run leaves out"}
    there = planned(made, {"thing:b": None}, selection=Selection(module=("rest",)))
    assert actions(there) == ["create thing:b"]


def test_unknown_outside_of_the_selection_is_not_asked_about() -> None:
    made = host(A, Other(name="o"), Other(name="p"))
    plan = planned(made, {"thing:a": DOWN}, selection=Selection(target=("other:o",)))
    assert (plan.complete, plan.unknown, plan.unchanged) == (True, {}, 1)


def test_replace() -> None:
    plan = planned(host(A, B), selection=Selection(replace=("thing:a",)))
    assert actions(plan) == ["replace thing:a"]


# --- what follows -----------------------------------------------------------------------------------------------


def test_a_change_says_what_it_brings_about() -> None:
    watcher = Other(name="o", follows=("thing:a",))
    plan = planned(host(A, watcher), {"thing:a": OLD, "other:o": Other(name="o", value="old")})
    assert plan.changes[0].effects == ("restarts other:o",)
    as_declared = planned(host(A, watcher), {"thing:a": OLD})
    assert as_declared.changes[0].effects == ()
    nothing_runs = planned(host(A, watcher), absent(host(A, watcher)))
    assert nothing_runs.changes[0].effects == ()


def test_a_change_is_still_able_to_make_its_steps() -> None:
    [change] = planned(host(A), {"thing:a": OLD}).changes
    assert change._desired is not None
    assert change._observed == OLD


PRECIOUS = Thing(name="data", destroys="loses all data")


def test_what_destroys_is_refused_with_the_flag_that_allows_it() -> None:
    plan = planned(host(A), ledger=ledger_of(PRECIOUS), removed=(PRECIOUS,))
    assert plan.changes[0].reason == "loses all data"
    with pytest.raises(UnsafePlan) as error:
        refuse_unsafe(plan, ())
    assert str(error.value) == (
        "h1: this plan would delete thing:data (loses all data): if that is meant, add --allow-destroy thing:data"
    )
    for allowed in ("thing:data", "thing:*", "h1/thing:data"):
        refuse_unsafe(plan, (allowed,))
    with pytest.raises(UnsafePlan):
        refuse_unsafe(plan, ("h2/thing:data", "thing:a"))


def test_making_anew_destroys_too() -> None:
    live = PRECIOUS.model_copy(update={"shape": "round"})
    plan = planned(host(PRECIOUS.model_copy(update={"shape": "square"})), {"thing:data": live})
    assert actions(plan) == ["replace thing:data"]
    with pytest.raises(UnsafePlan):
        refuse_unsafe(plan, ())


def test_an_update_is_harmless() -> None:
    refuse_unsafe(planned(host(PRECIOUS), {"thing:data": Thing(name="data", value="old", destroys="x")}), ())


# --- the document -----------------------------------------------------------------------------------------------

SECRET = "hunter2-and-more"


def whole() -> Plan:
    """One of everything."""
    kept = Other(name="kept", secret=Secret(SECRET), follows=("thing:a",), interrupts="drops connections")
    made = host(A, kept, Thing(name="lost"), Thing(name="later"))
    live: dict[str, Observed] = {
        "thing:a": OLD,
        "other:kept": kept.model_copy(update={"secret": Secret("before-" + SECRET), "value": "old"}),
        "thing:lost": DOWN,
        "thing:later": Unknown("not up", until=("thing:a",)),
    }
    ledger = ledger_of(PRECIOUS)
    ledger.entries["other:alien"] = entry(Other(name="alien"), created=False)
    plan = planned(made, live, ledger=ledger, removed=(PRECIOUS,))
    return Plan.of([plan, HostPlan.failed("h2", "h2: refused", reachable=False)], Selection(replace=("x:*",)))


def test_the_document() -> None:
    document = json.loads(whole().to_json())
    assert list(document) == [
        "format_version", "kbstate_version", "created_at", "digest", "selection", "hosts", "summary",
    ]  # fmt: skip
    assert document["summary"] == {"add": 0, "change": 3, "replace": 0, "delete": 1, "unknown": 1, "unchanged": 0}
    first, second = document["hosts"]
    assert second["reachable"] is False
    assert second["errors"] == ["refused"]
    changes = {change["address"]: change for change in first["changes"]}
    assert changes["thing:a"] == {
        "address": "thing:a",
        "kind": "thing",
        "module": "main",
        "actions": ["update"],
        "cause": "new",
        "before": {"value": "old"},
        "after": {"value": "new"},
        "diff": [{"path": "value", "before": "old", "after": "new"}],
        "sensitive": [],
        "effects": ["restarts other:kept"],
        "impact": None,
        "requires": [],
        "before_hash": changes["thing:a"]["before_hash"],
        "after_hash": changes["thing:a"]["after_hash"],
    }
    kept = changes["other:kept"]
    assert kept["sensitive"] == ["secret"]
    assert {"path": "secret"} in kept["diff"]
    assert "secret" not in kept["before"] and "secret" not in kept["after"]
    assert changes["thing:later"]["after_unknown"] is True
    assert changes["thing:data"]["actions"] == ["delete"]
    assert changes["thing:data"]["after"] is None
    assert first["unknown"] == [{"address": "thing:lost", "reason": "the daemon is not running"}]


def test_a_replacement_is_two_actions() -> None:
    plan = planned(host(A), selection=Selection(replace=("thing:a",)))
    assert json.loads(Plan.of([plan], Selection()).to_json())["hosts"][0]["changes"][0]["actions"] == [
        "delete",
        "create",
    ]


def test_no_secret_is_in_the_document() -> None:
    assert SECRET not in whole().to_json()
    assert SECRET not in repr(whole())


def test_it_comes_back_as_it_was() -> None:
    plan = whole()
    back = Plan.from_json(plan.to_json())
    assert back.to_json() == plan.to_json()
    assert [host.digest for host in back.hosts] == [host.digest for host in plan.hosts]


def test_the_digest_leaves_out_time_and_version() -> None:
    plan = whole()
    later = plan.model_copy(update={"created_at": "2030-01-01T00:00:00Z", "kbstate_version": "9"})
    assert later.digest == plan.digest


def test_a_secret_that_changed_changes_the_digest() -> None:
    def digest(value: str) -> str:
        return planned(host(Thing(name="s", secret=Secret(value))), {"thing:s": None}).digest

    assert digest("one") == digest("one")
    assert digest("one") != digest("two")


def damaged(**changes: Any) -> str:
    return json.dumps({**json.loads(whole().to_json()), **changes})


def host_with(**changes: Any) -> list[Any]:
    first, *rest = json.loads(whole().to_json())["hosts"]
    return [{**first, **changes}, *rest]


FOREIGN = [
    ("", "p.json is damaged: it is no JSON document; make the plan anew"),
    ("{" * 10, "is no JSON document"),
    ("[" * 100_000, "is no JSON document"),
    ("[]", "p.json is no saved plan: give the FILE of `kbstate plan --out FILE`"),
    ('{"format_version": "1", "kind": "observation"}', "is no saved plan"),
    (damaged(format_version="2"), "p.json has format version '2', this kbstate reads '1': make the plan anew"),
    (damaged(format_version=None), "has format version 'None'"),
    (damaged(more=1), "p.json is damaged: more: Extra inputs are not permitted; make the plan anew"),
    (damaged(hosts=7), "is damaged: hosts: "),
    (damaged(hosts=host_with(more=1)), "is damaged: hosts.0.more: Extra inputs"),
    (damaged(hosts=host_with(changes=[{}])), "is damaged: hosts.0.changes.0.address: Field required"),
    (damaged(hosts=host_with(changes=[])), "p.json was altered after it was made: make the plan anew"),
    (damaged(summary={**json.loads(whole().to_json())["summary"], "add": 1}), "was altered"),
    (damaged(digest="sha256:0"), "was altered"),
]


@pytest.mark.parametrize(("text", "sentence"), FOREIGN)
def test_a_file_that_is_no_plan(text: str, sentence: str) -> None:
    with pytest.raises(PlanFileError) as error:
        Plan.from_json(text, "p.json")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


# --- exit codes, and what moved ---------------------------------------------------------------------------------


def test_exit_codes() -> None:
    nothing = Plan.of([planned(host(A))], Selection())
    something = Plan.of([planned(host(A), {"thing:a": None})], Selection())
    unreachable = Plan.of([*something.hosts, HostPlan.failed("h2", "x", reachable=False)], Selection())
    assert [nothing.exit_code(), nothing.exit_code(True)] == [OK, OK]
    assert [something.exit_code(), something.exit_code(True)] == [OK, DIFFERS]
    assert [unreachable.exit_code(), unreachable.exit_code(True)] == [UNREADABLE, UNREADABLE]


def test_nothing_moved() -> None:
    assert moved(planned(host(A)), planned(host(A))) == []
    assert moved(whole(), whole()) == []


SAVED = planned(host(A, B), {"thing:a": OLD, "thing:b": None})
MOVED = [
    (planned(host(A, B), {"thing:b": None}), ["thing:a has no change any more", "as declared: 1 instead of 0"]),
    (
        planned(host(A, B), {"thing:a": Thing(name="a", value="other"), "thing:b": None}),
        ["thing:a: what is on the host moved"],
    ),
    (
        planned(host(Thing(name="a", value="newer"), B), {"thing:a": OLD, "thing:b": None}),
        ["thing:a: what is declared moved"],
    ),
    (planned(host(A, B), {"thing:a": None, "thing:b": None}), ["thing:a: create instead of update"]),
    (
        planned(host(A, B, Other(name="o")), {"thing:a": OLD, "thing:b": None, "other:o": None}),
        ["other:o has a change now (create)"],
    ),
    (
        planned(host(A, B), {"thing:a": DOWN, "thing:b": None}),
        [
            "thing:a cannot be read now (the daemon is not running)",
            "thing:b cannot be read now (requires thing:a, which could not be read)",
        ],
    ),
    (
        planned(host(A, B), {"thing:a": OLD, "thing:b": None}, ledger=ledger_of(A)),
        ["thing:a: its cause moved"],
    ),
    (
        planned(host(A, B), {"thing:a": OLD, "thing:b": None}, ledger=Unknown("damaged")),
        ["damaged"],
    ),
    (
        planned(host(A, Thing(name="b")), {"thing:a": OLD, "thing:b": None}),
        ["thing:b: what it requires or brings about moved"],
    ),
]


@pytest.mark.parametrize(("fresh", "sentences"), MOVED)
def test_what_moved(fresh: HostPlan, sentences: list[str]) -> None:
    assert moved(SAVED, fresh) == sentences


def test_what_moved_on_several_hosts() -> None:
    saved = Plan.of([SAVED], Selection())
    fresh = Plan.of([planned(host(A, B), {"thing:b": None}), HostPlan(name="h2")], Selection())
    assert moved(saved, fresh) == [
        "h2 is new in the plan",
        "h1: thing:a has no change any more",
        "h1: as declared: 1 instead of 0",
    ]
    assert moved(saved, Plan.of([], Selection())) == ["h1 is no longer in the plan"]
    assert moved(saved, Plan.of([SAVED], Selection(target=("x:y",)))) == ["the order or the selectors of the plan"]
