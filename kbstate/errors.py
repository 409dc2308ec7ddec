"""Typed errors: every one is a single sentence that a user can act on, and carries the exit code of `cli.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OK = 0
ERROR = 1
DIFFERS = 2
ROLLED_BACK = 3
UNREADABLE = 4
HELD = 5
USAGE = 64
INTERRUPTED = 130


class KbstateError(Exception):
    """Any failure that reaches the user: what is wrong, where, and what to do about it, in one sentence."""

    exit_code = ERROR


class UsageError(KbstateError):
    """The command line asked for something that does not exist or cannot be combined."""

    exit_code = USAGE


@dataclass(frozen=True)
class Where:
    """A place in a desired file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class DesiredError(KbstateError):
    """The desired state is wrong; found without any connection."""

    def __init__(self, message: str, where: Where | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where

    @property
    def errors(self) -> tuple[DesiredError, ...]:
        """The faults one by one: this one, or those that were found together."""
        return (self,)


class DesiredErrors(DesiredError):
    """Several faults of the desired state, found together; its text has one a line."""

    def __init__(self, errors: Sequence[DesiredError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self._errors = tuple(errors)

    @property
    def errors(self) -> tuple[DesiredError, ...]:
        return self._errors


class CredentialError(DesiredError):
    """A credential is missing, empty or unreadable."""


class CycleError(DesiredError):
    """Resources require each other in a circle."""


class SelectorError(UsageError):
    """A selector matches nothing."""


class HostError(KbstateError):
    """Something about one host, which the sentence names."""

    def __init__(self, host: str, message: str) -> None:
        super().__init__(f"{host}: {message}")
        self.host = host


class UnreachableError(HostError):
    """No SSH session could be had: refused, timed out, unknown or changed host key, refused login key."""

    exit_code = UNREADABLE


class UnreadableError(HostError):
    """The host answered, but not in a way that can be trusted: cut off, not decodable, ledger damaged."""

    exit_code = UNREADABLE


class HeldError(HostError):
    """Another run holds the host; the sentence says who, since when and why."""

    exit_code = HELD


class StepError(HostError):
    """An operation failed on the host."""


class PreflightError(StepError):
    """Something that must hold before a change begins does not; nothing of the change was begun."""


class UnsafePlan(KbstateError):
    """The plan would destroy or lock out; the sentence names the resource and the flag that allows it."""


class StalePlan(KbstateError):
    """A saved plan no longer equals the plan made anew; the sentence names what moved."""


class DeclinedError(KbstateError):
    """The plan was not approved, or there was nobody to ask."""


class InterruptedRun(KbstateError):
    """The run was stopped by a signal between two steps."""

    exit_code = INTERRUPTED


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that is not known: the nearest ones, or the few that there are."""
    from difflib import get_close_matches  # only when something is wrong

    every = list(dict.fromkeys(known))
    near = get_close_matches(word, every, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not every:
        return "there is none"
    return f"there is {', '.join(every[:12])}{' and more' if len(every) > 12 else ''}"
