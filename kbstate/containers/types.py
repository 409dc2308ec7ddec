"""The types of a container's fields, in the spelling in which they are compared."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from kbstate.resource import AbsPath, Line, Mode
from kbstate.secret import Secret

UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        raise ValueError("a secret would be seen in 'docker inspect': put it into a file that is mounted")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


def _size(value: object) -> object:
    """Bytes from `512m`. Source: go-units, `RAMInBytes`."""
    if isinstance(value, str) and (parts := re.fullmatch(r"([0-9]+)([bkmgt]?)b?", value.lower())):
        return int(parts[1]) * UNITS[parts[2]]
    return value


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _address(text: str) -> str:
    return str(ip_address(text))


def _destination(text: str) -> str:
    return text if text == "host-gateway" else _address(text)


def _device(text: str) -> str:
    """`HOST:CONTAINER:PERMISSIONS` whole. Source: docker-run(1), `--device`."""
    parts = text.split(":")
    if len(parts) > 3 or not all(PurePosixPath(part).is_absolute() for part in parts[:2]):
        raise ValueError("must be a device such as /dev/net/tun or /dev/sda:/dev/xvda:r")
    permissions = parts[2] if len(parts) == 3 else "rwm"
    if not re.fullmatch("[rwm]{1,3}", permissions):
        raise ValueError("the permissions of a device are letters of 'rwm'")
    return f"{parts[0]}:{parts[1] if len(parts) > 1 else parts[0]}:{permissions}"


Text = Annotated[str, BeforeValidator(_plain), AfterValidator(_no_nul)]
"""Anything but a secret."""
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
LabelName = Annotated[Line, StringConstraints(pattern=r"^[^=\s]+$")]
Bytes = Annotated[int, BeforeValidator(_size), Field(ge=0)]
"""A size; `512m` is taken too."""
Cpus = Annotated[float, Field(ge=0, le=1024), AfterValidator(lambda cpus: round(cpus, 3))]
Seconds = Annotated[int, Field(ge=0, le=86400)]
Capability = Annotated[str, AfterValidator(_capability), StringConstraints(pattern=r"^[A-Z_]+$")]
"""Without `CAP_`, as in capabilities(7), or `ALL`."""
Address = Annotated[str, AfterValidator(_address)]
Destination = Annotated[str, AfterValidator(_destination)]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?$")]
User = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$")]
Signal = Annotated[str, StringConstraints(pattern=r"^SIG[A-Z0-9]{2,9}([+-][0-9]{1,2})?$")]
Restart = Annotated[str, StringConstraints(pattern=r"^(no|always|unless-stopped|on-failure(:[1-9][0-9]{0,3})?)$")]
SysctlKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+([./][A-Za-z0-9_-]+)+$")]
Device = Annotated[Line, AfterValidator(_device)]
Program = Annotated[str, StringConstraints(pattern=r"^[^\s]+$")]


class Part(BaseModel):
    """A value inside a field."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


PORT = re.compile(
    r"(?:(?P<address>[0-9.]+|\[[0-9a-fA-F:]+\]):)?(?P<host>[0-9]+):(?P<container>[0-9]+)(?:/(?P<protocol>\w+))?"
)


class Port(Part):
    """A published port; also taken as `[ADDRESS:]HOST:CONTAINER[/PROTOCOL]`. Without an address: at all of them."""

    host: int = Field(ge=1, le=65535)
    container: int = Field(ge=1, le=65535)
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    address: Address | Literal[""] = ""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not (said := PORT.fullmatch(value)):
            raise ValueError("must be a port such as 8080:80, 127.0.0.1:8080:80 or 53:53/udp, no range")
        found = {name: text for name, text in said.groupdict().items() if text is not None}
        return {**found, "address": found.get("address", "").strip("[]")}

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}{':' if address else ''}{self.host}:{self.container}/{self.protocol}"


class Mount(Part):
    """A directory or file of the host, a volume or a file system in memory. A source that is missing is an error.

    Without `type`, a source that is a path is bound, any other is a volume, and none is in memory.
    """

    type: Literal["bind", "volume", "tmpfs"] = "bind"
    source: Line = ""
    target: AbsPath
    read_only: bool = False
    propagation: Literal["", "private", "rprivate", "shared", "rshared", "slave", "rslave"] = ""
    """Of a bind; empty: rprivate."""
    size: Bytes | None = None
    """Of a file system in memory."""
    mode: Mode | None = None
    """Of a file system in memory."""

    @model_validator(mode="before")
    @classmethod
    def _type(cls, value: Any) -> Any:
        if isinstance(value, dict) and "type" not in value:
            source = str(value.get("source", ""))
            return {**value, "type": "bind" if source.startswith("/") else "volume" if source else "tmpfs"}
        return value

    @model_validator(mode="after")
    def _fits(self) -> Mount:
        path = self.source.startswith("/") and ".." not in self.source.split("/")
        if self.type == "bind" and (not path or (len(self.source) > 1 and self.source.endswith("/"))):
            raise ValueError("the source of a bind must be an absolute path that does not end in '/'")
        if self.type == "volume" and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", self.source):
            raise ValueError("the source of a volume must be its name")
        if self.type == "tmpfs" and self.source:
            raise ValueError("a file system in memory has no source")
        if self.type != "tmpfs" and (self.size is not None or self.mode is not None):
            raise ValueError("size and mode are of a file system in memory only")
        if self.type != "bind" and self.propagation:
            raise ValueError("propagation is of a bind only")
        return self


class Ulimit(Part):
    """A soft and a hard limit, -1 for none; also taken as one number, or as `SOFT:HARD`."""

    soft: int = Field(ge=-1)
    hard: int = Field(ge=-1)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"soft": value, "hard": value}
        if isinstance(value, str):
            soft, _, hard = value.partition(":")
            return {"soft": soft, "hard": hard or soft}
        return value


LIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio"),
    *("rttime", "sigpending", "stack"),
)
UlimitName = Annotated[str, StringConstraints(pattern=f"^({'|'.join(LIMITS)})$")]


class HealthCheck(Part):
    """A shell command that is run in the container; times in seconds. Source: docker-run(1), `--health-cmd`."""

    command: Line
    interval: Seconds = 30
    timeout: Seconds = 30
    retries: int = Field(default=3, ge=1, le=1000)
    start_period: Seconds = 0
