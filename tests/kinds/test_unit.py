"""Unit files: content, attributes, and whether systemd has read them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.unit import Unit, commands, content_problems
from kbstate.paths import PathState
from kbstate.resource import Unknown
from kbstate.units import UnitFileName
from tests.kinds.case import LabCase, change_of, scripts, steps_of
from tests.kinds.test_service import RUNNING

TEXT = '[Unit]\nDescription=it\'s "quoted" $(id) %n\n[Service]\nExecStart=/opt/kb/run --now\n'
DESIRED = Unit(name="kb", content=TEXT, owner="root", group="root", mode="0644")


def live(text: str = TEXT, mode: str = "0644") -> PathState:
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    content = None if text == TEXT else data
    return PathState("file", mode, "0", "0", "root", "root", len(data), 1.0, "", digest, content)


def names(change: object) -> list[str]:
    steps = steps_of(change)  # type: ignore[arg-type]
    return [step.op if isinstance(step.op, str) else step.op.__name__ for step in steps]


def test_as_declared() -> None:
    assert change_of(DESIRED, {"state": live(), "unit": RUNNING}) is None


def test_create() -> None:
    change = change_of(DESIRED, {"state": None, "unit": replace(RUNNING, load_state="not-found")})
    assert change is not None
    assert change.action == "create"
    assert names(change) == ["write_file", "systemd.daemon_reload"]
    step = steps_of(change)[0]
    assert step.args["path"] == "/etc/systemd/system/kb.service"
    assert "systemd-analyze verify" in str(step.args["validate"])
    assert "$(id)" not in scripts(step)


def test_update() -> None:
    change = change_of(DESIRED, {"state": live("[Service]\nExecStart=/bin/old\n"), "unit": RUNNING})
    assert change is not None
    assert change.fields == {"content"}
    assert names(change) == ["write_file", "systemd.daemon_reload"]
    change = change_of(DESIRED, {"state": live(mode="0600"), "unit": RUNNING})
    assert change is not None
    assert [(d.path, d.before, d.after) for d in change.diff] == [("mode", "0600", "0644")]
    assert names(change) == ["set_attributes", "systemd.daemon_reload"]


def test_a_daemon_reload_is_owed() -> None:
    change = change_of(DESIRED, {"state": live(), "unit": replace(RUNNING, needs_daemon_reload=True)})
    assert change is not None
    assert change.fields == {"unit_files_read"}
    assert names(change) == ["systemd.daemon_reload"]


def test_delete() -> None:
    change = change_of(Unit(name="kb@.service", absent=True), {"state": live()})
    assert change is not None
    assert names(change) == ["retire", "remove_file", "systemd.daemon_reload"]
    assert steps_of(change)[0].args["name"] == "kb@*.service"
    assert change_of(Unit(name="kb", absent=True), {"state": None, "unit": RUNNING}) is None


def test_conflict() -> None:
    link = replace(live(), type="symlink", target="/dev/null")
    assert isinstance(DESIRED.observe(link, RUNNING), Unknown)


def test_a_template_is_read_without_asking_for_an_instance() -> None:
    assert set(Unit(name="kb@.service", content=TEXT).reads()) == {"state"}


def test_needs_what_it_starts() -> None:
    assert "file:/opt/kb/run" in set(DESIRED.needs())
    content = "ExecStartPre=-/bin/a x\nExecStart=@/bin/b b\nExecStop=!!/bin/c\nExecReload=kill\n"
    assert list(commands(content)) == ["/bin/a", "/bin/b", "/bin/c"]


@pytest.mark.parametrize("content", ["", "[Service]", "no section\n", "[Service]\nA=\x00\n", "[Service]\r\nA=b\n"])
def test_content_problems(content: str) -> None:
    assert list(content_problems(content))
    assert not list(content_problems(TEXT))


@pytest.mark.parametrize("name", ["../x", "a b.service", "-x", "$(id).timer", "a\nb", "x'.service"])
def test_hostile_names(name: UnitFileName) -> None:
    with pytest.raises(ValidationError):
        Unit(name=name, content=TEXT)


@given(st.text())
def test_commands_are_absolute(content: str) -> None:
    assert all(command.startswith("/") for command in commands(f"[Service]\nExecStart={content}\n"))


LAB = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


def lab(name: str, field: str, drift: str) -> LabCase:
    unit = Unit(name=name, content=LAB, owner="root", group="root", mode="0644")
    return LabCase((unit,), unit.address, field, drift.replace("FILE", unit.path))


LAB_CASES: list[LabCase] = [
    lab("kb-content", "content", "sed -i s/true/false/ FILE"),
    lab("kb-owner", "owner", "chown nobody FILE"),
    lab("kb-group", "group", "chgrp adm FILE"),
    lab("kb-mode", "mode", "chmod 0666 FILE"),
    replace(lab("kb-read", "unit_files_read", "systemctl start kb-read; sleep 0.1; touch FILE"), alone=True),
    lab("kb-gone", "", "rm FILE"),
]
