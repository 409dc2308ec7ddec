"""The ledger: what was last applied, kept whole or not at all, and never guessed."""

from __future__ import annotations

import base64
import json
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.ledger import PATH, Entry, Ledger, LedgerFact, Run, recorded, write_ledger
from kbstate.resource import Unknown
from tests.real import alone, here

ENTRY = Entry(kind="file", module="base", identity={"path": "/x"}, fields={"mode": '"0644"'}, created=True)
LEDGER = Ledger(
    entries={"file:/x": ENTRY},
    intents={"file:/y": ENTRY},
    runs=(
        Run(
            at="2026-11-25T03:00:00Z", by="root@install-01", digest="sha256:0", outcome="applied", changes={"create": 1}
        ),
    ),
)


def answer(output: str) -> Ledger | Unknown | None:
    return LedgerFact().process([None], output)[None]


def told(content: bytes) -> str:
    return f"ledger {base64.b64encode(content).decode()}"


def test_what_is_written_is_read() -> None:
    assert answer(told(LEDGER.model_dump_json().encode())) == LEDGER


def test_none_yet_is_an_empty_one() -> None:
    assert answer("") == Ledger()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}{}",
        b'{"format_version": "2"}',
        b'{"entries": {"x": {}}}',
        b'{"unknown": 1}',
        LEDGER.model_dump_json().encode()[:-20],
    ],
)
def test_a_damaged_one_is_unknown_not_empty(content: bytes) -> None:
    found = answer(told(content))
    assert isinstance(found, Unknown)
    assert found.reason == f"the ledger {PATH} is damaged: restore it, or remove it to start a new one"


def test_what_is_no_base64_is_damaged_too() -> None:
    assert isinstance(answer("ledger %%%"), Unknown)


@given(st.text(alphabet=string.printable, min_size=1, max_size=40))
def test_no_output_at_all_is_taken_for_another_ledger(text: str) -> None:
    assert isinstance(answer(text), Unknown)


def test_moved() -> None:
    moved = LEDGER.moved({"file:/x": "file:/new", "file:/none": "file:/other"})
    assert moved.entries == {"file:/new": ENTRY}
    assert (moved.runs, moved.intents) == (LEDGER.runs, LEDGER.intents)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


@given(JSON, JSON)
def test_recorded_tells_values_apart(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (recorded(one) == recorded(other)) is same  # type: ignore[arg-type]


def test_recorded_is_short_and_does_not_depend_on_order() -> None:
    assert recorded({"b": 1, "a": "é"}) == '{"a":"é","b":1}'
    assert recorded("x" * 118) == f'"{"x" * 118}"'
    assert recorded("x" * 119).startswith("sha256:")
    assert len(recorded("x" * 1000)) == 71


def test_what_is_strange_is_refused() -> None:
    with pytest.raises(ValidationError):
        Entry(**{**ENTRY.model_dump(), "more": 1})
    with pytest.raises(ValidationError):
        Run(at="x", by="y", digest="z", outcome="unheard of")


# --- for real ---------------------------------------------------------------------------------------------------


def in_a_directory(directory: Path, script: str) -> subprocess.CompletedProcess[bytes]:
    """With the state directory of the host bound to one of the test's own."""
    state = "/var/lib/kbstate"
    mounts = f"mount -t tmpfs kb /var/lib && mkdir {state} && mount --bind {directory} {state} || exit 99\n"
    return alone(f"unshare --mount sh -s <<'KBSTATE_OUTER'\n{mounts}{script}\nKBSTATE_OUTER")


def test_it_is_written_whole_and_for_root_alone(tmp_path: Path) -> None:
    [script] = write_ledger(LEDGER.model_dump_json())
    for _ in range(2):
        done = in_a_directory(tmp_path, script)
        assert done.returncode == 0, done.stderr.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.json"]
    assert (tmp_path / "ledger.json").stat().st_mode & 0o777 == 0o600
    read = in_a_directory(tmp_path, LedgerFact().command([None]))
    assert read.returncode == 0
    assert answer(read.stdout.decode()) == LEDGER


def test_where_there_is_none_the_command_succeeds() -> None:
    done = here(LedgerFact().command([None]).replace(PATH, "/nonexistent/ledger.json"))
    assert (done.returncode, done.stdout) == (0, b"")


def test_an_empty_file_is_damaged_not_none(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").touch()
    done = in_a_directory(tmp_path, LedgerFact().command([None]))
    assert done.returncode == 0
    assert isinstance(answer(done.stdout.decode()), Unknown)


def test_one_that_cannot_be_read_is_not_none(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").mkdir()
    done = in_a_directory(tmp_path, LedgerFact().command([None]))
    assert done.returncode != 0
