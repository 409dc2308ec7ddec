"""A session on one host: facts read in one execution, the lock, and steps run one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kbstate.batch import Batch, Facts
from kbstate.channel import Answer, Channel, Options, Owner, Target
from kbstate.errors import PreflightError, StepError, UnreadableError
from kbstate.resource import AnyRead, Preflight, Step
from kbstate.secret import Secret
from kbstate.shell import q

if TYPE_CHECKING:
    from kbstate.desired import Host
    from kbstate.operations import Operations

__all__ = ["Options", "Owner", "Session"]

STEP_SECONDS = 1800
"""The longest that one script of a step may take."""
PREFLIGHT_SECONDS = 60
"""The longest that one preflight may take."""
SAID = 1500
"""Characters of what a failed step said, from its end."""


class Session:
    """As a context manager it starts to connect at once; what the connection comes to is told by the first question.

    Its methods may raise UnreachableError or UnreadableError.
    """

    def __init__(self, host: Host, options: Options) -> None:
        self.host = host
        target = Target(host.name, host.address, host.user, host.port, host.sudo_password)
        self._channel = Channel(target, options)
        self._pyinfra: Operations | None = None

    def __enter__(self) -> Self:
        self._channel.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def facts(self, reads: Iterable[AnyRead]) -> Facts:
        """An answer for each read, all in one execution."""
        batch = Batch(reads)
        answer = self._channel.read(batch.script, batch.seconds)
        try:
            return batch.answers(answer.output.decode("ascii"))
        except ValueError as error:
            last = answer.errors.strip().splitlines()[-1:] or [f"exit status {answer.status}"]
            raise UnreadableError(self.host.name, f"its facts could not be read: {error} ({last[0][:200]})") from None

    def lock(self, owner: Owner) -> None:
        """Become the host's one writer until the session ends. Raises HeldError."""
        self._channel.lock(owner)

    def look_before(self, check: Preflight) -> None:
        """Raises PreflightError if what must hold does not."""
        answer = self._channel.read(check.script, PREFLIGHT_SECONDS)
        if answer.status != 0:
            said = _said(answer, (*check.secrets, *self._declared))
            raise PreflightError(self.host.name, f"not begun, because this does not hold: {check.name}: {said}")

    def run(self, step: Step, name: str) -> None:
        """Run one step under the lock. Raises StepError with what the program said, secrets masked."""
        scripts = self._operations.scripts(step.op, step.args) if isinstance(step.op, str) else step.op(**step.args)
        secrets = (*_secrets(step.args), *self._declared)
        for script in scripts:
            self._expect(self._channel.step(script, name, STEP_SECONDS), name, secrets)

    def script(self, script: str, name: str) -> None:
        """Run a script of our own under the lock. Raises StepError."""
        self._expect(self._channel.step(script, name, STEP_SECONDS), name, ())

    def save(self, paths: Iterable[str]) -> None:
        """Copy what is at these paths to `/var/lib/kbstate/backups/TIME`; the last ten are kept. Raises StepError."""
        self.script(backup_script(tuple(paths)), "backup")

    def _expect(self, answer: Answer, name: str, secrets: tuple[Secret, ...]) -> None:
        if answer.status == 0:
            return
        if answer.status in (124, 137):
            raise StepError(self.host.name, f"{name} was stopped after {STEP_SECONDS} s")
        raise StepError(self.host.name, f"{name} failed ({answer.status}): {_said(answer, secrets)}")

    @cached_property
    def _declared(self) -> tuple[Secret, ...]:
        """Every secret of the host: one step may make a program speak of what another one wrote."""
        resources = (item.resource for item in self.host.declared)
        return tuple(s for r in resources for s in _secrets([getattr(r, name) for name in type(r).model_fields]))

    @property
    def _operations(self) -> Operations:
        if self._pyinfra is None:
            from kbstate.operations import Operations  # imports pyinfra

            self._pyinfra = Operations(self.host.name, lambda script: self._channel.read(script, STEP_SECONDS))
        return self._pyinfra


def _said(answer: Answer, secrets: Iterable[Secret]) -> str:
    """The end of what a program said, without secrets."""
    said = answer.errors.strip() or answer.output.decode(errors="replace").strip() or "no word why"
    for secret in secrets:
        said = secret.hide_in(said)
    return said[-SAID:]


def _secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from _secrets(item)


BACKUPS = "/var/lib/kbstate/backups"
BACKUPS_KEPT = 10


def backup_script(paths: tuple[str, ...]) -> str:
    """Shell text that copies what is there, with owners and modes, into a directory that only root can enter."""
    return "\n".join(
        [
            f"set -eu; umask 077; mkdir -p {q(BACKUPS)}; chmod 700 {q(BACKUPS)}",
            f"d={q(BACKUPS)}/$(date -u +%Y-%m-%dT%H%M%S.%3NZ)",
            'rm -rf -- "$d.new"; mkdir -- "$d.new"',
            'save() { if [ -e "$1" ] || [ -L "$1" ]; then mkdir -p -- "$d.new${1%/*}"; cp -a -- "$1" "$d.new$1"; fi; }',
            *(f"save {q(path)}" for path in dict.fromkeys(paths)),
            'if [ -n "$(ls -A -- "$d.new")" ]; then mv -T -- "$d.new" "$d"; else rmdir -- "$d.new"; fi',
            f"cd {q(BACKUPS)}; ls -1 | sort -r | tail -n +{BACKUPS_KEPT + 1} | while IFS= read -r old; do",
            'rm -rf -- "$old"; done',
        ]
    )
