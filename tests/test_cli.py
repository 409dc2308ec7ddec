"""The command line as users and scripts meet it: output, errors and exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from kbstate.cli import run
from kbstate.collect import Observation
from kbstate.desired import load
from kbstate.ledger import Ledger
from kbstate.recorded import save_observations
from kbstate.resource import Observed, Unknown

SECRET = "hunter2-and-more"
HOSTS_PY = """\
from kbstate import File, Host, PortCheck

def hosts(site):
    for number in (1, 2):
        yield Host(
            name=f"web-0{number}", address=f"127.0.0.{number}", port=9, role="web",
            modules={
                "base": [File(path="/etc/motd", content="hello\\n", mode="0644")],
                "web": [
                    File(path="/etc/web.conf", content="a = 1\\nb = 2\\n", requires=("file:/etc/motd",)),
                    File(path="/etc/web.key", content=site.credentials["web.env", "KEY"], mode="0600"),
                ],
            },
            checks=[PortCheck(port=9)],
        )
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a desired state of two hosts that are nowhere."""
    for name in ("desired", "credentials"):
        (tmp_path / name).mkdir()
    (tmp_path / "desired/hosts.py").write_text(HOSTS_PY)
    for name, text in (("kbstate.env", "KBSTATE_HASH_KEY=0123456789abcdef\n"), ("web.env", f"KEY={SECRET}\n")):
        file = tmp_path / "credentials" / name
        file.write_text(text)
        file.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    for name in ("KBSTATE_DESIRED", "KBSTATE_CREDENTIALS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


Kbstate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kbstate(tree: Path, capsys: pytest.CaptureFixture[str]) -> Kbstate:
    """Runs a command line: exit code, stdout, stderr. No secret and no traceback may be in either."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        assert SECRET not in out + err
        assert "Traceback" not in out + err
        return code, out, err

    return call


def observe(tree: Path, **live: Observed) -> Path:
    """A file of observations of both hosts: as declared, but for what is named (`motd`, `conf`, `key`)."""
    names = {"motd": "file:/etc/motd", "conf": "file:/etc/web.conf", "key": "file:/etc/web.key"}
    desired = load(tree / "desired", tree / "credentials")
    changed = {names[name]: value for name, value in live.items()}
    pairs = []
    for host in desired.hosts:
        observed: dict[str, Observed] = {item.resource.address: item.resource for item in host.declared}
        if host.name == "web-01":
            observed |= changed
        pairs.append((host, Observation(host.name, observed, Ledger(), (), "2026-01-01T00:00:00Z")))
    save_observations(tree / "seen.json", pairs, desired.hasher)
    return tree / "seen.json"


@pytest.fixture
def seen(tree: Path) -> Path:
    """web-01 has no motd; all else is as declared."""
    return observe(tree, motd=None)


def error(code: int, sentence: str) -> tuple[int, str, str]:
    return code, "", f"Error: {sentence}\n"


# --- without a connection ---------------------------------------------------------------------------------------


def test_validate(kbstate: Kbstate) -> None:
    assert kbstate("validate") == (
        0,
        "web-01: valid, 3 resources in 2 modules, 1 check\nweb-02: valid, 3 resources in 2 modules, 1 check\n",
        "",
    )
    assert kbstate("validate", "web-02")[1].startswith("web-02: valid")


def test_plan(kbstate: Kbstate, seen: Path) -> None:
    code, out, err = kbstate("plan", "--observed", "seen.json")
    assert (code, err) == (0, "")
    assert out == dedent(
        """\
        web-01

          base
            + file:/etc/motd  content 1 line, mode 0644

        web-02  no changes

        Plan: 1 to add, 0 to change, 0 to replace, 0 to delete.
        """
    )


def test_plan_of_one_host_without_changes(kbstate: Kbstate, seen: Path) -> None:
    assert kbstate("plan", "web-02", "--observed", "seen.json") == (0, "No changes. web-02 is as declared.\n", "")


def test_options_stand_anywhere_after_the_command(kbstate: Kbstate, seen: Path, tree: Path) -> None:
    (tree / "desired").rename(tree / "other")
    expected = (0, "No changes. web-02 is as declared.\n", "")
    assert kbstate("plan", "--desired", "other", "web-02", "--observed=seen.json", "--no-color") == expected


def test_options_from_the_environment(kbstate: Kbstate, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "desired").rename(tree / "d")
    (tree / "credentials").rename(tree / "c")
    monkeypatch.setenv("KBSTATE_DESIRED", "d")
    monkeypatch.setenv("KBSTATE_CREDENTIALS", "c")
    assert kbstate("validate")[0] == 0


def test_detailed_exitcode(kbstate: Kbstate, seen: Path) -> None:
    assert kbstate("plan", "--observed", "seen.json", "--detailed-exitcode")[0] == 2
    assert kbstate("plan", "web-02", "--observed", "seen.json", "--detailed-exitcode")[0] == 0


def test_unknown_is_4_and_never_clean(kbstate: Kbstate, tree: Path) -> None:
    observe(tree, motd=Unknown("permission denied"), conf=None)
    code, out, _ = kbstate("plan", "--observed", "seen.json", "--detailed-exitcode")
    assert code == 4
    assert "? file:/etc/web.conf  requires file:/etc/motd, which could not be read" in out
    assert "as declared" not in out


def test_json_is_one_document(kbstate: Kbstate, seen: Path) -> None:
    code, out, err = kbstate("plan", "--observed", "seen.json", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["format_version"] == "1"
    assert document["summary"] == {"add": 1, "change": 0, "replace": 0, "delete": 0, "unknown": 0, "unchanged": 5}


def test_selectors(kbstate: Kbstate, tree: Path) -> None:
    observe(tree, motd=None, conf=None, key=None)

    def planned(*arguments: str) -> list[str]:
        code, out, _ = kbstate("plan", "web-01", "--observed", "seen.json", "--json", *arguments)
        assert code == 0
        return [change["address"] for change in json.loads(out)["hosts"][0]["changes"]]

    assert planned("--target", "file:/etc/web.conf") == ["file:/etc/motd", "file:/etc/web.conf"]
    assert planned("--target", "web-01/file:/etc/*.key") == ["file:/etc/web.key"]
    assert planned("--exclude", "file:/etc/motd") == ["file:/etc/web.key"]
    assert planned("--module", "base") == ["file:/etc/motd"]
    observe(tree)
    assert planned("--replace", "file:/etc/motd", "--replace", "file:/etc/web.key") == [
        "file:/etc/motd",
        "file:/etc/web.key",
    ]


@pytest.mark.parametrize("option", ["--target", "--exclude", "--replace", "--allow-destroy"])
def test_a_selector_that_matches_nothing(kbstate: Kbstate, seen: Path, option: str) -> None:
    code, out, err = kbstate("plan", "--observed", "seen.json", option, "file:/etc/modt")
    assert (code, out) == (64, "")
    assert err.startswith(f"Error: {option} file:/etc/modt matches nothing: did you mean file:/etc/motd or ")


def test_a_saved_plan_is_shown_again(kbstate: Kbstate, seen: Path, tree: Path) -> None:
    code, out, err = kbstate("plan", "--observed", "seen.json", "--out", "plan.json", "--target", "file:/etc/motd")
    assert (code, err) == (0, "Saved as plan.json: `kbstate apply plan.json` runs exactly this.\n")
    assert stat.S_IMODE((tree / "plan.json").stat().st_mode) == 0o600
    assert kbstate("show", "plan.json") == (0, out, "")
    code, shown, err = kbstate("show", "plan.json", "--json")
    assert shown == (tree / "plan.json").read_text()
    assert SECRET not in shown


def test_a_saved_plan_without_json_in_its_name_is_named_so_that_apply_knows_it(kbstate: Kbstate, seen: Path) -> None:
    assert "`kbstate apply ./today`" in kbstate("plan", "--observed", "seen.json", "--out", "today")[2]


def test_graph(kbstate: Kbstate) -> None:
    code, out, err = kbstate("graph", "web-01")
    assert (code, err) == (0, "")
    assert out.startswith("flowchart LR\n")
    assert "h0n1 --> h0n0" in out
    assert kbstate("graph", "--format", "dot")[1].startswith("digraph kbstate {")


def test_schema(kbstate: Kbstate) -> None:
    one, every = json.loads(kbstate("schema", "file")[1]), json.loads(kbstate("schema")[1])
    assert "path" in one["properties"]
    assert {"file", "service", "package"} <= set(every["properties"])


# --- what is wrong with the desired state -----------------------------------------------------------------------


def test_a_desired_state_that_is_not_there(kbstate: Kbstate) -> None:
    assert kbstate("validate", "--desired", "nowhere") == error(
        1, "nowhere has no hosts.py: name the directory of the desired state with --desired"
    )


def test_a_faulty_file_is_named_with_its_line(kbstate: Kbstate, tree: Path) -> None:
    (tree / "desired/hosts.py").write_text(HOSTS_PY.replace("mode=", "mod="))
    code, out, err = kbstate("plan", "--observed", "seen.json")
    assert (code, out) == (1, "")
    assert re.search(
        r"^Error: desired/hosts.py:\d+: file:/etc/motd: field 'mod' does not exist: did you mean mode", err
    )


def test_a_cycle_is_found_without_a_connection(kbstate: Kbstate, tree: Path) -> None:
    text = HOSTS_PY.replace('mode="0644"', 'requires=("file:/etc/web.conf",)')
    (tree / "desired/hosts.py").write_text(text)
    for command in ("validate", "plan", "graph"):
        code, out, err = kbstate(command)
        assert (code, out) == (1, "")
        assert err == (
            "Error: these require each other in a circle: file:/etc/motd (desired/hosts.py:8) → "
            "file:/etc/web.conf (desired/hosts.py:10) → file:/etc/motd: take one of these requirements out\n"
        )


def test_a_requirement_that_is_not_declared(kbstate: Kbstate, tree: Path) -> None:
    (tree / "desired/hosts.py").write_text(HOSTS_PY.replace('("file:/etc/motd",)', '("file:/etc/modt",)'))
    assert kbstate("validate") == error(
        1,
        "desired/hosts.py:10: file:/etc/web.conf: requires 'file:/etc/modt', which is not declared: "
        "did you mean file:/etc/motd or file:/etc/web.key?",
    )


def test_a_missing_credential(kbstate: Kbstate, tree: Path) -> None:
    (tree / "credentials/web.env").unlink()
    code, out, err = kbstate("validate")
    assert (code, out) == (1, "")
    assert "web.env" in err


# --- wrong usage ------------------------------------------------------------------------------------------------

MISUSED = [
    (["frob"], "no such command 'frob' (kbstate --help)"),
    (["plan", "--frob"], "no such option: --frob (kbstate plan --help)"),
    (["plan", "--targte", "x"], "no such option: --targte (Possible options: --target) (kbstate plan --help)"),
    (["plan", "--target"], "option '--target' requires an argument (kbstate plan --help)"),
    (
        ["plan", "--parallel", "0"],
        "invalid value for '--parallel': Input should be greater than or equal to 1 (kbstate plan --help)",
    ),
    (
        ["plan", "--timeout", "x"],
        "invalid value for '--timeout': Input should be a valid number, unable to parse string as a number "
        "(kbstate plan --help)",
    ),
    (["collect"], "missing option '--out' (kbstate collect --help)"),
    (["show"], "missing argument 'FILE' (kbstate show --help)"),
    (["plan", "web-03"], "there is no host 'web-03' in desired: did you mean web-02 or web-01?"),
    (["schema", "flie"], "there is no kind 'flie': did you mean file?"),
    (["show", "nowhere.json"], "nowhere.json cannot be read: No such file or directory"),
    (["show", "desired"], "desired cannot be read: Is a directory"),
    (["apply", "nowhere.json"], "nowhere.json cannot be read: No such file or directory"),
    (["apply", "./nowhere"], "nowhere cannot be read: No such file or directory"),
    (["apply", "a.json", "web-01"], "a saved plan is applied alone: it says itself which hosts it is for"),
    (
        ["apply", "a.json", "--target", "file:/x"],
        "a saved plan brings its own selectors: make a new plan with these",
    ),
    (["apply", "web", "--auto-approve"], "there is no host 'web' in desired: did you mean web-02 or web-01?"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISUSED)
def test_misuse(kbstate: Kbstate, arguments: list[str], sentence: str) -> None:
    assert kbstate(*arguments) == error(64, sentence)


def test_a_format_that_there_is_not(kbstate: Kbstate) -> None:
    code, out, err = kbstate("graph", "--format", "svg")
    assert (code, out) == (64, "")
    assert "'svg' is not one of 'mermaid', 'dot'" in err


def test_no_command_is_a_misuse_that_shows_the_help(kbstate: Kbstate) -> None:
    code, out, err = kbstate()
    assert (code, out) == (64, "")
    assert "Commands:" in err


@pytest.mark.parametrize("command", ["validate", "plan", "apply", "check", "collect", "show", "graph", "schema", "lab"])
def test_help(kbstate: Kbstate, command: str) -> None:
    code, out, err = kbstate(command, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: kbstate {command} " in out


# --- files that are no plans or observations --------------------------------------------------------------------


def test_a_file_that_is_no_plan(kbstate: Kbstate, tree: Path, seen: Path) -> None:
    for command in ("show", "apply"):
        assert kbstate(command, "seen.json") == error(
            1, "seen.json is no saved plan: give the FILE of `kbstate plan --out FILE`"
        )
    (tree / "binary.json").write_bytes(b"\xff\xfe")
    assert kbstate("show", "binary.json") == error(1, "binary.json is damaged: it is not UTF-8")


def test_an_observation_that_is_none(kbstate: Kbstate, tree: Path) -> None:
    (tree / "x.json").write_text("{}")
    assert kbstate("plan", "--observed", "x.json") == error(
        1, "x.json is not a file that `kbstate collect` wrote: collect anew"
    )
    code, _, err = kbstate("plan", "--observed", "nowhere.json")
    assert (code, err) == (1, "Error: nowhere.json cannot be read: No such file or directory\n")


def test_a_plan_that_cannot_be_saved(kbstate: Kbstate, seen: Path, tree: Path) -> None:
    assert kbstate("plan", "--observed", "seen.json", "--out", "nowhere/plan.json") == error(
        1, "nowhere/plan.json cannot be written: No such file or directory"
    )
    assert sorted(path.name for path in tree.iterdir()) == ["credentials", "desired", "seen.json"]


# --- hosts that cannot be reached -------------------------------------------------------------------------------


def test_an_unreachable_host_is_4(kbstate: Kbstate) -> None:
    code, out, err = kbstate("plan", "web-01", "--timeout", "5")
    assert (code, err) == (4, "")
    assert out.startswith("web-01  unreachable\n  no SSH server answers at root@127.0.0.1 port 9")
    assert "No changes" not in out


def test_one_unreachable_host_does_not_hide_the_others(kbstate: Kbstate) -> None:
    code, out, _ = kbstate("plan", "--json", "--detailed-exitcode")
    assert code == 4
    document = json.loads(out)
    assert [(host["name"], host["reachable"], host["complete"]) for host in document["hosts"]] == [
        ("web-01", False, False),
        ("web-02", False, False),
    ]
    assert document["hosts"][0]["errors"][0].startswith("no SSH server answers")


def test_collect_from_unreachable_hosts_writes_nothing(kbstate: Kbstate, tree: Path) -> None:
    code, out, err = kbstate("collect", "--out", "new.json")
    assert (code, out) == (4, "")
    assert err.count("Error: web-0") == 2
    assert not (tree / "new.json").exists()


def test_check_of_unreachable_hosts(kbstate: Kbstate) -> None:
    code, out, _ = kbstate("check", "--json")
    assert code == 4
    assert [host["healthy"] for host in json.loads(out)["hosts"]] == [False, False]
    code, out, _ = kbstate("check", "web-01")
    assert code == 4
    assert out.endswith("\nNot healthy: web-01.\n")


def test_apply_stops_at_the_first_host_of_a_role(kbstate: Kbstate) -> None:
    code, out, err = kbstate("apply", "--auto-approve")
    assert (code, out) == (4, "")
    first, second = err.splitlines()
    assert first.startswith("Error: web-01: no SSH server answers")
    assert second == "web-02: not attempted, because web-01 of the same role did not come out well"


def test_a_selector_is_not_called_wrong_while_a_ledger_cannot_be_read(kbstate: Kbstate) -> None:
    code, out, _ = kbstate("plan", "--target", "file:/etc/modt")
    assert (code, "unreachable" in out) == (4, True)
    code, _, err = kbstate("apply", "web-01", "--auto-approve", "--target", "file:/etc/modt")
    assert (code, err.startswith("Error: web-01: no SSH server answers")) == (4, True)


# --- apply ------------------------------------------------------------------------------------------------------


def test_apply_does_not_hang_without_a_terminal(kbstate: Kbstate) -> None:
    assert kbstate("apply") == error(1, "there is no terminal to ask on: add --auto-approve, or apply a saved plan")


def test_a_saved_plan_of_unreachable_hosts_is_refused(kbstate: Kbstate) -> None:
    assert kbstate("plan", "web-01", "--out", "p.json")[0] == 4
    assert kbstate("apply", "p.json") == error(
        1, "p.json does not say what to do on web-01, which was unreachable: plan anew"
    )


def test_a_saved_plan_needs_no_approval(kbstate: Kbstate, seen: Path) -> None:
    kbstate("plan", "web-01", "--observed", "seen.json", "--out", "p.json")
    code, _, err = kbstate("apply", "p.json")
    assert (code, err.startswith("Error: web-01: no SSH server answers")) == (4, True)


# --- as a program -----------------------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-m", "kbstate"]


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    run_it = [*PROGRAM, *arguments]
    return subprocess.run(
        run_it, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_version_is_told_before_anything_is_imported() -> None:
    for arguments in (["--version"], ["plan", "--version"]):
        told = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "kbstate", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        assert re.fullmatch(r"kbstate \d+\.\d+\.\d+\n", told.stdout)
        assert not re.search(r"\b(typer|rich|pydantic|pyinfra|deepdiff)$", told.stderr, re.MULTILINE)


def test_help_and_validate_import_nothing_heavy(tree: Path) -> None:
    def imported(*arguments: str) -> set[str]:
        command = [sys.executable, "-X", "importtime", "-m", "kbstate", *arguments]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in told.stderr.splitlines() if "|" in line}

    assert not imported("--help") & {"rich", "pydantic", "pyinfra", "deepdiff", "jinja2", "gevent"}
    assert not imported("validate") & {"pyinfra", "deepdiff", "jinja2", "gevent"}


def test_exit_codes_of_the_program(tree: Path, seen: Path) -> None:
    assert program("plan", "--observed", "seen.json", "--detailed-exitcode").returncode == 2
    assert program("plan", "--frob").returncode == 64
    assert program("validate", "--desired", "nowhere").returncode == 1


def test_an_output_that_knows_no_arrows(tree: Path) -> None:
    changed = load(tree / "desired", tree / "credentials").hosts[0].lookup("file:/etc/motd")
    assert changed is not None
    observe(tree, motd=changed.model_copy(update={"mode": "0600"}))
    told = program("plan", "--observed", "seen.json", PYTHONIOENCODING="ascii")
    assert told.returncode == 0
    assert "0600 \\u2192 0644" in told.stdout


def test_a_reader_that_goes_away(tree: Path) -> None:
    shell = f"{sys.executable} -m kbstate schema | head -n 1"
    told = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout == "{\n"
    assert told.stderr == ""


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_ctrl_c_while_a_host_is_silent(tree: Path, silent: int) -> None:
    (tree / "desired/hosts.py").write_text(HOSTS_PY.replace("port=9, role", f"port={silent}, role"))
    began = time.monotonic()
    with subprocess.Popen(
        [*PROGRAM, "plan", "--timeout", "30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err == "Error: interrupted; nothing was changed but what is said above\n"
    assert time.monotonic() - began < 15


def test_a_fault_of_kbstate_itself_is_one_sentence(
    kbstate: Kbstate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr("kbstate.schema.schema", broken)
    code, out, err = kbstate("schema")
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"Error: this is a fault of kbstate \(ZeroDivisionError at inspect.py:\d+\): add --verbose to see "
        r"where it comes from, and report it with that as CONTRIBUTING.md says\n",
        err,
    )
    assert run(["schema", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err
