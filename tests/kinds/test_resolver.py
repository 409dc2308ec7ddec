"""A static /etc/resolv.conf."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.kinds.resolver import ResolvConf, Resolver, parse, render
from tests.kinds.case import LabCase, change_of, scripts, steps_of

DESIRED = Resolver(nameservers=("10.0.0.2", "2001:db8::53"), search=("keybuzz.io",), options=("timeout:2",))
TEXT = "# by hand\nnameserver 10.0.0.2\nnameserver 2001:db8::53\nsearch keybuzz.io\noptions timeout:2\n"


@pytest.mark.parametrize(
    ("live", "fields"),
    [
        (("", TEXT), {}),
        (("", TEXT.replace("search", "domain")), {}),
        (("", TEXT.replace("10.0.0.2", "1.1.1.1")), {"nameservers[0]": ("1.1.1.1", "10.0.0.2")}),
        (("", TEXT.replace("keybuzz.io", "a b")), {"search[0]": ("a", "keybuzz.io"), "search[1]": ("b", None)}),
        (("", TEXT.replace("timeout:2", "rotate")), {"options[0]": ("rotate", "timeout:2")}),
        (("../run/systemd/resolve/stub-resolv.conf", TEXT), {"link": ("../run/systemd/resolve/stub-resolv.conf", "")}),
    ],
)
def test_update(live: tuple[str, str], fields: dict[str, Any]) -> None:
    change = change_of(DESIRED, {"live": live})
    assert ({d.path: (d.before, d.after) for d in change.diff} if change else {}) == fields
    for step in steps_of(change) if change else []:
        assert step.args["content"] == TEXT.replace("by hand", "written by kbstate").encode()


def test_create_absent_and_problems() -> None:
    change = change_of(DESIRED, {"live": None})
    assert change is not None
    assert change.action == "create"
    assert change_of(Resolver(absent=True), {"live": ("", TEXT)}) is None
    assert list(Resolver().problems())
    assert list(Resolver(nameservers=("1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4")).problems())


def test_a_name_must_resolve_first() -> None:
    change = change_of(DESIRED.model_copy(update={"must_resolve": "archive.example"}), {"live": None})
    assert change is not None
    [step] = steps_of(change)
    assert "getent ahosts" in str(step.args["validate"])
    assert 'try "$t" archive.example >&2' in scripts(step)


@pytest.mark.parametrize("server", ["", "a", "1.1.1.1 2", "1.1.1.1\n", "$(id)"])
def test_hostile(server: str) -> None:
    with pytest.raises(ValidationError):
        Resolver(nameservers=(server,))
    with pytest.raises(ValidationError):
        Resolver(nameservers=("1.1.1.1",), search=(f"-{server} ",))


def test_process() -> None:
    assert ResolvConf().process([None], "") == {None: None}
    assert ResolvConf().process([None], "is \nnameserver 1.1.1.1\n") == {None: ("", "nameserver 1.1.1.1\n")}
    assert ResolvConf().process([None], "is ../run/x\n") == {None: ("../run/x", "")}


@given(st.lists(st.ip_addresses().map(str), max_size=3), st.lists(st.from_regex("[a-z]{1,5}", fullmatch=True)))
def test_what_is_written_is_read(servers: list[str], search: list[str]) -> None:
    assert parse(render(servers, search, ())) == {"nameservers": tuple(servers), "search": tuple(search), "options": ()}


@given(st.text())
def test_any_file_is_read(text: str) -> None:
    assert set(parse(text)) == {"nameservers", "search", "options"}


LAB = Resolver(nameservers=("10.0.0.2",), search=("keybuzz.io",), options=("timeout:1",))
CONF = "/etc/resolv.conf"

LAB_CASES: list[LabCase] = [
    LabCase((LAB,), LAB.address, "nameservers", f"echo nameserver 10.9.9.9 >> {CONF}", alone=True),
    LabCase((LAB,), LAB.address, "search", f"sed -i /search/d {CONF}", alone=True),
    LabCase((LAB,), LAB.address, "options", f"sed -i s/timeout:1/rotate/ {CONF}", alone=True),
    LabCase(
        (LAB,), LAB.address, "link", f"mv {CONF} /run/kb-resolv.conf; ln -s /run/kb-resolv.conf {CONF}", alone=True
    ),
    LabCase((LAB,), LAB.address, "", f"rm {CONF}", alone=True),
]
