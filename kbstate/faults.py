"""What went wrong in a desired file, in sentences: the place, the resource, the field, and what to do. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Any

import pydantic
from pydantic import BaseModel, ValidationError

import kbstate
from kbstate.errors import DesiredError, DesiredErrors, Where, meant
from kbstate.resource import PACKAGE, Resource
from kbstate.secret import MASK, SHORTEST, Secret

PYDANTIC = str(Path(pydantic.__file__).parent)
LONGEST = 300
"""Characters of a message that is not our own."""


class Carried(Exception):
    """Brings its cause through a validator unchanged: pydantic would take a ValueError for one about its own input."""


def faults(error: BaseException, tree: Path) -> list[DesiredError]:  # noqa: PLR0911 - one for each sort of error
    """The errors that an exception from a desired file below `tree` comes to."""
    where = place(error, tree)
    match error:
        case Carried() if error.__cause__:
            return faults(error.__cause__, tree)
        case DesiredErrors():
            return [fault for one in error.errors for fault in faults(one.with_traceback(error.__traceback__), tree)]
        case DesiredError():
            return [placed(error, where)]
        case ValidationError():
            return list(invalid(error, tree, where))
        case SyntaxError() if error.filename and error.lineno:
            return [DesiredError(f"this is not Python: {error.msg}", Where(shown(error.filename), error.lineno))]
    message = " ".join(str(error).split())[:LONGEST]
    if absent := re.match(r"cannot import name '(\w+)' from 'kbstate'", message):
        return [DesiredError(f"kbstate has no '{absent[1]}': {meant(absent[1], kbstate.__all__)}", where)]
    return [DesiredError(f"{type(error).__name__}: {message}" if message else type(error).__name__, where)]


def placed(error: DesiredError, where: Where | None) -> DesiredError:
    """The same error with a place, where it has none of its own."""
    return error if error.where or not where else type(error)(str(error), where)


def place(error: BaseException, tree: Path) -> Where | None:
    """The deepest line of the desired state that the exception went through."""
    lines = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    inside = [(file, line) for file, line in lines if Path(file).is_relative_to(tree)]
    return Where(shown(inside[-1][0]), inside[-1][1]) if inside else None


def shown(file: str) -> str:
    """A path as people near it say it: relative, if it is below the working directory."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def caller() -> Where:
    """The line outside of this package that called into it."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((f"{PACKAGE}/", PYDANTIC)):
        frame = frame.f_back
    return Where(frame.f_code.co_filename, frame.f_lineno)


def near(where: Where | None) -> Where | None:
    """The same place with a path that is short where it can be."""
    return Where(shown(where.file), where.line) if where else None


# --- what pydantic found ----------------------------------------------------------------------------------------


def invalid(error: ValidationError, tree: Path, where: Where | None) -> Iterator[DesiredError]:
    """A sentence for each field. No value is shown of a field that may hold a secret."""
    model, given = _building(error.__traceback__)
    subject = _subject(error.title, model, given)
    found: dict[str, list[str]] = {}
    for line in error.errors(include_url=False):
        path = _path(line["loc"], model)
        message = _message(line["type"], line["msg"], path, model)
        if model is not None and _may_be_secret(model, line["loc"]):
            message = _without(line["input"], message)
        found.setdefault(path, []).append(message)
    for path, messages in found.items():
        # each branch of a union says what it would have taken
        text = " or ".join(dict.fromkeys(messages)).replace(" or must be ", " or ")
        yield DesiredError(f"{subject}: field '{path}' {text}" if path else f"{subject}: {text}", where)


def _building(trace: TracebackType | None) -> tuple[type[BaseModel] | None, Mapping[str, Any]]:
    """The model that was being built, and what it was given."""
    frames = [frame for frame, _ in walk_tb(trace)]
    for frame in reversed(frames):
        model, given = _built_by(frame)
        if model is not None:
            return model, given
    return None, {}


def _built_by(frame: FrameType) -> tuple[type[BaseModel] | None, Mapping[str, Any]]:
    this, data = frame.f_locals.get("self"), frame.f_locals.get("data")
    if frame.f_code.co_name == "__init__" and isinstance(this, BaseModel) and isinstance(data, dict):
        return type(this), data
    return None, {}


def _subject(title: str, model: type[BaseModel] | None, given: Mapping[str, Any]) -> str:
    """The address, or as much as is known of it: what names a resource is never a secret."""
    if model is None or not issubclass(model, Resource) or not hasattr(model, "kind"):
        name = given.get("name")
        return f"{title} {name!r}" if isinstance(name, str) and name else title
    identity = model.identity[0]
    default = model.model_fields[identity].get_default() if identity in model.model_fields else None
    key = given.get(identity, default)
    if not isinstance(key, str):
        return f"{model.kind} without {identity}" if identity not in given else model.kind
    return f"{model.kind}:{key}" if key.isprintable() else f"{model.kind}:{key!r}"


BRANCH = re.compile(r"(str|bytes|int|float|bool|none|date|url|path|[a-z-]+\[.*\]|[A-Z][A-Za-z]*)", re.DOTALL)
"""What pydantic puts into a location for the branch of a union: the name of a type."""


def _path(loc: Sequence[str | int], model: type[BaseModel] | None) -> str:
    path = str(loc[0]) if loc else ""
    for part in loc[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not BRANCH.fullmatch(part):
            path += f".{part}"
    return path


def _message(type: str, message: str, path: str, model: type[BaseModel] | None) -> str:
    match type:
        case "extra_forbidden" if model is not None and "." not in path:
            return f"does not exist: {meant(path, model.model_fields)}"
        case "extra_forbidden":
            return "does not exist"
        case "missing":
            return "is missing"
        case "is_instance_of" if message.endswith(" Sequence"):
            return "must be a list"
        case "string_pattern_mismatch":
            return message.replace("String should match pattern", "must match")
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = re.sub(r"^(Input|String|Value|Bytes|List|Tuple|Set) should ", "must ", message)
    return " ".join(message.split())[:LONGEST]


def _may_be_secret(model: type[BaseModel], loc: Sequence[str | int]) -> bool:
    field = model.model_fields.get(str(loc[0])) if loc else None
    return field is None or Secret.__name__ in repr(field.annotation)


def _without(value: object, message: str) -> str:
    text = str(value)
    return message.replace(text, MASK) if isinstance(value, str | bytes) and len(text) >= SHORTEST else message
