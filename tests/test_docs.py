"""The documentation: links resolve, what is shown exists, and what is generated is up to date."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from kbstate.cli import app
from kbstate.lab.cli import app as lab_app
from scripts import picture, reference

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [body for found, body in FENCE.findall(text_of(name)) if found == language]


# --- links ------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The headings of a page, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(name: str) -> list[str]:
    prose = INLINE.sub("", FENCE.sub("", text_of(name)))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("name", NAMES)
def test_links_resolve(name: str) -> None:
    for link in links(name):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), f"{name} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name} links to {link}: no such heading"


def test_the_readme_leads_to_every_page() -> None:
    linked = {str(((ROOT / "README.md").parent / link.partition("#")[0]).resolve()) for link in links("README.md")}
    assert {str(page) for page in (ROOT / "docs").glob("*.md")} <= linked


# --- commands ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A command line of kbstate as a page shows it."""

    page: str
    words: tuple[str, ...]


def shown() -> Iterator[Shown]:
    """What stands behind `$` in blocks of the terminal, and between backticks in the text, beginning with kbstate."""
    for name in NAMES:
        for block in blocks(name, "console"):
            for line in re.findall(r"^ *\$ (.+)$", block, re.MULTILINE):
                for command in re.split(r" && | \| |; ", line):
                    yield from kbstate_words(name, command)
        for code in INLINE.findall(FENCE.sub("", text_of(name))):
            yield from kbstate_words(name, code)


def kbstate_words(name: str, command: str) -> Iterator[Shown]:
    try:
        words = shlex.split(command)
    except ValueError:
        return  # an apostrophe in something that is no command line
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if len(words) > 1 and words[0] in ("kbstate", ".venv/bin/kbstate") and re.match(r"[a-z-]", words[1]):
        yield Shown(name, tuple(words[1:]))


SHOWN = list(dict.fromkeys(shown()))


def test_commands_are_shown() -> None:
    assert {item.words[0] for item in SHOWN} >= {"validate", "plan", "apply", "check", "collect", "graph", "lab"}


@pytest.mark.parametrize("item", SHOWN, ids=lambda item: f"{item.page}-{' '.join(item.words)}"[:80])
def test_a_shown_command_exists_with_its_options(item: Shown) -> None:
    words = list(item.words)
    if words[0] == "--version":
        return
    tree: Any = get_command(app)
    if words[0] == "lab":
        tree, words = get_command(lab_app), words[1:]
    if not words or words[0].startswith("-"):
        assert words in ([], ["--help"]), f"{item.page}: {' '.join(item.words)}"
        return
    for name in re.split(r"[|]", words[0]):  # `up|down`
        assert name in tree.commands, f"{item.page} shows `{name}`, which is no command"
    command = tree.commands[words[0].split("|")[0]]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words[1:]:
        if word == "--":
            break
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{item.page}: {word} is no option of {words[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_make_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    used = re.findall(r"^ *\$ make ([a-z-]+)", text_of(name), re.MULTILINE)
    used += [target for code in INLINE.findall(text_of(name)) for target in re.findall(r"^make ([a-z-]+)", code)]
    assert set(used) <= targets


# --- examples in the text ---------------------------------------------------------------------------------------

FIRST_LINE = re.compile(r"^(?:# |\{# )(?P<path>[a-z]+/[a-z0-9./-]+)(?: #\})?\n")


def trees(name: str, to: Path) -> set[Path]:
    """Write the files that a page shows; their first line says their name. The directories that were made."""
    made = set()
    for _, body in FENCE.findall(text_of(name)):
        if found := FIRST_LINE.match(body):
            path = to / found["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
            path.chmod(0o600)
            made.add(path.parent)
    for body in blocks(name, "tsv"):
        (to / "cache" / "servers.tsv").write_text(body, encoding="utf-8")
    return {directory for directory in made if (directory / "hosts.py").exists()}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("docs/writing-a-desired-file.md", "bare-04: valid, 3 resources in 1 module, 1 check\n"),
        ("docs/migrating.md", "bare-02: valid, 5 resources in 2 modules\n"),
    ],
)
def test_the_desired_files_of_a_page_are_valid(name: str, says: str, tmp_path: Path) -> None:
    (tree,) = trees(name, tmp_path)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KBSTATE_")}
    command = [sys.executable, "-m", "kbstate", "validate", "--desired", str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, says, "")


def test_the_first_file_is_as_the_readme_says() -> None:
    assert 'Package(name="jq"),' in text_of("examples/first-file/hosts.py")


# --- what is generated ------------------------------------------------------------------------------------------


def test_the_reference_is_what_the_script_makes() -> None:
    text = text_of("docs/reference.md")
    assert set(re.findall(r"<!-- generated: ([a-z-]+) -->", text)) == set(reference.BLOCKS)
    assert text == reference.page(text), "run `python -m scripts.reference`"


def test_the_reference_shows_every_field_and_option() -> None:
    kinds = reference.kind_pages()
    assert "| `validate_with` | `Line` |  | A command that must succeed on the candidate" in kinds
    assert "#### Allow" in kinds
    assert "| `--detailed-exitcode` | Exit with 2 if there are changes. |" in reference.commands()


def test_the_picture_is_what_show_prints_of_the_recorded_plan() -> None:
    assert text_of("docs/plan.svg") == picture.picture(picture.recorded()), "run `python -m scripts.picture`"


def test_the_picture_fetches_nothing() -> None:
    found = re.findall(r"(?:https?:|url\()[^\s\")]*", text_of("docs/plan.svg"))
    assert {link for link in found if not link.startswith("url(#")} == {"http://www.w3.org/2000/svg"}
