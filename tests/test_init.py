"""The names of the package: there for people, type checkers and editors alike, and none costs anything at first."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kbstate
from kbstate.schema import kinds


def test_the_table_and_the_imports_agree() -> None:
    tree = ast.parse(Path(kbstate.__file__).read_text())
    [checking] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        str(alias.asname): (node.module, alias.name)
        for node in checking.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name: (module, name) for name, module in kbstate.NAMES.items()} == imported
    assert kbstate.__all__ == sorted(imported)


@pytest.mark.parametrize("name", kbstate.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(kbstate, name).__module__ == kbstate.NAMES[name]
    assert name in dir(kbstate)


def test_every_kind_has_a_name() -> None:
    assert {model.__name__ for model in kinds().values()} <= set(kbstate.NAMES)


def test_version_and_unknown_names() -> None:
    assert kbstate.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="module 'kbstate' has no attribute 'nothing'"):
        kbstate.nothing  # noqa: B018


def test_importing_it_imports_nothing() -> None:
    code = "import sys; before = {*sys.modules}; import kbstate; print(sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == ["__future__", "kbstate"]
