"""The options that commands share, each said once: a command takes one parameter of these classes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from typer import Argument, Option

if TYPE_CHECKING:
    from kbstate.desired import Desired
    from kbstate.selection import Selection

COMMON = "Common options"
SELECTORS = "Selectors"

HostNames = Annotated[
    list[str] | None,
    Argument(metavar="HOST", help="Hosts of the desired state; all, if none is named.", show_default=False),
]
Json = Annotated[bool, Option("--json", help="Print one JSON document.")]


def _flag(name: str, help: str) -> Any:
    return Option(name, help=help, rich_help_panel=COMMON)


def _value(name: str, metavar: str, help: str, *, envvar: str | None = None, panel: str = COMMON, **more: Any) -> Any:
    return Option(name, metavar=metavar, help=help, envvar=envvar, rich_help_panel=panel, **more)


@dataclass(frozen=True)
class Output:
    """How a command speaks."""

    verbose: Annotated[bool, _flag("--verbose", "Show all: every field, whole texts, tracebacks of faults.")] = False
    no_color: Annotated[bool, _flag("--no-color", "No colour; so too with NO_COLOR, and without a terminal.")] = False


@dataclass(frozen=True)
class Common(Output):
    """Where the desired state is, and how hosts are reached."""

    desired: Annotated[Path, _value("--desired", "DIR", "The desired state.", envvar="KBSTATE_DESIRED")] = Path(
        "desired"
    )
    credentials: Annotated[
        Path, _value("--credentials", "DIR", "The .env files with credentials.", envvar="KBSTATE_CREDENTIALS")
    ] = Path("credentials")
    inventory: Annotated[
        Path | None, _value("--inventory", "FILE", "The inventory; servers.tsv in the desired state if not named.")
    ] = None
    ssh_config: Annotated[Path | None, _value("--ssh-config", "FILE", "Instead of ~/.ssh/config.")] = None
    known_hosts: Annotated[Path | None, _value("--known-hosts", "FILE", "Instead of ~/.ssh/known_hosts.")] = None
    timeout: Annotated[
        float, _value("--timeout", "S", "Seconds until a host that does not answer is unreachable.", min=0.1)
    ] = 10.0
    lock_timeout: Annotated[
        float, _value("--lock-timeout", "S", "Seconds to wait for another run on a host to end.", min=0)
    ] = 0.0
    parallel: Annotated[int, _value("--parallel", "N", "Hosts that are read at once.", min=1)] = 8
    reason: Annotated[str, _value("--reason", "TEXT", "Why this run is made; kept on the host.")] = ""

    def load(self) -> Desired:
        """The desired state, with an order for the resources of each host. Raises DesiredError."""
        from kbstate.desired import load
        from kbstate.order import order

        loaded = load(self.desired, self.credentials, self.inventory)
        for host in loaded.hosts:
            order(host.declared)
        return loaded


@dataclass(frozen=True)
class Selectors:
    """Which resources a run is about."""

    target: Annotated[
        list[str] | None, _value("--target", "ADDR", "Only this, and what it requires.", panel=SELECTORS)
    ] = None
    exclude: Annotated[
        list[str] | None, _value("--exclude", "ADDR", "All but this, and what requires it.", panel=SELECTORS)
    ] = None
    replace: Annotated[
        list[str] | None, _value("--replace", "ADDR", "Make this anew, even if it is as declared.", panel=SELECTORS)
    ] = None
    module: Annotated[list[str] | None, _value("--module", "NAME", "Only what is in this module.", panel=SELECTORS)] = (
        None
    )
    allow_destroy: Annotated[
        list[str] | None,
        _value("--allow-destroy", "ADDR", "Allow to delete or replace this, although it destroys.", panel=SELECTORS),
    ] = None

    def selection(self) -> Selection:
        from kbstate.selection import Selection

        return Selection(**{field.name: tuple(getattr(self, field.name) or ()) for field in fields(self)})


T = TypeVar("T")


def with_options(function: Callable[..., T]) -> Callable[..., T]:
    """Spreads each parameter whose type is one of the classes above into the options that it stands for."""
    hints = typing.get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {
        name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Output | Selectors)
    }
    own = [
        p.replace(annotation=hints[p.name])
        for p in inspect.signature(function).parameters.values()
        if p.name not in groups
    ]
    spread = {name: _parameters(group) for name, group in groups.items()}

    @wraps(function)
    def command(**given: Any) -> T:
        for name, group in groups.items():
            given[name] = group(**{option.name: given.pop(option.name) for option in spread[name]})
        return function(**given)

    parameters = [*own, *(option for options in spread.values() for option in options)]
    signature = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameters(group: type[Any]) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
