"""Cron: schedules that cron would take, the line written and read, and files that cron would ignore."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.cron import Cron, parse, render, schedule_problems
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of

DESIRED = Cron(
    name="kb-watch",
    schedule="*/5  * * * *",
    command="kbstate watch --at $(date +%F) 'a\\b'",
    env={"MAILTO": "", "PATH": "/usr/bin:/bin", "GREETING": " 'hi' "},
)
TEXT = """\
# written by kbstate
MAILTO=""
PATH=/usr/bin:/bin
GREETING=" 'hi' "
*/5 * * * * root kbstate watch --at $(date +\\%F) 'a\\\\b'
"""


def state(text: str = TEXT, **changed: Any) -> PathState:
    values = {"type": "file", "mode": "0644", "uid": "0", "gid": "0", "user": "root", "group": "root", "target": ""}
    return PathState(**{**values, "size": 1, "changed": 1.0, "sha256": "0", "content": text.encode(), **changed})


def fields(live: PathState) -> dict[str, Any]:
    found = change_of(DESIRED, {"state": live})
    assert found is None or [s.op.__name__ for s in steps_of(found)] == ["write_file"]  # type: ignore[union-attr]
    return {d.path: (d.before, d.after) for d in found.diff} if found else {}


def test_render() -> None:
    assert render(DESIRED) == TEXT


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (state(), {}),
        (state("\n#c\n" + TEXT.replace(" * ", "\t*  ") + "\n"), {}),
        (state(TEXT.replace("*/5", "*/6")), {"schedule": ("*/6 * * * *", "*/5 * * * *")}),
        (state(TEXT.replace(" root ", " kb ")), {"user": ("kb", "root")}),
        (state(TEXT.replace("PATH=/usr/bin:/bin", "PATH = '/bin'")), {"env.PATH": ("/bin", "/usr/bin:/bin")}),
        (state(TEXT.replace('MAILTO=""\n', "")), {"env.MAILTO": (None, "")}),
        (state(TEXT + "nonsense\n"), {"strays[0]": ("nonsense", None)}),
        (state(TEXT + "@daily kb true\n"), {"strays[0]": ("@daily kb true", None)}),
        (state(TEXT + "A=b\n"), {"strays[0]": ("A=b", None)}),  # counts for no line above it
        (state(uid="7"), {"accepted": (False, True)}),
        (state(mode="0664"), {"accepted": (False, True)}),
        (state(TEXT.rstrip("\n")), {"accepted": (False, True)}),
    ],
)
def test_update(live: PathState, expected: dict[str, Any]) -> None:
    assert fields(live) == expected


def test_a_bare_percent_is_another_command() -> None:
    found = fields(state(TEXT.replace("\\%", "%")))
    assert found == {"command": ("kbstate watch --at $(date +\nF) 'a\\b'", "kbstate watch --at $(date +%F) 'a\\b'")}


def test_a_file_without_a_line() -> None:
    assert set(fields(state("# all gone\n"))) == {
        "schedule",
        "user",
        "command",
        "env.MAILTO",
        "env.PATH",
        "env.GREETING",
    }


def test_create_delete_unknown() -> None:
    found = change_of(DESIRED, {"state": None})
    assert found is not None
    [step] = steps_of(found)
    assert (step.args["path"], step.args["content"], step.args["mode"]) == (
        "/etc/cron.d/kb-watch",
        TEXT.encode(),
        "0644",
    )
    gone = change_of(Cron(name="kb-watch", absent=True), {"state": state()})
    assert gone is not None
    assert "rm -f -- /etc/cron.d/kb-watch" in scripts(steps_of(gone)[0])
    assert DESIRED.observe(state(type="symlink")) == Unknown("/etc/cron.d/kb-watch is a symlink, or too large")
    assert {"package:*", "user:root"} <= set(DESIRED.needs())


@pytest.mark.parametrize("name", ["a.b", "a.dpkg-old", ".x", "", "a b", "a/b", "a~", "-x", "é"])
def test_names_that_cron_ignores(name: str) -> None:
    with pytest.raises(ValidationError, match="cron ignores files with other names"):
        Cron(name=name)


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "*/5 0-23/2 1,15 jan-mar mon-fri",
        "59 23 31 12 7",
        "0,30 * * JAN Sun,Tue",
        "*/59 * * * *",
        *("@reboot", "@daily", "@hourly"),
    ],
)
def test_good_schedules(schedule: str) -> None:
    assert list(schedule_problems(schedule)) == []


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("* * * *", "five fields (minute, hour, day, month, day of the week), not 4"),
        ("* * * * * *", "not 6"),
        ("", "not 0"),
        ("60 * * * *", "'60' is no minute from 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of the month"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no day of the week"),
        ("* * * mon *", "'mon' is no month"),
        ("5/10 * * * *", "'5/10' is no minute"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("*/60 * * * *", "'*/60' is no minute"),
        ("30-10 * * * *", "'30-10' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("-5 * * * *", "'-5' is no minute"),
        ("٣ * * * *", "is no minute"),
        ("@fortnightly", "one of @reboot"),
        ("@daily x", "one of @reboot"),
    ],
)
def test_bad_schedules(schedule: str, problem: str) -> None:
    [text] = schedule_problems(schedule)
    assert problem in text


def test_problems() -> None:
    def found(**values: Any) -> str:
        return " ".join(Cron(**{"name": "x", "schedule": "@daily", "command": "true", **values}).problems())

    assert found() == ""
    assert "schedule and command are missing" in found(command=None)
    assert "nor begin or end with a blank" in found(command=" x")
    assert "longer than the 998 characters" in found(command="x%" * 400)
    assert "A is longer" in found(env={"A": "x" * 999})
    assert "holds both kinds of quotes" in found(env={"A": " 'a' \"b\" "})
    assert "observed, not declared" in found(accepted=False)
    assert not list(Cron(name="x", absent=True).problems())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("command", "a\nb"),
        ("user", "a b"),
        ("user", "root\n* * * * * root id"),
        ("schedule", "* * * * *\n"),
        ("env", {"A": "b\nc"}),
        ("env", {"A=B": "c"}),
        ("env", {"": "c"}),
    ],
)
def test_hostile(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Cron(**{"name": "x", field: value})


VALUES = st.text(alphabet="ab '\"=%\\#$é", max_size=12)


@given(
    st.sampled_from(["*/5 * * * *", "@daily", "0 4 1-7 * mon"]),
    VALUES.map(str.strip).filter(bool),
    st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), VALUES, max_size=3),
)
def test_what_is_written_is_read(schedule: str, command: str, env: dict[str, str]) -> None:
    job = Cron(name="x", schedule=schedule, command=command, env=env)
    if list(job.problems()):
        return
    assert parse(render(job)) == (env, [(schedule, "root", command)], [])


@given(st.text())
def test_any_file_is_read(text: str) -> None:
    env, jobs, strays = parse(text)
    assert all(isinstance(item, str) for item in (*env.values(), *strays))
    assert all(len(job) == 3 for job in jobs)


def lab(name: str, field: str, drift: str) -> LabCase:
    job = Cron(name=f"kb-{name}", schedule="0 4 * * *", command="date +%F > /dev/null", env={"MAILTO": "kb"})
    return LabCase((job,), job.address, field, drift.replace("FILE", job.path), prepare="mkdir -p /etc/cron.d")


LAB_CASES: list[LabCase] = [
    lab("schedule", "schedule", "sed -i 's/^0 4/0 5/' FILE"),
    lab("user", "user", "sed -i 's/ root / nobody /' FILE"),
    lab("command", "command", "sed -i 's/null/full/' FILE"),
    lab("env", "env", "sed -i 's/=kb/=root/' FILE"),
    lab("strays", "strays", "echo '@daily root true' >> FILE"),
    lab("owner", "accepted", "chown nobody FILE"),
    lab("mode", "accepted", "chmod 0666 FILE"),
    lab("cut", "accepted", "truncate -s -1 FILE"),
    lab("gone", "", "rm FILE"),
]
