"""How each field of a container is given to `docker create`, and how it is seen in `docker inspect`.

Source: docker-create(1), docker-update(1); moby, `api/types/container` for the defaults that Docker leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kbstate.containers.inspected import HostConfig, Inspected
from kbstate.containers.types import Device, HealthCheck, Mount, Port, Ulimit

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Option:
    """One field. `given` takes a declared value; `seen` gives what is in effect, the image's own settings included."""

    given: Callable[[Any], list[str]]
    seen: Callable[[Inspected], object]


def _flag(name: str) -> Callable[[Any], list[str]]:
    return lambda value: [f"--{name}={'true' if value else 'false'}"]


def _one(name: str) -> Callable[[Any], list[str]]:
    return lambda value: [f"--{name}", str(value)]


def _each(name: str) -> Callable[[Any], list[str]]:
    return lambda values: [word for value in values for word in (f"--{name}", str(value))]


def _pairs(name: str, between: str) -> Callable[[Any], list[str]]:
    return lambda values: [
        word for key, value in sorted(values.items()) for word in (f"--{name}", f"{key}{between}{value}")
    ]


# --- what is written otherwise than it is declared --------------------------------------------------------------


def memory(size: int) -> list[str]:
    """Swap is limited to as much again, as `docker create` does by itself; `docker update` must be told."""
    return ["--memory", f"{size}b", "--memory-swap", f"{2 * size}b"] if size else []


def cpus(number: float) -> list[str]:
    return ["--cpus", f"{number:g}"] if number else []


def pids(number: int) -> list[str]:
    return ["--pids-limit", str(number or -1)]


def mount(value: Mount) -> str:
    """A line of CSV; never `--volume`, which makes a source that is missing."""
    words = [f"type={value.type}", f"target={value.target}"]
    words += [f"source={value.source}"] if value.source else []
    words += ["readonly"] if value.read_only else []
    words += [f"bind-propagation={value.propagation}"] if value.propagation else []
    words += [f"tmpfs-size={value.size}"] if value.size is not None else []
    words += [f"tmpfs-mode={value.mode}"] if value.mode is not None else []
    return ",".join('"' + word.replace('"', '""') + '"' if set(word) & set(',"') else word for word in words)


def health_check(value: HealthCheck | str) -> list[str]:
    if isinstance(value, str):
        return ["--no-healthcheck"]
    words = ["--health-cmd", value.command, "--health-retries", str(value.retries)]
    times = {"interval": value.interval, "timeout": value.timeout, "start-period": value.start_period}
    return words + [word for name, time in times.items() for word in (f"--health-{name}", f"{time}s")]


# --- what is shown otherwise than it is declared ----------------------------------------------------------------


def network(said: Inspected) -> str:
    mode = "bridge" if said.host_config.network_mode == "default" else said.host_config.network_mode
    joined = said.network_settings.networks
    return mode if mode in joined or ":" in mode else f"{mode}, from which it is disconnected"


def networks(said: Inspected) -> tuple[str, ...]:
    return tuple(sorted(set(said.network_settings.networks) - {network(said)}))


def ports(said: Inspected) -> tuple[Port | str, ...]:
    found: list[Port | str] = []
    for container, bindings in said.host_config.port_bindings.items():
        number, _, protocol = container.partition("/")
        for binding in bindings:
            if binding.host_port in ("", "0"):
                found.append(f"any:{container}")
                continue
            values = {"host": binding.host_port, "container": number, "protocol": protocol or "tcp"}
            found.append(Port.model_validate({**values, "address": binding.host_ip}))
    return tuple(found)


def mounts(said: Inspected) -> tuple[Mount, ...]:
    """All but the nameless volumes that Docker makes because the image wants some volume there."""
    asked = {one.target: one.tmpfs_options for one in said.host_config.mounts if one.tmpfs_options}
    found = []
    for one in said.mounts:
        if one.type == "volume" and one.destination in said.config.volumes and len(one.name) == 64:
            continue
        options = asked.get(one.destination)
        found.append(
            Mount.model_construct(  # what Docker has need not be what may be declared
                type=one.type,  # type: ignore[arg-type]
                source=one.name if one.type == "volume" else one.source,
                target=one.destination,
                read_only=not one.rw,
                propagation=one.propagation if one.propagation != "rprivate" else "",  # type: ignore[arg-type]
                size=options.size_bytes or None if options else None,
                mode=f"{options.mode:04o}" if options and options.mode else None,
            )
        )
    known = {one.target for one in found}
    # what was asked for as --tmpfs is in another place
    found += [Mount(type="tmpfs", target=target) for target in said.host_config.tmpfs if target not in known]
    return tuple(found)


def restart(said: Inspected) -> str:
    policy = said.host_config.restart_policy
    count = f":{policy.maximum_retry_count}" if policy.maximum_retry_count else ""
    return f"{policy.name}{count}" if policy.name else "no"


def cpus_seen(host: HostConfig) -> float:
    if host.nano_cpus:
        return round(host.nano_cpus / 1e9, 3)
    return round(host.cpu_quota / (host.cpu_period or 100_000), 3) if host.cpu_quota > 0 else 0.0


def health_seen(said: Inspected) -> HealthCheck | str:
    health = said.config.healthcheck
    if health is None or health.test[:1] in ((), ("NONE",)):
        return "none"
    shell = health.test[0] == "CMD-SHELL" and len(health.test) == 2
    return HealthCheck.model_construct(
        command=health.test[1] if shell else " ".join(health.test),
        interval=(health.interval or 30 * SECOND) // SECOND,
        timeout=(health.timeout or 30 * SECOND) // SECOND,
        retries=health.retries or 3,
        start_period=health.start_period // SECOND,
    )


def devices(said: Inspected) -> tuple[Device, ...]:
    return tuple(f"{d.path_on_host}:{d.path_in_container}:{d.cgroup_permissions}" for d in said.host_config.devices)


def capabilities(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.upper().removeprefix("CAP_") for name in names)


def entrypoint(said: Inspected) -> str | tuple[str, ...]:
    words = said.config.entrypoint
    return words[0] if len(words) == 1 else words


OPTIONS: Mapping[str, Option] = {
    "entrypoint": Option(_one("entrypoint"), entrypoint),
    "user": Option(_one("user"), lambda said: said.config.user),
    "hostname": Option(_one("hostname"), lambda said: said.config.hostname),
    "working_dir": Option(_one("workdir"), lambda said: said.config.working_dir),
    "network": Option(_one("network"), network),
    "networks": Option(lambda names: [], networks),
    "ports": Option(_each("publish"), ports),
    "mounts": Option(lambda values: _each("mount")(map(mount, values)), mounts),
    "restart": Option(_one("restart"), restart),
    "memory": Option(memory, lambda said: said.host_config.memory),
    "cpus": Option(cpus, lambda said: cpus_seen(said.host_config)),
    "pids": Option(pids, lambda said: max(said.host_config.pids_limit or 0, 0)),
    "ulimits": Option(
        lambda values: [word for k, v in sorted(values.items()) for word in ("--ulimit", f"{k}={v.soft}:{v.hard}")],
        lambda said: {one.name: Ulimit(soft=one.soft, hard=one.hard) for one in said.host_config.ulimits},
    ),
    "capabilities_add": Option(_each("cap-add"), lambda said: capabilities(said.host_config.cap_add)),
    "capabilities_drop": Option(_each("cap-drop"), lambda said: capabilities(said.host_config.cap_drop)),
    "read_only": Option(_flag("read-only"), lambda said: said.host_config.readonly_rootfs),
    "privileged": Option(_flag("privileged"), lambda said: said.host_config.privileged),
    "health_check": Option(health_check, health_seen),
    "log_driver": Option(_one("log-driver"), lambda said: said.host_config.log_config.type),
    "log_options": Option(_pairs("log-opt", "="), lambda said: said.host_config.log_config.config),
    "stop_signal": Option(_one("stop-signal"), lambda said: said.config.stop_signal or "SIGTERM"),
    "stop_timeout": Option(
        _one("stop-timeout"), lambda said: 10 if said.config.stop_timeout is None else said.config.stop_timeout
    ),
    "init": Option(_flag("init"), lambda said: bool(said.host_config.init)),
    "extra_hosts": Option(
        _pairs("add-host", ":"), lambda said: dict(item.split(":", 1) for item in said.host_config.extra_hosts)
    ),
    "dns": Option(_each("dns"), lambda said: said.host_config.dns),
    "devices": Option(_each("device"), devices),
    "sysctls": Option(_pairs("sysctl", "="), lambda said: said.host_config.sysctls),
    "env": Option(_pairs("env", "="), lambda said: dict(item.split("=", 1) for item in said.config.env if "=" in item)),
    "labels": Option(_pairs("label", "="), lambda said: said.config.labels),
    "command": Option(lambda words: [], lambda said: said.config.cmd),
}
"""All but the command and further networks are options of `docker create`."""

UPDATABLE = ("restart", "memory", "cpus", "pids")
"""What `docker update` changes while the container runs."""
