"""Drop-ins of units."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from pydantic import ValidationError

from kbstate.kinds.dropin import DropIn
from kbstate.kinds.service import Service
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of
from tests.kinds.test_service import RUNNING

TEXT = '[Service]\nEnvironment="DOCKER_OPTS=--mtu 1400 $(id) it\'s"\n'
DESIRED = DropIn(unit="docker", name="10-options", content=TEXT, mode="0644")


def live(text: str = TEXT) -> PathState:
    data = text.encode()
    content = None if text == TEXT else data
    return PathState(
        "file", "0644", "0", "0", "root", "root", len(data), 1.0, "", hashlib.sha256(data).hexdigest(), content
    )


def test_address_and_path() -> None:
    assert DESIRED.address == "dropin:docker.service/10-options"
    assert DESIRED.path == "/etc/systemd/system/docker.service.d/10-options.conf"


def test_create_and_update() -> None:
    assert change_of(DESIRED, {"state": live(), "unit": RUNNING}) is None
    for state in (None, live("[Service]\nNice=1\n")):
        change = change_of(DESIRED, {"state": state, "unit": RUNNING})
        assert change is not None
        steps = steps_of(change)
        assert [getattr(step.op, "__name__", step.op) for step in steps] == [
            "directory",
            "write_file",
            "systemd.daemon_reload",
        ]
        assert "$(id)" not in scripts(steps[1])


def test_a_daemon_reload_is_owed() -> None:
    change = change_of(DESIRED, {"state": live(), "unit": replace(RUNNING, needs_daemon_reload=True)})
    assert change is not None
    assert change.fields == {"unit_files_read"}
    assert [step.op for step in steps_of(change)] == ["systemd.daemon_reload"]


def test_delete_and_conflict() -> None:
    gone = DropIn(unit="docker", name="10-options", absent=True)
    change = change_of(gone, {"state": live(), "unit": RUNNING})
    assert change is not None
    assert "rmdir --ignore-fail-on-non-empty" in scripts(steps_of(change)[0])
    assert isinstance(DESIRED.observe(replace(live(), type="directory"), RUNNING), Unknown)


def test_a_service_restarts_for_its_drop_in() -> None:
    service = Service(name="docker", running=True, restart_on=(DESIRED.address,)).bound({DESIRED.address: DESIRED}.get)
    assert service.start_files[0].path == DESIRED.path


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", "a b", "$(id)", "a\nb", "'"])
def test_hostile_names(name: str) -> None:
    with pytest.raises(ValidationError):
        DropIn(unit="docker", name=name, content=TEXT)


def test_problems() -> None:
    assert list(DropIn(unit="docker", name="10-x.conf", content=TEXT).problems())
    assert list(DropIn(unit="docker", name="10-x").problems())
    assert not list(DESIRED.problems())


def lab(unit: str, field: str, drift: str) -> LabCase:
    """Each in a unit of its own: one changed file makes systemd's answer for the whole unit old."""
    dropin = DropIn(
        unit=unit, name="kb", content="[Unit]\nDocumentation=man:a\n", owner="root", group="root", mode="0644"
    )
    return LabCase((dropin,), dropin.address, field, drift.replace("FILE", dropin.path))


LAB_CASES: list[LabCase] = [
    lab("ssh", "content", "sed -i s/man:a/man:b/ FILE; systemctl daemon-reload"),
    lab("dbus", "owner", "chown nobody FILE"),
    lab("systemd-logind", "group", "chgrp adm FILE"),
    lab("systemd-journald", "mode", "chmod 0666 FILE"),
    replace(lab("systemd-user-sessions", "unit_files_read", "sleep 0.1; touch FILE"), alone=True),  # others reload
    lab("apt-daily.timer", "", "rm -r $(dirname FILE)"),
]
