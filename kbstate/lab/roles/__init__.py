"""Roles: what a host is beyond an empty Debian. A role is a cached layer, files of its own, and a sign that it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from kbstate.lab.layers import Layer
from kbstate.lab.seed import Seed


@dataclass(frozen=True)
class Role:
    """One role. `furnish` writes its files before the first boot; `serving` is a command that succeeds once it works."""

    layer: Layer | None = None
    furnish: Callable[[Seed], None] | None = None
    binds: dict[str, str] = field(default_factory=dict)
    serving: str = ""


def role(name: str) -> Role:
    """The role of this name."""
    if name == "empty":
        return Role()
    module = import_module(f"kbstate.lab.roles.{name}")
    found: Role = module.role()
    return found
