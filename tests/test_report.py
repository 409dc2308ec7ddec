"""What people read: transcripts."""

from __future__ import annotations

import io
import json
import re
import time
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kbstate.checks import CheckResult
from kbstate.events import Event
from kbstate.kinds.file import File
from kbstate.kinds.mount import Mount
from kbstate.kinds.package import Package
from kbstate.kinds.service import Service
from kbstate.ledger import Ledger
from kbstate.plan import HostPlan, Plan
from kbstate.report import checks, graph
from kbstate.report.events import Progress, json_lines
from kbstate.report.plan import print_plan
from kbstate.report.style import console, cut, print_error, visible
from kbstate.report.value import differences, inline, short
from kbstate.resource import Observed, Unknown
from kbstate.secret import Secret
from kbstate.selection import Selection
from tests.things import Other, Thing, absent, entry, host, planned


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def text(*plans: HostPlan, width: int = 80, verbose: bool = False, selection: Selection | None = None) -> str:
    out = io.StringIO()
    print_plan(Plan.of(plans, selection or Selection()), console(out, width=width), verbose=verbose)
    return out.getvalue()


def transcript(expected: str) -> str:
    return dedent(expected).removeprefix("\n")


CONFIG = "global\n    maxconn 1000\n    log stdout\n\ndefaults\n    timeout client 1m\n    mode tcp\n"
FILE = File(path="/etc/haproxy.cfg", content=CONFIG, owner="root", group="root", mode="0640")
DAEMON = File(path="/etc/docker/daemon.json", content='{"log-driver": "json-file"}\n')
DOCKER = Service(
    name="docker", running=True, enabled=True, restart_on=(DAEMON.address,), interrupts="drops connections"
)
TOKEN = File(path="/opt/token", content=Secret("hunter2"), mode="0600")
ODD = File(path="/etc/odd", content="x\n")
HOST = host(
    ODD,
    Package(name="curl"),
    name="haproxy-01",
    docker=[Package(name="docker.io"), DAEMON, DOCKER],
    haproxy=[FILE, TOKEN],
)
AS_APPLIED = Ledger(entries={item.resource.address: entry(item.resource) for item in HOST.declared})


def drifted() -> HostPlan:
    docker = HOST.lookup(DOCKER.address)
    assert docker is not None
    old, data = File(path="/etc/old.conf", content="x\n", mode="0644"), Mount(path="/data", source="/dev/sdb")
    ledger = AS_APPLIED.model_copy(update={"entries": {**AS_APPLIED.entries, "file:/etc/motd": entry(FILE)}})
    ledger.entries[old.address], ledger.entries[data.address] = entry(old), entry(data)
    live: dict[str, Observed] = {
        FILE.address: FILE.model_copy(update={"content": CONFIG.replace("1000", "400"), "mode": "0644"}),
        DAEMON.address: DAEMON.model_copy(update={"content": '{"log-driver": "journald"}\n'}),
        DOCKER.address: docker.model_copy(update={"started_with": "older files"}),
        TOKEN.address: TOKEN.model_copy(update={"content": Secret("other")}),
        ODD.address: Unknown("a directory is in its place: remove it, or declare it as one"),
    }
    return planned(HOST, live, ledger=ledger, removed=(old, data))


DRIFTED = """
    haproxy-01

      docker
        ~ file:/etc/docker/daemon.json  ! drift
            content
            @@ -1 +1 @@
            -{"log-driver": "journald"}
            +{"log-driver": "json-file"}
            → restarts service:docker.service

        ~ service:docker.service        ! drift
            started_with  older files → 83e57114057d…
            drops connections

      haproxy
        ~ file:/etc/haproxy.cfg  ! drift
            mode  0644 → 0640
            content
            @@ -1,5 +1,5 @@
             global
            -    maxconn 400
            +    maxconn 1000
                 log stdout

             defaults

        ~ file:/opt/token        ! drift
            content  (sensitive)

      old
        - file:/etc/old.conf  pending  content 1 line, mode 0644
        - mount:/data         pending  source /dev/sdb
            unmounts /data: what is stored there is out of reach until it is
            mounted again
            apply refuses this without --allow-destroy mount:/data

      could not be read
        ? file:/etc/odd  a directory is in its place: remove it, or declare it as
                         one

      no longer declared
          file:/etc/motd  was there before kbstate: left as it is

    This is not the whole plan: 1 resource could not be read or decided on.
    Plan: 0 to add, 4 to change, 0 to replace, 2 to delete.
    """


def test_a_plan_with_some_of_everything() -> None:
    assert text(drifted()) == transcript(DRIFTED)


def test_nothing_is_wider_than_asked() -> None:
    for width in (60, 80, 120):
        assert max(cell_len(line) for line in text(drifted(), width=width).splitlines()) <= width


EMPTY = """
    haproxy-01

      main
        + file:/etc/odd  content 1 line
        + package:curl

      docker
        + package:docker.io
        + file:/etc/docker/daemon.json  content 1 line
        + service:docker.service        running, enabled, unit_files_read

      haproxy
        + file:/etc/haproxy.cfg  content 7 lines, owner root, group root, mode 0640
        + file:/opt/token        content (sensitive), mode 0600

      looked at first: 200 MB are free in /var

    Plan: 7 to add, 0 to change, 0 to replace, 0 to delete.
    """


def test_what_is_all_new_takes_a_line_each() -> None:
    docker = Service(name="docker", running=True, enabled=True)
    made = host(ODD, Package(name="curl"), name="haproxy-01", docker=[Package(name="docker.io"), DAEMON, docker],
                haproxy=[FILE, TOKEN])  # fmt: skip
    assert text(planned(made, absent(made))) == transcript(EMPTY)


def test_verbose_shows_what_is_new_in_full() -> None:
    made = host(FILE, TOKEN, name="haproxy-01")
    assert text(planned(made, absent(made)), verbose=True) == transcript(
        """
        haproxy-01

          main
            + file:/etc/haproxy.cfg
                content  7 lines
                +global
                +    maxconn 1000
                +    log stdout
                +
                +defaults
                +    timeout client 1m
                +    mode tcp
                owner    root
                group    root
                mode     0640

            + file:/opt/token
                mode     0600
                content  (sensitive)

        Plan: 2 to add, 0 to change, 0 to replace, 0 to delete.
        """
    )


def test_what_a_narrow_line_leaves_out_is_said() -> None:
    made = host(FILE, name="h")
    assert "+ file:/etc/haproxy.cfg  content 7 lines, owner root, …" in text(planned(made, absent(made)), width=60)


def test_no_changes() -> None:
    one, two = planned(host(FILE, name="haproxy-01")), planned(host(FILE, name="haproxy-02"))
    assert text(one) == "No changes. haproxy-01 is as declared.\n"
    assert text(one, two) == "No changes. haproxy-01 and haproxy-02 are as declared.\n"
    targeted = Selection(target=("file:*",))
    assert text(one, selection=targeted) == "No changes. What is selected of haproxy-01 is as declared.\n"


def test_a_host_without_changes_beside_one_with() -> None:
    shown = text(planned(host(FILE, name="a")), planned(host(FILE, name="b"), {FILE.address: None}))
    assert shown.startswith("a  no changes\n\nb\n\n")


def test_unreachable_is_not_clean() -> None:
    shown = text(HostPlan.failed("haproxy-02", "haproxy-02: no SSH server answers: is sshd running?", reachable=False))
    assert shown == transcript(
        """
        haproxy-02  unreachable
          no SSH server answers: is sshd running?

        This is not the whole plan: haproxy-02 is unreachable.
        Plan: 0 to add, 0 to change, 0 to replace, 0 to delete.
        """
    )


def test_a_ledger_that_cannot_be_read_is_not_clean() -> None:
    shown = text(planned(host(FILE, name="h"), ledger=Unknown("the ledger is damaged: restore it")))
    assert shown.startswith("h  could not be read\n  the ledger is damaged: restore it\n")
    assert "This is not the whole plan: h could not be read completely." in shown
    assert "as declared" not in shown


def test_what_is_known_after_apply_and_what_is_replaced_or_left_out() -> None:
    a, b = Thing(name="a"), Thing(name="b", shape="square")
    live = {
        "thing:a": None,
        "thing:b": Thing(name="b", shape="round"),
        "other:o": Unknown("not up", until=("thing:a",)),
    }
    selection = Selection(module=("main",))
    made = host(a, b, Other(name="o"), Other(name="p", requires=("thing:z",)), rest=[Thing(name="z")])
    shown = text(planned(made, {**live, "thing:z": None, "other:p": None}, selection=selection))
    assert shown == transcript(
        """
        h1

          main
            + thing:a  value new
          -/+ thing:b  new
                shape  round → square

            ~ other:o  new  (known after apply)
                not up

          left out by the selectors
              other:p  requires thing:z, which this run leaves out

        Plan: 1 to add, 1 to change, 1 to replace, 0 to delete.
        """
    )


def test_allowed_destruction_is_said_without_a_flag() -> None:
    data = Thing(name="data", destroys="loses all data")
    plan = planned(host(Other(name="o")), ledger=Ledger(entries={data.address: entry(data)}), removed=(data,))
    assert "apply refuses this without --allow-destroy thing:data" in text(plan)
    for name in ("thing:data", "thing:*", "h1/thing:data"):
        shown = text(plan, selection=Selection(allow_destroy=(name,)))
        assert "loses all data" in shown
        assert "refuses" not in shown


def changed(before: str, after: str, **how: int | bool) -> str:
    plan = planned(host(Thing(name="a", value=after)), {"thing:a": Thing(name="a", value=before)})
    return text(plan, **how)  # type: ignore[arg-type]


def test_long_values_are_put_below_each_other_and_cut() -> None:
    shown = changed("uv" * 30, "xy" * 30)
    assert f"value  {'uv' * 30}\n             → {'xy' * 30}\n" in shown
    long = changed("xy" * 500, "zw" * 500)
    assert long.count("…\n") == 2
    assert len(long) < 900
    assert changed("xy" * 500, "zw" * 500, verbose=True).count("x") == 500


def test_long_diffs_are_cut_and_verbose_shows_all() -> None:
    before, after = ("".join(f"{word} {i}\n" for i in range(100)) for word in ("old", "new"))
    shown = changed(before, after)
    assert "… 151 more lines (--verbose shows all)" in shown
    assert "+new 99" in changed(before, after, verbose=True)


def test_lines_that_look_alike_are_told_apart() -> None:
    shown = changed("a\nb\r\nc \n", "a\nb\nc\nd")
    assert "-b\\r\n" in shown
    assert "-c·\n" in shown
    assert "+d (no line break at the end)\n" in shown


def test_nothing_of_a_value_acts_on_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\u202e[bold]:smile:\x9b2J\udcff"
    out = Terminal()
    made = host(Thing(name="a"), name="h")
    plan = planned(made, {"thing:a": Thing(name="a", value=evil + "\nx\n")})
    plan = plan.model_copy(update={"unknown": {f"thing:{evil}": evil}, "errors": (evil,), "forgotten": (evil,)})
    print_plan(Plan.of([plan], Selection()), console(out, width=300))
    printed = out.getvalue()
    assert "[bold]:smile:" in printed
    assert "\\x1b]0;owned\\x07" in printed
    assert not set(re.sub(r"\x1b\[[0-9;]*m", "", printed)) & set("\x1b\x07\x9b\u202e\udcff")
    assert "\x1b[31m\\u202e" not in printed


@given(st.text())
def test_visible(value: str) -> None:
    shown = visible(value)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    assert cell_len(cut(value, 20)) <= 20


@given(st.text(alphabet="ab\n "), st.text(alphabet="ab\n "))
def test_a_diff_tells_both_texts(before: str, after: str) -> None:
    lines = list(differences(before, after))
    assert bool(lines) == (before != after)
    assert all(sign in "@ +-" for sign, _ in lines)


def test_an_enormous_text_is_not_shown_whole_and_takes_no_time() -> None:
    began = time.monotonic()
    assert list(differences("a\n", "y" * 6_000_000)) == [
        ("@", "@@ -1 +1 @@"),
        ("-", "a"),
        ("+", "y" * 2000 + "… (5998000 more characters) (no line break at the end)"),
    ]
    many = list(differences("".join(f"{n % 100}\n" for n in range(500_000)), "x\n"))
    assert many == [("@", "@@ 500000 lines → 1 lines: too many to compare one by one @@")]
    assert list(differences("x\n" * 20_000, "x\n" * 20_000)) == []
    assert time.monotonic() - began < 10


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def coloured(stream: io.StringIO, *, no_color: bool = False) -> bool:
        print_plan(Plan.of([drifted()], Selection()), console(stream, no_color=no_color, width=80))
        return "\x1b[" in stream.getvalue()

    assert coloured(Terminal())
    assert not coloured(io.StringIO())
    assert not coloured(Terminal(), no_color=True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured(Terminal())


def test_colour_changes_nothing_but_colour() -> None:
    out = Terminal()
    print_plan(Plan.of([drifted()], Selection()), console(out, width=80))
    assert re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()) == text(drifted())


def test_a_saved_plan_is_shown_as_the_one_that_was_made() -> None:
    plan = Plan.of([drifted()], Selection())
    out = io.StringIO()
    print_plan(Plan.from_json(plan.to_json()), console(out, width=80))
    assert out.getvalue() == text(drifted())


VALUES = [
    (None, "(none)"),
    (True, "true"),
    ("", '""'),
    (" x", '" x"'),
    ("true", '"true"'),
    ("0644", "0644"),
    (["a", 1, None], "[a, 1, (none)]"),
    ({"a": 1, "b": None}, "{a: 1}"),
    ("a\nb\n", "2 lines"),
    ("a\n", "1 line"),
    (f"sha256:{'0123456789abcdef' * 4}", "sha256:0123456789ab…"),
    (4.5, "4.5"),
]


@pytest.mark.parametrize(("value", "shown"), VALUES)
def test_short(value: object, shown: str) -> None:
    assert short(value) == shown  # type: ignore[arg-type]


INLINE = [
    (None, None),
    ([], None),
    (True, "name"),
    (False, "not name"),
    (["a", "b"], "name [a, b]"),
    (["a" * 20, "b" * 20], "name (2)"),
    ("x" * 40, f"name {'x' * 31}…"),
    ("ab12" * 16, None),  # a digest says nothing to anybody
]


@pytest.mark.parametrize(("value", "shown"), INLINE)
def test_inline(value: object, shown: str | None) -> None:
    assert inline("name", value, 32) == shown  # type: ignore[arg-type]


def test_errors(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("one\ntwo \x1b[31m")
    assert capsys.readouterr().err == "Error: one\nError: two \\x1b[31m\n"
    print_error("")
    assert capsys.readouterr().err == "Error: \n"


# --- apply ------------------------------------------------------------------------------------------------------

CHECK = {"name": "port 5432", "target": "10.0.0.11:5432", "ok": True, "detail": "answers", "ms": 12}
RUN = [
    Event(type="note", host="h1", text="waiting for the lock"),
    Event(type="planned", host="h1", digest="sha256:0", changes={"add": 2, "change": 0, "replace": 0, "delete": 0}),
    Event(type="step_start", host="h1", address="package:curl", number=1, total=10),
    Event(type="step_done", host="h1", address="package:curl", number=1, total=10, seconds=13.04),
    Event(type="step_start", host="h1", address="file:/x", number=10, total=10),
    Event(
        type="step_failed", host="h1", address="file:/x", number=10, total=10, seconds=0.1,
        text="h1: file:/x: write the file failed (1): no space\nleft \x1b[31mon device",
    ),
    Event(type="step_failed", host="h1", address="file:/y", text="h1: file:/y is still not as declared"),
    Event(type="step_failed", host="h1", address="file:/z", text="h1: file:/y is still not as declared"),
    Event(type="rolled_back", host="h1", address="file:/x", number=10, total=10, seconds=0.2),
    Event(type="check", host="h1", **CHECK),
    Event(type="check", host="h1", **{**CHECK, "ok": False, "detail": "connection refused"}),
    Event(
        type="summary", host="h1", done=("package:curl",), failed=("file:/x",), not_attempted=("file:/z",), exit_code=1
    ),
]  # fmt: skip


def test_progress() -> None:
    out = io.StringIO()
    now = iter([0.0, 13.0, 65.0, 66.0, 66.0, 67.0, 68.5])
    progress = Progress(console(out, width=100), lambda: next(now))
    for event in RUN:
        progress(event)
    assert out.getvalue() == transcript(
        """
          waiting for the lock
        h1: applying 2 changes
          00:13  [ 1/10] ok     package:curl  13.0 s
          01:05  [10/10] failed file:/x  0.1 s
                   write the file failed (1): no space
                   left \\x1b[31mon device
          01:06  [again] failed file:/y
                   file:/y is still not as declared
          01:06  [again] failed file:/z
                   for the same reason
          01:07  [10/10] rolled back file:/x  0.2 s
          ok      port 5432               10.0.0.11:5432            answers  12 ms
          failed  port 5432               10.0.0.11:5432            connection refused  12 ms
        h1: 1 done, 1 failed, 1 not attempted, in 68.5 s
          failed         file:/x
          not attempted  file:/z
        """
    )


def test_progress_of_nothing() -> None:
    out = io.StringIO()
    progress = Progress(console(out, width=100), lambda: 0.0)
    progress(Event(type="planned", host="h1", changes={"add": 0}))
    progress(Event(type="summary", host="h1", exit_code=0))
    assert out.getvalue() == "h1: nothing to change\nh1: 0 done, 0 failed, 0 not attempted, in 0.0 s\n"


def test_the_title_waits_until_the_plan_was_approved() -> None:
    out = io.StringIO()
    progress = Progress(console(out, width=100))
    progress(RUN[1])
    assert out.getvalue() == ""
    progress(RUN[2])
    assert out.getvalue() == "h1: applying 2 changes\n"


def test_progress_shows_what_is_at_work_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    progress = Progress(console(out, width=100))
    for event in RUN[2:4]:
        progress(event)
    assert out.getvalue().startswith("  [ 1/10] package:curl …\r\x1b[K")
    monkeypatch.setenv("TERM", "dumb")
    dumb = Terminal()
    Progress(console(dumb, width=100))(RUN[2])
    assert dumb.getvalue() == ""


def test_json_lines() -> None:
    out = io.StringIO()
    for event in RUN:
        json_lines(out)(event)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["type"] for line in lines] == [event.type for event in RUN if event.type != "note"]
    assert lines[1] == {"type": "step_start", "host": "h1", "address": "package:curl", "number": 1, "total": 10}
    assert lines[-1] == {
        "type": "summary",
        "host": "h1",
        "done": ["package:curl"],
        "failed": ["file:/x"],
        "not_attempted": ["file:/z"],
        "exit_code": 1,
    }


# --- checks and graphs ------------------------------------------------------------------------------------------

GOOD, BAD = CheckResult(**CHECK), CheckResult(**{**CHECK, "ok": False, "detail": "refused"})


def test_health() -> None:
    hosts = [
        checks.HostHealth("a", (GOOD,)),
        checks.HostHealth("b", (GOOD, BAD)),
        checks.HostHealth("c", error="no SSH server answers"),
        checks.HostHealth("d"),
    ]
    out = io.StringIO()
    checks.print_health(hosts, console(out, width=100))
    assert out.getvalue() == transcript(
        """
        a
          ok      port 5432               10.0.0.11:5432            answers  12 ms

        b
          ok      port 5432               10.0.0.11:5432            answers  12 ms
          failed  port 5432               10.0.0.11:5432            refused  12 ms

        c
          no SSH server answers

        d
          no checks are declared

        Not healthy: b, c.
        """
    )
    assert [checks.exit_code(hosts), checks.exit_code(hosts[:2]), checks.exit_code(hosts[:1])] == [4, 2, 0]
    document = json.loads(checks.to_json(hosts))
    assert document["format_version"] == "1"
    assert document["hosts"][0] == {"name": "a", "healthy": True, "checks": [CHECK]}
    assert document["hosts"][2] == {"name": "c", "healthy": False, "checks": [], "error": "no SSH server answers"}


def test_healthy() -> None:
    out = io.StringIO()
    checks.print_health([checks.HostHealth("a", (GOOD, GOOD))], console(out))
    assert out.getvalue().endswith("\nHealthy: 2 checks passed.\n")


PICTURED = host(
    Thing(name="c", requires=("thing:b", "thing:a")),
    Thing(name='a"]'),
    Thing(name="a"),
    more=[Thing(name="b", requires=("thing:a",))],
)


def test_mermaid() -> None:
    assert graph.mermaid([PICTURED]) == transcript(
        """
        flowchart LR
          subgraph h0["h1"]
            subgraph h0m0["main"]
              h0n0["thing:a#34;#93;"]
              h0n1["thing:a"]
              h0n3["thing:c"]
            end
            subgraph h0m1["more"]
              h0n2["thing:b"]
            end
          end
          h0n2 --> h0n1
          h0n3 --> h0n2"""
    )


def test_dot() -> None:
    assert graph.dot([PICTURED]) == transcript(
        """
        digraph kbstate {
          rankdir=LR; node [shape=box];
          subgraph cluster_h0 { label="h1";
            subgraph cluster_h0m0 { label="main";
              h0n0 [label="thing:a\\"]"];
              h0n1 [label="thing:a"];
              h0n3 [label="thing:c"];
            }
            subgraph cluster_h0m1 { label="more";
              h0n2 [label="thing:b"];
            }
          }
          h0n2 -> h0n1;
          h0n3 -> h0n2;
        }"""
    )
