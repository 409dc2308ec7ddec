"""Every example is a valid desired state, and the kind that one of them brings works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kbstate.desired import Host, load
from kbstate.resource import Change, Resource, Unknown
from tests.kinds.case import change_of, scripts, steps_of

EXAMPLES = Path(__file__).parents[1] / "examples"
TREES = sorted(path.parent for path in EXAMPLES.glob("*/hosts.py"))


def host(tree: Path) -> Host:
    (only,) = load(tree, tree / "credentials").hosts
    return only


def test_there_are_examples() -> None:
    assert [tree.name for tree in TREES] == ["custom-kind", "first-file"]


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_an_example_is_valid_as_users_are_told_to_try_it(tree: Path) -> None:
    command = [sys.executable, "-m", "kbstate", "validate", "--desired", str(tree)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KBSTATE_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tree)
    assert done.returncode == 0, done.stderr


def test_the_first_file_is_one_package_and_one_file() -> None:
    assert [item.resource.address for item in host(EXAMPLES / "first-file").declared] == [
        "package:jq",
        "file:/etc/motd",
    ]


# --- the kind of one's own --------------------------------------------------------------------------------------


@pytest.fixture
def alternative() -> Resource:
    found = host(EXAMPLES / "custom-kind").lookup("alternative:editor")
    assert found is not None
    return found


def asked(alternative: Resource, output: str) -> dict[str, object]:
    """The fact that it reads, from what the shell command said."""
    read = alternative.reads()["program"]
    value = read.fact().process([read.subject], output)[read.subject]  # type: ignore[union-attr]
    assert not isinstance(value, Unknown)
    return {"program": value}


def change(alternative: Resource, output: str) -> Change:
    found = change_of(alternative, asked(alternative, output))
    assert found is not None
    return found


def test_the_program_that_is_declared_is_no_change(alternative: Resource) -> None:
    assert change_of(alternative, asked(alternative, "editor /usr/bin/vim.tiny\n")) is None


def test_another_program_is_a_change_that_one_command_makes(alternative: Resource) -> None:
    (step,) = steps_of(change(alternative, "editor /bin/nano\n"))
    assert scripts(step) == "update-alternatives --quiet --set editor /usr/bin/vim.tiny"


def test_a_name_that_nothing_stands_behind_is_absent(alternative: Resource) -> None:
    assert change(alternative, "editor \n").action == "create"


def test_the_command_of_its_fact_asks_in_the_shell(alternative: Resource, tmp_path: Path) -> None:
    read = alternative.reads()["program"]
    command = read.fact().command(["editor", "no-such-name"])  # type: ignore[union-attr]
    query = '#!/bin/sh\n[ "$1 $2" = "--query editor" ] || exit 2\nprintf "Name: editor\\nValue: /bin/nano\\n"\n'
    (tmp_path / "update-alternatives").write_text(query)
    (tmp_path / "update-alternatives").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "editor /bin/nano\nno-such-name \n"
