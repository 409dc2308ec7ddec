"""The script that keeps HAProxy at the Redis master, run for real; Redis, the Sentinels and HAProxy are stand-ins.

What they answer here is rare or hard to bring about: Sentinels that disagree, half answers, a master that denies it.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "desired/templates/redis-update-master.sh"
PASSWORD = "tr0ub4dor"
SENTINELS = ("10.0.0.123:26379", "10.0.0.124:26379", "10.0.0.125:26379")
FIRST, SECOND, STRANGER = "10.0.0.123", "10.0.0.124", "10.0.0.99"

REDIS_CLI = """#!/bin/sh
echo "$@" >> "$FAKE/arguments"
input=$(cat)
case $input in
SENTINEL*) cat "$FAKE/$2:$4" 2>/dev/null ;;
AUTH*) echo OK; cat "$FAKE/role-$2" 2>/dev/null ;;
esac
"""
SOCAT = """#!/bin/sh
echo "$@" >> "$FAKE/arguments"
read -r command
echo "$command" >> "$FAKE/commands"
[ -e "$FAKE/servers" ] || exit 1
set -- $command
case $command in
"show servers state be"*) echo 1; echo "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state"
    while read -r name address state; do
        [ "$state" = maint ] && s='0 1' || s='2 0'
        echo "9 be 1 $name $address $s 1 1 77 15 3 2 6 0 0 0 - 6379 - 0 0 - - 0"
    done < "$FAKE/servers"; echo ;;
"set server be/"*) [ -e "$FAKE/deaf" ] || sed -i "s|^${3#be/} \\\\(.*\\\\) .*|${3#be/} \\\\1 $5|" "$FAKE/servers" ;;
esac
"""


@dataclass
class Site:
    """What the stand-ins say."""

    path: Path

    def name(self, *masters: str | None) -> None:
        """What each Sentinel answers; None: nothing."""
        for sentinel, master in zip(SENTINELS, masters, strict=True):
            (self.path / sentinel).write_text(f"{master}\n6379\n" if master else "")

    def role(self, address: str, role: str) -> None:
        (self.path / f"role-{address}").write_text(f"{role}\n4711\n")

    def servers(self, **states: str) -> None:
        addresses = {"one": FIRST, "two": SECOND}
        lines = (f"{name} {addresses[name]} {state}\n" for name, state in states.items())
        (self.path / "servers").write_text("".join(lines))

    def run(self) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.path}/bin:{os.environ['PATH']}",
            "FAKE": str(self.path),
            "SENTINELS": " ".join(SENTINELS),
            "MASTER_NAME": "keybuzz-master",
            "AUTH_FILE": str(self.path / "auth"),
            "ADMIN_SOCKET": "/nowhere/admin.sock",
            "BACKEND": "be",
            "STATE_FILE": str(self.path / "state/servers"),
        }
        return subprocess.run(["sh", SCRIPT], env=environment, capture_output=True, text=True, check=False)

    @property
    def states(self) -> dict[str, str]:
        rows = (line.split() for line in (self.path / "servers").read_text().splitlines())
        return {name: state for name, _, state in rows}

    @property
    def orders(self) -> list[str]:
        """What HAProxy was told to change."""
        lines = (self.path / "commands").read_text().splitlines() if (self.path / "commands").exists() else []
        return [line for line in lines if line.startswith("set ")]

    @property
    def saved(self) -> Path:
        return self.path / "state/servers"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """All is well: every Sentinel names the first, which is the master, and HAProxy has just started."""
    for name, text in (("redis-cli", REDIS_CLI), ("socat", SOCAT)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "state").mkdir()
    (tmp_path / "auth").write_text(f'AUTH "{PASSWORD}"\n')
    site = Site(tmp_path)
    site.name(FIRST, FIRST, FIRST)
    site.role(FIRST, "master")
    site.servers(one="ready", two="ready")
    return site


def test_all_but_the_master_are_put_into_maintenance(site: Site) -> None:
    done = site.run()
    assert (done.returncode, done.stderr) == (0, f"<5>HAProxy now points at {FIRST}:6379\n")
    assert site.states == {"one": "ready", "two": "maint"}


def test_what_is_right_is_left_alone_and_written_once(site: Site) -> None:
    site.servers(one="ready", two="maint")
    assert site.run().returncode == 0
    before = site.saved.stat()
    done = site.run()
    assert (done.returncode, done.stderr, site.orders) == (0, "", [])
    assert site.saved.stat().st_ino == before.st_ino


def test_a_failover_is_followed_the_old_one_first(site: Site) -> None:
    site.servers(one="ready", two="maint")
    site.name(None, SECOND, SECOND)
    site.role(SECOND, "master")
    assert site.run().returncode == 0
    assert site.states == {"one": "maint", "two": "ready"}
    assert site.orders == ["set server be/one state maint", "set server be/two state ready"]


def test_the_state_is_kept_for_the_next_reload(site: Site) -> None:
    site.run()
    rows = [line.split() for line in site.saved.read_text().splitlines() if line.startswith("9 be ")]
    assert [(row[3], row[6]) for row in rows] == [("one", "0"), ("two", "1")]
    assert site.saved.stat().st_mode & 0o777 == 0o640
    assert list(site.saved.parent.iterdir()) == [site.saved]


def test_a_lost_state_is_written_anew(site: Site) -> None:
    site.run()
    site.saved.unlink()
    assert site.run().returncode == 0
    assert site.saved.exists()


# --- what must change nothing -----------------------------------------------------------------------------------


def refused(site: Site, message: str) -> None:
    before = site.states
    done = site.run()
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("<4>")
    assert (site.states, site.orders) == (before, [])


@pytest.mark.parametrize(
    "answers",
    [(FIRST, SECOND, STRANGER), (FIRST, None, None), (None, None, None), (FIRST, SECOND, None)],
)
def test_without_a_majority_nothing_changes(site: Site, answers: tuple[str | None, ...]) -> None:
    site.name(*answers)
    refused(site, "no 2 of 3 Sentinels name the same master")


@pytest.mark.parametrize(
    "answer", ["", "\n", f"{FIRST}\n", f"{FIRST}\n{FIRST}\n", "ERR No such master\n", f"{FIRST}\n63x9\n"]
)
def test_half_an_answer_is_none(site: Site, answer: str) -> None:
    """The address alone, or twice, is what once made port and address the same."""
    for sentinel in SENTINELS:
        (site.path / sentinel).write_text(answer)
    refused(site, "no 2 of 3 Sentinels name the same master")


@pytest.mark.parametrize("role", ["slave", "sentinel", "", "NOAUTH Authentication required."])
def test_whoever_does_not_confirm_is_not_the_master(site: Site, role: str) -> None:
    site.role(FIRST, role)
    refused(site, f"which says that its role is '{role or 'unknown'}'")


def test_a_master_that_haproxy_does_not_know_is_no_reason_to_drop_all(site: Site) -> None:
    site.name(STRANGER, STRANGER, STRANGER)
    site.role(STRANGER, "master")
    refused(site, f"{STRANGER}:6379, which is no server of be")


def test_haproxy_that_does_not_answer_is_an_error(site: Site) -> None:
    (site.path / "servers").unlink()
    done = site.run()
    assert done.returncode == 1
    assert "HAProxy does not answer" in done.stderr


def test_success_is_looked_at(site: Site) -> None:
    (site.path / "deaf").touch()
    done = site.run()
    assert done.returncode == 1
    assert "did not take" in done.stderr
    assert not site.saved.exists()


def test_a_password_that_cannot_be_read_is_an_error(site: Site) -> None:
    (site.path / "auth").unlink()
    done = site.run()
    assert done.returncode == 1
    assert "role is 'unknown'" in done.stderr


def test_the_password_is_on_no_command_line(site: Site) -> None:
    done = site.run()
    assert PASSWORD not in (site.path / "arguments").read_text() + done.stdout + done.stderr
