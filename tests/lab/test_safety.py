"""Safe from the first day: one writer, saved plans, interruptions, backups, the ledger, secrets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from kbstate.lab.host import Host
from kbstate.lab.lab import Lab
from tests.conftest import Hosts
from tests.lab.tree import Tree, one_host

pytestmark = pytest.mark.lab

MOTD = 'File(path="/etc/motd", content="hello\\n", mode="0644")'
SLOW = 'File(path="/etc/slow", content="x", validate_with="sh -c \'sleep 4\' {path}")'
AFTER = 'File(path="/etc/after", content="x", requires=("file:/etc/slow",))'


@pytest.fixture(scope="module")
def host(module_bare: Hosts) -> Host:
    return module_bare()


@pytest.fixture
def tree(lab: Lab, host: Host) -> Callable[..., Tree]:
    """A tree that declares these resources on a host that has none of what the test before left."""
    host.run("rm -rf /var/lib/kbstate /etc/slow /etc/after /etc/kb-*; rm -f /etc/motd")

    def make(*resources: str, **more: str) -> Tree:
        return Tree(lab, "safety", one_host(host, ", ".join(resources), **more))

    return make


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def exists(host: Host, path: str) -> bool:
    return host.run(["test", "-e", path], check=False).returncode == 0


def at_work(host: Host) -> bool:
    """Whether the slow step runs."""
    return host.run("pgrep -f '^sleep 4'", check=False).returncode == 0


# --- one writer -------------------------------------------------------------------------------------------------


def test_a_second_run_is_refused_and_told_by_whom(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree(SLOW)
    first = made.start("apply", "--auto-approve", "--reason", "ticket 42")
    wait_until(lambda: at_work(host))
    second = made.kbstate("apply", "--auto-approve")
    assert second.returncode == 5
    assert "held by root@install-01 since 2" in second.stderr
    assert "(ticket 42); wait for that run, or use --lock-timeout" in second.stderr
    assert made.kbstate("plan").returncode == 0  # looking is always allowed
    waiting = made.kbstate("apply", "--auto-approve", "--lock-timeout", "30")
    assert waiting.returncode == 0, waiting.stderr
    assert first.wait(30) == 0
    made.unchanged()


def test_a_killed_run_frees_the_host_but_not_while_its_last_step_runs(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree(SLOW, AFTER)
    first = made.start("apply", "--auto-approve")
    wait_until(lambda: at_work(host))
    made.lab.controller.run("pkill -KILL -f 'bin/kbstate apply'")
    assert first.wait(10) != 0
    second = made.kbstate("apply", "--auto-approve")
    assert second.returncode == 5, second.stdout + second.stderr
    assert "the last step of a run that ended is still at work: file:/etc/slow" in second.stderr
    wait_until(lambda: not at_work(host))
    assert exists(host, "/etc/slow")  # the step came to its own end
    (change,) = made.plan()["changes"]
    assert (change["address"], change["actions"]) == ("file:/etc/after", ["create"])
    made.apply()
    made.unchanged()
    made.write("desired/hosts.py", one_host(host, ""))  # what the killed run made is ours all the same
    made.apply()
    assert not exists(host, "/etc/slow")


def test_an_interrupt_stops_between_steps_and_says_what_was_done(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree(SLOW, AFTER)
    run = made.start("apply", "--auto-approve", "--json")
    wait_until(lambda: at_work(host))
    made.lab.controller.run("pkill -INT -f 'bin/kbstate apply'")
    out, _ = run.communicate(timeout=30)
    assert run.returncode == 130
    summary = json.loads(out.splitlines()[-1])
    assert summary["type"] == "summary"
    assert (summary["done"], summary["not_attempted"]) == (["file:/etc/slow"], ["file:/etc/after"])
    assert [change["address"] for change in made.plan()["changes"]] == ["file:/etc/after"]
    made.apply()
    made.unchanged()


def test_a_power_cut_in_the_middle_leaves_a_truthful_plan(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree(MOTD, SLOW, AFTER)
    run = made.start("apply", "--auto-approve", "--timeout", "5")
    wait_until(lambda: at_work(host))
    host.power_off()
    out, errors = run.communicate(timeout=120)
    assert run.returncode == 4, out + errors
    host.power_on()
    host.wait()
    wait_until(lambda: made.kbstate("plan").returncode == 0)
    assert [change["address"] for change in made.plan()["changes"]] == ["file:/etc/slow", "file:/etc/after"]
    made.apply()
    made.unchanged()


# --- saved plans ------------------------------------------------------------------------------------------------


def test_a_saved_plan_runs_without_asking_while_nothing_moved(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree(MOTD)
    assert made.kbstate("plan", "--out", "./saved.json").returncode == 0
    done = made.kbstate("apply", "./saved.json")
    assert done.returncode == 0, done.stdout + done.stderr
    made.unchanged()


def test_a_stale_plan_changes_nothing_and_names_what_moved(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree(MOTD)
    made.kbstate("plan", "--out", "./saved.json")
    host.run("echo 'somebody else' > /etc/motd")
    done = made.kbstate("apply", "./saved.json")
    assert done.returncode == 1
    assert "file:/etc/motd" in done.stderr
    assert host.run("cat /etc/motd").stdout == "somebody else\n"
    assert not exists(host, "/var/lib/kbstate/ledger.json")


# --- failing ----------------------------------------------------------------------------------------------------


def test_a_failing_branch_stops_and_an_independent_one_goes_on(host: Host, tree: Callable[..., Tree]) -> None:
    bad = 'File(path="/etc/kb-bad", content="x", validate_with="sh -c \'echo broken at line 3 >&2; exit 9\' {path}")'
    after = 'File(path="/etc/kb-after", content="x", requires=("file:/etc/kb-bad",))'
    made = tree(bad, after, MOTD)
    done = made.kbstate("apply", "--auto-approve", "--json")
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (failed,) = [event for event in events if event["type"] == "step_failed"]
    assert (failed["address"], "broken at line 3" in failed["text"]) == ("file:/etc/kb-bad", True)
    summary = events[-1]
    assert summary["done"] == ["file:/etc/motd"]
    assert summary["failed"] == ["file:/etc/kb-bad"]
    assert summary["not_attempted"] == ["file:/etc/kb-after"]
    assert host.run("ls -A /etc | grep kb-", check=False).stdout == ""
    assert len(made.plan()["changes"]) == 2


def test_what_exits_with_zero_and_changes_nothing_has_failed(host: Host, tree: Callable[..., Tree]) -> None:
    host.run("echo other > /etc/motd; chattr +i /etc/motd 2>/dev/null || mount --bind -o ro /etc/motd /etc/motd")
    done = tree(MOTD).kbstate("apply", "--auto-approve")
    host.run("chattr -i /etc/motd 2>/dev/null; umount /etc/motd 2>/dev/null; true")
    assert done.returncode == 1
    assert "file:/etc/motd" in done.stderr


# --- backups, ledger --------------------------------------------------------------------------------------------


def test_what_is_changed_is_saved_before(host: Host, tree: Callable[..., Tree]) -> None:
    host.run("echo precious > /etc/motd; chmod 640 /etc/motd")
    made = tree(MOTD)
    host.run("echo precious > /etc/motd; chmod 640 /etc/motd")
    made.apply()
    kept = "/var/lib/kbstate/backups"
    assert host.run(f"cat {kept}/*/etc/motd; stat -c %a {kept} {kept}/*/etc/motd").stdout == "precious\n700\n640\n"
    for number in range(11):
        host.run(f"echo {number} > /etc/motd")
        made.apply()
    assert len(host.run(f"ls {kept}").stdout.split()) == 10
    assert host.run(f"cat $(ls -d {kept}/* | tail -1)/etc/motd").stdout == "10\n"


def test_without_a_backup_nothing_is_changed(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree(MOTD)
    host.run("echo precious > /etc/motd; mkdir -p /var/lib/kbstate; touch /var/lib/kbstate/backups")
    done = made.kbstate("apply", "--auto-approve", "--json")
    host.run("rm /var/lib/kbstate/backups")
    assert done.returncode == 1
    assert "backup failed" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["not_attempted"] == ["file:/etc/motd"]
    assert host.run("cat /etc/motd").stdout == "precious\n"


def test_who_moved(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree(MOTD)

    def cause() -> str:
        (change,) = made.plan()["changes"]
        return str(change["cause"])

    assert cause() == "new"
    made.apply()
    host.run("echo x > /etc/motd")
    assert cause() == "drift"
    made.write("desired/hosts.py", one_host(host, MOTD.replace("hello", "good day")))
    assert cause() == "both"
    host.run("echo hello > /etc/motd")
    assert cause() == "pending"
    made.apply()
    host.run("rm -r /var/lib/kbstate; rm /etc/motd")
    assert cause() == "new"


def test_what_leaves_the_desired_state(host: Host, tree: Callable[..., Tree]) -> None:
    host.run("echo hello > /etc/motd; chmod 644 /etc/motd")
    made = tree('File(path="/etc/kb-ours", content="x")', MOTD)
    host.run("echo hello > /etc/motd; chmod 644 /etc/motd")  # it had been there before
    made.apply()
    made.write("desired/hosts.py", one_host(host, ""))
    plan = made.plan()
    assert [(change["address"], change["actions"]) for change in plan["changes"]] == [("file:/etc/kb-ours", ["delete"])]
    made.apply()
    made.unchanged()
    assert not exists(host, "/etc/kb-ours")
    assert host.run("cat /etc/motd").stdout == "hello\n"


def test_a_damaged_ledger_is_unreadable_and_deletes_nothing(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree('File(path="/etc/kb-ours", content="x")', MOTD)
    made.apply()
    made.write("desired/hosts.py", one_host(host, MOTD))
    host.run("echo '{' > /var/lib/kbstate/ledger.json")
    for words in (["plan"], ["apply", "--auto-approve"]):
        done = made.kbstate(*words)
        assert done.returncode == 4
        assert "the ledger /var/lib/kbstate/ledger.json is damaged" in done.stdout + done.stderr
    assert exists(host, "/etc/kb-ours")


def test_what_is_destroyed_needs_leave(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree('User(name="kb-user", uid=1234)')
    made.apply()
    made.write("desired/hosts.py", one_host(host, ""))
    done = made.kbstate("apply", "--auto-approve")
    assert done.returncode == 1
    assert "add --allow-destroy user:kb-user" in done.stderr
    assert "kb-user" in host.run("getent passwd").stdout
    made.apply("--allow-destroy", "user:kb-user")
    assert "kb-user" not in host.run("getent passwd").stdout
    made.unchanged()


# --- secrets ----------------------------------------------------------------------------------------------------


def test_a_secret_is_nowhere_but_in_its_file(host: Host, tree: Callable[..., Tree]) -> None:
    secret = "Xyzzy-plugh-42"
    fail = 'validate_with="sh -c \'cat \\"\\$1\\" >&2; exit 1\' x {path}"'
    made = tree(f'File(path="/etc/kb-key", content=Secret("{secret}"))')
    done = (
        made.kbstate("plan"),
        made.kbstate("plan", "--json", "--out", "./saved.json"),
        made.kbstate("apply", "--auto-approve", "--json"),
    )
    assert all(secret not in run.stdout + run.stderr for run in done)
    assert host.run("cat /etc/kb-key; stat -c ' %a' /etc/kb-key").stdout == f"{secret} 600\n"
    host.run("echo old-one > /etc/kb-key")
    made.write("desired/hosts.py", one_host(host, f'File(path="/etc/kb-key", content=Secret("{secret}"), {fail})'))
    seen = made.kbstate("plan")
    assert "(sensitive)" in seen.stdout
    failing = made.kbstate("apply", "--auto-approve", "--verbose")
    assert failing.returncode == 1
    assert made.kbstate("collect", "--out", "./seen.json").returncode == 0
    files = made.lab.controller.run(f"cat {made.path}/saved.json {made.path}/seen.json").stdout
    everything = seen.stdout + seen.stderr + failing.stdout + failing.stderr + files
    assert secret not in everything
    assert "old-one" not in everything
    ledger = host.run("cat /var/lib/kbstate/ledger.json; journalctl -q --no-pager").stdout
    assert secret not in ledger


def test_what_a_service_says_in_its_journal_is_masked_too(host: Host, tree: Callable[..., Tree]) -> None:
    """One step writes the secret, another one starts what then speaks of it."""
    unit = "[Service]\\nType=exec\\nExecStart=sh -c 'sleep 0.5; cat /etc/kb-conf; exit 1'\\n"
    made = tree(
        'File(path="/etc/kb-conf", content=template("conf.j2", password=Secret("Xyzzy-43")))',
        f'Unit(name="kb-says.service", content="{unit}", verify=False)',
        'Service(name="kb-says", running=True, requires=("file:/etc/kb-conf",))',
    )
    made.write("desired/conf.j2", "requirepass {{ password }}\n")
    done = made.kbstate("apply", "--auto-approve")
    assert done.returncode == 1
    assert "requirepass (sensitive)" in done.stderr
    assert "Xyzzy-43" not in done.stdout + done.stderr
    made.write("desired/hosts.py", one_host(host, ""))
    made.apply()


# --- preflights -------------------------------------------------------------------------------------------------


def test_a_preflight_is_listed_and_can_be_looked_at_beforehand(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree('File(path="/etc/kb-checked", content="x", validate_with="sh -c \'exit $(cat /root/verdict)\' {path}")')
    host.run("echo 0 > /root/verdict; touch /root/before")
    good = made.kbstate("plan", "--preflight")
    assert good.returncode == 0, good.stderr
    assert "looked at first: /etc/kb-checked is accepted" in good.stdout
    assert "what must hold before holds (1 looked at)" in good.stderr
    host.run("echo 7 > /root/verdict")
    bad = made.kbstate("plan", "--preflight")
    assert bad.returncode == 1
    assert "not begun, because this does not hold: /etc/kb-checked is accepted" in bad.stderr
    left = host.run("find / -xdev -newer /root/before -type f ! -path '/proc/*' ! -path '/var/log/*'").stdout.split()
    assert left == ["/root/verdict"]


def test_a_change_whose_preflight_fails_is_not_begun(host: Host, tree: Callable[..., Tree]) -> None:
    made = tree('Package(name="cowsay")', MOTD)
    host.run(
        "mkdir -p /root/bin; printf '#!/bin/sh\\necho Avail; echo 5\\n' > /usr/local/bin/df; chmod +x /usr/local/bin/df"
    )
    done = made.kbstate("apply", "--auto-approve")
    host.run("rm /usr/local/bin/df")
    assert done.returncode == 1
    assert "not begun, because this does not hold: 200 MB are free in /var: only 5 MB are free there" in done.stderr
    assert host.run("dpkg -l cowsay", check=False).returncode != 0
    assert host.run("cat /etc/motd").stdout == "hello\n"
