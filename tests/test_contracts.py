"""The shape of the code: who may import whom (pyproject.toml has the contracts), who prints, what starts fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kbstate"
PRINTING = ("__main__.py", "cli.py", "commands/", "report/", "lab/")
"""What may speak to people."""
RUNNING = ("channel.py", "commands/apply.py", "lab/")
"""What may start a process on this machine: ssh, git for the commit of a run, the lab."""


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken." in done.stdout


# --- who prints -------------------------------------------------------------------------------------------------


def prints(source: str) -> list[int]:
    """The lines that write to the terminal: print(), the standard streams, a Console of rich."""
    return sorted(node.lineno for node in nodes(source) if _writes(node))


def nodes(source: str) -> Iterator[ast.stmt | ast.expr]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt | ast.expr))


def _writes(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="print" | "Console" | "input")):
            return True
        case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"):
            return True
        case ast.ImportFrom(module="sys"):
            return any(alias.name in ("stdout", "stderr") for alias in node.names)
    return False


def processes(source: str) -> list[int]:
    """The lines that can start a process."""
    return sorted(node.lineno for node in nodes(source) if _starts(node))


def _starts(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(alias.name in ("subprocess", "pty", "multiprocessing") for alias in names)
        case ast.ImportFrom(module="subprocess" | "pty" | "multiprocessing"):
            return True
        case ast.Attribute(value=ast.Name(id="os"), attr=name):
            return name in ("system", "popen", "fork") or name.startswith(("exec", "spawn", "posix_spawn"))
    return False


@pytest.mark.parametrize(
    "source",
    ["print('x')", "import sys\nsys.stderr.write('x')", "from sys import stdout", "Console().log('x')", "input()"],
)
def test_what_prints_is_found(source: str) -> None:
    assert len(prints(source)) == 1
    assert processes(source) == []


@pytest.mark.parametrize(
    "source", ["import subprocess", "from subprocess import run", "os.system('x')", "os.execv('x', [])"]
)
def test_what_starts_a_process_is_found(source: str) -> None:
    assert len(processes(source)) == 1
    assert prints(source) == []


def test_what_only_looks_like_it_is_not_found() -> None:
    source = "progress.print('x')\nreport.stdout\nprinted = 'print()'\nos.environ\nimport sys"
    assert prints(source) == []
    assert processes(source) == []


def elsewhere(allowed: tuple[str, ...]) -> Iterator[Path]:
    """The modules of kbstate but these."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if not path.relative_to(PACKAGE).as_posix().startswith(allowed):
            yield path


def test_only_the_command_line_reports_and_the_lab_print() -> None:
    found = {path.name: lines for path in elsewhere(PRINTING) if (lines := prints(path.read_text()))}
    assert found == {}


def test_only_the_channel_apply_and_the_lab_start_processes() -> None:
    found = {path.name: lines for path in elsewhere(RUNNING) if (lines := processes(path.read_text()))}
    assert found == {}


# --- what starts fast -------------------------------------------------------------------------------------------


def imported_by(code: str) -> set[str]:
    """The top-level packages that are loaded when this code has run."""
    show = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"pyinfra", "gevent", "paramiko", "deepdiff", "jinja2"}


def test_the_command_line_loads_nothing_heavy() -> None:
    assert imported_by("import kbstate.cli") & HEAVY == set()


def test_kbstate_itself_loads_nothing() -> None:
    assert imported_by("import kbstate") & {*HEAVY, "pydantic", "typer", "rich", "typing"} == set()


def test_the_version_is_told_without_typer() -> None:
    code = "import sys; sys.argv = ['kbstate', '--version']\nfrom kbstate.__main__ import main\nmain()"
    assert imported_by(code) & {*HEAVY, "pydantic", "typer", "rich"} == set()


def test_desired_files_load_without_what_speaks_to_hosts() -> None:
    code = "from pathlib import Path\nfrom kbstate.desired import load\n"
    code += "load(Path('desired'), Path('desired/credentials.example'))"
    assert imported_by(code) & (HEAVY - {"jinja2"}) == set()  # its templates need Jinja
