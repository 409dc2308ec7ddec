from __future__ import annotations

import json
from pathlib import Path

import pytest

from kbstate.collect import Observation
from kbstate.desired import Host
from kbstate.kinds.file import File
from kbstate.kinds.package import Package
from kbstate.ledger import Ledger
from kbstate.recorded import ObservationFileError, load_observations, save_observations
from kbstate.resource import Observed, Resource, Unknown
from kbstate.secret import Hasher, Secret
from tests.kinds.case import entry_of

HASHER = Hasher(b"test key")


def host(*resources: Resource, name: str = "web-01") -> Host:
    return Host(name=name, address="192.0.2.1", modules={"base": resources})


def there_and_back(tmp_path: Path, observed: Observed, declared: Resource, hasher: Hasher = HASHER) -> Observed:
    path = tmp_path / "seen.json"
    observation = Observation("web-01", {declared.address: observed}, Ledger(), (), "2026-01-01T00:00:00Z")
    save_observations(path, [(host(declared), observation)], HASHER)
    (again,) = load_observations(path, [host(declared)], hasher)
    assert (again.host, again.collected_at, again.ledger) == ("web-01", "2026-01-01T00:00:00Z", Ledger())
    return again.observed[declared.address]


@pytest.mark.parametrize("content", ["text\n", b"\xff\x00binary", ""])
def test_a_resource_comes_back_as_it_was(tmp_path: Path, content: str | bytes) -> None:
    live = File(path="/etc/motd", content=content, owner="root", mode="0644")
    back = there_and_back(tmp_path, live, File(path="/etc/motd", content="x", owner="root"))
    assert isinstance(back, File)
    assert back.model_dump() == live.model_dump()


@pytest.mark.parametrize("observed", [None, Unknown("docker daemon not running", until=("service:docker.service",))])
def test_absent_and_unknown_come_back(tmp_path: Path, observed: Observed) -> None:
    assert there_and_back(tmp_path, observed, Package(name="jq")) == observed


def test_a_secret_is_a_keyed_digest(tmp_path: Path) -> None:
    declared = File(path="/etc/key", content=Secret("hunter2"))
    back = there_and_back(tmp_path, declared, declared)
    assert isinstance(back, File)
    assert isinstance(back.content, Secret)
    assert "hunter2" not in (tmp_path / "seen.json").read_text()
    assert (tmp_path / "seen.json").stat().st_mode & 0o777 == 0o600
    assert back.projection(["content"], HASHER) == declared.projection(["content"], HASHER)


def test_a_digest_of_another_key_is_unknown_not_drift(tmp_path: Path) -> None:
    declared = File(path="/etc/key", content=Secret("hunter2"))
    back = there_and_back(tmp_path, declared, declared, Hasher(b"another key"))
    assert back == Unknown("the observation was made with another KBSTATE_HASH_KEY: collect anew")


def test_a_field_that_was_not_asked_for_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    before, after = File(path="/etc/motd", content="x"), File(path="/etc/motd", content="x", mode="0644")
    observation = Observation("web-01", {before.address: before}, Ledger(), (), "2026-01-01T00:00:00Z")
    save_observations(path, [(host(before), observation)], HASHER)
    (again,) = load_observations(path, [host(after)], HASHER)
    assert again.observed[after.address] == Unknown("the observation does not cover mode: collect anew")


def test_what_was_declared_since_is_not_in_it(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    save_observations(path, [(host(), Observation("web-01", {}, Ledger(), (), "2026-01-01T00:00:00Z"))], HASHER)
    (again,) = load_observations(path, [host(Package(name="jq"))], HASHER)
    assert again.observed == {}


def test_what_only_the_ledger_knows(tmp_path: Path) -> None:
    path, gone = tmp_path / "seen.json", Package(name="jq")
    ledger = Ledger(entries={gone.address: entry_of(gone)})
    save_observations(
        path, [(host(gone), Observation("web-01", {gone.address: gone}, ledger, (), "2026-01-01T00:00:00Z"))], HASHER
    )
    (again,) = load_observations(path, [host()], HASHER)
    assert [item.resource.address for item in again.removed] == [gone.address]
    assert isinstance(again.observed[gone.address], Package)


def test_an_unknown_ledger_stays_unknown(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    observation = Observation("web-01", {}, Unknown("the ledger is damaged"), (), "2026-01-01T00:00:00Z")
    save_observations(path, [(host(), observation)], HASHER)
    assert load_observations(path, [host()], HASHER)[0].ledger == Unknown("the ledger is damaged")


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    with pytest.raises(ObservationFileError, match=r"seen\.json cannot be read: No such file"):
        load_observations(path, [host()], HASHER)
    for text in ("{", "[]", json.dumps({"format_version": "2", "kind": "observation", "hosts": []}), "\0\xff"):
        path.write_text(text)
        with pytest.raises(ObservationFileError, match="is not a file that `kbstate collect` wrote: collect anew"):
            load_observations(path, [host()], HASHER)
    save_observations(path, [], HASHER)
    with pytest.raises(ObservationFileError, match="says nothing of web-01: collect that host too, or name the others"):
        load_observations(path, [host()], HASHER)
    with pytest.raises(ObservationFileError, match=r"no-such-dir/seen\.json cannot be written: No such file"):
        save_observations(tmp_path / "no-such-dir" / "seen.json", [], HASHER)
