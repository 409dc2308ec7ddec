"""The kinds of resources, one file each. A file is imported when its kind is first named."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from kbstate.resource import Resource


def kind_named(name: str) -> type[Resource] | None:
    """The kind of this name, also where nothing declares one any more; None if there is none."""
    if name not in Resource.registry:
        load_all()
    return Resource.registry.get(name)


def load_all() -> None:
    """Import every kind that comes with kbstate."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
