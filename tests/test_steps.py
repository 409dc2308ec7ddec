from __future__ import annotations

from typing import Any

from kbstate.kinds.file import File
from kbstate.kinds.package import Package
from kbstate.resource import Change, Resource
from kbstate.steps import preflights, subject, together


def change(resource: Resource, action: Any = "create", **more: Any) -> Change:
    made = Change(address=resource.address, kind=resource.kind, module="base", action=action, cause="new", **more)
    made._desired = None if action == "delete" else resource
    made._observed = resource if action in ("delete", "update") else None
    return made


def never(_: Change) -> bool:
    return False


JQ, TREE, PINNED = Package(name="jq"), Package(name="tree"), Package(name="curl", version="7.88")
HELD = Package(name="wget", held=True)
MOTD = File(path="/etc/motd", content="x")


def test_packages_that_follow_each_other_are_one_run_of_apt() -> None:
    group, step = together(change(JQ), [change(TREE), change(PINNED), change(MOTD), change(Package(name="sl"))], never)
    assert [member.address for member in group] == ["package:jq", "package:tree", "package:curl"]
    assert step is not None
    assert step.args["packages"] == ["jq", "tree", "curl=7.88"]


def test_what_has_steps_of_its_own_goes_alone() -> None:
    assert together(change(MOTD), [change(JQ)], never) == ([change(MOTD)], None)
    assert together(change(HELD), [change(JQ)], never)[1] is None
    group, _ = together(change(JQ), [change(HELD)], never)
    assert len(group) == 1


def test_installing_and_removing_are_two_runs() -> None:
    group, _ = together(change(JQ), [change(TREE, "delete")], never)
    assert [member.address for member in group] == ["package:jq"]


def test_what_is_blocked_does_not_come_along() -> None:
    group, _ = together(change(JQ), [change(TREE), change(PINNED)], lambda other: other.address == "package:tree")
    assert [member.address for member in group] == ["package:jq"]


def test_what_is_not_known_yet_has_no_steps_yet() -> None:
    assert together(change(JQ, "update", after_unknown=True), [change(TREE)], never)[1] is None
    assert list(preflights(change(JQ, "update", after_unknown=True))) == []


def test_who_knows_the_steps() -> None:
    assert subject(change(JQ)) is JQ
    assert subject(change(JQ, "delete")) is JQ


def test_a_step_that_makes_sure_by_itself_is_not_asked_twice() -> None:
    checked = File(path="/etc/motd", content="x", validate_with="grep -q x {path}")
    assert list(preflights(change(checked))) == []
    assert [check.name for check in checked.preflight(change(checked))] == ["/etc/motd is accepted"]
    assert [check.name for check in preflights(change(JQ))] == ["200 MB are free in /var"]
