"""The desired state: hosts with their resources, loaded from a directory of Python files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from kbstate.checks import Check
from kbstate.credentials import Credentials
from kbstate.diff import Declared
from kbstate.inventory import Inventory
from kbstate.resource import Line, Resource
from kbstate.secret import Hasher


class Host(BaseModel):
    """One host, how it is reached, and all that is declared on it, by module."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    address: str
    """An IP address or a DNS name."""
    user: str = "root"
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    role: Line = ""
    """Hosts of one role are applied one at a time."""
    modules: Mapping[str, Sequence[Resource]] = Field(default_factory=dict)
    checks: Sequence[Check] = ()
    moved: Mapping[str, str] = Field(default_factory=dict)
    """Addresses that were renamed: old → new."""

    @property
    def declared(self) -> tuple[Declared, ...]:
        """Every resource, parts included and bound to each other, in declared order. Raises DesiredErrors."""
        raise NotImplementedError

    def lookup(self, address: str) -> Resource | None:
        """The declared resource at an address."""
        raise NotImplementedError


@dataclass(frozen=True)
class Site:
    """What a desired file may ask for."""

    inventory: Inventory
    credentials: Credentials
    path: Path
    """The directory of the desired state."""


@dataclass(frozen=True)
class Desired:
    """The desired state of all hosts."""

    hosts: tuple[Host, ...]
    hasher: Hasher
    path: Path

    def select(self, names: Sequence[str]) -> tuple[Host, ...]:
        """The hosts of these names, all if there are none. Raises UsageError with a suggestion."""
        raise NotImplementedError


def load(desired: Path, credentials: Path, inventory: Path | None = None) -> Desired:
    """Load and check the desired state, without any connection. Raises DesiredErrors with all that was found."""
    raise NotImplementedError
