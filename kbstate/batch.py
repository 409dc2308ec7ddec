"""Many facts in one script: made from what resources ask, and taken apart into an answer for each. Pure.

Each fact runs by itself, without standard input and with its own time limit; its output, errors and exit status come
back framed, so that one that fails, hangs or floods makes only its own answers Unknown.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kbstate.resource import AnyRead, Fact, PyinfraRead, Unknown
from kbstate.shell import q, words

LARGEST = 64 * 1024 * 1024
"""Bytes of one fact's answer; what is larger is Unknown."""
MEMORY = 512 * 1024 * 1024
"""Bytes that a process of a fact may use: a shell that keeps an endless answer in a variable takes all there are."""

Key: TypeAlias = type[Fact[Any, Any]] | PyinfraRead

Facts: TypeAlias = Mapping[AnyRead, Any]
"""An answer for each read: a value, None (absent) or Unknown."""

HEAD = rf"""
late=
f() {{ printf '%s ' "$1"; t=${{3:+$(date +%s)}}
  e=$({{ {{ ulimit -Sd {MEMORY >> 10}; timeout -k 2 "$2" sh -s 5>&-; printf '\n%s' $?; }} |
    head -c {LARGEST + 16} | base64 -w0 >&5; }} 2>&1 | tail -c 2000 | base64 -w0)
  printf ' %s\n' "$e"
  [ -z "$t" ] || [ $(($(date +%s) - t)) -lt "$2" ] || late="$late $3"; }}
m() {{ case " $late " in *" $2 "*) echo "$1 late"; return 1 ;; esac
  i=$1 p=$2; shift 2; command -v "$p" >/dev/null 2>&1 && return 0
  printf '%s missing ' "$i"; r=no
  for w; do [ "$(dpkg-query -W -f '${{db:Status-Status}}' "$w" 2>/dev/null)" = installed ] && r=$w; done
  echo "$r"; return 1; }}
exec 5>&1
"""


@dataclass(frozen=True)
class Question:
    """One fact about all the subjects that anybody asks about."""

    fact: Fact[Any, Any]
    subjects: tuple[Hashable, ...]


class Batch:
    """The questions of any number of reads, each asked once."""

    def __init__(self, reads: Iterable[AnyRead]) -> None:
        self._reads = tuple(dict.fromkeys(reads))
        asked: dict[Key, list[Hashable]] = {}
        for read in self._reads:
            asked.setdefault(_key(read), []).append(_subject(read))
        self._keys = list(asked)
        self.questions = [Question(_fact(key), tuple(dict.fromkeys(subjects))) for key, subjects in asked.items()]
        self._mark = secrets.token_hex(8)

    @property
    def seconds(self) -> int:
        """The longest that the whole may take."""
        return 10 + sum(question.fact.seconds for question in self.questions)

    @property
    def script(self) -> str:
        """The shell text for `sh`; its output is for `answers`."""
        lines = [HEAD]
        for number, (fact, subjects) in enumerate((x.fact, x.subjects) for x in self.questions):
            guard = f"m {number} {q(fact.program)} {words(fact.packages)} && " if fact.program else ""
            # in a here-document, since as an argument it could be too long; read whole before it runs
            body = f"{{\n{fact.command(subjects)}\n}} </dev/null"
            program = f" {q(fact.program)}" if fact.program else ""
            lines.append(f"{guard}f {number} {fact.seconds}{program} <<'{self._mark}'\n{body}\n{self._mark}")
        return "\n".join([*lines, f"echo end {self._mark}", ""])

    def answers(self, output: str) -> Facts:
        """An answer for each read. Raises ValueError if the output was cut off."""
        *lines, last = output.rstrip("\n").split("\n")
        if last != f"end {self._mark}":
            raise ValueError("the answer is cut off")
        framed = {int(number): rest for number, _, rest in (line.partition(" ") for line in lines)}
        by_key = {
            key: _answers(question, framed.get(number, ""))
            for number, (key, question) in enumerate(zip(self._keys, self.questions, strict=True))
        }
        return {read: by_key[_key(read)][_subject(read)] for read in self._reads}


def _key(read: AnyRead) -> Key:
    return read if isinstance(read, PyinfraRead) else read.fact


def _subject(read: AnyRead) -> Hashable:
    return None if isinstance(read, PyinfraRead) else read.subject


def _fact(key: Key) -> Fact[Any, Any]:
    if isinstance(key, PyinfraRead):
        from kbstate.operations import PyinfraFact  # imports pyinfra

        return PyinfraFact(key)
    return key()


def _answers(question: Question, frame: str) -> Mapping[Hashable, Any]:
    fact, subjects = question.fact, question.subjects
    if (unasked := _unasked(fact, frame)) is not ASKED:
        return dict.fromkeys(subjects, unasked)
    output, _, errors = frame.partition(" ")
    body, _, status = base64.b64decode(output).rpartition(b"\n")
    if len(body) > LARGEST or not status.isdigit():
        return dict.fromkeys(subjects, Unknown(f"its answer is larger than {LARGEST >> 20} MiB"))
    if status != b"0":
        return dict.fromkeys(subjects, _failure(fact, int(status), base64.b64decode(errors).decode(errors="replace")))
    try:
        found = fact.process(subjects, body.decode())
    except UnicodeDecodeError:
        return dict.fromkeys(subjects, Unknown("its answer is not UTF-8"))
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        return dict.fromkeys(subjects, Unknown(f"its answer makes no sense ({type(fact).__name__}: {error})"[:300]))
    return {subject: found.get(subject, Unknown("the host did not answer for it")) for subject in subjects}


ASKED = Unknown("it was asked")


def _unasked(fact: Fact[Any, Any], frame: str) -> Unknown | None:
    """What holds for every subject of a fact that was not asked at all."""
    if frame.startswith("missing "):
        return _without_program(fact, frame.removeprefix("missing "))
    if frame == "late":  # what hangs once would hang for each of its facts
        return Unknown(f"{fact.program} did not answer in time when it was asked before")
    return ASKED


def _without_program(fact: Fact[Any, Any], installed: str) -> Unknown | None:
    """Where no package brings the program either, what it manages is absent."""
    if fact.packages and installed == "no":
        return None
    brought = f" although {installed} is installed" if installed != "no" else ""
    return Unknown(f"the program {fact.program} is missing{brought}")


def _failure(fact: Fact[Any, Any], status: int, errors: str) -> Unknown:
    if status in (124, 137):
        return Unknown(f"it did not answer within {fact.seconds} s")
    if status == 139 or "Out of space" in errors:  # dash(1) when a variable cannot grow
        return Unknown(f"it needed more than {MEMORY >> 20} MiB of memory: does a program answer without an end?")
    return fact.failed(status, errors)
