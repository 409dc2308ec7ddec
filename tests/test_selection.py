"""Selectors: what they match, what they come to, and what is said of one that matches nothing."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbstate.desired import Host
from kbstate.diff import Declared
from kbstate.errors import SelectorError
from kbstate.kinds.file import File
from kbstate.kinds.package import Package
from kbstate.selection import Option, Selection

HOSTS = (
    Host(
        name="haproxy-01",
        address="10.0.0.11",
        modules={"base": [Package(name="jq"), File(path="/etc/a[1]")], "haproxy": [File(path="/opt/haproxy.cfg")]},
    ),
    Host(name="haproxy-02", address="10.0.0.12", modules={"base": [Package(name="curl")]}),
)

MATCHES: list[tuple[str, bool]] = [
    ("file:/opt/haproxy.cfg", True),
    ("file:/opt/*", True),
    ("file:*", True),
    ("*", True),
    ("haproxy-01/file:/opt/haproxy.cfg", True),
    ("haproxy-0?/file:*", True),
    ("haproxy-01/*", True),
    ("haproxy-02/file:/opt/haproxy.cfg", False),
    ("haproxy-01", False),
    ("file:/opt", False),
    ("FILE:/opt/*", False),
    ("h*", False),
    ("", False),
]


@pytest.mark.parametrize(("selector", "expected"), MATCHES)
@pytest.mark.parametrize("option", ["target", "exclude", "replace", "allow_destroy"])
def test_matches(option: Option, selector: str, expected: bool) -> None:
    selection = Selection(**{option: ("nothing:x", selector)})
    assert selection.matches(option, "haproxy-01", "file:/opt/haproxy.cfg", "haproxy") is expected


def test_an_exact_name_is_itself() -> None:
    assert Selection(target=("file:/etc/a[1]",)).matches("target", "h", "file:/etc/a[1]", "base")
    assert Selection(target=("h/file:/etc/a[1]",)).matches("target", "h", "file:/etc/a[1]", "base")


def test_modules() -> None:
    assert Selection(module=("hap*",)).matches("module", "h", "file:/a", "haproxy")
    assert not Selection(module=("file:/a",)).matches("module", "h", "file:/a", "haproxy")


GOOD = [
    Selection(),
    Selection(target=("file:/opt/*", "haproxy-02/package:curl"), exclude=("package:jq",), module=("base",)),
    Selection(replace=("file:/etc/a[1]",)),
    Selection(allow_destroy=("volume:not-judged-yet",)),
]


@pytest.mark.parametrize("selection", GOOD)
def test_check(selection: Selection) -> None:
    selection.check(HOSTS)


BAD = [
    (
        Selection(target=("file:/opt/haproxy.cfq",)),
        "--target file:/opt/haproxy.cfq matches nothing: did you mean file:/opt/haproxy.cfg?",
    ),
    (
        Selection(exclude=("haproxy-02/package:jq",)),
        "--exclude haproxy-02/package:jq matches nothing: "
        "did you mean haproxy-01/package:jq or haproxy-02/package:curl?",
    ),
    (Selection(replace=("*:nothing",)), "--replace *:nothing matches nothing: "),
    (Selection(module=("haprox",)), "--module haprox matches nothing: did you mean haproxy?"),
    (Selection(module=("x",)), "--module x matches nothing: there is base, haproxy"),
    (Selection(target=("package:jq", "image:*")), "--target image:* matches nothing: "),
]


@pytest.mark.parametrize(("selection", "message"), BAD)
def test_what_matches_nothing(selection: Selection, message: str) -> None:
    with pytest.raises(SelectorError) as caught:
        selection.check(HOSTS)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 64


def test_what_is_only_in_the_ledger() -> None:
    removed = {"haproxy-02": [Declared(File(path="/old"), "base", removed=True)]}
    Selection(target=("file:/old",), allow_destroy=("haproxy-02/file:/o*",)).check(HOSTS, removed)
    with pytest.raises(SelectorError, match=r"^--allow-destroy file:/older matches nothing: did you mean file:/old"):
        Selection(allow_destroy=("file:/older",)).check(HOSTS, removed)
    with pytest.raises(SelectorError):
        Selection(target=("file:/old",)).check(HOSTS)


# a chain a <- b <- c, and d alone; a and b are in module one
ITEMS = [
    Declared(Package(name=name), module)
    for name, module in (("aa", "one"), ("bb", "one"), ("cc", "two"), ("dd", "two"))
]
REQUIRES = {"package:bb": ["package:aa"], "package:cc": ["package:bb", "package:elsewhere"]}

CHOSEN = [
    (Selection(), "abcd"),
    (Selection(target=("package:bb",)), "ab"),
    (Selection(target=("package:cc",)), "abc"),
    (Selection(target=("h/package:cc", "package:dd")), "abcd"),
    (Selection(target=("other/package:cc",)), ""),
    (Selection(exclude=("package:bb",)), "ad"),
    (Selection(exclude=("package:aa",)), "d"),
    (Selection(target=("package:cc",), exclude=("package:bb",)), ""),
    (Selection(target=("package:cc", "package:dd"), exclude=("package:bb",)), "d"),
    (Selection(module=("one",)), "ab"),
    (Selection(module=("two",)), "cd"),
    (Selection(module=("two",), exclude=("package:dd",)), "c"),
    (Selection(target=("package:cc",), module=("one",)), "ab"),
]


@pytest.mark.parametrize(("selection", "expected"), CHOSEN)
def test_chosen(selection: Selection, expected: str) -> None:
    assert selection.chosen("h", ITEMS, REQUIRES) == {f"package:{letter * 2}" for letter in expected}


NAME = st.sampled_from(["aa", "bb", "cc", "dd", "ee"]).map("package:{}".format)


@given(st.dictionaries(NAME, st.lists(NAME)), st.lists(NAME), st.lists(NAME))
def test_chosen_is_closed(requires: Mapping[str, list[str]], target: list[str], exclude: list[str]) -> None:
    """Whatever the graph, circles included: what is chosen has all that it requires, and nothing excluded."""
    items = [Declared(Package(name=name), "m") for name in ("aa", "bb", "cc", "dd", "ee")]
    chosen = Selection(target=tuple(target), exclude=tuple(exclude)).chosen("h", items, requires)
    assert not chosen & set(exclude)
    assert all(set(requires.get(address, ())) <= chosen for address in chosen)
    if not exclude:
        assert chosen >= set(target)
