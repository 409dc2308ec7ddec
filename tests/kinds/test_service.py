"""Services: what is seen of a unit, what is done about it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.file import File
from kbstate.kinds.service import Service
from kbstate.kinds.unit import Unit
from kbstate.loaded import STALE
from kbstate.paths import PathState
from kbstate.resource import Unknown
from kbstate.units import Units, UnitState
from tests.kinds.case import LabCase, change_of, scripts, steps_of

RUNNING = UnitState(
    id="kb.service",
    load_state="loaded",
    active_state="active",
    sub_state="running",
    file_state="enabled",
    fragment="/lib/systemd/system/kb.service",
    drop_ins="",
    invocation="02c378c6d1514d539ea404f549fbcfe5",
    needs_daemon_reload=False,
    result="success",
    type="notify",
    stays_active=False,
    started=1795534591.0,
)
STOPPED = replace(RUNNING, active_state="inactive", sub_state="dead", invocation="", started=0.0)
FAILED = replace(RUNNING, active_state="failed", sub_state="failed", result="exit-code")
CRASHING = replace(RUNNING, active_state="activating", sub_state="auto-restart", result="exit-code")
NOT_FOUND = replace(STOPPED, load_state="not-found", file_state="", fragment="")
MASKED = replace(STOPPED, load_state="masked", file_state="masked")


def done(desired: Service, state: UnitState, **facts: Any) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """What differs, and the steps in short."""
    change = change_of(desired, {"state": state, **facts})
    if change is None:
        return {}, []
    fields = {delta.path: (delta.before, delta.after) for delta in change.diff}
    steps = [step.op if isinstance(step.op, str) else step.op.__name__ for step in steps_of(change)]
    verbs = [str(step.args["verb"]) for step in steps_of(change) if "verb" in step.args]
    return fields, [*steps, *verbs]


CASES = [
    (Service(name="kb", running=True, enabled=True), RUNNING, {}, []),
    (Service(name="kb", running=True), STOPPED, {"running": (False, True)}, ["control", "start"]),
    (Service(name="kb", running=True), FAILED, {"running": ("failed", True)}, ["control", "start"]),
    (Service(name="kb", running=True), CRASHING, {"running": ("crashing", True)}, ["control", "start"]),
    (Service(name="kb", running=False), RUNNING, {"running": (True, False)}, ["control", "stop"]),
    (Service(name="kb", running=False), FAILED, {"running": ("failed", False)}, ["control", "stop"]),
    (Service(name="kb", running=False, enabled=False), NOT_FOUND, {}, []),
    (Service(name="kb"), replace(RUNNING, active_state="activating", sub_state="start"), {}, []),
    (Service(name="kb", enabled=False), RUNNING, {"enabled": (True, False)}, ["enable"]),
    (Service(name="kb", enabled=True), replace(RUNNING, file_state="disabled"), {"enabled": (False, True)}, ["enable"]),
    (
        Service(name="kb", enabled=True),
        replace(RUNNING, file_state="enabled-runtime"),
        {"enabled": (None, True)},
        ["enable"],
    ),
    (
        Service(name="kb", enabled=False),
        replace(RUNNING, file_state="enabled-runtime"),
        {"enabled": (None, False)},
        ["enable"],
    ),
    (Service(name="kb", masked=True), STOPPED, {"masked": (False, True)}, ["mask"]),
    (Service(name="kb", masked=False, enabled=True), MASKED, {"masked": (True, False)}, ["mask", "enable"]),
    (
        Service(name="kb", running=True),
        replace(RUNNING, needs_daemon_reload=True),
        {"unit_files_read": (False, True)},
        ["systemd.daemon_reload"],
    ),
    (Service(name="kb", running=True), replace(RUNNING, active_state="reloading"), {}, []),
    (Service(name="kb"), replace(STOPPED, type="oneshot"), {}, []),
    (Service(name="kb", running=True), replace(RUNNING, type="oneshot", stays_active=True, sub_state="exited"), {}, []),
]


@pytest.mark.parametrize(("desired", "state", "fields", "steps"), CASES)
def test_update(desired: Service, state: UnitState, fields: dict[str, Any], steps: list[str]) -> None:
    assert done(desired, state) == (fields, steps)


REFUSED = [
    (Service(name="kb", running=True), MASKED, "masked=False"),
    (Service(name="kb", enabled=True), replace(RUNNING, file_state="static"), "leave 'enabled' out"),
    (Service(name="kb", enabled=False), replace(RUNNING, file_state="static"), "leave 'enabled' out"),
    (Service(name="kb", running=True), replace(STOPPED, type="oneshot"), "oneshot"),
    (
        Service(name="kb", running=True),
        replace(STOPPED, active_state="activating", sub_state="start"),
        "still activating",
    ),
    (Service(name="kb", running=False), replace(RUNNING, active_state="deactivating"), "still deactivating"),
    (Service(name="sshd"), replace(RUNNING, id="ssh.service"), "ssh.service"),
]


@pytest.mark.parametrize(("desired", "state", "reason"), REFUSED)
def test_unknown(desired: Service, state: UnitState, reason: str) -> None:
    observed = desired.observe(state)
    assert isinstance(observed, Unknown)
    assert reason in observed.reason


def test_create() -> None:
    change = change_of(Service(name="kb", running=True, enabled=True), {"state": NOT_FOUND})
    assert change is not None
    assert change.action == "create"
    assert [getattr(step.op, "__name__", step.op) for step in steps_of(change)] == [
        "systemd.daemon_reload",
        "enable",
        "control",
    ]


def test_delete() -> None:
    gone = Service(name="kb", absent=True)
    change = change_of(gone, {"state": RUNNING})
    assert change is not None
    assert change.action == "delete"
    [step] = steps_of(change)
    assert "systemctl disable --quiet" in scripts(step)
    assert change_of(gone, {"state": replace(STOPPED, file_state="disabled")}) is None
    assert change_of(gone, {"state": NOT_FOUND}) is None
    assert change_of(gone, {"state": None}) is None


CONF = File(path="/etc/kb.conf", content="a = 1\n")
LOADING = Service(name="kb", running=True, restart_on=(CONF.address,), interrupts="drops connections").bound(
    {CONF.address: CONF}.get
)
RELOADING = Service(name="kb", running=True, reload_on=(CONF.address,)).bound({CONF.address: CONF}.get)


def conf(changed: float) -> PathState:
    sha256 = LOADING.start_files[0].sha256
    return PathState("file", "0644", "0", "0", "root", "root", 6, changed, "", sha256)


def test_a_restart_is_owed_while_the_file_is_newer_than_the_start() -> None:
    assert done(LOADING, RUNNING, start_stamp=None, start_file0=conf(RUNNING.started - 60)) == ({}, [])
    fields, steps = done(LOADING, RUNNING, start_stamp=None, start_file0=conf(RUNNING.started + 60))
    assert fields == {"started_with": (STALE, LOADING.started_with)}
    assert steps == ["control", "try-restart"]


def test_a_stamp_of_this_very_process_answers() -> None:
    facts = {"start_file0": conf(RUNNING.started + 60)}
    assert done(LOADING, RUNNING, start_stamp=f"{RUNNING.invocation} {LOADING.started_with}", **facts) == ({}, [])
    fields, _ = done(LOADING, RUNNING, start_stamp=f"another {LOADING.started_with}", **facts)
    assert set(fields) == {"started_with"}
    fields, _ = done(LOADING, RUNNING, start_stamp=f"{RUNNING.invocation} other", **facts)
    assert fields == {"started_with": ("other", LOADING.started_with)}


def test_a_reload_is_owed() -> None:
    change = change_of(RELOADING, {"state": RUNNING, "reload_stamp": None, "reload_file0": conf(RUNNING.started + 60)})
    assert change is not None
    assert change.impact == "reloads without loss"
    [step] = steps_of(change)
    assert step.args["verb"] == "reload"
    assert step.args["stamps"] == {"unit/kb.service.reload": RELOADING.reloaded_with}


def test_a_restart_says_what_it_interrupts() -> None:
    owed = {"start_stamp": None, "start_file0": conf(RUNNING.started + 60)}
    change = change_of(LOADING, {"state": RUNNING, **owed})
    assert change is not None
    assert change.impact == "drops connections"
    start = change_of(LOADING, {"state": STOPPED, **owed})
    assert start is not None
    assert start.impact is None
    assert start.fields == {"running"}
    assert steps_of(start)[0].args["stamps"] == {"unit/kb.service": LOADING.started_with}


def test_watches_and_needs() -> None:
    assert LOADING.watches() == {"file:/etc/kb.conf": "restarts"}
    assert RELOADING.watches() == {"file:/etc/kb.conf": "reloads"}
    assert {"file:/etc/kb.conf", "unit:kb.service", "dropin:kb.service/*"} <= set(LOADING.needs())
    assert "unit:kb.service" in set(Service(name="kb.timer").needs())


def test_a_service_that_does_not_stay_up_is_an_error_with_its_journal() -> None:
    [step] = steps_of(change_of(Service(name="kb", running=True), {"state": FAILED}) or pytest.fail())
    script = scripts(step)
    assert "systemctl reset-failed" in script
    assert "sleep 2" in script
    assert "journalctl -q --no-pager -o cat -n 15" in script


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", "a;b", "a\nb", "$(id)", "kb@.service", "../x", "a'b", "x" * 260, "a/b"]
)
def test_hostile_names(name: str) -> None:
    with pytest.raises(ValidationError):
        Service(name=name)


def test_names() -> None:
    assert Service(name="docker").address == "service:docker.service"
    assert Service(name="apt-daily.timer").name == "apt-daily.timer"
    assert Service(name="python3.11").name == "python3.11.service"


def test_problems() -> None:
    assert list(Service(name="kb", masked=True, running=True).problems())
    assert list(Service(name="kb", running="failed").problems())
    assert not list(Service(name="kb", masked=True, running=False, enabled=False).problems())


RECORDED = """\
Type=notify
RemainAfterExit=no
Result=success
Id=ssh.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/lib/systemd/system/ssh.service
DropInPaths=
UnitFileState=enabled
InactiveExitTimestamp=@1795534591
NeedDaemonReload=no
InvocationID=02c378c6d1514d539ea404f549fbcfe5

Result=success
Id=apt-daily.timer
LoadState=loaded
ActiveState=active
SubState=waiting
FragmentPath=/lib/systemd/system/apt-daily.timer
DropInPaths=
UnitFileState=enabled
InactiveExitTimestamp=@1795534591
NeedDaemonReload=yes
InvocationID=4f97fd8266084c989746e543c36c4642

Type=
RemainAfterExit=no
Result=success
Id=docker.service
LoadState=not-found
ActiveState=inactive
SubState=dead
FragmentPath=
DropInPaths=
UnitFileState=
InactiveExitTimestamp=
NeedDaemonReload=no
InvocationID=
"""


def test_process() -> None:
    found = Units().process(["ssh.service", "apt-daily.timer", "docker.service"], RECORDED)
    ssh, timer, docker = (found[name] for name in ("ssh.service", "apt-daily.timer", "docker.service"))
    assert ssh == replace(RUNNING, id="ssh.service", fragment="/lib/systemd/system/ssh.service")
    assert isinstance(timer, UnitState)
    assert (timer.active, timer.needs_daemon_reload, timer.type) == (True, True, "")
    assert isinstance(docker, UnitState)
    assert not docker.exists
    broken = RECORDED.replace("LoadState=not-found", "LoadState=bad-setting")
    assert isinstance(Units().process(list(found), broken)["docker.service"], Unknown)


@pytest.mark.parametrize(
    ("said", "skipped"),
    [
        ("ConditionResult=no\nConditionTimestamp=@1795534591", True),
        ("ConditionResult=no\nConditionTimestamp=", False),  # it was never to start
        ("ConditionResult=yes\nConditionTimestamp=@1795534591", False),
    ],
)
def test_a_start_that_conditions_prevented(said: str, skipped: bool) -> None:
    output = RECORDED.strip("\n").split("\n\n")[0] + "\n" + said
    (state,) = Units().process(["ssh.service"], output).values()
    assert isinstance(state, UnitState)
    assert state.skipped is skipped


def test_a_skipped_start_is_a_change_unless_it_may_be_skipped() -> None:
    state = replace(STOPPED, skipped=True)
    service = Service(name="kb", running=True)
    assert change_of(service, {"state": state}) is not None
    assert change_of(service.model_copy(update={"may_skip": True}), {"state": state}) is None
    stopped = service.model_copy(update={"may_skip": True})
    assert change_of(stopped, {"state": STOPPED}) is not None


@given(st.text(alphabet="Id=x\n @", max_size=60))
def test_process_makes_no_sense_of_nonsense(output: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        Units().process(["a.service", "b.service"], output)


SLEEP = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


def lab(name: str, field: str, drift: str, **fields: Any) -> LabCase:
    service = Service(name=name, running=True, enabled=True, **fields)
    return LabCase((Unit(name=name, content=SLEEP), service), service.address, field, drift)


def lab_conf(name: str, field: str, **fields: Any) -> LabCase:
    """A file that was touched after the start, and no stamp: as after a crash between writing and restarting."""
    file = File(path=f"/etc/{name}.conf", content="a = 1\n")
    case = lab(name, field, f"sleep 1; touch {file.path}; rm /run/kbstate/loaded/unit/{name}.service*", **fields)
    return replace(case, resources=(file, *case.resources))


UNIT_BY_HAND = f"printf '{SLEEP}' > /etc/systemd/system/kb-touched.service".replace("\n", "\\n")

LAB_CASES: list[LabCase] = [
    lab("kb-stopped", "running", "systemctl stop kb-stopped"),
    lab("kb-killed", "running", "systemctl kill -s KILL kb-killed; sleep 0.5"),
    lab("kb-disabled", "enabled", "systemctl disable kb-disabled"),
    lab_conf("kb-restart", "started_with", restart_on=("file:/etc/kb-restart.conf",)),
    lab_conf("kb-reload", "reloaded_with", reload_on=("file:/etc/kb-reload.conf",)),
    LabCase(
        (Service(name="fstrim.timer", enabled=True, masked=False),),
        "service:fstrim.timer",
        "masked",
        "systemctl mask fstrim.timer",
    ),
    LabCase(
        (Service(name="kb-touched", running=True),),
        "service:kb-touched.service",
        "unit_files_read",
        "sleep 0.1; touch /etc/systemd/system/kb-touched.service",
        prepare=UNIT_BY_HAND,
        alone=True,
    ),
]
