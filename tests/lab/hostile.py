"""Hostile text in every field that takes text, of every kind: what a shell, a log or a file format may trip over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kbstate.kinds.container import Container
from kbstate.resource import Resource
from kbstate.secret import Secret
from tests.kinds.test_every_field import KINDS, lab_cases

PAYLOADS = (
    # whichever way it is quoted, or not, one of these is run
    "a'$(pwn)'\"$(pwn)\"`pwn`;pwn;|pwn&&pwn\\",
    "$(touch /tmp/pwned)",
    "$(pwn)",
    "`pwn`",
    "; pwn # | pwn && pwn &",
    "a\nKBSTATE_DATA\npwn\n'\npwn\n\"\npwn\n",
    "$IFS${PATH}%s%n * ? [a] \\",
    "--help",
    "-rf",
    "é\u202e\U0001f4a5 \x1b[2J",
)
"""`pwn` is a program on every host of the tests, which leaves /tmp/pwned."""

DIRECTORY = "/root/kb-hostile"
WRAPPED = (
    "{}",
    "x{}",
    f"{DIRECTORY}/@KIND@/{{}}",
    f"{DIRECTORY}/@KIND@/x{{}}",
    "http://10.0.0.2/{}",
    "[Unit]\nDescription=x {}\n",
)
"""The nearest to the bare payload that a field takes."""

SHELL = {("file", "validate_with"), ("container", "health_check")}
"""Commands by design: what they say is meant to be run, on the host or in the container."""
ADDRESSES = ("requires", "restart_on", "reload_on")
GROUPS = {
    "docker": [("docker", "*")],
    "apt": [("apt_repository", "*"), ("package", "*")],
    "plugins": [("docker_network", "driver"), ("volume", "driver")],
}
"""Fields that keep others from being tried, or take long, because they do not come out well: each in rounds of its own.

Docker looks for a plugin of a name for a quarter of a minute.
"""


def resources(number: int, group: str = "") -> list[Resource]:
    """Resources of each kind, with the payload in every field that takes it; for the desired file of a round."""
    return list(_resources(PAYLOADS[number], group).values())


def slots(number: int) -> dict[str, list[str]]:
    """Which fields of which kinds take the payload."""
    found: dict[str, list[str]] = {}
    for kind in sorted(KINDS):
        for base in _bases(kind):
            names = [name for name in _fields(kind) if _with(base, name, PAYLOADS[number]) is not None]
            found[kind] = sorted({*found.get(kind, ()), *names})
    return found


def _resources(payload: str, group: str) -> dict[str, Resource]:
    found: dict[str, Resource] = {}
    for kind in sorted(KINDS):
        fields = [name for name in _fields(kind) if _group(kind, name) == group]
        for base in _bases(kind):
            hostile = base
            for name in fields:
                hostile = _with(hostile, name, payload) or hostile
            if hostile is not base:
                found.setdefault(hostile.address, hostile)
    if not group:
        found["container:kb-started"] = _started(payload)
    return found


def _group(kind: str, name: str) -> str:
    return next((group for group, members in GROUPS.items() if {(kind, "*"), (kind, name)} & set(members)), "")


def _started(payload: str) -> Container:
    """A container that starts all the same: what comes after its creation is run too."""
    return Container(
        name="kb-started",
        image="busybox:1.36",
        command=("sh", "-c", "exec sleep 1000", payload),
        env={"X": payload},
        labels={"x": payload},
        settles=1,
        stop_timeout=0,
    )


def _bases(kind: str) -> list[Resource]:
    """Resources that are right and declare as much as can be: the cases of a kind, joined where they fit together."""
    found: list[Resource] = []
    for case in lab_cases(kind):
        for resource in case.resources:
            if resource.address == case.address and not any(_joined(other, resource, found) for other in found):
                found.append(type(resource)(**_given(resource)))
    return found


def _given(resource: Resource) -> dict[str, Any]:
    """What it declares, but for the addresses of others, which are not declared here."""
    return {name: getattr(resource, name) for name in resource.model_fields_set if name not in ADDRESSES}


def _joined(base: Resource, other: Resource, found: list[Resource]) -> bool:
    """Whether what the other declares is, or can be, declared by the base too."""
    more = {name: value for name, value in _given(other).items() if name not in type(base).identity}
    try:
        made = type(base)(**{**more, **_given(base)})
    except ValidationError:
        return False
    if list(made.problems()):
        return False
    found[found.index(base)] = made
    return True


def _fields(kind: str) -> Iterator[str]:
    cls = KINDS[kind]
    for name in cls.model_fields:
        if (kind, name) not in SHELL and name not in (*ADDRESSES, "absent"):
            yield name


def _with(base: Resource, name: str, payload: str) -> Resource | None:
    """The same with the payload in this field; None if the field takes it in no way."""
    values = {field: getattr(base, field) for field in base.model_fields_set}
    wraps = tuple(wrap.replace("@KIND@", base.kind) for wrap in WRAPPED)  # each kind has paths of its own
    for value in _values(type(base).model_fields[name].annotation, getattr(base, name), payload, wraps):
        try:
            made = type(base)(**{**values, name: value})
            if not list(made.problems()):
                return made
        except (ValidationError, ValueError):
            continue
    return None


def _values(annotation: Any, example: Any, payload: str, wraps: tuple[str, ...]) -> Iterator[Any]:
    """Values of this type that hold the payload."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _values(arguments[0], example, payload, wraps)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _values(argument, example, payload, wraps)
    elif annotation is str:
        yield from (wrap.format(payload) for wrap in wraps)
    elif annotation is bytes:
        yield payload.encode()
    elif annotation is Secret:
        yield Secret(payload)
    elif origin in (tuple, list, Sequence):
        item = example[0] if isinstance(example, tuple | list) and example else None
        for value in _values(arguments[0], item, payload, wraps):
            yield (value,)
            yield (*(example or ()), value)
    elif origin in (dict, Mapping):
        known = dict(example or {})
        key, item = next(iter(known.items()), ("X", "x"))
        for value in _values(arguments[1], item, payload, wraps):
            yield {**known, key: value}
        for value in _values(arguments[0], key, payload, wraps):
            yield {**known, value: item}
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(example, annotation):
        yield from _parts(annotation, example, payload, wraps)


def _parts(model: type[BaseModel], example: BaseModel, payload: str, wraps: tuple[str, ...]) -> Iterator[Any]:
    given = {name: getattr(example, name) for name in model.model_fields}
    for name, field in model.model_fields.items():
        for value in _values(field.annotation, given[name], payload, wraps):
            try:
                yield model(**{**given, name: value})
            except (ValidationError, ValueError):
                continue


if __name__ == "__main__":
    for number, payload in enumerate(PAYLOADS):
        print(number, json.dumps(payload), {kind: names for kind, names in slots(number).items() if names})
