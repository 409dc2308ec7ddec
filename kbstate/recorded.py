"""Observations as a file: written by `kbstate collect`, read by `plan --observed`; secrets as keyed digests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from kbstate.collect import Observation, left_behind
from kbstate.errors import KbstateError
from kbstate.ledger import Ledger
from kbstate.resource import Observed, Resource, Unknown
from kbstate.secret import Hasher, Secret

if TYPE_CHECKING:
    from kbstate.desired import Host


class ObservationFileError(KbstateError):
    """A file of observations cannot be read."""


class Seen(BaseModel):
    """One resource as it was observed."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    covers: tuple[str, ...] = ()
    """The fields that were asked for."""
    fields: dict[str, Any] | None = None
    """None: absent."""
    unknown: str | None = None
    until: tuple[str, ...] = ()


class HostSeen(BaseModel):
    """One host as it was observed."""

    model_config = ConfigDict(extra="forbid")

    name: str
    collected_at: str
    ledger: Ledger | str
    """A text is the reason why it is not known."""
    resources: dict[str, Seen]


class ObservationFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    format_version: Literal["1"] = "1"
    kind: Literal["observation"] = "observation"
    hosts: list[HostSeen]


def save_observations(path: Path, observations: Iterable[tuple[Host, Observation]], hasher: Hasher) -> None:
    """Write the file, readable by its owner alone. Raises ObservationFileError."""
    hosts = [_host_seen(host, observation, hasher) for host, observation in observations]
    text = ObservationFile(hosts=hosts).model_dump_json(indent=1)
    try:
        path.touch(mode=0o600)
        path.write_text(text + "\n")
    except OSError as error:
        raise ObservationFileError(f"{path} cannot be written: {error.strerror}") from None


def load_observations(path: Path, hosts: Iterable[Host], hasher: Hasher) -> list[Observation]:
    """What the file says of these hosts, in their order. Raises ObservationFileError."""
    try:
        found = {seen.name: seen for seen in ObservationFile.model_validate_json(path.read_bytes()).hosts}
    except OSError as error:
        raise ObservationFileError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError:
        raise ObservationFileError(f"{path} is not a file that `kbstate collect` wrote: collect anew") from None
    return [_observation(host, _of(path, host, found), hasher) for host in hosts]


def _of(path: Path, host: Host, found: Mapping[str, HostSeen]) -> HostSeen:
    if host.name not in found:
        raise ObservationFileError(f"{path} says nothing of {host.name}: collect that host too, or name the others")
    return found[host.name]


def _host_seen(host: Host, observation: Observation, hasher: Hasher) -> HostSeen:
    items = [*host.declared, *observation.removed]
    resources = {
        item.resource.address: _seen(item.resource, observation.observed[item.resource.address], hasher)
        for item in items
    }
    ledger = observation.ledger.reason if isinstance(observation.ledger, Unknown) else observation.ledger
    return HostSeen(name=host.name, collected_at=observation.collected_at, ledger=ledger, resources=resources)


def _seen(resource: Resource, live: Observed, hasher: Hasher) -> Seen:
    covers = resource.declared()
    match live:
        case None:
            return Seen(kind=resource.kind, covers=covers)
        case Unknown(reason, until):
            return Seen(kind=resource.kind, covers=covers, unknown=reason, until=until)
    names = (name for name in type(live).model_fields if getattr(live, name) is not None)
    return Seen(
        kind=resource.kind,
        covers=covers,
        fields={name: _encode(getattr(live, name), hasher) for name in names if name not in ("requires", "absent")},
    )


def _observation(host: Host, seen: HostSeen, hasher: Hasher) -> Observation:
    declared = {item.resource.address: item.resource for item in host.declared}
    ledger: Ledger | Unknown = Unknown(seen.ledger) if isinstance(seen.ledger, str) else seen.ledger.moved(host.moved)
    removed = () if isinstance(ledger, Unknown) else left_behind(ledger, set(declared))
    wanted = {**declared, **{item.resource.address: item.resource for item in removed}}
    observed = {
        address: _observed(wanted[address], value, hasher)
        for address, value in seen.resources.items()
        if address in wanted
    }
    return Observation(host.name, observed, ledger, removed, seen.collected_at)


def _observed(resource: Resource, seen: Seen, hasher: Hasher) -> Observed:
    if seen.unknown is not None:
        return Unknown(seen.unknown, seen.until)
    if seen.fields is None:
        return None
    if missing := set(resource.declared()) - set(seen.covers):
        return Unknown(f"the observation does not cover {', '.join(sorted(missing))}: collect anew")
    try:
        return type(resource).model_validate({name: _decode(value, hasher) for name, value in seen.fields.items()})
    except OtherKey:
        return Unknown("the observation was made with another KBSTATE_HASH_KEY: collect anew")
    except ValidationError:
        return Unknown("the observation cannot be read back: collect anew")


class OtherKey(Exception):
    """A digest that cannot be compared."""


def _encode(value: object, hasher: Hasher) -> Any:  # noqa: PLR0911 - a case each
    """JSON for a field, with marks for what JSON does not have."""
    match value:
        case Secret():
            return {"$secret": value.digest(hasher)}
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case BaseModel():
            set_fields = (n for n in type(value).model_fields if getattr(value, n) is not None)
            return {name: _encode(getattr(value, name), hasher) for name in set_fields}
        case Mapping():
            return {str(name): _encode(item, hasher) for name, item in value.items()}
        case frozenset() | set():
            return sorted((_encode(item, hasher) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
        case tuple() | list():
            return [_encode(item, hasher) for item in value]
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def _decode(value: Any, hasher: Hasher) -> Any:
    match value:
        case {"$secret": str(digest)}:
            if not hasher.knows(digest):
                raise OtherKey
            return Secret.sealed(digest)
        case {"$bytes": str(data)}:
            return base64.b64decode(data)
        case dict():
            return {name: _decode(item, hasher) for name, item in value.items()}
        case list():
            return [_decode(item, hasher) for item in value]
    return value
