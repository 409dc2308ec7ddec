"""What comes before what."""

from __future__ import annotations

import graphlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbstate.errors import CycleError, DesiredError
from kbstate.kinds.container import Container
from kbstate.kinds.directory import Directory
from kbstate.kinds.file import File
from kbstate.kinds.package import Package
from kbstate.kinds.service import Service as RealService
from kbstate.ledger import Ledger
from kbstate.order import order, requirements
from kbstate.resource import Resource
from tests.things import Other, Thing, absent, actions, entry, host, planned


def ordered(*things: Resource) -> list[str]:
    return [item.resource.address for item in order(host(*things).declared)]


def test_as_declared_where_nothing_decides() -> None:
    assert ordered(Thing(name="c"), Thing(name="a"), Thing(name="b")) == ["thing:c", "thing:a", "thing:b"]


def test_what_is_required_comes_first_and_the_rest_stays() -> None:
    things = Thing(name="a", requires=("thing:c",)), Thing(name="b"), Thing(name="c"), Thing(name="d")
    assert ordered(*things) == ["thing:b", "thing:c", "thing:a", "thing:d"]


def test_needs_and_watches_count_where_they_are_declared() -> None:
    a = Thing(name="a", wants=("thing:b", "thing:nowhere", "other:x*"), follows=("thing:c", "thing:gone"))
    things = [a, Thing(name="b"), Thing(name="c"), Other(name="x1"), Other(name="y")]
    every = requirements(host(*things).declared).every
    assert every["thing:a"] == ("thing:c", "thing:b", "other:x1")
    assert requirements(host(*things).declared).sure["thing:a"] == ("thing:c", "thing:b")


def test_real_kinds() -> None:
    file = File(path="/etc/docker/daemon.json", content="{}")
    service = RealService(name="docker", running=True, restart_on=(file.address,))
    things = [service, file, Directory(path="/etc/docker"), Package(name="docker.io")]
    assert ordered(*things) == [
        "directory:/etc/docker",
        "file:/etc/docker/daemon.json",
        "package:docker.io",
        "service:docker.service",
    ]


def test_an_address_that_looks_like_a_pattern_is_itself() -> None:
    things = [Thing(name="a", requires=("thing:b*",)), Thing(name="b*"), Thing(name="bc")]
    assert requirements(host(*things).declared).every["thing:a"] == ("thing:b*",)


def test_what_is_not_to_exist_needs_nothing() -> None:
    things = [Thing(name="a", absent=True, wants=("thing:b",)), Thing(name="b")]
    assert requirements(host(*things).declared).every["thing:a"] == ()


def test_a_requirement_that_is_not_declared() -> None:
    with pytest.raises(DesiredError) as error:
        ordered(Thing(name="a", requires=("thing:b",)))
    assert "thing:a requires thing:b, which is not declared: declare it, or take it out of requires" in str(error.value)
    assert "test_order.py:" in str(error.value)


def test_a_cycle_shows_itself_with_places() -> None:
    with pytest.raises(CycleError) as error:
        ordered(
            Thing(name="z"),
            Thing(name="a", requires=("thing:b",)),
            Thing(name="b", wants=("thing:c",)),
            Thing(name="c", follows=("thing:a",)),
        )
    message = str(error.value)
    assert "these require each other in a circle: thing:a (" in message
    assert message.index("thing:a (") < message.index("→ thing:b (") < message.index("→ thing:c (")
    assert message.count("test_order.py:") == 3
    assert "→ thing:a: take one" in message
    assert "thing:z" not in message


def test_a_thing_that_requires_itself_is_no_cycle_of_two() -> None:
    assert ordered(Thing(name="a", wants=("thing:*",)), Thing(name="b")) == ["thing:b", "thing:a"]


def test_what_a_wildcard_names_gives_way_to_what_is_certain() -> None:
    things = [Thing(name="a", wants=("other:*",)), Other(name="x", requires=("thing:a",)), Other(name="y")]
    assert ordered(*things) == ["other:y", "thing:a", "other:x"]


def test_wildcards_that_would_close_a_circle_together() -> None:
    things = [Thing(name="a", wants=("other:*",)), Other(name="x", wants=("thing:*",))]
    assert ordered(*things) == ["other:x", "thing:a"]  # the one declared first has its way


NAMES = [f"n{i}" for i in range(7)]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([*NAMES, "*", "n?"])), max_size=20))
def test_any_graph_is_ordered_or_a_cycle(edges: list[tuple[str, str]]) -> None:
    wants = {name: tuple(f"thing:{b}" for a, b in edges if a == name) for name in NAMES}
    declared = host(*(Thing(name=name, wants=wants[name]) for name in NAMES)).declared
    sure = {a: {b for x, b in edges if x == a and b in NAMES and b != a} for a in NAMES}
    try:
        expected_cycle = not list(graphlib.TopologicalSorter(sure).static_order())
    except graphlib.CycleError:
        expected_cycle = True
    if expected_cycle:
        with pytest.raises(CycleError):
            order(declared)
        return
    place = {item.resource.address: i for i, item in enumerate(order(declared))}
    assert len(place) == len(NAMES)
    for address, firsts in requirements(declared).every.items():
        assert all(place[first] < place[address] for first in firsts)


# --- changes ----------------------------------------------------------------------------------------------------


def test_order_goes_through_what_is_already_as_declared() -> None:
    things = [Thing(name="a", requires=("thing:b",)), Thing(name="b", requires=("thing:c",)), Thing(name="c")]
    plan = planned(host(*things), {"thing:a": None, "thing:c": None})
    assert actions(plan) == ["create thing:c", "create thing:a"]
    assert plan.changes[1].requires == ("thing:b", "thing:c")  # if c fails, a is not attempted


def test_deletes_go_backwards_and_after_what_no_longer_needs_them() -> None:
    user, home, page = Thing(name="user"), Thing(name="home"), Other(name="page")
    ledger = Ledger(
        entries={
            user.address: entry(user),
            home.address: entry(home, requires=("thing:user",)),
            page.address: entry(page, requires=("thing:home",)),
        }
    )
    plan = planned(host(page), {"other:page": Other(name="page", value="old")}, ledger=ledger, removed=(user, home))
    assert actions(plan) == ["update other:page", "delete thing:home", "delete thing:user"]
    assert plan.changes[1].requires == ("other:page",)
    assert plan.changes[2].requires == ("thing:home",)


def test_what_is_declared_absent_goes_backwards_too() -> None:
    inner = Thing(name="inner", absent=True, wants=("thing:outer",))
    outer = Thing(name="outer", absent=True)
    plan = planned(host(outer, inner), {"thing:inner": Thing(name="inner"), "thing:outer": Thing(name="outer")})
    assert actions(plan) == ["delete thing:inner", "delete thing:outer"]


@pytest.mark.parametrize("new", [Thing(name="new"), Other(name="old")])
def test_a_delete_goes_before_the_create_that_may_need_its_place(new: Thing) -> None:
    old = Thing(name="old")
    plan = planned(host(new), {new.address: None}, ledger=Ledger(entries={old.address: entry(old)}), removed=(old,))
    assert actions(plan) == [f"delete {old.address}", f"create {new.address}"]


def test_a_container_gives_its_port_to_a_service() -> None:
    old, new = Container(name="haproxy", image="haproxy:2.8.5"), RealService(name="pound", running=True)
    ledger = Ledger(entries={old.address: entry(old)})
    plan = planned(host(new), {new.address: None}, ledger=ledger, removed=(old,))
    assert actions(plan) == ["delete container:haproxy", "create service:pound.service"]


def test_a_delete_waits_for_what_is_unlike_it() -> None:
    old = Thing(name="old")
    plan = planned(host(Other(name="new")), {"other:new": None}, ledger=Ledger(), removed=(old,))
    assert actions(plan) == ["create other:new", "delete thing:old"]


def test_a_service_takes_up_afterwards_that_its_drop_in_went() -> None:
    old = Other(name="dropin")
    service = Thing(name="service", wants=("other:*",))
    ledger = Ledger(entries={old.address: entry(old), service.address: entry(service, requires=(old.address,))})
    plan = planned(host(service), {"thing:service": Thing(name="service", value="x")}, ledger=ledger, removed=(old,))
    assert actions(plan) == ["delete other:dropin", "update thing:service"]


def test_what_a_wildcard_names_gives_way_to_what_is_deleted_in_order() -> None:
    """The wildcard wants the service after the link; but the link goes after the page, and that after the service."""
    service, link = Thing(name="service", wants=("other:*",)), Other(name="link", absent=True)
    page = Thing(name="page", wants=("other:link",))
    ledger = Ledger(entries={page.address: entry(page), service.address: entry(service, requires=(page.address,))})
    live = {"thing:service": Thing(name="service", value="old"), "other:link": Other(name="link")}
    plan = planned(host(service, link), live, ledger=ledger, removed=(page,))
    assert actions(plan) == ["update thing:service", "delete thing:page", "delete other:link"]


def test_an_old_file_that_cannot_go_before_the_new_one_goes_last() -> None:
    """The container moves from the old file to the new one: create, move, delete."""
    old, new = Thing(name="old"), Thing(name="new")
    container = Other(name="container", requires=("thing:new",))
    ledger = Ledger(entries={old.address: entry(old), container.address: entry(container, requires=(old.address,))})
    live = {"thing:new": None, "other:container": Other(name="container", value="old")}
    plan = planned(host(new, container), live, ledger=ledger, removed=(old,))
    assert actions(plan) == ["create thing:new", "update other:container", "delete thing:old"]


def test_the_order_among_many_is_stable() -> None:
    things = [Thing(name=str(i), wants=(f"thing:{i // 2}", "other:*")) for i in range(1, 40)]
    made = host(*reversed(things), Other(name="x"))
    plan = planned(made, absent(made))
    assert [change.address for change in plan.changes] == ["other:x", *(thing.address for thing in _by_level(things))]
    assert planned(made, absent(made)).digest == plan.digest


def _by_level(things: list[Thing]) -> list[Thing]:
    """Declared from the highest number down: of those that are ready, the highest comes next."""
    done: list[Thing] = []
    while len(done) < len(things):
        names = {thing.name for thing in done}
        ready = [t for t in things if t.name not in names and (t.name == "1" or str(int(t.name) // 2) in names)]
        done.append(max(ready, key=lambda thing: int(thing.name)))
    return done
