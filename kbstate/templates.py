"""Jinja2, with secrets that are text inside of a template and a secret again outside; imported only to fill one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.runtime import Context
from pydantic import BaseModel

from kbstate.errors import DesiredError, Where
from kbstate.faults import shown
from kbstate.secret import MASK, Secret


def fill(file: Path, values: Mapping[str, object]) -> str | Secret:
    """The template filled; a Secret if any value is or holds one. Raises DesiredError."""
    environment = Filler(file.parent)
    secrets = environment.secrets
    result = environment.filled(file, values)
    if isinstance(result, DesiredError):
        raise result  # here and not where it was caught: what went wrong may hold a secret
    if any(secrets) and MASK in result.lower():
        message = "a secret reached a filter before its value was known: pass it, or what it is in, as a value"
        raise DesiredError(message, Where(shown(str(file)), 1))
    return Secret(result, file.name, [Secret(text) for text in dict.fromkeys(secrets)]) if secrets else result


class Opening(Context):
    """What a template calls may return a secret."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(self.environment, Filler)
        return self.environment.opened(super().call(*args, **kwargs))


class Filler(Environment):
    """Opens a secret wherever the template comes upon it, so that filters and tests see its text; notes each."""

    context_class = Opening

    def __init__(self, directory: Path) -> None:
        super().__init__(
            loader=FileSystemLoader(directory),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            autoescape=False,
            finalize=self.opened,
        )
        self.secrets: list[str] = []

    def filled(self, file: Path, values: Mapping[str, object]) -> str | DesiredError:
        try:
            known = {name: self.opened(value) for name, value in values.items()}
            return self.get_template(file.name).render(known)
        except Exception as error:
            return DesiredError(_sentence(error, self.secrets), _place(error, file))

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.opened(super().getattr(obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self.opened(super().getitem(obj, argument))

    def opened(self, value: Any) -> Any:
        """The value with secrets as text; what holds none stays what it is, and of an object the fields open later."""
        if isinstance(value, Secret):
            text = value.reveal().decode()
            self.secrets.append(text)
            return text
        before = len(self.secrets)
        result: object = value
        match value:
            case Mapping():
                result = {key: self.opened(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                result = [self.opened(item) for item in value]
            case BaseModel():
                self.opened([getattr(value, name) for name in type(value).model_fields])
            case _ if is_dataclass(value) and not isinstance(value, type):
                self.opened([getattr(value, field.name) for field in fields(value)])
        return result if len(self.secrets) > before else value


def _sentence(error: Exception, secrets: list[str]) -> str:
    message = " ".join(str(error).split())
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        message = message.replace(secret, MASK)
    match error:
        case TemplateNotFound():
            return f"there is no template {error.name}"
        case UnicodeDecodeError():
            return "the template, or a secret that it is given, is not UTF-8"
        case TemplateError():
            return message[:300]
    return f"{type(error).__name__}: {message}"[:300]


def _place(error: Exception, file: Path) -> Where:
    """Jinja2 gives its frames the lines of the template; what does not parse says its line itself."""
    line = getattr(error, "lineno", None)
    if isinstance(line, int):
        return Where(shown(getattr(error, "filename", None) or str(file)), line)
    frames = [(frame.f_code.co_filename, number) for frame, number in walk_tb(error.__traceback__)]
    inside = [Where(shown(name), number) for name, number in frames if Path(name).is_relative_to(file.parent)]
    return inside[-1] if inside else Where(shown(str(file)), 1)
