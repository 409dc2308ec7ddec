"""Whatever the text, the shell sees exactly that text."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbstate.shell import feed, q, words

TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


def sh(script: str) -> bytes:
    return subprocess.run(["sh", "-s"], input=script.encode(), capture_output=True, check=True).stdout


@settings(max_examples=60, deadline=None)
@given(TEXT)
def test_a_word_is_itself(text: str) -> None:
    assert sh(f"printf %s {q(text)}") == text.encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=6))
def test_words_stay_apart(items: list[str]) -> None:
    assert sh(f"set -- {words(items)}; for w; do printf '%s\\0' \"$w\"; done") == b"".join(
        i.encode() + b"\0" for i in items
    )


def test_numbers_and_nothing_are_words() -> None:
    assert (q(5), q(""), words([1, "a b"])) == ("5", "''", "1 'a b'")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_data_arrives_byte_by_byte(data: bytes) -> None:
    assert sh(feed("cat", data)) == data


def test_a_command_of_several_lines_is_fed() -> None:
    script = feed("while read -r word\ndo\n# a comment }\nprintf '<%s>' \"$word\"\ndone", b"a\nb c\nKBSTATE_DATA\n")
    assert sh(script) == b"<a><b c><KBSTATE_DATA>"


def test_what_is_fed_may_use_the_words_of_the_script() -> None:
    assert sh("set -- one; v=two\n" + feed('printf "%s %s " "$1" "$v"; cat', b"three")) == b"one two three"


def test_data_is_not_in_the_command() -> None:
    assert "tr0ub4dor" not in feed("cat", b"tr0ub4dor&3")


@pytest.mark.parametrize("options", ["set -eu", "set -e"])
def test_a_command_that_fails_fails_the_script(options: str) -> None:
    script = f"{options}\n{feed('cat > /dev/null; false', b'x')}\necho went on"
    done = subprocess.run(["sh", "-s"], input=script.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_what_follows_still_runs() -> None:
    assert sh(feed("cat", b"x").rstrip("\n") + "\necho y") == b"xy\n"
