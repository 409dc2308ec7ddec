"""Checks against real servers on the loopback, and containers from what `docker inspect` says."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import InstanceOf, ValidationError

from kbstate.checks import (
    LARGEST,
    Check,
    ContainerCheck,
    ContainerState,
    ContainerStates,
    HaproxyCheck,
    PortCheck,
    Verdict,
    run_checks,
)
from kbstate.resource import AnyRead, Read, Unknown
from kbstate.secret import Secret
from tests.test_stats import STATS, table

HERE = "127.0.0.1"


def nothing(reads: Sequence[AnyRead]) -> Mapping[AnyRead, object]:
    raise AssertionError("no check reads anything")


def run(check: Check, address: str = HERE, look: Any = nothing, **more: Any) -> tuple[bool, str]:
    [result] = run_checks(address, [check], look, **{"patience": 0, "timeout": 1} | more)
    return result.ok, result.detail


@contextmanager
def listening(address: str = HERE, port: int = 0, after: float = 0) -> Iterator[int]:
    """A port that takes connections, after some seconds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        timer = threading.Timer(after, server.listen)
        timer.start()
        if not after:
            timer.join()
        yield server.getsockname()[1]
        timer.join()


def test_port() -> None:
    with listening() as port:
        assert run(PortCheck(port=port)) == (True, "answers")
    assert run(PortCheck(port=port)) == (False, "connection refused")


def test_port_of_ipv6_and_of_a_name() -> None:
    with listening("::1") as port:
        [result] = run_checks("::1", [PortCheck(port=port, name="SQL")], nothing)
        assert (result.name, result.target, result.ok) == ("SQL", f"[::1]:{port}", True)
    assert run(PortCheck(port=port), "a..b") == (False, "its name cannot be looked up")


def test_port_that_does_not_answer() -> None:
    """A full queue of connections drops the next one silently."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind((HERE, 0))
        server.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        time.sleep(0.1)
        assert run(PortCheck(port=server.getsockname()[1]), timeout=0.3) == (False, "no answer within 0.3 s")


def test_a_service_that_is_just_starting() -> None:
    with listening(after=0.6) as port:
        [result] = run_checks(HERE, [PortCheck(port=port, patience=5)], nothing)
    assert (result.name, result.target, result.ok, result.detail) == (f"port {port}", f"{HERE}:{port}", True, "answers")


def test_patience_ends() -> None:
    began = time.monotonic()
    with listening() as port:
        pass
    assert run(PortCheck(port=port, patience=60), patience=0.7)[0] is False
    assert 0.7 <= time.monotonic() - began < 30


# --- HAProxy ----------------------------------------------------------------------------------------------------


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HERE, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def page(body: bytes, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status if handler.path == "/stats;csv" else 404)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


PAGES = [
    (HaproxyCheck(backends=("be_pg",)), page(STATS), True, "be_pg 1 of 2 UP"),
    (HaproxyCheck(), page(STATS), False, "be_redis: redis-01 DOWN 1/2, redis-02 MAINT"),
    (HaproxyCheck(), page(table("b,s,0,UP,1,1,0,1,2,,")), True, "b 1 of 1 UP"),
    (HaproxyCheck(path="/other"), page(STATS), False, "the statistics page answers with status 404"),
    (HaproxyCheck(), page(STATS, 503), False, "the statistics page answers with status 503"),
    (HaproxyCheck(), page(b"hello"), False, "this is not the statistics of HAProxy: it has no header"),
    (HaproxyCheck(), page(STATS + b"x" * LARGEST), False, f"the answer is larger than {LARGEST} bytes"),
]


@pytest.mark.parametrize(("check", "answer", "ok", "detail"), PAGES)
def test_haproxy(check: HaproxyCheck, answer: Callable[[BaseHTTPRequestHandler], None], ok: bool, detail: str) -> None:
    with serving(answer) as port:
        assert run(check.model_copy(update={"port": port})) == (ok, detail)


def test_haproxy_with_a_password() -> None:
    seen = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("Authorization"))
        page(STATS, 200 if seen[-1] else 401)(handler)

    with serving(answer) as port:
        assert run(HaproxyCheck(port=port, backends=("be_pg",)))[1] == "the statistics page answers with status 401"
        check = HaproxyCheck(port=port, backends=("be_pg",), user="admin", password=Secret("hunter2"))
        [result] = run_checks(HERE, [check], nothing)
    assert (result.name, result.target) == ("backends of HAProxy", f"http://{HERE}:{port}/stats")
    assert result.ok
    assert seen == [None, "Basic YWRtaW46aHVudGVyMg=="]
    assert "hunter2" not in f"{check!r} {result!r}"


def drip(handler: BaseHTTPRequestHandler) -> None:
    """An answer that never ends, a little at a time."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.05)
    except OSError:
        pass


def test_haproxy_that_drips() -> None:
    with serving(drip) as port:
        assert run(HaproxyCheck(port=port), timeout=0.3) == (False, "no answer within 0.3 s")


def test_a_port_that_does_not_speak_http() -> None:
    with socket.create_server((HERE, 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1000)
                client.sendall(b"-ERR unknown command\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert run(HaproxyCheck(port=server.getsockname()[1])) == (False, "the answer is not HTTP (BadStatusLine)")
        thread.join()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user": "admin"}, "declare both user and password, or neither"),
        ({"password": Secret("hunter2")}, "declare both user and password, or neither"),
        ({"user": "a:b", "password": Secret("hunter2")}, "user must not contain ':'"),
        ({"path": "/stats HTTP/1.1\r\nX: y"}, "should match pattern"),
        ({"path": "stats"}, "should match pattern"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"ports": 8404}, "Extra inputs"),
    ],
)
def test_declared_wrongly(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        HaproxyCheck(**fields)
    assert "hunter2" not in str(caught.value)


# --- containers -------------------------------------------------------------------------------------------------

UP = ContainerState("running", 0, "", None, 0, 1000.0, 2000.0)
CONTAINERS: list[tuple[ContainerState | None, bool, str]] = [
    (UP, True, "running for 1000 s, 0 restarts"),
    (None, False, "there is no such container"),
    (ContainerState("exited", 137, "", None, 0, 1000.0, 2000.0), False, "exited, exit code 137"),
    (
        ContainerState("created", 127, "no such file", None, 0, 0.0, 2000.0),
        False,
        "created, exit code 127: no such file",
    ),
    (ContainerState("restarting", 1, "", None, 7, 1000.0, 2000.0), False, "restarting, exit code 1"),
    (ContainerState("paused", 0, "", None, 0, 1000.0, 2000.0), False, "paused, exit code 0"),
    (ContainerState("running", 0, "", None, 1, 1990.0, 2000.0), False, "running for 10 s, 1 restart"),
    (ContainerState("running", 0, "", None, 5, 1940.0, 2000.0), True, "running for 60 s, 5 restarts"),
    (ContainerState("running", 0, "", None, 0, 1999.0, 2000.0), False, "running for 1 s, 0 restarts"),
    (ContainerState("running", 0, "", None, 0, 2001.0, 2000.0), False, "running for 0 s, 0 restarts"),
    (ContainerState("running", 0, "", "healthy", 0, 1000.0, 2000.0), True, "running for 1000 s, 0 restarts, healthy"),
    (ContainerState("running", 0, "", "starting", 0, 1990.0, 2000.0), False, "running for 10 s, 0 restarts, starting"),
    (
        ContainerState("running", 0, "", "unhealthy", 0, 1000.0, 2000.0),
        False,
        "running for 1000 s, 0 restarts, unhealthy",
    ),
]


@pytest.mark.parametrize(("state", "ok", "detail"), CONTAINERS)
def test_container(state: ContainerState | None, ok: bool, detail: str) -> None:
    check = ContainerCheck(container="haproxy")
    read = Read(ContainerStates, "haproxy")
    assert run(check, look=lambda reads: {read: state}) == (ok, detail)
    assert check.judge(**{name: state for name, asked in check.reads().items() if asked == read}) == Verdict(ok, detail)


def test_a_host_that_cannot_say() -> None:
    down = lambda reads: dict.fromkeys(reads, Unknown("docker daemon not running"))  # noqa: E731
    [result] = run_checks(HERE, [ContainerCheck(container="haproxy")], down, patience=0)
    assert (result.name, result.target) == ("container haproxy", "container:haproxy")
    assert (result.ok, result.detail) == (False, "docker daemon not running")


def said(name: str, **state: object) -> str:
    full = {"Status": "running", "ExitCode": 0, "Error": "", "StartedAt": "2026-01-01T00:00:00.123456789Z"} | state
    return "C " + json.dumps({"Name": f"/{name}", "RestartCount": 2, "State": full})


def test_what_docker_says() -> None:
    lines = [
        "T 1767225610.000000000",
        said("a"),
        said("b", Status="created", StartedAt="0001-01-01T00:00:00Z", Health={"Status": "starting"}),
        said("c", Health={"Status": "none"}),
    ]
    found = ContainerStates().process(["a", "b", "c", "d"], "\n".join(lines) + "\n")
    assert found["a"] == ContainerState("running", 0, "", None, 2, 1767225600.0, 1767225610.0)
    assert isinstance(found["b"], ContainerState)
    assert (found["b"].status, found["b"].health) == ("created", "starting")
    assert isinstance(found["c"], ContainerState)
    assert (found["c"].health, found["d"]) == (None, None)
    with pytest.raises(ValueError, match="not enough values"):
        ContainerStates().process(["a"], said("a"))


def test_the_command_is_shell() -> None:
    script = ContainerStates().command(["a"])
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "docker container inspect" in script


# --- several ----------------------------------------------------------------------------------------------------


class Meets(Check):
    """Is done as soon as all that share the barrier are at work."""

    place: str
    barrier: InstanceOf[threading.Barrier]

    @property
    def about(self) -> str:
        return f"meets {self.place}"

    def target(self, address: str) -> str:
        return address

    def probe(self, address: str, timeout: float) -> Verdict:
        self.barrier.wait()
        return Verdict(True, "met")


class Slow(Check):
    """Takes its time; a check of someone's own."""

    seconds: float
    broken: bool = False

    @property
    def about(self) -> str:
        return f"slow {self.seconds}"

    def target(self, address: str) -> str:
        return address

    def probe(self, address: str, timeout: float) -> Verdict:
        time.sleep(self.seconds)
        if self.broken:
            raise ValueError("two\nlines")
        return Verdict(True, "done")


def test_all_at_once_and_in_order() -> None:
    together = threading.Barrier(3, timeout=20)  # none of them gets through alone
    results = run_checks(HERE, [Meets(place=place, barrier=together) for place in "bac"], nothing)
    assert [(result.name, result.ok) for result in results] == [("meets b", True), ("meets a", True), ("meets c", True)]
    assert run_checks(HERE, [], nothing) == ()


def test_a_check_that_is_broken_itself() -> None:
    assert run(Slow(seconds=0, broken=True)) == (False, "the check itself failed: ValueError: two lines")


def test_the_host_is_read_once_for_all_and_again_for_what_still_fails() -> None:
    looks: list[int] = []

    def look(reads: Sequence[AnyRead]) -> Mapping[AnyRead, object]:
        looks.append(len(reads))
        late = UP if len(looks) > 1 else None
        return {read: UP if isinstance(read, Read) and read.subject == "aa" else late for read in reads}

    names = ("aa", "bb", "aa", "cc")
    results = run_checks(HERE, [ContainerCheck(container=name) for name in names], look)
    assert looks == [3, 2]
    assert all(result.ok for result in results)


def test_only_the_patient_are_read_again() -> None:
    looks: list[int] = []

    def look(reads: Sequence[AnyRead]) -> Mapping[AnyRead, object]:
        looks.append(len(reads))
        return dict.fromkeys(reads)

    checks = [ContainerCheck(container="aa", patience=0), ContainerCheck(container="bb", patience=0.6)]
    assert not any(result.ok for result in run_checks(HERE, checks, look))
    assert looks[0] == 2
    assert set(looks[1:]) == {1}


def test_under_gevent() -> None:
    """Connecting commands patch the standard library before anything else."""
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import socket; from kbstate.checks import *\n"
        "server = socket.create_server(('127.0.0.1', 0)); port = server.getsockname()[1]\n"
        "checks = [PortCheck(port=port), HaproxyCheck(port=port, patience=0)]\n"
        "print([r.detail for r in run_checks('127.0.0.1', checks, None, timeout=0.3)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("['answers', 'no answer within 0.3 s']\n", "")
