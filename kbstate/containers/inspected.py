"""What `docker inspect` says of containers: the fact, and models of the part of its JSON that is used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from kbstate.dockerd import RUNNING, DockerFact, ImageState, everything, image_state, marked
from kbstate.resource import Unknown

T = TypeVar("T")
Items = Annotated[tuple[T, ...], BeforeValidator(lambda value: value or ())]
"""A list for which Docker says null when it is empty."""
Table = Annotated[dict[str, T], BeforeValidator(lambda value: value or {})]
"""Likewise for an object."""


class Said(BaseModel):
    """Part of an answer; names as Docker spells them. Source: moby, `api/types/types.go`."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore", frozen=True)


class State(Said):
    status: str
    running: bool
    paused: bool
    restarting: bool
    pid: int
    exit_code: int
    started_at: str

    @property
    def started(self) -> float:
        """Unix time; Docker gives nanoseconds, of which Python takes six digits."""
        text = re.sub(r"\.(\d{1,6})\d*", r".\1", self.started_at).replace("Z", "+00:00")
        return datetime.fromisoformat(text).timestamp()


class Health(Said):
    """Times in nanoseconds; 0 and nothing mean the default."""

    test: Items[str] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    retries: int = 0


class Config(Said):
    hostname: str = ""
    user: str = ""
    env: Items[str] = ()
    cmd: Items[str] = ()
    entrypoint: Items[str] = ()
    image: str
    volumes: Table[object] = Field(default_factory=dict)
    working_dir: str = ""
    labels: Table[str] = Field(default_factory=dict)
    healthcheck: Health | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None


class Binding(Said):
    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(Said):
    name: str = ""
    maximum_retry_count: int = 0


class LogConfig(Said):
    type: str = ""
    config: Table[str] = Field(default_factory=dict)


class LimitSaid(Said):
    name: str
    soft: int
    hard: int


class DeviceSaid(Said):
    path_on_host: str
    path_in_container: str
    cgroup_permissions: str


class TmpfsOptions(Said):
    size_bytes: int = 0
    mode: int = 0


class MountAsked(Said):
    """A mount as it was asked for; only here are the options of a file system in memory."""

    type: str
    target: str
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(Said):
    network_mode: str = "default"
    port_bindings: Table[Items[Binding]] = Field(default_factory=dict)
    mounts: Items[MountAsked] = ()
    tmpfs: Table[str] = Field(default_factory=dict)
    restart_policy: RestartPolicy = RestartPolicy()
    memory: int = 0
    nano_cpus: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    pids_limit: int | None = None
    ulimits: Items[LimitSaid] = ()
    cap_add: Items[str] = ()
    cap_drop: Items[str] = ()
    readonly_rootfs: bool = False
    privileged: bool = False
    log_config: LogConfig = LogConfig()
    init: bool | None = None
    extra_hosts: Items[str] = ()
    dns: Items[str] = ()
    devices: Items[DeviceSaid] = ()
    sysctls: Table[str] = Field(default_factory=dict)


class MountSaid(Said):
    """A mount as it is."""

    type: str
    name: str = ""
    source: str = ""
    destination: str
    rw: bool = Field(alias="RW")
    propagation: str = ""


class NetworkSettings(Said):
    networks: Table[object] = Field(default_factory=dict)


class Inspected(Said):
    """One container."""

    id: str
    name: str
    image: str
    """Id of the image that it was made of; its name then is in `config`."""
    restart_count: int = 0
    state: State
    config: Config
    host_config: HostConfig
    network_settings: NetworkSettings = NetworkSettings()
    mounts: Items[MountSaid] = ()


LEFTOVERS = (".kbstate-new", ".kbstate-old")
"""Endings of the names that a container and its successor bear while one takes the place of the other."""

SOON = 10.0
"""Seconds for which a container must have been up for Docker to forget that it had died."""


@dataclass(frozen=True)
class ContainerState:
    """A container, and what else must be known to judge it."""

    said: Inspected
    image: ImageState | None
    """The image that it was made of; None if that is gone."""
    marked_stopped: bool
    """Whether Docker holds it for stopped by hand, though it may run: then it does not come back with the daemon."""
    now: float
    leftovers: tuple[str, ...]

    @property
    def identity(self) -> str:
        """Of the process: another one after each start."""
        return f"{self.said.id}@{self.said.state.started_at}"

    @property
    def crashing(self) -> bool:
        """It dies and is started again and again."""
        lately = self.now - self.said.state.started < SOON
        return self.said.state.restarting or (self.said.state.running and self.said.restart_count > 0 and lately)


class Containers(DockerFact[str, ContainerState]):
    """The containers of these names. Source: docker-inspect(1), and the daemon's own files for what that hides."""

    def command(self, wanted: Sequence[str]) -> str:
        files = r"""s|.*"ResolvConfPath":"\([^"]*\)/resolv.conf".*|\1/config.v2.json|p"""
        return "\n".join(
            [
                RUNNING,
                everything("container", "docker container ls --all --quiet --no-trunc", "C"),
                '[ -n "$ids" ] || exit 0',
                """printf '%s\\n' "$o" | sed -n '"""
                + files
                + """' | xargs -r grep -ls '"HasBeenManuallyStopped":true' | sed 's/^/M /'""",
                """i=$(printf '%s\\n' "$o" | grep -o '"Image":"sha256:[0-9a-f]*"' | cut -d'"' -f4 | sort -u)""",
                "docker image inspect --format 'I {{json .}}' $i 2>/dev/null",
                "date '+T %s'",
            ]
        )

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, ContainerState | Unknown | None]:
        images = {image.id: image for image in map(image_state, marked(output, "I"))}
        found = {one.name.removeprefix("/"): one for one in map(Inspected.model_validate, marked(output, "C"))}
        lines = [line.partition(" ") for line in output.splitlines()]
        stopped = {path.split("/")[-2] for mark, _, path in lines if mark == "M"}
        now = next((float(time) for mark, _, time in lines if mark == "T"), 0.0)
        states: dict[str, ContainerState | Unknown | None] = dict.fromkeys(wanted)
        for name in set(wanted) & set(found):
            one = found[name]
            leftovers = tuple(name + ending for ending in LEFTOVERS if name + ending in found)
            states[name] = ContainerState(one, images.get(one.image), one.id in stopped, now, leftovers)
        return states
