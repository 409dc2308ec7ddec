"""What all errors share: the ends of sentences about unknown words, and faults that come together."""

import pytest

from kbstate.errors import CredentialError, DesiredError, DesiredErrors, Where, meant

WORDS = [
    ("onwer", ["owner", "group"], "did you mean owner?"),
    ("ab", ["abc", "abd", "xyz"], "did you mean abd or abc?"),
    ("x", ["one", "two", "one"], "there is one, two"),
    ("x", [], "there is none"),
    ("?", [f"n{i}" for i in range(13)], f"there is {', '.join(f'n{i}' for i in range(12))} and more"),
]


@pytest.mark.parametrize(("word", "known", "end"), WORDS)
def test_meant(word: str, known: list[str], end: str) -> None:
    assert meant(word, known) == end


def test_faults_together() -> None:
    one, two = DesiredError("it is wrong", Where("a.py", 3)), CredentialError("it is missing")
    assert str(one) == "a.py:3: it is wrong"
    assert one.errors == (one,)
    both = DesiredErrors([one, two])
    assert both.errors == (one, two)
    assert str(both) == "a.py:3: it is wrong\nit is missing"
    assert both.exit_code == 1
