"""Health checks: what is read from the host, and what is tried from the controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from kbstate.dockerd import ObjectName
from kbstate.resource import AnyRead, Line
from kbstate.secret import Secret

Port = Annotated[int, Field(ge=1, le=65535)]
Look: TypeAlias = Callable[[Sequence[AnyRead]], Mapping[AnyRead, object]]
"""Reads facts from a host; a value is Unknown where it could not be read."""


@dataclass(frozen=True)
class Verdict:
    """What one look came to."""

    ok: bool
    detail: str


class CheckResult(BaseModel):
    """One check as `check --json` shows it; `ms` is what its last attempt took."""

    model_config = ConfigDict(frozen=True)

    name: str
    target: str
    ok: bool
    detail: str
    ms: int


class Check(BaseModel):
    """One thing that must hold for a host to be healthy. A check with `reads()` is judged, any other is probed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Line = ""
    """For people; if empty, the check says what it is about."""
    patience: Annotated[float, Field(ge=0, le=600)] = 20
    """Seconds for which it is tried again, as long as it fails."""

    @property
    def title(self) -> str:
        return self.name or self.about

    @property
    def about(self) -> str:
        """What is checked, in two words: `port 5432`."""
        raise NotImplementedError

    def target(self, address: str) -> str:
        """Where it looks: `10.0.0.11:5432`, `container:haproxy`."""
        raise NotImplementedError

    def reads(self) -> Mapping[str, AnyRead]:
        """The facts that `judge` takes, by the name of its argument."""
        return {}

    def judge(self, **facts: object) -> Verdict:
        """From facts of the host; called only when none is Unknown."""
        raise NotImplementedError

    def probe(self, address: str, timeout: float) -> Verdict:
        """From the controller, in at most `timeout` seconds. Raises OSError where nothing answers."""
        raise NotImplementedError


class ContainerCheck(Check):
    """A container runs, is not unhealthy, and was not restarted of late."""

    container: ObjectName
    max_restarts: Annotated[int, Field(ge=0)] = 0
    """Restarts that are no fault."""
    settled: Annotated[float, Field(ge=0)] = 60
    """Seconds after which a container that keeps running is forgiven its restarts."""


class PortCheck(Check):
    """A TCP port answers."""

    port: Port


class HaproxyCheck(Check):
    """The statistics page of HAProxy says of every backend that it has a server that is UP."""

    port: Port = 8404
    path: Line = "/stats"
    backends: tuple[Line, ...] | None = None
    """The backends that must be UP; None: all that have servers."""
    user: Line | None = None
    password: Secret | None = None


def run_checks(
    address: str, checks: Sequence[Check], look: Look, *, timeout: float = 5, patience: float | None = None
) -> tuple[CheckResult, ...]:
    """All checks of a host at once, in their order; `patience` overrides that of every check.

    `look` reads facts of the host anew whenever it is called; give a function that returns collected ones to look once.
    """
    raise NotImplementedError
