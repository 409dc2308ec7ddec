"""The engine of Docker: its parts, what its daemon runs with, and how its settings are checked."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.dockerd import DOWN
from kbstate.kinds.docker import FILE, Docker, Info, render, shown
from kbstate.kinds.file import File
from kbstate.kinds.service import Service
from kbstate.resource import Resource, Unknown
from kbstate.secret import Secret
from tests.kinds.case import LabCase, change_of, scripts, steps_of

SETTINGS = {
    "log-driver": "json-file",
    "log-opts": {"max-size": "20m", "max-file": "3"},
    "storage-driver": "overlay2",
    "exec-opts": ["native.cgroupdriver=systemd"],
    "debug": False,
}
NONE: dict[str, Resource] = {}
DESIRED = Docker(settings=SETTINGS).bound(NONE.get)
INFO: dict[str, Any] = {
    "ID": "2KHS:K3TZ:BKU4:BF7X:4NY7:7L5O:BUTV:ID4D:Y4PV:W5HF:URJ4:PAGF",
    "Driver": "overlay2",
    "Debug": False,
    "LoggingDriver": "json-file",
    "CgroupDriver": "systemd",
    "CgroupVersion": "2",
    "DockerRootDir": "/var/lib/docker",
    "ExperimentalBuild": False,
    "ServerVersion": "20.10.24+dfsg1",
    "DefaultRuntime": "runc",
    "LiveRestoreEnabled": False,
    "Warnings": None,
}
"""As recorded, of what is used."""


def test_parts() -> None:
    """What the plan of a bare host shows, in this order."""
    assert [part.address for part in DESIRED.parts()] == [
        "package:docker.io",
        "directory:/etc/docker",
        "file:/etc/docker/daemon.json",
        "service:docker.service",
    ]
    file, service = list(DESIRED.parts())[2:]
    assert isinstance(file, File)
    assert json.loads(str(file.content)) == SETTINGS
    assert {"package:docker.io", "directory:/etc/docker"} == set(file.requires)
    assert isinstance(service, Service)
    assert (service.running, service.enabled, service.interrupts) == (True, True, "drops connections")
    assert service.watches() == {file.address: "restarts"}
    assert not [problem for part in DESIRED.parts() for problem in part.problems()]


def test_parts_of_other_declarations() -> None:
    bare = [part.address for part in Docker().parts()]
    assert bare == ["package:docker.io", "service:docker.service"]
    stopped = list(Docker(running=False, enabled=False).parts())
    assert [part.address for part in stopped[1:]] == ["service:docker.socket", "service:docker.service"]
    other = Docker(packages=("docker.io", "docker-cli"), running=None, enabled=None)
    assert [part.address for part in other.parts()] == ["package:docker.io", "package:docker-cli"]
    gone = list(Docker(absent=True).parts())
    assert [(part.address, part.absent) for part in gone] == [("package:docker.io", True), (f"file:{FILE}", True)]


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"Debug": True}, {"in_effect.debug": (True, False)}),
    ({"Driver": "vfs"}, {"in_effect.storage-driver": ("vfs", "overlay2")}),
    ({"CgroupDriver": "cgroupfs"}, {"in_effect.cgroup-driver": ("cgroupfs", "systemd")}),
    ({"LoggingDriver": "journald"}, {"in_effect.log-driver": ("journald", "json-file")}),
    ({"DockerRootDir": "/elsewhere"}, {}),
]


@pytest.mark.parametrize(("live", "fields"), CASES)
def test_in_effect(live: dict[str, Any], fields: dict[str, Any]) -> None:
    change = change_of(DESIRED, {"info": {**INFO, **live}})
    assert ({} if change is None else {d.path: (d.before, d.after) for d in change.diff}) == fields
    if change is not None:
        assert (change.action, change.impact) == ("update", "drops connections")
        [step] = steps_of(change)
        assert "systemctl restart docker.service" in scripts(step)


def test_on_a_bare_host_it_is_created() -> None:
    change = change_of(DESIRED, {"info": None})
    assert change is not None
    assert (change.action, change.impact) == ("create", None)


def test_nothing_is_asked_where_nothing_is_to_be_seen() -> None:
    for desired in (Docker(), Docker(running=False, settings=SETTINGS)):
        assert desired.bound(NONE.get).reads() == {}
        assert change_of(desired.bound(NONE.get), {}) is None
    # made from its name alone, as when it left the desired state: its parts are removed as such
    assert Docker(absent=True).observe() is None
    assert Docker(absent=True).reads() == {}


def test_needs() -> None:
    assert list(DESIRED.needs()) == ["package:docker.io", f"file:{FILE}", "service:docker.service"]


def test_settings_are_checked_before_they_replace_the_old_ones() -> None:
    [file] = [part for part in DESIRED.parts() if isinstance(part, File)]
    command = shlex.split(str(file.validate_with))
    assert command[:2] == ["sh", "-c"]
    assert command[3:] == ["validate", "{path}"]
    assert "dockerd --validate" in command[2]
    assert not list(file.problems())


def test_problems() -> None:
    [problem] = Docker(settings={"hosts": ["fd://"]}).problems()
    assert "hosts" in problem
    assert not list(DESIRED.problems())


@pytest.mark.parametrize(
    "fields", [{"name": "other"}, {"settings": {"http-proxy": Secret("x")}}, {"packages": ("a b",)}, {"in_effect": 1}]
)
def test_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Docker(**fields)


def test_process() -> None:
    assert Info().process([None], json.dumps(INFO)) == {None: INFO}
    said = Info().process([None], json.dumps({"ServerErrors": ["no permission"]}))[None]
    assert isinstance(said, Unknown)
    assert said.reason == "no permission"
    assert Info().failed(69, "docker daemon not running") == DOWN
    with pytest.raises(ValueError):
        Info().process([None], "nonsense")


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
def test_any_settings_are_rendered_whole(settings: dict[str, Any]) -> None:
    assert json.loads(render(settings)) == settings
    assert shown(settings).keys() <= {*settings, "cgroup-driver"}


ENGINE = Docker(settings={"log-driver": "json-file", "debug": False})
READ_ANOTHER = f"""
cp {FILE} /root/daemon.json; sed -i 's/"debug": false/"debug": true/' {FILE}
systemctl reload docker; sleep 1; cat /root/daemon.json > {FILE}
"""
"""The file is as declared, but the daemon was made to read another one."""

LAB_CASES: list[LabCase] = [
    LabCase((ENGINE,), "docker:engine", "in_effect", READ_ANOTHER, docker=True, alone=True),
]
