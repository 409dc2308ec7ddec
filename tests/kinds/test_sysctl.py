"""Kernel parameters: spelling of keys and values, the file, the running values, and what overrules the file."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.confd import BootFiles
from kbstate.kinds.sysctl import KernelValues, Sysctl, parse, render
from kbstate.paths import PathState
from kbstate.resource import Unknown
from tests.kinds.case import LabCase, change_of, scripts, steps_of

VALUES = {"net.core.somaxconn": 65535, "net.ipv4.ip_local_port_range": "10240\t65000"}
DESIRED = Sysctl(name="99-keybuzz", values=VALUES).bound(lambda address: None)
RIGHT = {"key0": "65535", "key1": "10240 65000"}


def file(text: str) -> PathState:
    return PathState("file", "0644", "0", "0", "root", "root", len(text), 1.0, "", "0" * 64, text.encode())


def facts(text: str | None = None, boot: tuple[tuple[str, str], ...] = (), **keys: str | None) -> dict[str, Any]:
    text = render(DESIRED.values or {}) if text is None else text
    return {"state": file(text), "boot": boot, **RIGHT, **keys}


def done(**changed: Any) -> tuple[dict[str, Any], list[Any]]:
    change = change_of(DESIRED, facts(**changed))
    if change is None:
        return {}, []
    return {d.path: (d.before, d.after) for d in change.diff}, [
        getattr(s.op, "__name__", s.op) for s in steps_of(change)
    ]


def test_as_declared() -> None:
    assert done() == ({}, [])
    assert done(text="# a comment\nnet/core/somaxconn=65535\n-net.ipv4.ip_local_port_range = 10240   65000\n") == (
        {},
        [],
    )


def test_update_of_the_file() -> None:
    fields, steps = done(text="net.core.somaxconn = 1\nnet.ipv4.ip_local_port_range = 10240 65000\nvm.swappiness = 1\n")
    assert fields == {"values.net.core.somaxconn": ("1", "65535"), "values.vm.swappiness": ("1", None)}
    assert steps == ["write_file"]


def test_update_of_the_running_values() -> None:
    assert done(key0="128") == ({"running.net.core.somaxconn": ("128", "65535")}, ["set_running"])


def test_create_and_delete() -> None:
    change = change_of(DESIRED, {"state": None, "boot": (), **RIGHT, "key0": "128"})
    assert change is not None
    assert change.action == "create"
    write, put = steps_of(change)
    assert write.args["content"] == b"# written by kbstate\n" + (
        b"net.core.somaxconn = 65535\nnet.ipv4.ip_local_port_range = 10240 65000\n"
    )
    assert "put net/ipv4/ip_local_port_range '10240 65000'" in scripts(put)
    gone = change_of(Sysctl(name="99-keybuzz", absent=True), {"state": file("a.b = 1\n"), "boot": ()})
    assert gone is not None
    assert [s.op.__name__ for s in steps_of(gone)] == ["remove_file"]  # type: ignore[union-attr]


def test_unknown() -> None:
    missing = DESIRED.observe(**facts(key1=None))
    assert isinstance(missing, Unknown)
    assert "net.ipv4.ip_local_port_range" in missing.reason
    overruled = DESIRED.observe(**facts(boot=(("/etc/sysctl.d/99-sysctl.conf", "net.core.somaxconn=128\n"),)))
    assert isinstance(overruled, Unknown)
    assert "/etc/sysctl.d/99-sysctl.conf" in overruled.reason
    earlier = (("/usr/lib/sysctl.d/50-a.conf", "net.core.somaxconn=128\n"), ("/etc/sysctl.d/99-z.conf", "a.b = 1\n"))
    assert not isinstance(DESIRED.observe(**facts(boot=earlier)), Unknown)


@pytest.mark.parametrize(
    ("given_key", "key"),
    [
        ("net/core/somaxconn", "net.core.somaxconn"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
    ],
)
def test_spelling_of_keys(given_key: str, key: str) -> None:
    assert list(Sysctl(name="x", values={given_key: 1}).values or {}) == [key]


@pytest.mark.parametrize(
    "key", ["", "vm", "vm..x", "../etc", "vm.$(id)", "vm.a b", "vm.a\n", "-vm.a.", "net.*.x", "vm.'"]
)
def test_hostile_keys(key: str) -> None:
    with pytest.raises(ValidationError):
        Sysctl(name="x", values={key: "1"})


def test_hostile_values() -> None:
    hostile = Sysctl(name="x", values={"kernel.core_pattern": "|/bin/a '$(id)' \"%p\""})
    [step] = [s for s in hostile.steps(change_of(DESIRED, facts(key0="1")) or pytest.fail()) if "values" in s.args]
    assert """put kernel/core_pattern '|/bin/a '"'"'$(id)'"'"' "%p"'""" in scripts(step)
    for bad in ("", " ", "\x00", True, 1.5):
        with pytest.raises(ValidationError):
            Sysctl(name="x", values={"a.b": bad})
    assert Sysctl(name="x", values={"a.b": "1\n2"}).values == {"a.b": "1 2"}


def test_process() -> None:
    output = (
        "net/nosuch!none\n"
        "net/core/somaxconn:4096\n"
        "net/ipv4/ip_local_port_range:32768\t60999\n"
        "fs/binfmt:enabled\nfs/binfmt:interpreter a:b\n"
    )
    keys = ["net.core.somaxconn", "net.ipv4.ip_local_port_range", "net.nosuch", "net.ipv4.route.flush", "fs.binfmt"]
    assert KernelValues().process(keys, output) == {
        "net.core.somaxconn": "4096",
        "net.ipv4.ip_local_port_range": "32768 60999",
        "net.nosuch": None,
        "net.ipv4.route.flush": Unknown("net.ipv4.route.flush cannot be read"),
        "fs.binfmt": "enabled interpreter a:b",
    }


def test_process_of_the_files_at_boot() -> None:
    output = "## sysctl.d\n# /usr/lib/sysctl.d/50-a.conf\n# text\na.b = 1\n\n# /etc/sysctl.d/99-b.conf\nc.d=2\n"
    assert BootFiles().process(["sysctl.d"], output) == {
        "sysctl.d": (("/usr/lib/sysctl.d/50-a.conf", "# text\na.b = 1\n"), ("/etc/sysctl.d/99-b.conf", "c.d=2"))
    }


@given(st.dictionaries(st.from_regex(r"[a-z]{1,9}(\.[a-z_]{1,9}){1,3}", fullmatch=True), st.integers()))
def test_what_is_written_is_read(values: dict[str, int]) -> None:
    desired = Sysctl(name="x", values=values)
    assert parse(render(desired.values or {})) == desired.values


@given(st.text())
def test_any_file_is_read(text: str) -> None:
    assert all(isinstance(value, str) for value in parse(text).values())


SYSCTL = Sysctl(name="90-kb-lab", values={"net.core.somaxconn": 5000, "net.ipv4.ip_local_port_range": "10240 65000"})

LAB_CASES: list[LabCase] = [
    LabCase((SYSCTL,), SYSCTL.address, "values", "sed -i /somaxconn/d /etc/sysctl.d/90-kb-lab.conf", alone=True),
    LabCase(
        (SYSCTL,),
        SYSCTL.address,
        "running",
        "echo '1024 2048' > /proc/sys/net/ipv4/ip_local_port_range",
        alone=True,
    ),
    LabCase((SYSCTL,), SYSCTL.address, "", "rm /etc/sysctl.d/90-kb-lab.conf", alone=True),
]
