"""Several hosts at once: each in a thread of its own, and one that cannot be reached does not hide the others."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from kbstate.errors import HostError, UnreachableError

if TYPE_CHECKING:
    from kbstate.collect import Observation
    from kbstate.commands.options import Common
    from kbstate.desired import Desired, Host
    from kbstate.plan import HostPlan
    from kbstate.selection import Selection
    from kbstate.session import Options, Session

T = TypeVar("T")


def session_options(common: Common) -> Options:
    from kbstate.session import Options

    return Options(
        ssh_config=common.ssh_config,
        known_hosts=common.known_hosts,
        timeout=common.timeout,
        lock_timeout=common.lock_timeout,
    )


def on_each(hosts: Sequence[Host], common: Common, work: Callable[[Session, Host], T]) -> list[T | HostError]:
    """What the work came to on each host, in the order of the hosts; any error but a HostError is raised."""
    from kbstate.session import Session

    options = session_options(common)

    def one(host: Host) -> T:
        with Session(host, options) as session:
            return work(session, host)

    with _reading([host.name for host in hosts]):
        return in_parallel(hosts, one, common.parallel)


def in_parallel(items: Sequence[Host], work: Callable[[Host], T], parallel: int) -> list[T | HostError]:
    """The threads are daemons, so that Ctrl-C ends the program although a host is silent."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, T | Exception]] = queue.SimpleQueue()
    for number in range(len(items)):
        waiting.put(number)

    def worker() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put((number, work(items[number])))
            except Exception as error:
                finished.put((number, error))

    for _ in range(min(parallel, len(items))):
        threading.Thread(target=worker, daemon=True).start()
    results: dict[int, T | HostError] = {}
    for _ in items:
        number, result = finished.get()
        if isinstance(result, Exception) and not isinstance(result, HostError):
            raise result
        results[number] = result
    return [results[number] for number in range(len(items))]


@contextmanager
def _reading(names: Sequence[str]) -> Iterator[None]:
    """On a terminal, say what is waited for, and take it back."""
    if not sys.stderr.isatty():
        yield
        return
    what = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    print(f"Reading {what} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def observe(hosts: Sequence[Host], common: Common) -> list[Observation | HostError]:
    from kbstate.collect import collect

    return on_each(hosts, common, collect)


def plans(
    hosts: Sequence[Host], seen: Sequence[Observation | HostError], desired: Desired, selection: Selection
) -> list[HostPlan]:
    """A plan for each host. Raises SelectorError for a selector that matches nothing on any of them."""
    from kbstate.plan import HostPlan, plan_host

    removed = {o.host: o.removed for o in seen if not isinstance(o, HostError)}
    if len(removed) == len(seen):  # what a host that cannot be read has in its ledger may be what is meant
        selection.check(hosts, removed)
    result = []
    for host, observation in zip(hosts, seen, strict=True):
        if isinstance(observation, HostError):
            reachable = not isinstance(observation, UnreachableError)
            result.append(HostPlan.failed(host.name, str(observation), reachable=reachable))
        else:
            result.append(plan_host(host, observation, desired.hasher, selection))
    return result
