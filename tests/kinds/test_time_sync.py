"""Clock synchronisation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.time_sync import TimeSync, parse, render
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of
from tests.kinds.test_service import CRASHING, NOT_FOUND, RUNNING, STOPPED

UNIT = replace(RUNNING, id="systemd-timesyncd.service")
DESIRED = TimeSync(servers=("ntp1.hetzner.de", "10.0.0.1")).bound(lambda _: None)
TEXT = render("systemd-timesyncd", DESIRED.servers or ())


def file(text: str = TEXT) -> PathState:
    sha256 = DESIRED.service.start_files[0].sha256 if text == TEXT else "0" * 64
    content = None if text == TEXT else text.encode()
    return PathState("file", "0644", "0", "0", "root", "root", len(text), 1.0, "", sha256, content)


RIGHT: dict[str, Any] = {"file": file(), "unit": UNIT, "start_stamp": None, "start_file0": file()}


@pytest.mark.parametrize(
    ("facts", "fields", "steps"),
    [
        ({}, set(), []),
        ({"unit": replace(STOPPED, id=UNIT.id)}, {"running"}, ["control"]),
        ({"unit": replace(UNIT, file_state="disabled")}, {"enabled"}, ["enable"]),
        ({"start_stamp": f"{UNIT.invocation} other"}, {"started_with"}, ["control"]),
        (
            {"file": file("[Time]\nNTP=a b\n"), "start_file0": file("x")},
            {"servers", "started_with"},
            ["write_file", "control"],
        ),
    ],
)
def test_update(facts: dict[str, Any], fields: set[str], steps: list[str]) -> None:
    change = change_of(DESIRED, {**RIGHT, **facts})
    assert (set(change.fields) if change else set()) == fields
    assert [s.op.__name__ for s in (steps_of(change) if change else [])] == steps  # type: ignore[union-attr]


def test_create_and_delete() -> None:
    change = change_of(DESIRED, {**RIGHT, "unit": replace(NOT_FOUND, id=UNIT.id), "file": None})
    assert change is not None
    assert change.action == "create"
    assert [getattr(s.op, "__name__", s.op) for s in steps_of(change)] == [
        "write_file",
        "systemd.daemon_reload",
        "enable",
        "control",
    ]
    gone = TimeSync(absent=True)
    change = change_of(gone, {"file": file(), "unit": UNIT})
    assert change is not None
    assert [s.op.__name__ for s in steps_of(change)] == ["remove_file"]  # type: ignore[union-attr]
    assert change_of(gone, {"file": None, "unit": UNIT}) is None


def test_a_clock_that_the_unit_itself_leaves_alone_is_as_declared() -> None:
    skipped = replace(STOPPED, id=UNIT.id, skipped=True)
    assert change_of(DESIRED, {**RIGHT, "unit": skipped}) is None
    crashing = replace(CRASHING, id=UNIT.id, skipped=True)
    change = change_of(DESIRED, {**RIGHT, "unit": crashing})
    assert change is not None
    assert change.fields == {"running"}
    (step,) = steps_of(change)
    assert "ConditionResult" in scripts(step)


def test_conflict() -> None:
    link = PathState("symlink", "0777", "0", "0", "root", "root", 1, 1.0, "/x")
    assert isinstance(DESIRED.observe(link, UNIT, start_stamp=None, start_file0=link), Unknown)


def test_programs() -> None:
    chrony = TimeSync(program="chrony", servers=("a.example",))
    assert chrony.file.path == "/etc/chrony/conf.d/kbstate.conf"
    assert chrony.service.name == "chrony.service"
    assert chrony.file.content == "# written by kbstate\nserver a.example iburst\n"


@pytest.mark.parametrize("server", ["", "a b", "-a", "a\n", "$(id)", "a'", "#"])
def test_hostile(server: str) -> None:
    with pytest.raises(ValidationError):
        TimeSync(servers=(server,))


@given(
    st.sampled_from(["chrony", "systemd-timesyncd"]),
    st.lists(st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5})?", fullmatch=True)).map(tuple),
)
def test_what_is_written_is_read(program: str, servers: tuple[str, ...]) -> None:
    assert parse(render(program, servers)) == servers


@given(st.text())
def test_any_file_is_read(text: str) -> None:
    assert all(isinstance(server, str) for server in parse(text))


UNIT_BY_HAND = (
    "printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' "
    "> /etc/systemd/system/chrony.service; mkdir -p /etc/chrony/conf.d"
)
CONF = "/etc/chrony/conf.d/kbstate.conf"
LAB = TimeSync(program="chrony", servers=("10.0.0.250",))

LAB_CASES: list[LabCase] = [
    LabCase((LAB,), LAB.address, "servers", f"sed -i /server/d {CONF}", prepare=UNIT_BY_HAND, alone=True),
    LabCase((LAB,), LAB.address, "enabled", "systemctl disable chrony", prepare=UNIT_BY_HAND, alone=True),
    LabCase((LAB,), LAB.address, "running", "systemctl stop chrony", prepare=UNIT_BY_HAND, alone=True),
    LabCase(
        (LAB,),
        LAB.address,
        "started_with",
        f"sleep 1; touch {CONF}; rm /run/kbstate/loaded/unit/chrony.service",
        prepare=UNIT_BY_HAND,
        alone=True,
    ),
]
"""A unit by hand stands for chrony: programs that set the clock refuse to run where the clock is everybody's."""
