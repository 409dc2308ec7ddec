"""The directory of the desired state as importable Python, for as long as it loads."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from kbstate.errors import DesiredError, Where
from kbstate.faults import shown
from kbstate.resource import Resource

NEEDED = frozenset(
    {"annotated_types", "deepdiff", "gevent", "jinja2", "kbstate", "markupsafe", "pydantic"}
) | frozenset({"pydantic_core", "pyinfra", "rich", "typer", "typing_extensions", "typing_inspection"})
"""Modules of others that kbstate itself may import while a desired state loads."""


@contextmanager
def importable(tree: Path) -> Iterator[None]:
    """`tree` is first on the path; its modules are imported anew, written to no cache, and forgotten at the end."""
    names = _names(tree)
    others = _taken(names)
    before = list(sys.path), sys.dont_write_bytecode
    _forget_kinds()
    importlib.invalidate_caches()
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = before
        _taken(names)
        for name in [name for name, module in sys.modules.items() if _is_below(module, tree)]:
            del sys.modules[name]
        for entry in [entry for entry in sys.path_importer_cache if Path(entry).is_relative_to(tree)]:
            del sys.path_importer_cache[entry]
        sys.modules.update(others)


def _names(tree: Path) -> frozenset[str]:
    """The top-level modules of a tree. Raises DesiredError for one that hides what kbstate needs."""
    files = [path for path in tree.iterdir() if path.suffix == ".py"]
    folders = [path for path in tree.iterdir() if path.is_dir() and path.name.isidentifier()]
    for path in sorted([*files, *(folder / "__init__.py" for folder in folders)]):
        name = path.parent.name if path.name == "__init__.py" else path.stem
        if path.exists() and name in sys.stdlib_module_names | NEEDED:
            raise DesiredError(
                f"it hides the module '{name}', which Python or kbstate needs: rename it", Where(shown(str(path)), 1)
            )
    return frozenset(path.stem for path in [*files, *folders])


def _taken(names: frozenset[str]) -> dict[str, ModuleType]:
    """Takes the modules of these names, and what is below them, out of `sys.modules`."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".", 1)[0] in names}


def _is_below(module: ModuleType, tree: Path) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).is_relative_to(tree)


def _forget_kinds() -> None:
    """Kinds that an earlier tree defined: its modules are gone."""
    for kind, model in list(Resource.registry.items()):
        if model.__module__ not in sys.modules:
            del Resource.registry[kind]
