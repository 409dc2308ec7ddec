"""The Docker engine: its packages, its settings and its service, and whether the daemon runs with these settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from kbstate.dockerd import RUNNING, DockerFact
from kbstate.kinds.directory import Directory
from kbstate.kinds.file import File
from kbstate.kinds.package import Name, Package
from kbstate.kinds.service import Service
from kbstate.resource import AnyRead, Change, Impact, Json, Meta, Read, Resource, Step, Unknown
from kbstate.shell import q

DIRECTORY = "/etc/docker"
FILE = f"{DIRECTORY}/daemon.json"
SERVICE = "docker.service"

Settings: TypeAlias = dict[str, Json]

SHOWN: Mapping[str, str] = {
    "data-root": "DockerRootDir",
    "debug": "Debug",
    "default-runtime": "DefaultRuntime",
    "experimental": "ExperimentalBuild",
    "live-restore": "LiveRestoreEnabled",
    "log-driver": "LoggingDriver",
    "storage-driver": "Driver",
    "cgroup-driver": "CgroupDriver",
}
"""Settings that `docker info` shows, and where. The cgroup driver is set among `exec-opts`."""


class Info(DockerFact[None, Mapping[str, Any]]):
    """What the daemon says of itself. Source: docker-info(1)."""

    def command(self, wanted: Sequence[None]) -> str:
        return f"{RUNNING}\ndocker info --format '{{{{json .}}}}'"

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, Mapping[str, Any] | Unknown | None]:
        said = json.loads(output)
        if errors := said.get("ServerErrors"):
            return {None: Unknown(str(errors[0])[:300])}
        return {None: said}


class Docker(Resource):
    """The engine. Packages, /etc/docker/daemon.json and docker.service are parts with addresses of their own.

    What is left for the engine itself is whether the daemon runs with the settings: an option of its unit may overrule
    the file, and a signal may have made it read another one.
    """

    kind: ClassVar[str] = "docker"

    name: Literal["engine"] = "engine"
    packages: Annotated[tuple[Name, ...], Meta()] = ("docker.io",)
    settings: Annotated[Settings | None, Meta()] = None
    """/etc/docker/daemon.json whole; None: the file is not ours. Source: dockerd(8)."""
    running: Annotated[bool | None, Meta()] = True
    enabled: Annotated[bool | None, Meta()] = True
    interrupts: Annotated[Impact | None, Meta()] = "drops connections"
    """What a restart or stop of the daemon interrupts."""
    in_effect: Settings | None = None
    """What the daemon runs with, of the settings that it shows; filled in from `settings`, not declared."""

    def parts(self) -> Iterator[Resource]:
        packages = [Package(name=name, absent=self.absent) for name in self.packages]
        yield from packages
        if self.absent:
            yield File(path=FILE, absent=True)
            return
        first = tuple(package.address for package in packages)
        if self.settings is not None:
            # only its first start makes the directory, and newer versions do not
            directory = Directory(path=DIRECTORY, owner="root", group="root", mode="0755", requires=first)
            yield directory
            yield File(
                path=FILE,
                content=render(self.settings),
                owner="root",
                group="root",
                mode="0644",
                validate_with=f"sh -c {q(VALIDATE)} validate {{path}}",
                requires=(*first, directory.address),
            )
        if self.running is False:
            # it would start the daemon at the first question
            yield Service(name="docker.socket", running=False, requires=first)
        if self.running is not None or self.enabled is not None:
            yield Service(
                name=SERVICE,
                running=self.running,
                enabled=self.enabled,
                restart_on=() if self.settings is None else (f"file:{FILE}",),
                interrupts=self.interrupts,
                requires=first,
            )

    def problems(self) -> Iterator[str]:
        for key in sorted({"hosts", "pidfile"} & set(self.settings or {})):
            yield f"settings must not have '{key}': the unit of Debian gives it on the command line"

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        return self.model_copy(update={"in_effect": {} if self.running is False else shown(self.settings or {})})

    def reads(self) -> Mapping[str, AnyRead]:
        return {"info": Read(Info)} if self.in_effect and not self.absent else {}

    def observe(self, info: Mapping[str, Any] | None = None) -> Self | None:
        # when only its name is left of it there is nothing of its own to remove: its parts are removed as such
        if self.absent or self.in_effect is None or (self.in_effect and info is None):
            return None
        live = {key: (info or {}).get(SHOWN[key]) for key in self.in_effect}
        return type(self)(interrupts=self.interrupts).model_copy(update={"in_effect": live})

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action != "delete":
            yield Step(take_effect, {"settings": self.in_effect or {}}, "see that the daemon runs with its settings")

    def needs(self) -> Iterator[str]:
        yield from (f"package:{name}" for name in self.packages)
        yield from (f"file:{FILE}", f"service:{SERVICE}")

    def impact(self, change: Change) -> Impact | None:
        return self.interrupts if change.action in ("update", "replace") else None


def render(settings: Mapping[str, Json]) -> str:
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"


def shown(settings: Mapping[str, Json]) -> Settings:
    """Those of the settings that `docker info` shows, as it shows them."""
    found = {key: value for key, value in settings.items() if key in SHOWN and key != "cgroup-driver"}
    options = settings.get("exec-opts")
    for option in options if isinstance(options, list) else ():
        if str(option).startswith("native.cgroupdriver="):
            found["cgroup-driver"] = str(option).partition("=")[2]
    return found


VALIDATE = (
    r"""
set -eu
if dockerd --help | grep -q -e --validate; then exec dockerd --validate --config-file="$1"; fi
d=$(mktemp -d); trap "rm -rf -- $d" EXIT; echo $$ > $d/pid
said=$(timeout 20 dockerd --config-file="$1" --pidfile=$d/pid 2>&1) || true
case $said in *"pid file found"*) exit 0 ;; esac
printf "%s\n" "$said" | tail -n 2 >&2; exit 1
""".strip()
    .replace("\n", "; ")
    .replace("in; ", "in ")
)
"""Before version 23 there is no `--validate`: a daemon that has read its settings then finds that one runs already."""


def take_effect(settings: Mapping[str, Json]) -> Iterator[str]:
    """Restart the daemon unless it runs with these settings by now, and look again. Source: docker-info(1)."""
    template = "".join(f"{{{{json .{SHOWN[key]}}}}} " for key in settings)
    wanted = "".join(json.dumps(value, separators=(",", ":")) + " " for value in settings.values())
    yield "\n".join(
        [
            "set -eu",
            f"wanted={q(wanted)}",
            f"said() {{ docker info --format {q(template)}; }}",
            '[ "$(said)" != "$wanted" ] || exit 0',
            f"systemctl restart {SERVICE}",
            '[ "$(said)" = "$wanted" ] || {',
            f'echo "the daemon runs with $(said)and not with $wanted: see ExecStart of {SERVICE}" >&2; exit 1; }}',
        ]
    )
