"""What resources make of answers; a table answers instead of a host, since nothing is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kbstate.batch import Facts
from kbstate.collect import LEDGER, collect, observe_one, reads_of
from kbstate.desired import Host
from kbstate.kinds.directory import Directory
from kbstate.kinds.file import File
from kbstate.kinds.package import Package, PackageState
from kbstate.ledger import Entry, Ledger
from kbstate.paths import PathState
from kbstate.resource import AnyRead, Unknown

FILE = File(path="/etc/motd", content="hello\n", mode="0644")
STATE = PathState("file", "0600", "0", "0", "root", "root", 4, 1.0, "", "x", b"old\n")


class Table:
    """Answers from a table, and counts how often it is asked."""

    def __init__(self, answers: Mapping[AnyRead, Any]) -> None:
        self.answers = answers
        self.asked: list[list[AnyRead]] = []

    def facts(self, reads: Iterable[AnyRead]) -> Facts:
        self.asked.append(list(reads))
        return {read: self.answers.get(read, Unknown("not in the table")) for read in self.asked[-1]}


def host(*resources: Any, **more: Any) -> Host:
    return Host(name="web-01", address="192.0.2.1", modules={"base": resources}, **more)


def entry(kind: str, created: bool = True, **identity: str) -> Entry:
    return Entry(kind=kind, module="base", identity=identity, fields={}, created=created)


def read_of(resource: File | Package | Directory) -> AnyRead:
    return next(iter(resource.reads().values()))


def test_everything_is_read_in_one_execution() -> None:
    package = Package(name="jq")
    table = Table({LEDGER: Ledger(), read_of(FILE): STATE, read_of(package): PackageState("1.6", False)})
    seen = collect(table, host(FILE, package))
    assert len(table.asked) == 1
    assert isinstance(seen.observed["file:/etc/motd"], File)
    assert seen.observed["file:/etc/motd"].mode == "0600"
    jq = seen.observed["package:jq"]
    assert isinstance(jq, Package)
    assert (jq.version, jq.held) == ("1.6", False)
    assert seen.removed == ()


def test_what_is_asked_twice_is_read_once() -> None:
    declared = host(FILE, Package(name="jq")).declared
    assert reads_of([*declared, *declared]) == reads_of(declared)


def test_unknown_stays_unknown_and_says_why() -> None:
    seen = collect(Table({LEDGER: Ledger(), read_of(FILE): Unknown("Permission denied")}), host(FILE))
    assert seen.observed == {"file:/etc/motd": Unknown("Permission denied")}


def test_what_was_not_asked_is_unknown() -> None:
    assert observe_one(FILE, {}) == Unknown("it was not asked")


def test_what_cannot_be_declared_is_unknown() -> None:
    odd = PathState("file", "0644", "0", "0", "no such\nuser", "root", 4, 1.0, "", "x", b"old\n")
    live = observe_one(
        File(path="/etc/motd", content="x", owner="root"), {read_of(File(path="/etc/motd", content="x")): odd}
    )
    assert isinstance(live, Unknown)
    assert live.reason.startswith("what is there cannot be declared (owner: ")


def test_what_left_the_desired_state_is_looked_at_in_a_second_execution() -> None:
    gone = Package(name="nginx", absent=True)
    ledger = Ledger(entries={"package:nginx": entry("package", name="nginx")})
    answers: dict[AnyRead, Any] = {LEDGER: ledger, read_of(FILE): STATE}
    answers |= dict.fromkeys(gone.reads().values(), None)
    table = Table(answers)
    seen = collect(table, host(FILE))
    assert [item.resource.address for item in seen.removed] == ["package:nginx"]
    assert seen.observed["package:nginx"] is None
    assert len(table.asked) == 2


def test_what_was_there_before_or_a_killed_run_was_about_to_create() -> None:
    ledger = Ledger(
        entries={"package:nginx": entry("package", created=False, name="nginx")},
        intents={"package:sl": entry("package", name="sl")},
    )
    seen = collect(Table({LEDGER: ledger, read_of(FILE): STATE}), host(FILE))
    assert [item.resource.address for item in seen.removed] == ["package:sl"]


def test_a_renamed_address_is_not_left_behind() -> None:
    ledger = Ledger(entries={"file:/etc/old": entry("file", path="/etc/old")})
    seen = collect(Table({LEDGER: ledger, read_of(FILE): STATE}), host(FILE, moved={"file:/etc/old": "file:/etc/motd"}))
    assert seen.removed == ()
    assert isinstance(seen.ledger, Ledger)
    assert list(seen.ledger.entries) == ["file:/etc/motd"]


def test_without_a_ledger_nothing_is_removed() -> None:
    seen = collect(Table({LEDGER: Unknown("damaged"), read_of(FILE): STATE}), host(FILE))
    assert seen.ledger == Unknown("damaged")
    assert seen.removed == ()


def test_a_kind_that_is_no_longer_defined_is_left_alone() -> None:
    ledger = Ledger(entries={"teapot:one": entry("teapot", name="one")})
    assert collect(Table({LEDGER: ledger, read_of(FILE): STATE}), host(FILE)).removed == ()
