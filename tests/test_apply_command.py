"""What `kbstate apply` does around the apply of one host: asking, stopping, and what comes after what."""

from __future__ import annotations

import getpass
import io
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kbstate.commands.apply import Applying, run_info
from kbstate.commands.options import Common
from kbstate.desired import Desired, Host
from kbstate.errors import ERROR, HELD, INTERRUPTED, OK, UNREADABLE
from kbstate.selection import Selection
from tests.things import HASHER, Thing, host, planned

PLAN = planned(host(Thing(name="a")), {"thing:a": None})


def applying(*, ask: bool = True, json: bool = False, kind: type[Applying] = Applying) -> Applying:
    return kind(Common(), Desired((), HASHER, Path()), Selection(), {}, ask, json)


# --- asking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "approved"), [("yes\n", True), ("y\n", False), ("YES\n", False), ("\n", False), ("", False)]
)
def test_only_yes_is_yes(
    answer: str, approved: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    run = applying()
    assert run.approve(PLAN) is approved
    assert run.changing is approved
    out, err = capsys.readouterr()
    assert out.endswith("Plan: 1 to add, 0 to change, 0 to replace, 0 to delete.\n")
    assert err == '\nApply this to h1? Only "yes" is taken for yes: '


def test_what_is_approved_already_is_shown_and_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert applying(ask=False).approve(PLAN)
    out, err = capsys.readouterr()
    assert ("+ thing:a" in out, err) == (True, "")


def test_json_has_stdout_to_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert applying(json=True).approve(PLAN)
    out, err = capsys.readouterr()
    assert (out, "+ thing:a" in err) == ("", True)
    assert applying(json=True, ask=False).approve(PLAN)
    assert capsys.readouterr() == ("", "")


# --- stopping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_is_changed_ends_the_run(number: int) -> None:
    run = applying()
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), run.stoppable():
        os.kill(os.getpid(), number)
    assert not run.stop.is_set()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_something_is_changed_waits_for_the_step(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = applying()
    run.changing = True
    with run.stoppable():
        os.kill(os.getpid(), number)
        assert run.stop.is_set()
        assert capsys.readouterr().err == "\nStopping after the step at work; once more stops at once.\n"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


# --- several hosts ----------------------------------------------------------------------------------------------


class Coded(Applying):
    """Applies nothing, and comes to the exit code that a host's name ends with."""

    def one(self, host: Host, *_: Any) -> int:
        code = int(host.name.rsplit("-", 1)[1])
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code


ROLES = [
    (("a-0", "a-0"), OK, []),
    (("a-1", "a-0"), ERROR, ["a-0"]),
    (("a-4", "a-0"), UNREADABLE, ["a-0"]),
    (("a-5", "b-0", "a-0"), HELD, ["a-0"]),
    (("a-4", "b-1"), ERROR, []),
    (("b-0", "a-5", "a-4"), HELD, ["a-4"]),
    (("-1", "-0"), ERROR, []),
]


@pytest.mark.parametrize(("names", "code", "not_attempted"), ROLES)
def test_the_next_of_a_role_only_if_the_first_came_out_well(
    names: tuple[str, ...], code: int, not_attempted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = tuple(Host(name=f"h{i}{name}", address="192.0.2.1", role=name[:-2]) for i, name in enumerate(names))
    assert applying(kind=Coded).all(hosts) == code
    said = capsys.readouterr().err
    assert [name for name in names if f"{name}: not attempted, because" in said] == not_attempted


# --- who ran it -------------------------------------------------------------------------------------------------


def test_who_and_from_which_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    common = Common(desired=tmp_path, reason="because")
    info = run_info(common)
    assert (info.by, info.reason, info.commit) == (f"{getpass.getuser()}@{socket.gethostname()}", "because", None)
    git("init", "-q")
    (tmp_path / "hosts.py").write_text("")
    git("add", ".")
    git("commit", "-qm", "x")
    head = git("rev-parse", "HEAD")
    assert run_info(common).commit == head
    (tmp_path / "hosts.py").write_text("changed")
    assert run_info(common).commit == f"{head}+"
