"""What files are made of: the bytes of a file beside the desired state, or a template filled with values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from traceback import walk_tb
from types import SimpleNamespace

from pydantic import BaseModel

from kbstate.errors import DesiredError, Where
from kbstate.faults import caller, shown
from kbstate.secret import MASK, Secret

LARGEST = 64 * 1024 * 1024


def from_file(path: str | Path) -> str | bytes:
    """The content of a file: text where it is UTF-8, else bytes. A relative path is taken from the calling file.

    Raises DesiredError.
    """
    file, caller = _beside(path)
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise DesiredError(f"{shown(str(file))} cannot be read: {error.strerror}", caller) from None
    if len(data) > LARGEST:
        raise DesiredError(f"{shown(str(file))} is larger than {LARGEST} bytes: it cannot be declared", caller)
    try:
        return data if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return data


def template(path: str | Path, **values: object) -> str | Secret:
    """A Jinja2 template filled with values; a Secret if any of them is or holds one. Nothing is escaped.

    Of an object that holds a secret (a model, a dataclass) the template sees the fields alone. A relative path is taken
    from the calling file. Raises DesiredError, naming file and line of the template.
    """
    file, caller = _beside(path)
    if not file.is_file():
        raise DesiredError(f"there is no template {shown(str(file))}", caller)
    secrets: list[str] = []
    rendered = _rendered(file, values, secrets)
    if isinstance(rendered, DesiredError):
        raise rendered  # raised here and not where it was caught: what went wrong may hold a secret
    if any(secrets) and MASK in rendered:
        message = "a secret reached a filter only in the template: pass the secret itself as a value"
        raise DesiredError(message, Where(shown(str(file)), 1))
    return Secret(rendered, file.name) if secrets else rendered


def _beside(path: str | Path) -> tuple[Path, Where]:
    """The path as seen from the file that called this package, and the place of the call."""
    where = caller()
    return Path(where.file).parent / path, Where(shown(where.file), where.line)


def _rendered(file: Path, values: Mapping[str, object], secrets: list[str]) -> str | DesiredError:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # 60 ms: only where there are templates

    environment = Environment(
        loader=FileSystemLoader(file.parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
        finalize=lambda value: _opened(value, secrets),
    )
    try:
        shown = {name: _opened(value, secrets) for name, value in values.items()}
        return environment.get_template(file.name).render(shown)
    except Exception as error:
        return DesiredError(_sentence(error, secrets), _place(error, file))


def _sentence(error: Exception, secrets: list[str]) -> str:
    from jinja2 import TemplateError, TemplateNotFound

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


def _opened(value: object, secrets: list[str]) -> object:
    """The value with every secret in it as text; these are noted. What holds none stays what it is."""
    if isinstance(value, Secret):
        text = value.reveal().decode()
        secrets.append(text)
        return text
    before = len(secrets)
    opened: object = value
    match value:
        case Mapping():
            opened = {key: _opened(item, secrets) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            opened = [_opened(item, secrets) for item in value]
        case BaseModel():
            names = type(value).model_fields
            opened = SimpleNamespace(**{name: _opened(getattr(value, name), secrets) for name in names})
        case _ if is_dataclass(value) and not isinstance(value, type):
            opened = SimpleNamespace(**{f.name: _opened(getattr(value, f.name), secrets) for f in fields(value)})
    return opened if len(secrets) > before else value
