"""What systemd says of a unit: the fact that every kind made of units shares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from kbstate.resource import Fact, Step, Unknown
from kbstate.shell import words

SUFFIXES = ("service", "socket", "timer", "path", "target", "mount", "automount", "swap", "slice")


def _unit_name(name: str) -> str:
    """The whole name of a unit: `docker` is docker.service. Source: systemd.unit(5)."""
    full = name if name.rsplit(".", 1)[-1] in SUFFIXES else f"{name}.service"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9:_.\\@-]{0,254}", full) or len(full) > 255:
        raise ValueError("must be the name of a unit, such as docker.service or backup@daily.timer")
    return full


def _no_template(name: str) -> str:
    if "@." in name:
        raise ValueError("must not be a template: name an instance, such as backup@daily.service")
    return name


UnitFileName = Annotated[str, AfterValidator(_unit_name)]
"""May be a template, such as backup@.service."""
UnitName = Annotated[UnitFileName, AfterValidator(_no_template)]


@dataclass(frozen=True)
class UnitState:
    """Properties as `systemctl show` names them. `started` is when it last began to start, in Unix seconds."""

    id: str
    load_state: str
    active_state: str
    sub_state: str
    file_state: str
    fragment: str
    drop_ins: str
    invocation: str
    needs_daemon_reload: bool
    result: str
    type: str
    stays_active: bool
    """RemainAfterExit: active although no process is left."""
    started: float
    skipped: bool = False
    """The last time that it was to start, its own conditions kept it from it. Source: systemd.unit(5), `Condition…`."""

    @property
    def exists(self) -> bool:
        return self.load_state != "not-found"

    @property
    def active(self) -> bool:
        return self.active_state in ("active", "reloading")

    @property
    def moving(self) -> bool:
        """On its way from one state to another."""
        return self.active_state in ("activating", "deactivating", "maintenance") and not self.crashing

    @property
    def crashing(self) -> bool:
        """It died, and systemd is waiting to start it once more."""
        return self.sub_state in ("auto-restart", "auto-restart-queued")


PROPERTIES = (
    *("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "DropInPaths", "InvocationID"),
    *("NeedDaemonReload", "Result", "Type", "RemainAfterExit", "InactiveExitTimestamp"),
    *("ConditionResult", "ConditionTimestamp"),
)


class Units(Fact[str, UnitState]):
    """State of any number of units in one process. Source: systemctl(1), org.freedesktop.systemd1(5).

    A unit on its way from one state to another is given a few seconds to arrive.
    """

    program: ClassVar[str | None] = "systemctl"
    packages: ClassVar[tuple[str, ...]] = ("systemd",)

    def command(self, wanted: Sequence[str]) -> str:
        show = f"systemctl show --timestamp=unix --property={','.join(PROPERTIES)} -- {words(dict.fromkeys(wanted))}"
        moving = "*ActiveState=activating*|*ActiveState=deactivating*|*ActiveState=reloading*"
        return "\n".join(
            [
                "for second in 1 2 3 4 5; do",
                f"o=$({show}) || exit",
                f'case "$o" in {moving}) sleep 1 ;; *) break ;; esac; done',
                """printf '%s\\n' "$o\"""",
            ]
        )

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, UnitState | Unknown | None]:
        names = list(dict.fromkeys(wanted))
        blocks = output.strip("\n").split("\n\n")
        return {name: _state(block) for name, block in zip(names, blocks, strict=True)}


def _state(block: str) -> UnitState | Unknown:
    said = dict(line.split("=", 1) for line in block.splitlines())
    if said["LoadState"] in ("bad-setting", "error"):
        return Unknown(f"systemd cannot load it ({said['LoadState']}): see 'systemctl status {said['Id']}' on the host")
    return UnitState(
        id=said["Id"],
        load_state=said["LoadState"],
        active_state=said["ActiveState"],
        sub_state=said["SubState"],
        file_state=said["UnitFileState"],
        fragment=said["FragmentPath"],
        drop_ins=said["DropInPaths"],
        invocation=said["InvocationID"],
        needs_daemon_reload=said["NeedDaemonReload"] == "yes",
        result=said.get("Result", ""),  # what only some types of units have
        type=said.get("Type", ""),
        stays_active=said.get("RemainAfterExit") == "yes",
        started=float(said["InactiveExitTimestamp"].lstrip("@") or 0),
        # before the first attempt there is no result either, but no time
        skipped=said.get("ConditionResult") == "no" and said.get("ConditionTimestamp", "") != "",
    )


def daemon_reload() -> Step:
    """Make systemd read its unit files again."""
    arguments = {"user_mode": False, "machine": None, "user_name": None}
    return Step("systemd.daemon_reload", arguments, "make systemd read its unit files again")
