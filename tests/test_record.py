from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kbstate.collect import Observation
from kbstate.desired import Host
from kbstate.diff import Declared
from kbstate.kinds.file import File
from kbstate.kinds.package import Package
from kbstate.ledger import Entry, Ledger, LedgerFact, Run
from kbstate.plan import HostPlan
from kbstate.record import converged, intended, ledger_script
from kbstate.resource import Change, Observed, Resource, Unknown
from kbstate.secret import Hasher, Secret
from tests.kinds.case import entry_of

HASHER = Hasher(b"test key")
FILE = File(path="/etc/motd", content="hello\n")
JQ = Package(name="jq")
RUN = Run(at="2026-01-01T00:00:00Z", by="me@here", digest="sha256:0")
NO_CHANGES = HostPlan(name="web-01")


def host(*resources: Resource) -> Host:
    return Host(name="web-01", address="192.0.2.1", modules={"base": resources})


def seen(observed: Mapping[str, Observed], *removed: Resource) -> Observation:
    gone = tuple(Declared(resource, "base", removed=True) for resource in removed)
    return Observation("web-01", observed, Ledger(), gone, "2026-01-01T00:00:00Z")


def create(resource: Resource, requires: tuple[str, ...] = ()) -> Change:
    change = Change(
        address=resource.address,
        kind=resource.kind,
        module="base",
        action="create",
        cause="new",
        requires=requires,
    )
    change._desired = resource
    return change


def test_what_is_about_to_be_created_is_written_down_first() -> None:
    ledger = intended(Ledger(), [create(FILE)], RUN)
    assert ledger.intents["file:/etc/motd"].created
    assert ledger.intents["file:/etc/motd"].fields == {}
    assert ledger.runs == (RUN,)
    assert ledger.entries == {}


def test_the_last_hundred_runs_are_kept() -> None:
    ledger = Ledger()
    for number in range(120):
        ledger = intended(ledger, [], RUN.model_copy(update={"digest": f"sha256:{number}"}))
    assert [ledger.runs[0].digest, ledger.runs[-1].digest, len(ledger.runs)] == ["sha256:20", "sha256:119", 100]


def test_what_was_created_and_is_as_declared() -> None:
    plan = HostPlan(name="web-01", changes=(create(FILE, ("directory:/etc",)),))
    ledger = converged(intended(Ledger(), plan.changes, RUN), host(FILE), seen({FILE.address: FILE}), plan, HASHER)
    assert ledger.entries == {
        FILE.address: entry_of(FILE).model_copy(update={"module": "base", "requires": ("directory:/etc",)})
    }
    assert ledger.intents == {}


def test_what_had_been_there_before_is_not_ours() -> None:
    ledger = converged(Ledger(), host(FILE), seen({FILE.address: FILE}), NO_CHANGES, HASHER)
    assert not ledger.entries[FILE.address].created


def test_what_is_not_as_declared_keeps_what_was_applied_last() -> None:
    before = entry_of(File(path="/etc/motd", content="old\n"))
    ledger = converged(
        Ledger(entries={FILE.address: before}),
        host(FILE, JQ),
        seen({FILE.address: File(path="/etc/motd", content="other\n"), JQ.address: Unknown("dpkg is broken")}),
        NO_CHANGES,
        HASHER,
    )
    assert ledger.entries == {FILE.address: before}


def test_a_killed_creation_stays_intended_until_it_is_as_declared() -> None:
    started = intended(Ledger(), [create(FILE)], RUN)
    unlike = seen({FILE.address: File(path="/etc/motd", content="half")})
    assert FILE.address in converged(started, host(FILE), unlike, NO_CHANGES, HASHER).intents
    later = converged(started, host(FILE), seen({FILE.address: FILE}), NO_CHANGES, HASHER)
    assert later.entries[FILE.address].created
    assert later.intents == {}


def test_what_left_the_desired_state() -> None:
    made, found = entry_of(JQ), entry_of(FILE).model_copy(update={"created": False})
    ledger = Ledger(entries={JQ.address: made, FILE.address: found})
    still_there = converged(ledger, host(), seen({JQ.address: JQ}, JQ), NO_CHANGES, HASHER)
    assert list(still_there.entries) == [JQ.address]  # what had been there before is forgotten
    gone = converged(ledger, host(), seen({JQ.address: None}, JQ), NO_CHANGES, HASHER)
    assert gone.entries == {}
    unseen = converged(ledger, host(), seen({JQ.address: Unknown("no answer")}, JQ), NO_CHANGES, HASHER)
    assert list(unseen.entries) == [JQ.address]


def test_what_this_version_does_not_know_is_kept() -> None:
    teapot = Entry(kind="teapot", module="base", identity={"name": "one"}, fields={}, created=True)
    ledger = converged(Ledger(entries={"teapot:one": teapot}), host(), seen({}), NO_CHANGES, HASHER)
    assert ledger.entries == {"teapot:one": teapot}


def test_declared_absent_and_absent() -> None:
    gone = Package(name="ufw", absent=True)
    entry = converged(Ledger(), host(gone), seen({gone.address: None}), NO_CHANGES, HASHER).entries[gone.address]
    assert (entry.absent, entry.created, entry.fields) == (True, False, {})


def test_secrets_are_keyed_digests() -> None:
    secret = File(path="/etc/key", content=Secret("hunter2"))
    text = converged(Ledger(), host(secret), seen({secret.address: secret}), NO_CHANGES, HASHER).model_dump_json()
    assert "hunter2" not in text
    assert HASHER.digest(b"hunter2") in text


def test_the_script_replaces_the_ledger_and_reads_back(tmp_path: Path) -> None:
    ledger = intended(Ledger(entries={FILE.address: entry_of(FILE)}), [], RUN)
    script = ledger_script(ledger).replace("/var/lib/kbstate", str(tmp_path / "state"))
    subprocess.run(["sh", "-c", script], check=True)
    written = tmp_path / "state" / "ledger.json"
    assert json.loads(written.read_text()) == json.loads(ledger.model_dump_json())
    assert written.stat().st_mode & 0o777 == 0o600
    assert list(written.parent.iterdir()) == [written]
    encoded = base64.b64encode(written.read_bytes()).decode()
    assert LedgerFact().process([None], encoded) == {None: ledger}
