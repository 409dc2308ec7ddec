"""Batches are run by a real `sh`, as on a host."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbstate.batch import LARGEST, Batch, Facts
from kbstate.paths import PathQuery, Paths, PathState
from kbstate.resource import Fact, PyinfraRead, Read, Unknown
from kbstate.shell import q


def ask(*reads: Read | PyinfraRead) -> Facts:
    batch = Batch(reads)
    done = subprocess.run(["sh", "-s"], input=batch.script.encode(), capture_output=True, check=False)
    return batch.answers(done.stdout.decode("ascii"))


class Echo(Fact[str, str]):
    """Says each subject again."""

    def command(self, wanted: Sequence[str]) -> str:
        return "\n".join(f"printf '%s' {q(word)} | base64 -w0; echo" for word in wanted)

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, str]:
        lines = output.splitlines()
        return {w: base64.b64decode(line).decode() for w, line in zip(wanted, lines, strict=True)}


class Shell(Fact[str, str]):
    """Runs the one subject."""

    seconds: ClassVar[int] = 1

    def command(self, wanted: Sequence[str]) -> str:
        return wanted[0]

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, str]:
        if output == "nonsense":
            raise ValueError("no sense in it")
        return {wanted[0]: output}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_characters="\0", codec="utf-8"), max_size=40), min_size=1, max_size=5))
def test_subjects_are_never_executed(words: list[str]) -> None:
    answers = ask(*(Read(Echo, word) for word in words))
    assert [answers[Read(Echo, word)] for word in words] == words


def test_each_question_is_asked_once() -> None:
    batch = Batch([Read(Echo, "a"), Read(Shell, "echo x"), Read(Echo, "b"), Read(Echo, "a")])
    assert [question.subjects for question in batch.questions] == [("a", "b"), ("echo x",)]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo 'first'; echo 'permission denied' >&2; exit 3", "permission denied"),
        ("exit 7", "exit status 7"),
        ("sleep 30", "it did not answer within 1 s"),
        (r"printf '\377'", "its answer is not UTF-8"),
        ("printf nonsense", "its answer makes no sense (Shell: no sense in it)"),
        (f"head -c {LARGEST + 1} /dev/zero", "its answer is larger than 64 MiB"),
    ],
)
def test_one_that_fails_is_unknown_and_spoils_no_other(command: str, reason: str) -> None:
    answers = ask(Read(Shell, command), Read(Echo, "all right"))
    assert answers[Read(Shell, command)] == Unknown(reason)
    assert answers[Read(Echo, "all right")] == "all right"


@pytest.mark.parametrize("command", ["cat", "exec 1>&-; exit 0", "exit 0; }", "read x; echo $x"])
def test_nothing_reads_or_ends_the_script(command: str) -> None:
    answers = ask(Read(Shell, command), Read(Echo, "still here"))
    assert answers[Read(Echo, "still here")] == "still here"


class Missing(Shell):
    program: ClassVar[str | None] = "no-such-program"
    packages: ClassVar[tuple[str, ...]] = ("no-such-package",)


class Broken(Missing):
    packages: ClassVar[tuple[str, ...]] = ("base-files",)


class Alone(Missing):
    packages: ClassVar[tuple[str, ...]] = ()


class Patient(Shell):
    """With time enough to fill the memory."""

    seconds: ClassVar[int] = 60


@pytest.mark.parametrize("command", ["said=$(yes)", "said=$(tail -c +1 /dev/zero | tr '\\0' x); echo ${#said}"])
def test_an_endless_answer_does_not_fill_the_memory_of_the_host(command: str) -> None:
    reason = "it needed more than 512 MiB of memory: does a program answer without an end?"
    assert ask(Read(Patient, command))[Read(Patient, command)] == Unknown(reason)


def test_a_missing_program_is_absence_only_where_its_package_is_absent_too() -> None:
    answers = ask(Read(Missing, "true"), Read(Broken, "true"), Read(Alone, "true"))
    assert answers[Read(Missing, "true")] is None
    assert answers[Read(Broken, "true")] == Unknown(
        "the program no-such-program is missing although base-files is installed"
    )
    assert answers[Read(Alone, "true")] == Unknown("the program no-such-program is missing")


class Hangs(Shell):
    program: ClassVar[str | None] = "sleep"


class AlsoOfSleep(Echo):
    program: ClassVar[str | None] = "sleep"


def test_a_program_that_hangs_is_asked_once() -> None:
    answers = ask(Read(Hangs, "sleep 30"), Read(AlsoOfSleep, "x"), Read(Echo, "y"))
    assert answers[Read(Hangs, "sleep 30")] == Unknown("it did not answer within 1 s")
    assert answers[Read(AlsoOfSleep, "x")] == Unknown("sleep did not answer in time when it was asked before")
    assert answers[Read(Echo, "y")] == "y"
    assert ask(Read(AlsoOfSleep, "x"))[Read(AlsoOfSleep, "x")] == "x"


class Silent(Echo):
    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, str]:
        return {}


def test_no_answer_for_a_subject_is_unknown() -> None:
    assert ask(Read(Silent, "x")) == {Read(Silent, "x"): Unknown("the host did not answer for it")}


def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    with pytest.raises(ValueError, match="cut off"):
        Batch([Read(Echo, "x")]).answers("0 eA== ")


def test_a_thousand_paths_fit() -> None:
    queries = [PathQuery(f"/nowhere/{'x' * 100}/{number}", "0" * 64) for number in range(1000)]
    answers = ask(*(Read(Paths, query) for query in queries), Read(Paths, PathQuery("/etc/passwd", "0" * 64)))
    assert [answers[Read(Paths, query)] for query in queries] == [None] * 1000
    assert isinstance(answers[Read(Paths, PathQuery("/etc/passwd", "0" * 64))], PathState)


def test_a_fact_of_pyinfra() -> None:
    read = PyinfraRead("server.Kernel")
    assert ask(read, Read(Echo, "x"))[read] == "Linux"
