"""Roles: what a host is beyond an empty Debian: a cached layer, files of its own, and a sign that it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from kbstate.lab.layers import Layer
from kbstate.lab.packages import DOCKER
from kbstate.lab.seed import Seed


@dataclass(frozen=True)
class Role:
    """`furnish` writes files before the first boot; `serving` is a shell command that succeeds once the role works."""

    layer: Layer | None = None
    furnish: Callable[[Seed], None] | None = None
    binds: dict[str, str] = field(default_factory=dict)
    serving: str = ""
    cluster: bool = False
    """Whether its hosts can serve only together."""
    environment: dict[str, str] = field(default_factory=dict)
    """What a command run from outside finds in its environment, as a login would."""


def role(name: str) -> Role:
    """The role of this name."""
    if name == "empty":
        return Role()
    if name == "docker":
        return Role(layer=Layer("docker", DOCKER), serving="docker info")
    module = import_module(f"kbstate.lab.roles.{name}")
    found: Role = module.role()
    return found
