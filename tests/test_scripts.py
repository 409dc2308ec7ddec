"""What the Makefile runs: the summary of `make test`, and what `make demo` shows where no lab can be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbstate.desired import load
from kbstate.recorded import load_observations
from scripts import demo, verify
from scripts.verify import FAILED, LEFT_OUT, PASSED, Check, Counts, Result

# --- verify -----------------------------------------------------------------------------------------------------

JUNIT = """<testsuites><testsuite>
<testcase name="a"/>
<testcase name="b"><failure message="no"/></testcase>
<testcase name="c"><properties><property name="lab" value="yes"/></properties></testcase>
<testcase name="d"><properties><property name="lab" value="yes"/></properties><skipped/></testcase>
<testcase name="e"><properties><property name="lab" value="yes"/></properties><error message="no"/></testcase>
</testsuite></testsuites>"""


def test_tests_are_counted_with_and_without_a_lab(tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(JUNIT)
    assert verify.counts(tmp_path / "tests.xml") == (Counts(passed=1, failed=1), Counts(1, 1, 1))


def after(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cases: str, code: int = 0) -> list[Result]:
    """The results of a run of pytest that wrote these cases and ended with this code."""
    results = tmp_path / "build" / "tests.xml"
    script = f"printf %s '<testsuite>{cases}</testsuite>' > {results}; exit {code}"
    monkeypatch.setattr(verify, "RESULTS", results)
    monkeypatch.setattr(verify, "TESTS", Check("tests", ("sh", "-c", script)))
    return verify.test()


def in_lab(inside: str = "") -> str:
    return f'<testcase><properties><property name="lab" value="yes"/></properties>{inside}</testcase>'


def test_all_that_passed_has_passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unit, lab = after(monkeypatch, tmp_path, "<testcase/>" + in_lab())
    assert (unit.outcome, lab.outcome) == (PASSED, PASSED)
    assert lab.detail == "1 passed, 0 failed, 0 skipped"


@pytest.mark.parametrize(("ci", "outcome"), [("true", FAILED), ("", PASSED)])
def test_in_ci_no_lab_test_may_be_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    _, lab = after(monkeypatch, tmp_path, in_lab() + in_lab("<skipped/>"))
    assert lab.outcome == outcome


@pytest.mark.parametrize(("ci", "outcome"), [("true", FAILED), ("", LEFT_OUT)])
def test_in_ci_lab_tests_may_not_be_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    _, lab = after(monkeypatch, tmp_path, "<testcase/>")
    assert lab.outcome == outcome


def test_a_pytest_that_broke_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    *_, own = after(monkeypatch, tmp_path, "<testcase/>" + in_lab(), code=3)
    assert own.outcome == FAILED
    monkeypatch.setattr(verify, "TESTS", Check("tests", ("false",)))
    assert [result.outcome for result in verify.test()] == [FAILED]


def test_a_failing_check_does_not_hide_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    results = [verify.run(Check(name, (name,))) for name in ("false", "true", "no-such-program")]
    assert verify.summary(results, 61.0) == 1
    said = capsys.readouterr().out
    assert "  no-such-program  left out  no-such-program is not installed here\n" in said
    assert said.endswith("Failed: false.\nLeft out, for the reasons above: no-such-program.\n1 min 1 s\n")
    assert verify.summary(results[1:], 1.0) == 0


def test_every_shell_script_is_checked() -> None:
    top = [path for name in (".ci", "scripts", "kbstate", "desired") for path in (verify.ROOT / name).rglob("*")]
    first = {path: path.read_bytes()[:20].split(b"\n")[0] for path in top if path.is_file()}
    found = {path for path, line in first.items() if line.startswith(b"#!") and line.endswith(b"sh")}
    assert found == {verify.ROOT / name for name in verify.SHELL_SCRIPTS}


# --- demo -------------------------------------------------------------------------------------------------------


def test_without_a_lab_the_demo_shows_the_plan_of_an_empty_host(capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.from_a_record("the lab needs root") == 0
    said = capfd.readouterr()
    assert said.out.startswith("No lab can be had here")
    assert "needs root" in said.out.splitlines()[0]
    assert "+ container:haproxy" in said.out
    assert " 0 to replace, 0 to delete." in said.out.splitlines()[-1]
    assert "?" not in said.out
    assert said.err == ""


def test_the_record_covers_all_that_is_declared() -> None:
    """If not: scripts/demo.py --record."""
    desired = load(demo.ROOT / "desired", demo.ROOT / demo.EXAMPLE_CREDENTIALS)
    (host,) = desired.select([demo.HOST])
    (seen,) = load_observations(demo.RECORDED, [host], desired.hasher)
    assert {item.resource.address for item in host.declared} == set(seen.observed)
    assert seen.collected_at > "2026"


@pytest.mark.parametrize("words", [["--nonsense"], ["--keep", "--record"]])
def test_the_demo_knows_its_options(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["demo.py", *words])
    assert demo.main() == 64
    assert capsys.readouterr().out.startswith("Unknown: ")
