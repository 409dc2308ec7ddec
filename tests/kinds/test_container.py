"""Containers: what is seen of each field, what is done about it, and that a predecessor is put back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbstate.containers.inspected import Containers, ContainerState
from kbstate.containers.types import Mount, Port
from kbstate.dockerd import DOWN
from kbstate.kinds.container import Container
from kbstate.kinds.docker_network import DockerNetwork
from kbstate.kinds.file import File
from kbstate.kinds.image import Image
from kbstate.kinds.volume import Volume
from kbstate.loaded import STALE
from kbstate.paths import PathState
from kbstate.resource import Resource, Unknown
from kbstate.secret import Secret
from tests.kinds.case import LabCase, change_of, scripts, steps_of
from tests.kinds.docker import INSPECTED, container, image, overlaid

ID = INSPECTED["Id"]
STARTED = 1795574031.0
"""Unix time of the recorded start, in whole seconds."""


def done(desired: Container, *overlays: dict[str, Any], **facts: Any) -> tuple[dict[str, Any], list[str]]:
    """What differs, and the steps in short, for a container that differs from the recorded one by the overlays."""
    change = change_of(desired, {"state": container(*overlays), **facts})
    if change is None:
        return {}, []
    steps = [str(step.args.get("verb", getattr(step.op, "__name__", step.op))) for step in steps_of(change)]
    return {delta.path: (delta.before, delta.after) for delta in change.diff}, steps


def host(**values: Any) -> dict[str, Any]:
    return {"HostConfig": values}


def config(**values: Any) -> dict[str, Any]:
    return {"Config": values}


TMPFS = {"Type": "tmpfs", "Source": "", "Destination": "/t", "Mode": "", "RW": True, "Propagation": ""}
BIND = {"Type": "bind", "Source": "/opt/kb", "Destination": "/c", "Mode": "", "RW": False, "Propagation": "rprivate"}
NAMED = {"Type": "volume", "Name": "kb-data", "Source": "/x", "Destination": "/v", "Mode": "z", "RW": True}
NAMELESS = {"Type": "volume", "Name": "a" * 64, "Source": "/x", "Destination": "/data", "Mode": "", "RW": True}
HEALTH = {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000}
CHECK = {"command": "true", "interval": 5}


class FieldCase(NamedTuple):
    field: str
    value: Any
    same: dict[str, Any]
    """How Docker shows it when it is as declared."""
    other: dict[str, Any]
    before: Any
    """What then is seen of the other."""
    step: str = "place"


FIELDS = [
    FieldCase("command", ("sleep", "9"), config(Cmd=["sleep", "9"]), config(Cmd=["sleep"]), None),
    FieldCase("entrypoint", "/bin/a", config(Entrypoint=["/bin/a"]), config(Entrypoint=["/a", "-b"]), ["/a", "-b"]),
    FieldCase("user", "99:99", config(User="99:99"), config(User=""), ""),
    FieldCase("hostname", "kb", config(Hostname="kb"), {}, "20196f181e45"),
    FieldCase("working_dir", "/w", config(WorkingDir="/w"), {}, ""),
    FieldCase("env", {"A": "1"}, config(Env=["PATH=/bin", "A=1"]), config(Env=["PATH=/bin"]), None),
    FieldCase("labels", {"a": "1"}, config(Labels={"from": "image", "a": "1"}), config(Labels={"a": "2"}), "2"),
    FieldCase(
        "network", "host", {**host(NetworkMode="host"), "NetworkSettings": {"Networks": {"host": {}}}}, {}, "bridge"
    ),
    FieldCase("networks", ("kb",), {"NetworkSettings": {"Networks": {"bridge": {}, "kb": {}}}}, {}, None, "join"),
    FieldCase("ports", ("8080:80",), {}, host(PortBindings={}), None),
    FieldCase("mounts", ({"source": "/opt/kb", "target": "/c", "read_only": True},), {"Mounts": [BIND]}, {}, None),
    FieldCase(
        "restart",
        "on-failure:3",
        host(RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 3}),
        {},
        "no",
        "update",
    ),
    FieldCase("memory", "64m", host(Memory=67108864), host(Memory=0), 0, "update"),
    FieldCase("cpus", 0.5, host(NanoCpus=500_000_000), host(CpuQuota=25000, CpuPeriod=100_000), 0.25, "update"),
    FieldCase("pids", 100, host(PidsLimit=100), host(PidsLimit=None), 0, "update"),
    FieldCase("ulimits", {"nofile": 64}, host(Ulimits=[{"Name": "nofile", "Soft": 64, "Hard": 64}]), {}, None),
    FieldCase("capabilities_add", ("NET_ADMIN",), {}, host(CapAdd=["CAP_SYS_TIME"]), "SYS_TIME"),
    FieldCase("capabilities_drop", ("ALL",), host(CapDrop=["all"]), {}, None),
    FieldCase("read_only", True, host(ReadonlyRootfs=True), {}, False),
    FieldCase("privileged", False, {}, host(Privileged=True), True),
    FieldCase("health_check", CHECK, config(Healthcheck=HEALTH), config(Healthcheck=None), "none"),
    FieldCase("log_driver", "json-file", {}, host(LogConfig={"Type": "none"}), "none"),
    FieldCase(
        "log_options",
        {"max-size": "1m"},
        host(LogConfig={"Type": "json-file", "Config": {"max-size": "1m", "max-file": "3"}}),
        {},
        None,
    ),
    FieldCase("stop_signal", "SIGUSR1", config(StopSignal="SIGUSR1"), {}, "SIGTERM"),
    FieldCase("stop_timeout", 30, config(StopTimeout=30), {}, 10),
    FieldCase("init", True, host(Init=True), {}, False),
    FieldCase("extra_hosts", {"db": "10.0.0.1"}, host(ExtraHosts=["db:10.0.0.1"]), {}, None),
    FieldCase("dns", ("10.0.0.1",), host(Dns=["10.0.0.1"]), {}, None),
    FieldCase(
        "devices",
        ("/dev/null",),
        host(Devices=[{"PathOnHost": "/dev/null", "PathInContainer": "/dev/null", "CgroupPermissions": "rwm"}]),
        {},
        None,
    ),
    FieldCase("sysctls", {"net.core.somaxconn": 100}, {}, host(Sysctls=None), None),
]


@pytest.mark.parametrize("case", FIELDS, ids=[case.field for case in FIELDS])
def test_each_field(case: FieldCase) -> None:
    desired = Container(name="kb", image="busybox:1.36", **{case.field: case.value})
    assert done(desired, case.same) == ({}, [])
    fields, steps = done(desired, case.other)
    assert {path.split(".")[0].split("[")[0] for path in fields} == {case.field}
    assert next(iter(fields.values()))[0] == case.before
    assert steps == [case.step]


def test_every_field_has_a_case() -> None:
    tested = {case.field for case in FIELDS} | {"image", "running", "leftovers", "started_with", "reloaded_with"}
    assert tested == set(Container.compared())
    assert {case.field for case in LAB_CASES} - {""} == set(Container.compared())


def test_what_is_not_declared_is_not_compared() -> None:
    assert done(Container(name="kb", image="busybox:1.36"), config(Cmd=["x"], User="x"), host(Memory=1)) == ({}, [])


def test_what_the_image_sets_is_no_difference() -> None:
    desired = Container(name="kb", image="busybox:1.36", env={}, labels={})
    assert done(desired, config(Env=["PATH=/bin"], Labels={"from": "image"})) == ({}, [])
    fields, _ = done(desired, config(Env=["PATH=/sbin"], Labels={"from": "hand"}))
    assert fields == {"env.PATH": ("/sbin", None), "labels.from": ("hand", None)}
    overridden = Container(name="kb", image="busybox:1.36", env={"PATH": "/bin"}, labels={"from": "image"})
    assert done(overridden, config(Env=["PATH=/bin"], Labels={"from": "image"})) == ({}, [])


def test_mounts_of_every_type() -> None:
    """Asked for as --mount, --volume or --tmpfs; a nameless volume is there because the image wants one."""
    mounts = (
        Mount(source="/opt/kb", target="/c", read_only=True),
        Mount(source="kb-data", target="/v"),
        Mount(target="/t", size="1m", mode="0700"),
        Mount(target="/u"),
    )
    assert [mount.type for mount in mounts] == ["bind", "volume", "tmpfs", "tmpfs"]
    asked = [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1048576, "Mode": 448}}]
    live = {"Mounts": [NAMED, TMPFS, NAMELESS, BIND], **host(Tmpfs={"/u": ""}, Mounts=asked)}
    desired = Container(name="kb", image="busybox:1.36", mounts=mounts)
    assert done(desired, {**live, **config(Volumes={"/data": {}})}) == ({}, [])
    fields, _ = done(desired, {**live, **config(Volumes=None)})
    assert fields != {}


PORTS = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}]}


def test_ports() -> None:
    desired = Container(name="kb", image="busybox:1.36", ports=("127.0.0.1:53:53/udp", "8080:80"))
    assert done(desired, host(PortBindings=PORTS)) == ({}, [])
    by_chance = {**PORTS, "81/tcp": [{"HostIp": "", "HostPort": ""}]}
    assert "any:81/tcp" in str(done(desired, host(PortBindings=by_chance)))
    assert str(Port.model_validate("[::1]:80:80")) == "[::1]:80:80/tcp"


def test_image() -> None:
    desired = Container(name="kb", image="busybox:1.36")
    newer = replace(container(config(Image="busybox:1.35")), image=image("busybox:1.35"))
    change = change_of(desired, {"state": newer})
    assert change is not None
    assert (change.action, change.diff[0].before) == ("replace", "busybox:1.35")
    # the tag was pulled anew: the name is the same, the image is not
    [delta] = (change_of(desired, {"state": replace(container(), image=image())}) or pytest.fail()).diff
    assert delta.before == "busybox:1.36 of old (sha256:6dfe7b1b50a2)"
    gone = replace(container(), image=None)
    assert isinstance(Container(name="kb", image="busybox:1.36", env={}).observe(gone), Unknown)


def test_the_digest_of_the_declared_image_counts() -> None:
    pinned = Image(name="busybox:1.36", digest="sha256:" + "b" * 64)
    images: dict[str, Resource] = {pinned.address: pinned}
    desired = Container(name="kb", image="busybox:1.36").bound(images.get)
    other = replace(container(), image=image("busybox:1.36", "busybox@sha256:" + "c" * 64))
    right = replace(container(), image=image("busybox:1.36", "busybox@sha256:" + "b" * 64))
    assert change_of(desired, {"state": right}) is None
    assert (change_of(desired, {"state": other}) or pytest.fail()).fields == {"image"}


def state(**values: Any) -> dict[str, Any]:
    return {"State": values}


EXITED = state(Status="exited", Running=False, Pid=0)
RUNNING_CASES: list[tuple[bool, list[dict[str, Any]], Any, list[str]]] = [
    (True, [], None, []),
    (True, [EXITED], False, ["start"]),
    (True, [state(Status="created", Running=False)], False, ["start"]),
    (True, [state(Status="restarting", Restarting=True)], "crashing", ["restart"]),
    (True, [{"RestartCount": 2}], "crashing", ["restart"]),
    (True, [state(Status="paused", Paused=True)], "paused", ["unpause"]),
    (False, [EXITED], None, []),
    (False, [], True, ["stop"]),
    (False, [state(Status="paused", Paused=True)], "paused", ["unpause", "stop"]),
    (False, [state(Status="restarting", Restarting=True)], "crashing", ["stop"]),
]


@pytest.mark.parametrize(("wanted", "overlays", "before", "steps"), RUNNING_CASES)
def test_running(wanted: bool, overlays: list[dict[str, Any]], before: Any, steps: list[str]) -> None:
    fields, taken = done(Container(name="kb", image="busybox:1.36", running=wanted), *overlays)
    assert fields == ({} if before is None else {"running": (before, wanted)})
    assert taken == steps


def test_one_death_long_ago_is_no_crash() -> None:
    desired = Container(name="kb", image="busybox:1.36")
    assert change_of(desired, {"state": replace(container({"RestartCount": 1}), now=STARTED + 60)}) is None


def test_marked_as_stopped() -> None:
    """After `docker kill -s HUP` it runs, and would not with the next daemon."""
    desired = Container(name="kb", image="busybox:1.36", restart="unless-stopped", interrupts="drops connections")
    policy = {"Name": "unless-stopped", "MaximumRetryCount": 0}
    marked = replace(container(host(RestartPolicy=policy)), marked_stopped=True)
    change = change_of(desired, {"state": marked})
    assert change is not None
    assert [(d.path, d.before) for d in change.diff] == [("running", "marked as stopped")]
    assert change.impact == "drops connections"
    assert [step.args["verb"] for step in steps_of(change)] == ["restart"]
    always = replace(container(host(RestartPolicy={**policy, "Name": "always"})), marked_stopped=True)
    assert change_of(desired.model_copy(update={"restart": "always"}), {"state": always}) is None


def test_create() -> None:
    desired = Container(
        name="kb",
        image="busybox:1.36",
        command=("sh", "-c", "echo $HOME; sleep 9"),
        env={"A": "it's"},
        network="kb-net",
        networks=("other",),
        mounts=({"source": '/opt/a,"b', "target": "/c", "read_only": True},),
        memory="64m",
        health_check="none",
    )
    change = change_of(desired, {"state": None})
    assert change is not None
    assert (change.action, change.impact) == ("create", None)
    [step] = steps_of(change)
    text = scripts(step)
    assert 'docker container create --pull never --name "$new"' in text
    assert """ --env 'A=it'"'"'s' """ in text
    assert """--mount 'type=bind,target=/c,"source=/opt/a,""b",readonly'""" in text
    assert "--memory 67108864b --memory-swap 134217728b" in text
    assert "--no-healthcheck" in text
    assert "-- busybox:1.36 sh -c 'echo $HOME; sleep 9' >/dev/null" in text
    assert 'docker network connect -- other "$new"' in text
    assert "--volume" not in text
    assert text.index("docker container create") < text.index("docker container stop")


def test_replace_starts_what_ran() -> None:
    """With `running` not declared it is as its predecessor was."""
    for running, start in ((True, "start=true;"), (False, "start=false;"), (None, "start=;")):
        desired = Container(name="kb", image="busybox:1.36", user="1", running=running)
        overlay = EXITED if running is False else {}
        [step] = steps_of(change_of(desired, {"state": container(overlay)}) or pytest.fail())
        assert start in scripts(step)


def test_lifting_a_limit_makes_it_anew() -> None:
    desired = Container(name="kb", image="busybox:1.36", memory=0, interrupts="drops connections")
    change = change_of(desired, {"state": container(host(Memory=67108864))})
    assert change is not None
    assert change.impact == "drops connections"
    assert [step.op.__name__ for step in steps_of(change)] == ["place"]  # type: ignore[union-attr]
    [step] = steps_of(
        change_of(Container(name="kb", image="busybox:1.36", pids=0), {"state": container(host(PidsLimit=9))})
        or pytest.fail()
    )
    assert scripts(step) == "docker container update --pids-limit -1 -- kb >/dev/null"


def test_delete() -> None:
    change = change_of(Container(name="kb", absent=True), {"state": container()})
    assert change is not None
    assert change.action == "delete"
    [step] = steps_of(change)
    assert "docker container stop -- kb" in scripts(step)
    assert "docker container rm -- kb" in scripts(step)
    assert change_of(Container(name="kb", absent=True), {"state": None}) is None


def test_networks() -> None:
    desired = Container(name="kb", image="busybox:1.36", networks=("n1", "n2"))
    change = change_of(
        desired, {"state": container({"NetworkSettings": {"Networks": {"bridge": {}, "n2": {}, "n3": {}}}})}
    )
    [step] = steps_of(change or pytest.fail())
    assert scripts(step) == "set -eu\ndocker network connect -- n1 kb\ndocker network disconnect -- n3 kb"
    cut = change_of(
        Container(name="kb", image="busybox:1.36", network="bridge"),
        {"state": container({"NetworkSettings": {"Networks": None}})},
    )
    assert (cut or pytest.fail()).diff[0].before == "bridge, from which it is disconnected"


def test_leftovers() -> None:
    left = replace(container(), leftovers=("kb.kbstate-old",))
    change = change_of(Container(name="kb", image="busybox:1.36"), {"state": left})
    [step] = steps_of(change or pytest.fail())
    assert scripts(step) == "docker container rm --force -- kb.kbstate-old >/dev/null"


CONF = File(path="/opt/kb/kb.conf", content="a = 1\n")
OF_CONF: dict[str, Resource] = {CONF.address: CONF}
NONE: dict[str, Resource] = {}
BASE: dict[str, Any] = {"name": "kb", "image": "busybox:1.36"}
LOADING = Container(**BASE, restart_on=(CONF.address,), interrupts="drops connections").bound(OF_CONF.get)
RELOADING = Container(**BASE, reload_on=(CONF.address,), reload_signal="SIGUSR2").bound(OF_CONF.get)


def conf(changed: float) -> PathState:
    return PathState("file", "0644", "0", "0", "root", "root", 6, changed, "", LOADING.start_files[0].sha256)


def test_a_restart_is_owed_while_the_file_is_newer_than_the_start() -> None:
    assert done(LOADING, start_stamp=None, start_file0=conf(STARTED - 60)) == ({}, [])
    fields, steps = done(LOADING, start_stamp=None, start_file0=conf(STARTED + 60))
    assert fields == {"started_with": (STALE, LOADING.started_with)}
    assert steps == ["restart"]
    stopped = Container(**BASE, restart_on=(CONF.address,), running=False).bound(OF_CONF.get)
    assert (stopped.started_with, stopped.reloaded_with) == (None, None)
    start = change_of(LOADING, {"state": container(EXITED), "start_stamp": None, "start_file0": conf(STARTED + 60)})
    assert (start or pytest.fail()).fields == {"running"}


def test_a_stamp_of_this_very_process_answers() -> None:
    facts = {"start_file0": conf(STARTED + 60)}
    identity = container().identity
    assert done(LOADING, start_stamp=f"{identity} {LOADING.started_with}", **facts) == ({}, [])
    fields, _ = done(LOADING, start_stamp=f"{ID}@2026-01-01T00:00:00Z {LOADING.started_with}", **facts)
    assert set(fields) == {"started_with"}


def test_a_reload_is_a_signal_to_the_process() -> None:
    facts = {"state": container(), "reload_stamp": None, "reload_file0": conf(STARTED + 60)}
    change = change_of(RELOADING, facts)
    assert change is not None
    assert change.impact == "reloads without loss"
    [step] = steps_of(change)
    text = scripts(step)
    assert 'kill -s USR2 "$pid"' in text
    assert "docker kill" not in text
    assert step.args["stamps"] == {"container/kb.reload": RELOADING.reloaded_with}


def test_its_files_are_checked_before_it_is_disturbed() -> None:
    owed = {"state": container(), "reload_stamp": None, "reload_file0": conf(STARTED + 60)}
    checked = RELOADING.model_copy(update={"check_with": ("check", "a b")})
    [step] = steps_of(change_of(checked, owed) or pytest.fail())
    text = scripts(step)
    assert "docker container exec -- \"$n\" check 'a b'" in text
    assert text.index("container exec") < text.index("kill -s")
    # in one that dies all the time nothing can be run
    [step] = steps_of(change_of(checked, {**owed, "state": container({"RestartCount": 2})}) or pytest.fail())
    assert (step.args["verb"], "container exec" in scripts(step)) == ("restart", False)


def test_a_file_that_is_mounted_by_itself_needs_a_restart() -> None:
    mounts = ({"source": CONF.path, "target": "/etc/kb.conf"},)
    desired = Container(**BASE, mounts=mounts).bound(OF_CONF.get)
    assert desired.started_with == LOADING.started_with
    assert desired.watches()[CONF.address] == "restarts"
    assert Container(**BASE, mounts=mounts).bound(NONE.get).started_with is None
    [problem] = Container(**BASE, mounts=mounts, reload_on=(CONF.address,)).problems()
    assert "mount its directory" in problem


def test_watches_and_needs() -> None:
    desired = Container(
        **BASE,
        network="kb-net",
        mounts=({"source": "/opt/k[b]", "target": "/c"}, {"source": "data", "target": "/v"}),
        reload_on=(CONF.address,),
    )
    assert desired.watches() == {
        "image:busybox:1.36": "replaces",
        CONF.address: "reloads",
        "file:/opt/k[b]": "restarts",
    }
    assert {
        "service:docker.service",
        "docker:engine",
        "image:busybox:1.36",
        "docker_network:kb-net",
        "volume:data",
        "directory:/opt/k[[]b]",
        "file:/opt/k[[]b]/*",
        CONF.address,
    } <= set(desired.needs())


def test_impact() -> None:
    def impact(desired: Container, *overlays: dict[str, Any]) -> str | None:
        return (change_of(desired, {"state": container(*overlays)}) or pytest.fail()).impact

    losing: dict[str, Any] = {**BASE, "interrupts": "drops connections"}
    assert impact(Container(**losing, user="9")) == "drops connections"
    assert impact(Container(**losing, running=False)) == "drops connections"
    assert impact(Container(**losing, memory="1g")) is None
    assert impact(Container(**losing, networks=("other",))) == "drops connections"
    assert impact(Container(**losing), EXITED) is None
    assert impact(Container(**losing, absent=True)) == "drops connections"
    assert impact(Container(**losing), state(Status="restarting", Restarting=True)) is None


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"name": "kb"}, "image is missing"),
    ({**BASE, "image": "busybox"}, "not pinned"),
    ({**BASE, "running": "paused"}, "running is true or false"),
    ({**BASE, "network": "host", "ports": ("80:80",)}, "no meaning with network 'host'"),
    ({**BASE, "mounts": ({"target": "/t"}, {"source": "v1", "target": "/t"})}, "mounted twice at /t"),
]


@pytest.mark.parametrize(("fields", "text"), PROBLEMS)
def test_problems(fields: dict[str, Any], text: str) -> None:
    [problem] = Container(**fields).problems()
    assert text in problem


SECRET = Secret("hunter2", "kb.env: PASSWORD")
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"env": {"A": SECRET}}, "a secret would be seen in 'docker inspect'"),
    ({"labels": {"a": SECRET}}, "a secret would be seen in 'docker inspect'"),
    ({"command": ("a", SECRET)}, "a secret would be seen in 'docker inspect'"),
    ({"env": {"A B": "1"}}, "match"),
    ({"env": {"A": "\0"}}, "NUL"),
    ({"ports": ("80",)}, "must be a port"),
    ({"ports": ("80-90:80-90",)}, "must be a port"),
    ({"ports": ("0:80",)}, "greater than or equal to 1"),
    ({"mounts": ({"source": "a/b", "target": "/t"},)}, "the source of a volume"),
    ({"mounts": ({"source": "/a/../b", "target": "/t"},)}, "the source of a bind"),
    ({"mounts": ({"target": "t"},)}, "absolute path"),
    ({"mounts": ({"source": "/a", "target": "/t", "size": 1},)}, "in memory only"),
    ({"mounts": ({"target": "/t", "propagation": "shared"},)}, "of a bind only"),
    ({"mounts": ({"type": "tmpfs", "source": "x", "target": "/t"},)}, "has no source"),
    ({"restart": "sometimes"}, "match"),
    ({"memory": "much"}, "valid integer"),
    ({"user": "a b"}, "match"),
    ({"devices": ("null",)}, "must be a device"),
    ({"devices": ("/dev/a:/dev/b:x",)}, "letters of 'rwm'"),
    ({"dns": ("db",)}, "IPv4 or IPv6"),
    ({"ulimits": {"files": 1}}, "match"),
    ({"reload_signal": "HUP"}, "match"),
    ({"image": "busy box"}, "name of an image"),
    ({"name": "$(id)"}, "match"),
]


@pytest.mark.parametrize(("fields", "text"), REFUSED)
def test_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text.replace("'", ".")) as caught:
        Container(**{**BASE, **fields})
    assert "hunter2" not in str(caught.value)


def test_process() -> None:
    other = overlaid(INSPECTED, {"Name": "/other", "Id": "f" * 64, "State": {"Status": "exited", "Running": False}})
    left = overlaid(INSPECTED, {"Name": "/kb.kbstate-new", "Id": "e" * 64})
    about_image = {"Id": INSPECTED["Image"], "RepoTags": ["busybox:1.36"], "Config": {"Env": ["A=image"]}}
    output = "\n".join(
        [
            *(f"C {json.dumps(one)}" for one in (INSPECTED, other, left)),
            f"M /var/lib/docker/containers/{ID}/config.v2.json",
            f"I {json.dumps(about_image)}",
            "T 1795574035",
        ]
    )
    found = Containers().process(["kb", "gone"], output)
    assert found["gone"] is None
    kb = found["kb"]
    assert isinstance(kb, ContainerState)
    assert (kb.marked_stopped, kb.now, kb.leftovers) == (True, 1795574035.0, ("kb.kbstate-new",))
    assert kb.image is not None
    assert kb.image.config == {"Env": ["A=image"]}
    assert int(kb.said.state.started) == STARTED
    assert Containers().process(["kb"], "") == {"kb": None}
    assert Containers().failed(69, "docker daemon not running") == DOWN


@given(st.text(alphabet='CIMT {}":\n', max_size=60))
def test_nonsense_is_an_error_or_nothing(output: str) -> None:
    try:
        assert Containers().process(["kb"], output) == {"kb": None}
    except (ValueError, KeyError, TypeError, IndexError):
        pass


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text(alphabet=st.characters(exclude_characters="\0"))
    )
)
def test_any_environment_is_seen_as_it_was_given(env: dict[str, str]) -> None:
    live = config(Env=[f"{key}={value}" for key, value in env.items()])
    assert done(Container(**BASE, env=env), live) == ({}, [])


# --- on a real host ---------------------------------------------------------------------------------------------

SLEEP = ("sleep", "1000")


def lab(field: str, value: Any, drift: str, *first: Resource, run: str = "sleep 1000", **fields: Any) -> LabCase:
    """The container is made anew by hand, with other options."""
    name = f"kb-{field.replace('_', '-')}"
    values = {"command": SLEEP, "stop_signal": "SIGKILL", "settles": 1, field: value, **fields}
    desired = Container(name=name, image="busybox:1.36", **values)
    by_hand = f"docker rm -f {name}; docker run -d --name {name} --stop-signal SIGKILL {drift} busybox:1.36 {run}"
    return LabCase((Image(name="busybox:1.36"), *first, desired), desired.address, field, by_hand, docker=True)


def lab_script(field: str, drift: str, *first: Resource, name: str = "", alone: bool = False, **fields: Any) -> LabCase:
    """Something is done to the running container, which the script names `$c`."""
    name = name or f"kb-{field.replace('_', '-')}"
    values = {"command": SLEEP, "stop_signal": "SIGKILL", "settles": 1, **fields}
    desired = Container(name=name, image="busybox:1.36", **values)
    resources = (Image(name="busybox:1.36"), *first, desired)
    return LabCase(resources, desired.address, field, f"set -e; c={name}; {drift}", docker=True, alone=alone)


def lab_conf(field: str, on: str) -> LabCase:
    """A file that was touched after the start, and no stamp: as after a crash between writing and restarting."""
    file = File(path=f"/etc/kb-{field}.conf", content="a = 1\n")
    drift = f"sleep 1; touch {file.path}; rm /run/kbstate/loaded/container/$c*"
    return lab_script(field, drift, file, **{on: (file.address,)})  # type: ignore[arg-type]


LAB_CASES: list[LabCase] = [
    lab("command", SLEEP, "", run="sleep 999"),
    lab("entrypoint", "/bin/sleep", "--entrypoint sleep", run="1000", command=("1000",)),
    lab("user", "99", ""),
    lab("hostname", "kb", ""),
    lab("working_dir", "/tmp", ""),
    lab("env", {"A": "1", "PATH": "/bin"}, "--env A=2 --env PATH=/bin"),
    lab("labels", {"a": "1"}, "--label a=2"),
    lab("network", "host", ""),
    lab_script(
        "networks",
        "docker network disconnect kb-further $c",
        DockerNetwork(name="kb-further"),
        networks=("kb-further",),
    ),
    lab("ports", ("127.0.0.1:18080:80", "18053:53/udp"), "-p 18080:80 -p 18053:53/udp"),
    lab(
        "mounts",
        (
            {"source": "/etc/apt", "target": "/a", "read_only": True},
            {"source": "kb-mounted", "target": "/b"},
            {"target": "/c", "size": "1m", "mode": "0700"},
        ),
        "-v /etc/apt:/a -v kb-mounted:/b --mount type=tmpfs,target=/c,tmpfs-size=1m,tmpfs-mode=0700",
        Volume(name="kb-mounted"),
    ),
    lab_script("restart", "docker update --restart always $c", restart="on-failure:3"),
    lab_script("memory", "docker update --memory 65m --memory-swap 200m $c", memory="64m"),
    lab_script("cpus", "docker update --cpus 0.7 $c", cpus=0.5),
    lab_script("pids", "docker update --pids-limit 99 $c", pids=100),
    lab("ulimits", {"nofile": "512:1024"}, "--ulimit nofile=512:1000"),
    lab("capabilities_add", ("NET_ADMIN",), ""),
    lab("capabilities_drop", ("ALL",), "--cap-drop CHOWN"),
    lab("read_only", True, ""),
    LabCase(
        (
            Image(name="busybox:1.36"),
            Container(name="kb-privileged", image="busybox:1.36", privileged=False, running=False),
        ),
        "container:kb-privileged",
        "privileged",
        "docker rm kb-privileged; docker create --name kb-privileged --privileged busybox:1.36",
        docker=True,
    ),
    lab("health_check", CHECK, "--health-cmd true --health-interval 6s"),
    lab("log_driver", "json-file", "--log-driver none"),
    lab("log_options", {"max-size": "1m"}, "--log-opt max-size=2m"),
    LabCase(
        (
            Image(name="busybox:1.36"),
            Container(name="kb-stop-signal", image="busybox:1.36", command=SLEEP, stop_signal="SIGKILL"),
        ),
        "container:kb-stop-signal",
        "stop_signal",
        "docker rm -f kb-stop-signal; docker run -d --name kb-stop-signal --stop-signal SIGINT busybox:1.36 sleep 1000",
        docker=True,
    ),
    lab("stop_timeout", 5, ""),
    lab("init", True, ""),
    lab("extra_hosts", {"db": "10.0.0.1"}, "--add-host db:10.0.0.2"),
    lab("dns", ("10.0.0.1",), "--dns 10.0.0.2"),
    lab("devices", ("/dev/null:/dev/kb",), "--device /dev/null:/dev/kb:r"),
    lab("sysctls", {"net.core.somaxconn": 100}, "--sysctl net.core.somaxconn=99"),
    LabCase(
        (
            Image(name="haproxy:2.8.5"),
            Image(name="haproxy:2.8.6"),
            Container(name="kb-image", image="haproxy:2.8.5", command=SLEEP, stop_signal="SIGKILL"),
        ),
        "container:kb-image",
        "image",
        "docker rm -f kb-image; docker run -d --name kb-image --stop-signal SIGKILL haproxy:2.8.6 sleep 1000",
        docker=True,
    ),
    lab_script("running", "docker stop $c"),
    lab_script("running", "docker pause $c", name="kb-paused"),
    lab_script(
        "running",
        "kill -9 $(docker inspect -f '{{.State.Pid}}' $c); sleep 1; docker inspect -f '{{.State.Running}}' $c",
        name="kb-crashing",
        alone=True,  # it is one only for some seconds
        restart="always",
    ),
    lab_script("running", "docker kill -s HUP $c", name="kb-marked", restart="unless-stopped"),
    lab_script("leftovers", "docker create --name $c.kbstate-old busybox:1.36 true"),
    lab_conf("started_with", "restart_on"),
    lab_conf("reloaded_with", "reload_on"),
    lab_script("", "docker rm -f $c", name="kb-gone"),
]
