"""Apply: run the steps that a plan names, under the host's lock, look again, check, and write down what holds now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from kbstate.checks import CheckResult, run_checks
from kbstate.collect import Observation, collect, look, now
from kbstate.desired import Host
from kbstate.diff import Declared, difference
from kbstate.errors import (
    ERROR,
    INTERRUPTED,
    OK,
    UNREADABLE,
    DeclinedError,
    HostError,
    StalePlan,
    StepError,
    UnreachableError,
    UnreadableError,
)
from kbstate.events import Event
from kbstate.ledger import Ledger, Run
from kbstate.plan import HostPlan, moved, plan_host, refuse_unsafe
from kbstate.record import converged, intended, ledger_script
from kbstate.resource import Change, Step, Unknown
from kbstate.secret import Hasher
from kbstate.selection import Selection
from kbstate.session import Owner, Session
from kbstate.steps import preflights, subject, together

MOVED_SHOWN = 5
"""Differences between a saved plan and the one made anew that an error names."""

Emit = Callable[[Event], None]
Approve = Callable[[HostPlan], bool]


@dataclass(frozen=True)
class RunInfo:
    """Who applies, and from what."""

    by: str
    """`user@controller`."""
    reason: str = ""
    commit: str | None = None
    """Of the desired state, where it is under version control."""


@dataclass
class Outcome:
    """What one host's apply came to."""

    host: str
    plan: HostPlan
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Address → what went wrong, in a sentence."""
    not_attempted: list[str] = field(default_factory=list)
    interrupted: bool = False
    checks: Sequence[CheckResult] = ()

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return INTERRUPTED
        if self.failed or self.not_attempted or not all(check.ok for check in self.checks):
            return ERROR
        return OK if self.plan.complete and not self.plan.unknown else UNREADABLE


def apply_host(
    session: Session,
    host: Host,
    hasher: Hasher,
    selection: Selection,
    *,
    run: RunInfo,
    expect: HostPlan | None,
    approve: Approve,
    emit: Emit,
    stop: threading.Event,
) -> Outcome:
    """Take the lock, look, plan, ask, run, look again, check, and write the ledger.

    `expect` is a saved plan, which must equal the one made now. Setting `stop` ends the run after the step at work.
    Raises HeldError, UnreachableError, UnreadableError, UnsafePlan, StalePlan and
    DeclinedError before anything is changed.
    """
    at = now()
    session.lock(Owner(run.by, at, run.reason))
    before = collect(session, host)
    plan = plan_host(host, before, hasher, selection)
    if expect is not None and (differences := moved(expect, plan)):
        more = f"; and {len(differences) - MOVED_SHOWN} more" if len(differences) > MOVED_SHOWN else ""
        what = "; ".join(differences[:MOVED_SHOWN]) + more
        raise StalePlan(f"{host.name}: the saved plan is no longer what would be done, plan anew: {what}")
    refuse_unsafe(plan, selection.allow_destroy)
    ledger = before.ledger
    if isinstance(ledger, Unknown):
        raise UnreadableError(host.name, ledger.reason)
    emit(_planned(host, plan))
    if plan.changes and not approve(plan):
        raise DeclinedError(f"{host.name}: not approved, nothing was changed")
    outcome = Outcome(host.name, plan)
    return _Run(session, host, hasher, selection, plan, before, run, at, emit, stop, ledger, outcome).complete()


def _planned(host: Host, plan: HostPlan) -> Event:
    counts = dict.fromkeys(("add", "change", "replace", "delete"), 0)
    names = {"create": "add", "update": "change"}
    for change in plan.changes:
        counts[names.get(change.action, change.action)] += 1
    return Event(type="planned", host=host.name, digest=plan.digest, changes=counts)


@dataclass
class _Run:
    """One approved plan on its way."""

    session: Session
    host: Host
    hasher: Hasher
    selection: Selection
    plan: HostPlan
    before: Observation
    info: RunInfo
    at: str
    emit: Emit
    stop: threading.Event
    ledger: Ledger
    outcome: Outcome

    def complete(self) -> Outcome:
        outcome = self.outcome
        try:
            if self.plan.changes:
                self._write(intended(self.ledger, self.plan.changes, self._run("started")))
                self._back_up()
                self._changes()
            after = self._look_again() if self.plan.changes else self.before
            if not outcome.interrupted:
                outcome.checks = self._check()
            self._remember(after)
        except HostError as error:  # the connection is lost, or backup or ledger cannot be written
            self._leave_rest()
            self._summary(error.exit_code)
            raise
        self._summary(outcome.exit_code)
        return outcome

    def _number(self, change: Change) -> int:
        return 1 + [other.address for other in self.plan.changes].index(change.address)

    def _write(self, ledger: Ledger) -> None:
        self.session.script(ledger_script(ledger), "ledger")
        self.ledger = ledger

    def _run(self, outcome: Literal["started", "applied", "failed", "interrupted"]) -> Run:
        counts: dict[str, int] = {}
        for change in self.plan.changes:
            counts[change.action] = counts.get(change.action, 0) + 1
        info = self.info
        return Run(
            at=self.at,
            by=info.by,
            digest=self.plan.digest,
            commit=info.commit,
            reason=info.reason or None,
            outcome=outcome,
            changes=counts,
        )

    def _back_up(self) -> None:
        """Save what is about to be changed, before the first step."""
        touched = (change for change in self.plan.changes if change.action != "create")
        paths = [path for change in touched for path in subject(change).backup()]
        if paths:
            self.session.save(paths)

    # the steps

    def _changes(self) -> None:
        waiting = list(self.plan.changes)
        while waiting and not self.stop.is_set():
            change = waiting.pop(0)
            if self._blocked(change):
                self.outcome.not_attempted.append(change.address)
                continue
            group, step = together(change, waiting, self._blocked)
            del waiting[: len(group) - 1]
            self._attempt(group, step)
        if waiting:
            self.outcome.interrupted = True
            self.outcome.not_attempted += [change.address for change in waiting]

    def _blocked(self, change: Change) -> bool:
        stuck = {*self.outcome.failed, *self.outcome.not_attempted}
        return not stuck.isdisjoint(change.requires)

    def _attempt(self, group: Sequence[Change], joined: Step | None) -> None:
        began = time.monotonic()
        for change in group:
            self._tell("step_start", change, text=joined.why if joined else None)
        try:
            for check in dict.fromkeys(check for change in group for check in preflights(change)):
                self.session.look_before(check)
            if joined:
                self.session.run(joined, f"{', '.join(change.address for change in group)}: {joined.why}")
            else:
                self._one(group[0])
        except (UnreachableError, UnreadableError) as error:
            self._fail(group, str(error), began)
            raise
        except StepError as error:
            self._fail(group, str(error), began)
        else:
            for change in group:
                self.outcome.done.append(change.address)
                self._tell("step_done", change, seconds=time.monotonic() - began)

    def _fail(self, group: Sequence[Change], why: str, began: float) -> None:
        for change in group:
            self.outcome.failed[change.address] = why
            self._tell("step_failed", change, text=why, seconds=time.monotonic() - began)

    def _one(self, change: Change) -> None:
        known = self._found_now(change) if change.after_unknown else change
        if known is None:
            return
        for step in subject(known).steps(known):
            self.session.run(step, f"{change.address}: {step.why or known.action}")

    def _found_now(self, change: Change) -> Change | None:
        """Look at what could not be read before: creating and repairing was approved, deleting was not."""
        resource = change._desired
        assert resource is not None
        item = Declared(resource, change.module)
        live = look(self.session, [item])[change.address]
        if isinstance(live, Unknown):
            raise StepError(self.host.name, f"{change.address} still cannot be read: {live.reason}")
        found = difference(item, live, self.ledger.entries.get(change.address), self.hasher)
        if found and found.action in ("delete", "replace"):
            verb = "deleted" if found.action == "delete" else "replaced"
            raise StepError(
                self.host.name,
                f"{change.address} would have to be {verb}, which nobody has seen in a plan: plan and apply once more",
            )
        return found

    def _tell(
        self,
        kind: Literal["step_start", "step_done", "step_failed"],
        change: Change,
        text: str | None = None,
        seconds: float | None = None,
    ) -> None:
        self.emit(
            Event(
                type=kind,
                host=self.host.name,
                address=change.address,
                text=text,
                seconds=None if seconds is None else round(seconds, 3),
                number=self._number(change),
                total=len(self.plan.changes),
            )
        )

    # afterwards

    def _look_again(self) -> Observation:
        """Success is what is seen, not what exited with 0."""
        after = collect(self.session, self.host)
        # what was to be made anew has been: asked once more, it would be again
        rest = plan_host(self.host, after, self.hasher, replace(self.selection, replace=()))
        outcome = self.outcome
        known = {*outcome.failed, *outcome.not_attempted}
        for change in rest.changes:
            if change.address not in known and not outcome.interrupted:
                self._not_as_declared(change.address, _difference_text(change))
        for address, reason in rest.unknown.items():
            if address in outcome.done:
                self._not_as_declared(address, f"it can no longer be read: {reason}")
        return after

    def _not_as_declared(self, address: str, why: str) -> None:
        if address in self.outcome.done:
            self.outcome.done.remove(address)
        self.outcome.failed[address] = f"{self.host.name}: {address} is still not as declared: {why}"
        self.emit(Event(type="step_failed", host=self.host.name, address=address, text=self.outcome.failed[address]))

    def _check(self) -> Sequence[CheckResult]:
        results = run_checks(self.host.address, self.host.checks, self.session.facts)
        for result in results:
            self.emit(Event(type="check", host=self.host.name, **result.model_dump()))
        return results

    def _remember(self, after: Observation) -> None:
        """Write down what is as declared now; only if that says anything new."""
        if isinstance(after.ledger, Unknown):
            raise UnreadableError(self.host.name, after.ledger.reason)
        outcome = self.outcome
        kept = converged(self.ledger, self.host, after, self.plan, self.hasher)
        if self.plan.changes:
            word: Literal["applied", "failed", "interrupted"] = (
                "interrupted"
                if outcome.interrupted
                else "failed"
                if outcome.failed or outcome.not_attempted
                else "applied"
            )
            kept = kept.model_copy(update={"runs": (*kept.runs[:-1], self._run(word))})
        if kept != self.ledger:
            self._write(kept)

    def _leave_rest(self) -> None:
        known = {*self.outcome.done, *self.outcome.failed, *self.outcome.not_attempted}
        self.outcome.not_attempted += [c.address for c in self.plan.changes if c.address not in known]

    def _summary(self, exit_code: int) -> None:
        outcome = self.outcome
        self.emit(
            Event(
                type="summary",
                host=self.host.name,
                done=tuple(outcome.done),
                failed=tuple(outcome.failed),
                not_attempted=tuple(outcome.not_attempted),
                exit_code=exit_code,
            )
        )


def _difference_text(change: Change) -> str:
    if change.after_unknown:
        return change.reason or "it cannot be read"
    fields = ", ".join(sorted(change.fields))
    return f"{change.action} is still needed" + (f" ({fields})" if fields else "")
