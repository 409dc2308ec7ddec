"""The statistics that HAProxy gives as CSV, and what they say of its backends. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

BACKEND, SERVER = "1", "2"
"""Values of the column `type`."""


def parse(body: bytes) -> dict[str, dict[str, str]]:
    """The state of each server by backend; backends without servers too. Source: HAProxy management guide, 9.1.

    Raises ValueError, for anything else than such a table.
    """
    text = body.decode("utf-8")
    if not text.startswith("# pxname,svname,"):
        raise ValueError("it has no header")
    try:
        header, *rows = csv.reader(io.StringIO(text[2:]), strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if "status" not in header or "type" not in header:
        raise ValueError("its header lacks status or type")
    place = {name: number for number, name in enumerate(header)}
    backends: dict[str, dict[str, str]] = {}
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} of {len(header)} columns")
        proxy, server, type, status = (row[place[name]] for name in ("pxname", "svname", "type", "status"))
        if type == BACKEND:
            backends.setdefault(proxy, {})
        elif type == SERVER:
            backends.setdefault(proxy, {})[server] = status
    return backends


def judge(found: Mapping[str, Mapping[str, str]], wanted: Sequence[str] | None) -> tuple[bool, str]:
    """Whether each wanted backend has a server that is UP; None wants all that have servers."""
    names = [name for name, servers in found.items() if servers] if wanted is None else list(wanted)
    if not names:
        return False, "no backend has a server"
    faults = [f"{name}: {_states(found.get(name))}" for name in names if not _up(found.get(name))]
    if faults:
        return False, "; ".join(faults)
    counts = ((name, len(_up(found[name])), len(found[name])) for name in names)
    return True, ", ".join(f"{name} {up} of {every} UP" for name, up, every in counts)


def _up(servers: Mapping[str, str] | None) -> list[str]:
    """Those that take connections; one that HAProxy does not check counts as it counts for HAProxy."""
    return [name for name, status in (servers or {}).items() if status.split(" ")[0] == "UP" or status == "no check"]


def _states(servers: Mapping[str, str] | None) -> str:
    if servers is None:
        return "there is no such backend"
    return ", ".join(f"{name} {status}" for name, status in servers.items()) or "it has no servers"
