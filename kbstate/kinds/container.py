"""A container of Docker: what it is made of, that it runs, and that it runs with its present files."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from kbstate import dockerd, loaded
from kbstate.containers import operations, types
from kbstate.containers.inspected import Containers, ContainerState
from kbstate.containers.options import OPTIONS, UPDATABLE
from kbstate.containers.types import HealthCheck, Mount, Port, Text, Ulimit
from kbstate.dockerd import ImageName, ObjectName
from kbstate.loaded import Watched
from kbstate.resource import AnyRead, Change, Impact, Line, Meta, Read, Replaces, Resource, Step, Unknown, Unordered

Trouble = Literal["crashing", "paused", "marked as stopped"]
"""Observed only: it dies and is started again and again; it is frozen; it runs but will not with the next daemon."""

OWN_NETWORKS = ("bridge", "host", "none")


class Container(Resource):
    """A container. A field that is left out is as its image or Docker has it; `Secret`s belong into mounted files.

    When it must be made anew, the new one is made before the old one stops, and the old one comes back if the new one
    does not stay up.
    """

    kind: ClassVar[str] = "container"
    listens: ClassVar[bool] = True

    name: ObjectName
    image: Annotated[ImageName | None, Replaces()] = None
    command: Annotated[tuple[Text, ...] | None, Replaces()] = None
    entrypoint: Annotated[types.Program | None, Replaces()] = None
    """The program alone; its arguments are the command."""
    user: Annotated[types.User | None, Replaces()] = None
    hostname: Annotated[types.HostName | None, Replaces()] = None
    working_dir: Annotated[Line | None, Replaces()] = None
    env: Annotated[dict[types.EnvName, Text] | None, Replaces()] = None
    """Besides what the image sets."""
    labels: Annotated[dict[types.LabelName, Text] | None, Replaces()] = None
    """Besides what the image sets."""
    network: Annotated[ObjectName | None, Replaces()] = None
    """`host`, `bridge`, `none` or the name of a network."""
    networks: Annotated[tuple[ObjectName, ...] | None, Unordered()] = None
    """Further networks."""
    ports: Annotated[tuple[Port, ...] | None, Unordered(), Replaces()] = None
    mounts: Annotated[tuple[Mount, ...] | None, Unordered(), Replaces()] = None
    restart: types.Restart | None = None
    """`no`, `on-failure[:TIMES]`, `unless-stopped` or `always`."""
    memory: types.Bytes | None = None
    """Bytes, or `512m`; 0 for no limit, and so for the next two."""
    cpus: types.Cpus | None = None
    pids: Annotated[int, Field(ge=0)] | None = None
    ulimits: Annotated[dict[types.UlimitName, Ulimit] | None, Replaces()] = None
    capabilities_add: Annotated[tuple[types.Capability, ...] | None, Unordered(), Replaces()] = None
    capabilities_drop: Annotated[tuple[types.Capability, ...] | None, Unordered(), Replaces()] = None
    read_only: Annotated[bool | None, Replaces()] = None
    """Whether its own file system is."""
    privileged: Annotated[bool | None, Replaces()] = None
    health_check: Annotated[HealthCheck | Literal["none"] | None, Replaces()] = None
    log_driver: Annotated[Line | None, Replaces()] = None
    log_options: Annotated[dict[types.LabelName, Text] | None, Replaces()] = None
    """Options that are not named are as the daemon has them."""
    stop_signal: Annotated[types.Signal | None, Replaces()] = None
    stop_timeout: Annotated[types.Seconds | None, Replaces()] = None
    """Seconds after which it is killed."""
    init: Annotated[bool | None, Replaces()] = None
    extra_hosts: Annotated[dict[types.HostName, types.Destination] | None, Replaces()] = None
    dns: Annotated[tuple[types.Address, ...] | None, Replaces()] = None
    devices: Annotated[tuple[types.Device, ...] | None, Unordered(), Replaces()] = None
    sysctls: Annotated[dict[types.SysctlKey, Text] | None, Replaces()] = None
    running: bool | Trouble | None = True
    leftovers: tuple[str, ...] = ()
    """Observed only: containers that an interrupted replacement left over."""

    restart_on: Annotated[tuple[Line, ...], Meta()] = ()
    """Addresses of the files that it loads when it starts; a declared file that is mounted by itself is one too."""
    reload_on: Annotated[tuple[Line, ...], Meta()] = ()
    """Addresses of the files that it loads at the reload signal."""
    reload_signal: Annotated[types.Signal, Meta()] = "SIGHUP"
    check_with: Annotated[tuple[Text, ...], Meta()] = ()
    """A command that must accept the files in the running container before it is reloaded or restarted."""
    interrupts: Annotated[Impact | None, Meta()] = None
    """What a stop, restart or replacement interrupts."""
    settles: Annotated[int, Meta(), Field(ge=0, le=300)] = 3
    """Seconds after a start for which it must stay up to be called running."""

    started_with: str | None = None
    """Digest of the `restart_on` files that it runs with; filled in, not declared."""
    reloaded_with: str | None = None
    """Digest of the `reload_on` files that it runs with; filled in, not declared."""
    image_digest: Annotated[dockerd.Digest | None, Meta()] = None
    """Of the declared image; filled in, not declared."""
    start_files: Annotated[tuple[Watched, ...], Meta()] = ()
    reload_files: Annotated[tuple[Watched, ...], Meta()] = ()

    def problems(self) -> Iterator[str]:
        if self.image is not None:
            yield from dockerd.not_pinned(self.image)
        elif not self.absent:
            yield "image is missing"
        if isinstance(self.running, str) or self.leftovers:
            yield "running is true or false, and leftovers are observed, not declared"
        if self.network in ("host", "none") and (self.ports or self.networks):
            yield f"ports and further networks have no meaning with network '{self.network}'"
        targets = [mount.target for mount in self.mounts or ()]
        if repeated := sorted({target for target in targets if targets.count(target) > 1}):
            yield f"something is mounted twice at {', '.join(repeated)}"
        if alone := sorted(set(self.reload_on) & set(self._mounted_files())):
            yield f"a reload does not see a new {', '.join(alone)}: mount its directory, not the file by itself"

    def _sources(self) -> Iterator[str]:
        return (mount.source for mount in self.mounts or () if mount.type == "bind")

    def _mounted_files(self) -> tuple[str, ...]:
        """The addresses under which what is bound would be declared as a file.

        A file that is mounted by itself and then replaced is still the old one for the container until it restarts.
        """
        return tuple(f"file:{source}" for source in self._sources())

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        start = loaded.watched(dict.fromkeys((*self.restart_on, *self._mounted_files())), lookup)
        reload = loaded.watched(self.reload_on, lookup)
        image = lookup(f"image:{self.image}")
        return self.model_copy(
            update={
                "image_digest": getattr(image, "digest", None),
                "start_files": start,
                "reload_files": reload,
                "started_with": None if self.running is False else loaded.declared_digest(start),
                "reloaded_with": None if self.running is False else loaded.declared_digest(reload),
            }
        )

    def reads(self) -> Mapping[str, AnyRead]:
        start = loaded.reads(f"container/{self.name}", self.start_files)
        reload = loaded.reads(f"container/{self.name}.reload", self.reload_files)
        return {
            "state": Read(Containers, self.name),
            **{f"start_{name}": read for name, read in start.items()},
            **{f"reload_{name}": read for name, read in reload.items()},
        }

    def observe(self, state: ContainerState | None, **files: Any) -> Self | Unknown | None:
        if state is None:
            return None
        if state.said.state.status in ("removing", "dead"):
            return Unknown(f"Docker left it {state.said.state.status}: see 'docker ps --all' on the host")
        if state.image is None and (self.env is not None or self.labels is not None):
            return Unknown("its image is gone, so what of its environment and labels came from there is not known")
        values = {name: option.seen(state.said) for name, option in OPTIONS.items()}
        defaults = state.image.config if state.image else {}
        image_env = dict(item.partition("=")[::2] for item in defaults.get("Env") or ())
        values |= {
            "image": self._image(state),
            "env": _besides(values["env"], image_env, self.env),
            "labels": _besides(values["labels"], defaults.get("Labels") or {}, self.labels),
            "running": self._running(state),
            "leftovers": state.leftovers,
            "started_with": self._loaded(state, self.start_files, self.started_with, "start_", files),
            "reloaded_with": self._loaded(state, self.reload_files, self.reloaded_with, "reload_", files),
        }
        if self.log_options is not None:
            values["log_options"] = {k: v for k, v in values["log_options"].items() if k in self.log_options}  # type: ignore[attr-defined]
        return type(self)(name=self.name, interrupts=self.interrupts).model_copy(update=values)

    def _image(self, state: ContainerState) -> str:
        """The name by which it was made means another image as soon as that is pulled anew."""
        made_of = dockerd.short_name(state.said.config.image)
        names = {dockerd.short_name(name) for name in state.image.names} if state.image else set()
        exact = f"{dockerd.repository(self.image or '')}@{self.image_digest}"
        if self.image in names and (self.image_digest is None or exact in names):
            return str(self.image)
        return f"{made_of} of old ({state.said.image[:19]})" if made_of == self.image else made_of

    def _running(self, state: ContainerState) -> bool | Trouble:
        if state.crashing:
            return "crashing"
        if state.said.state.paused:
            return "paused"
        policy = state.said.host_config.restart_policy.name
        if state.said.state.running and state.marked_stopped and policy == "unless-stopped":
            return "marked as stopped"
        return state.said.state.running

    def _loaded(
        self,
        state: ContainerState,
        watched: tuple[Watched, ...],
        declared: str | None,
        prefix: str,
        files: Mapping[str, Any],
    ) -> str | None:
        if not state.said.state.running:
            return declared  # whatever starts next loads what is there
        facts = {name.removeprefix(prefix): value for name, value in files.items() if name.startswith(prefix)}
        stamp = facts.pop("stamp", None)
        return loaded.loaded_digest(watched, state.identity, state.said.state.started, stamp, facts)

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(operations.remove, {"name": self.name}, "stop and remove it")
        elif change.action != "update" or self._needs_new(change):
            yield Step(operations.place, self._placed(), "make it" if change.action == "create" else "make it anew")
        else:
            yield from self._changed(change)

    def _needs_new(self, change: Change) -> bool:
        """A limit that is there cannot be lifted, but for that of processes."""
        return any(name in change.fields and not getattr(self, name) for name in ("memory", "cpus"))

    def _placed(self) -> dict[str, object]:
        given = [OPTIONS[name].given(getattr(self, name)) for name in OPTIONS if getattr(self, name) is not None]
        return {
            "name": self.name,
            "options": [word for words in given for word in words],
            "image": self.image,
            "command": self.command or (),
            "networks": self.networks or (),
            "running": self.running,
            "settles": self.settles,
            "stamps": self._stamps("start"),
        }

    def _changed(self, change: Change) -> Iterator[Step]:
        fields = change.fields
        if "networks" in fields:
            yield Step(operations.join, self._joined(change), "connect and disconnect it")
        given = [OPTIONS[name].given(getattr(self, name)) for name in UPDATABLE if name in fields]
        if limits := [word for words in given for word in words]:
            yield Step(operations.update, {"name": self.name, "options": limits}, "set limits and restart policy")
        for verb in self._verbs(change):
            arguments = {"name": self.name, "settles": self.settles, "stamps": self._stamps(verb)}
            if verb in ("reload", "restart") and (change.before or {}).get("running", True) != "crashing":
                arguments["check"] = self.check_with
            if verb == "reload":
                yield Step(
                    operations.reload, {**arguments, "signal": self.reload_signal}, f"send it {self.reload_signal}"
                )
            else:
                yield Step(operations.control, {**arguments, "verb": verb}, f"{verb} it")
        if "leftovers" in fields:
            yield Step(operations.clean_up, {"names": (change.before or {})["leftovers"]}, "remove leftovers")

    def _joined(self, change: Change) -> dict[str, object]:
        wanted, live = set(self.networks or ()), set(getattr(change._observed, "networks", None) or ())
        return {"name": self.name, "connect": sorted(wanted - live), "disconnect": sorted(live - wanted)}

    def _verbs(self, change: Change) -> Iterator[str]:
        live = (change.before or {}).get("running")
        if "running" in change.fields and self.running is False:
            yield from ["unpause", "stop"] if live == "paused" else ["stop"]
            return
        if "running" in change.fields and live == "paused":
            yield "unpause"
        elif "running" in change.fields:
            yield "restart" if live else "start"
            return
        if "started_with" in change.fields:
            yield "restart"
        elif "reloaded_with" in change.fields:
            yield "reload"

    def _stamps(self, verb: str) -> dict[str, str]:
        """The digests that hold after this verb, by the name of their stamp."""
        held = {f"container/{self.name}.reload": self.reloaded_with}
        if verb != "reload":
            held[f"container/{self.name}"] = self.started_with
        return {name: digest for name, digest in held.items() if digest and verb not in ("stop", "unpause")}

    def needs(self) -> Iterator[str]:
        yield from (*dockerd.ENGINE, f"image:{self.image}")
        yield from (f"docker_network:{name}" for name in (self.network, *(self.networks or ())) if name)
        yield from (f"volume:{mount.source}" for mount in self.mounts or () if mount.type == "volume")
        for source in map(glob.escape, self._sources()):
            yield from (f"{kind}:{source}{end}" for kind in ("file", "directory", "symlink") for end in ("", "/*"))
            yield f"mount:{source}"
        yield from (*self.restart_on, *self.reload_on)

    def watches(self) -> Mapping[str, str]:
        return {
            **({f"image:{self.image}": "replaces"} if self.image else {}),
            **dict.fromkeys(self.reload_on, "reloads"),
            **dict.fromkeys((*self.restart_on, *self._mounted_files()), "restarts"),
        }

    def impact(self, change: Change) -> Impact | None:
        if change.action == "create":
            return None
        if change.action != "update" or self._needs_new(change) or "networks" in change.fields:
            return self.interrupts
        if set(self._verbs(change)) & {"stop", "restart"} and (change.before or {}).get("running") != "crashing":
            return self.interrupts
        return "reloads without loss" if "reload" in self._verbs(change) else None


def _besides(live: object, image: Mapping[str, str], declared: Mapping[str, str] | None) -> dict[str, str]:
    """What is there besides what the image sets; what is declared counts in any case."""
    values: Mapping[str, str] = live  # type: ignore[assignment]
    return {k: v for k, v in values.items() if k in (declared or {}) or image.get(k) != v}
