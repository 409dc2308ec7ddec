"""Health checks: what is read from the host, and what is tried from the controller."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from kbstate import stats
from kbstate.dockerd import RUNNING, DockerFact, ObjectName, everything, marked
from kbstate.resource import AnyRead, Line, Read, Unknown
from kbstate.secret import Secret

Port = Annotated[int, Field(ge=1, le=65535)]
Look: TypeAlias = Callable[[Sequence[AnyRead]], Mapping[AnyRead, object]]
"""Reads facts from a host; a value is Unknown where it could not be read."""

CONCURRENT = 16
"""Checks that run at once."""
LARGEST = 8 * 1024 * 1024
"""Bytes of a statistics page that are read."""


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

    def judge(self, *args: Any, **facts: Any) -> Verdict:
        """From facts of the host; called only when none is Unknown."""
        raise NotImplementedError

    def probe(self, address: str, timeout: float) -> Verdict:
        """From the controller, in at most `timeout` seconds. Raises OSError where nothing answers."""
        raise NotImplementedError


@dataclass(frozen=True)
class ContainerState:
    """What `docker inspect` says of how a container runs. Times are Unix seconds."""

    status: str
    exit_code: int
    error: str
    health: str | None
    restarts: int
    started: float
    looked: float


class ContainerStates(DockerFact[str, ContainerState]):
    """How containers run; None where there is none of the name. Source: docker-inspect(1)."""

    def command(self, wanted: Sequence[str]) -> str:
        listing = everything("container", "docker container ls --all --quiet --no-trunc", "C")
        return f"{RUNNING}\ndate '+T %s.%N'\n{listing}"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, ContainerState | Unknown | None]:
        [looked] = (float(line[2:]) for line in output.splitlines() if line.startswith("T "))
        found = {said["Name"].removeprefix("/"): _container_state(said, looked) for said in marked(output, "C")}
        return {name: found.get(name) for name in wanted}


def _container_state(said: Mapping[str, Any], looked: float) -> ContainerState:
    state = said["State"]
    health = (state.get("Health") or {}).get("Status")
    # nanoseconds are more than fromisoformat takes
    started = datetime.fromisoformat(state["StartedAt"][:19] + "+00:00").timestamp()
    return ContainerState(
        status=state["Status"],
        exit_code=state["ExitCode"],
        error=state["Error"],
        health=None if health == "none" else health,
        restarts=said["RestartCount"],
        started=started,
        looked=looked,
    )


class ContainerCheck(Check):
    """A container runs, is not unhealthy, and was not restarted of late."""

    container: ObjectName
    steady: Annotated[float, Field(ge=0)] = 3
    """Seconds for which it must have run: what crashes at once runs for a moment too."""
    max_restarts: Annotated[int, Field(ge=0)] = 0
    """Restarts that are no fault."""
    settled: Annotated[float, Field(ge=0)] = 60
    """Seconds after which a container that keeps running is forgiven its restarts."""

    @property
    def about(self) -> str:
        return f"container {self.container}"

    def target(self, address: str) -> str:
        return f"container:{self.container}"

    def reads(self) -> Mapping[str, AnyRead]:
        return {"state": Read(ContainerStates, self.container)}

    def judge(self, state: ContainerState | None) -> Verdict:
        if state is None:
            return Verdict(False, "there is no such container")
        if state.status != "running":
            why = f": {state.error}" if state.error else ""
            return Verdict(False, f"{state.status}, exit code {state.exit_code}{why}")
        up = max(0, round(state.looked - state.started))
        restarts = f"{state.restarts} restart{'' if state.restarts == 1 else 's'}"
        detail = f"running for {up} s, {restarts}" + (f", {state.health}" if state.health else "")
        calm = state.restarts <= self.max_restarts or up >= self.settled
        return Verdict(calm and up >= self.steady and state.health in (None, "healthy"), detail)


class PortCheck(Check):
    """A TCP port answers."""

    port: Port

    @property
    def about(self) -> str:
        return f"port {self.port}"

    def target(self, address: str) -> str:
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"

    def probe(self, address: str, timeout: float) -> Verdict:
        with socket.create_connection((address, self.port), timeout):
            return Verdict(True, "answers")


class HaproxyCheck(Check):
    """The statistics page of HAProxy says of every backend that it has a server that is UP."""

    port: Port = 8404
    path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~/-]*$")] = "/stats"
    backends: tuple[Line, ...] | None = None
    """The backends that must be UP; None: all that have servers."""
    user: Line | None = None
    password: Secret | None = None

    @property
    def about(self) -> str:
        return "backends of HAProxy"

    def target(self, address: str) -> str:
        host = f"[{address}]" if ":" in address else address
        return f"http://{host}:{self.port}{self.path}"

    def probe(self, address: str, timeout: float) -> Verdict:
        status, body = _get(address, self.port, f"{self.path};csv", self._authorization(), timeout)
        if status != 200:
            return Verdict(False, f"the statistics page answers with status {status}")
        try:
            servers = stats.parse(body)
        except ValueError as error:
            return Verdict(False, f"this is not the statistics of HAProxy: {error}")
        return Verdict(*stats.judge(servers, self.backends))

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("declare both user and password, or neither")
        if self.user is not None and ":" in self.user:
            raise ValueError("user must not contain ':'")
        return self

    def _authorization(self) -> dict[str, str]:
        if self.user is None or self.password is None:
            return {}
        pair = base64.b64encode(self.user.encode() + b":" + self.password.reveal())
        return {"Authorization": f"Basic {pair.decode()}"}


def _get(address: str, port: int, path: str, headers: dict[str, str], timeout: float) -> tuple[int, bytes]:
    """Status and body of one GET. Raises OSError where nothing answers, or not in HTTP, or not in time."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(address, port, timeout=timeout)
    end = time.monotonic() + timeout
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = bytearray()
        while chunk := response.read1(65536):
            body += chunk
            if len(body) > LARGEST:
                raise OSError(f"the answer is larger than {LARGEST} bytes")
            if time.monotonic() > end:
                raise TimeoutError
        return response.status, bytes(body)
    except HTTPException as error:
        raise OSError(f"the answer is not HTTP ({type(error).__name__})") from None
    finally:
        connection.close()


# --- running ----------------------------------------------------------------------------------------------------


def run_checks(
    address: str, checks: Sequence[Check], look: Look, *, timeout: float = 5, patience: float | None = None
) -> tuple[CheckResult, ...]:
    """All checks of a host at once, in their order; `patience` overrides that of every check.

    `look` reads facts of the host anew whenever it is called; give a function that returns collected ones to look once.
    """
    from concurrent.futures import ThreadPoolExecutor

    if not checks:
        return ()
    waits = [check.patience if patience is None else patience for check in checks]
    read = [number for number, check in enumerate(checks) if check.reads()]
    with ThreadPoolExecutor(min(len(checks), CONCURRENT)) as pool:
        probed = {
            number: pool.submit(_probed, check, address, timeout, waits[number])
            for number, check in enumerate(checks)
            if number not in read
        }
        # in this thread: the session to the host belongs to it
        results = _judged({number: checks[number] for number in read}, address, look, waits)
        results |= {number: future.result() for number, future in probed.items()}
    return tuple(results[number] for number in range(len(checks)))


def _pauses(patience: float) -> Iterator[None]:
    """Yields at once, and again after growing pauses until the time is over."""
    end, pause = time.monotonic() + patience, 0.25
    yield
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(pause * 2, 2)
        yield


def _probed(check: Check, address: str, timeout: float, patience: float) -> CheckResult:
    for _ in _pauses(patience):
        began = time.monotonic()
        verdict = _verdict(lambda: check.probe(address, timeout), timeout)
        result = _result(check, address, verdict, began)
        if verdict.ok:
            break
    return result


def _judged(checks: Mapping[int, Check], address: str, look: Look, waits: Sequence[float]) -> dict[int, CheckResult]:
    """What is read from the host, in one look for all that still fail."""
    results: dict[int, CheckResult] = {}
    start = time.monotonic()
    for _ in _pauses(max((waits[number] for number in checks), default=0)):
        began = time.monotonic()
        waiting = {
            number: check
            for number, check in checks.items()
            if number not in results or (not results[number].ok and began - start <= waits[number])
        }
        if not waiting:
            break
        facts = look(list(dict.fromkeys(read for check in waiting.values() for read in check.reads().values())))
        for number, check in waiting.items():
            results[number] = _result(check, address, _judgement(check, facts), began)
    return results


def _judgement(check: Check, facts: Mapping[AnyRead, object]) -> Verdict:
    answers = {name: facts[read] for name, read in check.reads().items()}
    for answer in answers.values():
        if isinstance(answer, Unknown):
            return Verdict(False, answer.reason)
    return _verdict(lambda: check.judge(**answers), 0)


def _verdict(attempt: Callable[[], Verdict], timeout: float) -> Verdict:
    """What an attempt came to; one that raises has failed."""
    try:
        return attempt()
    except TimeoutError:
        return Verdict(False, f"no answer within {timeout:g} s")
    except (socket.gaierror, UnicodeError):
        return Verdict(False, "its name cannot be looked up")
    except OSError as error:
        return Verdict(False, error.strerror.lower() if error.strerror else str(error) or type(error).__name__)
    except Exception as error:  # a check of someone's own
        return Verdict(False, f"the check itself failed: {type(error).__name__}: {' '.join(str(error).split())}"[:300])


def _result(check: Check, address: str, verdict: Verdict, began: float) -> CheckResult:
    ms = round((time.monotonic() - began) * 1000)
    return CheckResult(name=check.title, target=check.target(address), ok=verdict.ok, detail=verdict.detail, ms=ms)
