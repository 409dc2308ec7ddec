"""The contract of a kind: what a resource declares, what it reads, how it is observed, and the steps that change it.

Everything here is a value or a pure function; nothing connects, prints or imports pyinfra.
"""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeAlias, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue, PrivateAttr, StringConstraints

from kbstate.errors import Where
from kbstate.secret import Hasher, Secret

Json: TypeAlias = JsonValue
Action: TypeAlias = Literal["create", "update", "delete", "replace"]
Cause: TypeAlias = Literal["drift", "pending", "both", "new"]
Impact: TypeAlias = Literal["drops connections", "reloads without loss"]

PACKAGE = str(Path(__file__).parent)
NOT_DESIRED = (f"{PACKAGE}/", f"{Path(pydantic.__file__).parent}/")
"""Files in which no resource is declared: the place of one is in the next file outside of them."""


# --- markers of fields ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meta:
    """The field says how, not what: it is neither observed nor compared."""


@dataclass(frozen=True)
class Unordered:
    """The order of the items means nothing."""


@dataclass(frozen=True)
class Replaces:
    """A change of this field cannot be made in place: the resource is deleted and created anew."""


# --- types that several kinds declare ---------------------------------------------------------------------------


def _absolute(path: str) -> str:
    if not path.startswith("/") or "//" in path or any(part in (".", "..") for part in path.split("/")):
        raise ValueError("must be an absolute path without '.', '..' or '//'")
    if len(path) > 1 and path.endswith("/"):
        raise ValueError("must not end in '/'")
    return _line(path)


def _line(text: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise ValueError("must not contain control characters, line breaks or what is not UTF-8")
    return text


def _mode(text: str) -> str:
    if not 3 <= len(text) <= 4 or any(c not in "01234567" for c in text):
        raise ValueError("must be an octal mode such as '0644'")
    return text.rjust(4, "0")


Line = Annotated[str, AfterValidator(_line)]
AbsPath = Annotated[str, AfterValidator(_absolute)]
Mode = Annotated[str, AfterValidator(_mode)]
Account = Annotated[str, StringConstraints(pattern=r"^([a-z_][a-z0-9_-]{0,31}|[0-9]{1,10})$")]
"""A user or group by name, or by number where the name may not exist on the host."""


# --- facts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unknown:
    """Something could not be read. Never the same as absent.

    `until` names what may lift it (address patterns): if this very plan changes one of them, apply looks again then.
    """

    reason: str
    until: tuple[str, ...] = ()


A = TypeVar("A", bound=Hashable)
V = TypeVar("V")


class Fact(ABC, Generic[A, V]):
    """One question to a host, answered for many subjects (`A`) by one shell command.

    The collector gathers every subject that any resource asks about and runs the command once, as root, under `sh`,
    with no standard input, `LC_ALL=C` and a time limit. Anything but exit status 0 makes all answers Unknown.
    """

    program: ClassVar[str | None] = None
    """The program that the command cannot do without."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages that bring the program: while none is installed, what it manages is absent, not Unknown."""
    seconds: ClassVar[int] = 30

    @abstractmethod
    def command(self, wanted: Sequence[A]) -> str:
        """The shell text; every word that comes from a subject quoted by `kbstate.shell.q`."""

    @abstractmethod
    def process(self, wanted: Sequence[A], output: str) -> Mapping[A, V | Unknown | None]:
        """An answer for each subject: a value, None (absent) or Unknown. ValueError if the output makes no sense."""

    def failed(self, status: int, errors: str) -> Unknown:
        """The reason when the command failed; a fact that knows its program says it better."""
        last = errors.strip().splitlines()[-1:] or [f"exit status {status}"]
        return Unknown(last[0][:300])


@dataclass(frozen=True)
class Read:
    """One question of a resource: which fact, about which subject."""

    fact: type[Fact[Any, Any]]
    subject: Hashable = None


@dataclass(frozen=True)
class PyinfraRead:
    """A fact that pyinfra itself has, by its path below `pyinfra.facts` (`server.Hostname`), and its arguments."""

    path: str
    arguments: tuple[tuple[str, Hashable], ...] = ()


AnyRead: TypeAlias = Read | PyinfraRead


# --- steps ------------------------------------------------------------------------------------------------------

Operation: TypeAlias = Callable[..., Iterator[str]]
"""An operation of our own: yields shell scripts; the session hands it to pyinfra as one of its operations."""


@dataclass(frozen=True)
class Step:
    """One pyinfra operation as data: `op` is a path below `pyinfra.operations` (`apt.packages`) or one of our own.

    Every argument that has an active default in pyinfra is passed explicitly.
    """

    op: str | Operation
    args: Mapping[str, object] = field(default_factory=dict)
    why: str = ""
    together: str | None = None
    """The list argument that may be joined with that of the same step of neighbouring changes (one apt run)."""


@dataclass(frozen=True)
class Preflight:
    """What must hold on the host before a change begins: a script that changes nothing exits with 0 if it does.

    `in_step` where the step makes sure of it by itself; then it is only looked at when somebody asks beforehand.
    """

    name: str
    script: str
    in_step: bool = False
    secrets: tuple[Secret, ...] = ()
    """What is in the script and must not be in what it says."""


# --- changes ----------------------------------------------------------------------------------------------------


class Delta(BaseModel):
    """One difference inside a resource; `path` as in `ports[0].host`."""

    model_config = ConfigDict(frozen=True)

    path: str
    before: Json = None
    after: Json = None


class Change(BaseModel):
    """What apply would do to one resource, and why."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    address: str
    kind: str
    module: str
    action: Action
    cause: Cause
    before: dict[str, Json] | None = None
    after: dict[str, Json] | None = None
    diff: tuple[Delta, ...] = ()
    sensitive: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    impact: Impact | None = None
    requires: tuple[str, ...] = ()
    before_hash: str | None = None
    after_hash: str | None = None
    preflights: tuple[str, ...] = ()
    """What is looked at before it begins."""
    after_unknown: bool = False
    reason: str | None = None
    """Why it is not known yet (`after_unknown`), or what else a reader must know."""

    _desired: Resource | None = PrivateAttr(default=None)
    _observed: Resource | None = PrivateAttr(default=None)

    @property
    def fields(self) -> frozenset[str]:
        """The top-level fields that differ."""
        return frozenset(delta.path.split(".")[0].split("[")[0] for delta in self.diff)


# --- the resource itself ----------------------------------------------------------------------------------------


class Resource(BaseModel):
    """One thing on a host, desired or observed: the same class for both.

    A field that is None is not ours: it is neither compared nor changed. Identity fields are never None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    kind: ClassVar[str]
    identity: ClassVar[tuple[str, ...]] = ("name",)
    listens: ClassVar[bool] = False
    """Whether it may hold a port, which one of another such kind is to take over when it goes."""
    registry: ClassVar[dict[str, type[Resource]]] = {}

    requires: Annotated[tuple[str, ...], Meta()] = ()
    """Addresses that must be as declared first, besides those that the kind derives itself."""
    absent: Annotated[bool, Meta()] = False
    """Declared not to exist."""

    _where: Where | None = PrivateAttr(default=None)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if "kind" in cls.__dict__:
            cls.registry[cls.kind] = cls

    def model_post_init(self, context: Any) -> None:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_filename.startswith(NOT_DESIRED):
            frame = frame.f_back
        self._where = Where(frame.f_code.co_filename, frame.f_lineno)

    # what it is

    @property
    def key(self) -> str:
        """The part of the address after the colon."""
        return str(getattr(self, self.identity[0]))

    @property
    def address(self) -> str:
        return f"{self.kind}:{self.key}"

    @property
    def where(self) -> Where | None:
        return self._where

    # the three methods of a kind

    def reads(self) -> Mapping[str, AnyRead]:
        """The facts that `observe` takes, by the name of its argument."""
        raise NotImplementedError

    def observe(self, *args: Any, **facts: Any) -> Self | Unknown | None:
        """The live resource made from fact values, None if absent. Called only when no fact is Unknown."""
        raise NotImplementedError

    def steps(self, change: Change) -> Iterator[Step]:
        """The operations that make the change; called on the desired resource, or on the observed one to delete it."""
        raise NotImplementedError

    # optional

    def parts(self) -> Iterator[Resource]:
        """Ordinary resources that this one is composed of; they keep their own addresses and are declared with it."""
        return iter(())

    def problems(self) -> Iterator[str]:
        """What is wrong with this declaration; only for desired resources."""
        return iter(())

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        """The same resource with what it takes over from others on its host filled in."""
        return self

    def needs(self) -> Iterator[str]:
        """Address patterns of what must come first, where it is declared at all."""
        return iter(())

    def watches(self) -> Mapping[str, str]:
        """Addresses whose change this resource must take up, and the verb for it (`restarts`, `reloads`)."""
        return {}

    def impact(self, change: Change) -> Impact | None:
        """What the change interrupts."""
        return None

    def preflight(self, change: Change) -> Iterator[Preflight]:
        """What must hold on the host before the change begins."""
        return iter(())

    def before_delete(self) -> str | None:
        """Why deleting this needs `--allow-destroy`; None if it is harmless."""
        return None

    def backup(self) -> Iterator[str]:
        """Paths on the host that are saved before this resource is changed."""
        return iter(())

    # comparing

    @classmethod
    def compared(cls) -> tuple[str, ...]:
        return tuple(name for name in cls.model_fields if name not in cls.identity and not cls._marked(name, Meta))

    @classmethod
    def _marked(cls, name: str, mark: type[Meta | Unordered | Replaces]) -> bool:
        return any(isinstance(item, mark) for item in cls.model_fields[name].metadata)

    @classmethod
    def replacing(cls) -> frozenset[str]:
        return frozenset(name for name in cls.model_fields if cls._marked(name, Replaces))

    def declared(self) -> tuple[str, ...]:
        """The compared fields that this resource sets."""
        return tuple(name for name in self.compared() if getattr(self, name) is not None)

    def projection(self, fields: Iterable[str], hasher: Hasher) -> dict[str, Json]:
        """Plain data of these fields: secrets as keyed digests, unordered fields sorted."""
        result: dict[str, Json] = {}
        for name in fields:
            value = plain(getattr(self, name), hasher)
            if isinstance(value, list) and self._marked(name, Unordered):
                value = sorted(value, key=repr)
            result[name] = value
        return result

    def sensitive(self) -> frozenset[str]:
        """The fields that hold a secret."""
        return frozenset(name for name in self.compared() if _holds_secret(getattr(self, name)))


Observed: TypeAlias = Resource | Unknown | None


def plain(value: object, hasher: Hasher) -> Json:  # noqa: PLR0911 - one line for each type
    """JSON for any value that a field may hold."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Secret():
            return value.digest(hasher)
        case bytes():
            return f"binary, {len(value)} bytes, sha256:{hashlib.sha256(value).hexdigest()}"
        case BaseModel():
            return {name: plain(getattr(value, name), hasher) for name in type(value).model_fields}
        case Mapping():
            return {str(k): plain(v, hasher) for k, v in sorted(value.items(), key=lambda item: str(item[0]))}
        case frozenset() | set():
            return sorted((plain(v, hasher) for v in value), key=repr)
        case Iterable():
            return [plain(v, hasher) for v in value]
    return str(value)


def _holds_secret(value: object) -> bool:
    match value:
        case Secret():
            return True
        case BaseModel():
            return any(_holds_secret(getattr(value, name)) for name in type(value).model_fields)
        case Mapping():
            return any(_holds_secret(v) for v in value.values())
        case tuple() | list() | frozenset() | set():
            return any(_holds_secret(v) for v in value)
    return False
