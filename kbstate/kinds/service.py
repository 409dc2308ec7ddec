"""A systemd unit as it runs: running, enabled at boot, masked, and with its present files loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from kbstate import loaded
from kbstate.loaded import Watched
from kbstate.resource import AnyRead, Change, Impact, Line, Meta, Read, Resource, Step, Unknown
from kbstate.shell import q
from kbstate.units import UnitName, Units, UnitState, daemon_reload

Trouble = Literal["failed", "crashing"]
"""Observed only: it ended in failure, or dies and is started again and again."""


class Service(Resource):
    """A unit of systemd: `docker` is docker.service; a timer or socket is named with its suffix.

    The unit file belongs to a package, a `unit` or a `file`; deleting a service stops and disables it.
    """

    kind: ClassVar[str] = "service"
    listens: ClassVar[bool] = True

    name: UnitName
    running: bool | Trouble | None = None
    enabled: bool | None = None
    masked: bool | None = None
    unit_files_read: bool | None = True
    """Whether systemd knows its unit file and drop-ins as they are now (`daemon-reload`)."""
    restart_on: Annotated[tuple[Line, ...], Meta()] = ()
    """Addresses of the files that it loads when it starts."""
    reload_on: Annotated[tuple[Line, ...], Meta()] = ()
    """Addresses of the files that it loads when it reloads."""
    interrupts: Annotated[Impact | None, Meta()] = None
    """What a restart or stop interrupts."""
    settles: Annotated[int, Meta(), Field(ge=0, le=60)] = 2
    """Seconds after a start for which it must stay up to be called running."""
    may_skip: Annotated[bool, Meta()] = False
    """Whether it is as declared, too, where its own conditions keep it from starting (a clock that nobody may set)."""

    started_with: str | None = None
    """Digest of the `restart_on` files that it runs with; filled in, not declared."""
    reloaded_with: str | None = None
    """Digest of the `reload_on` files that it runs with; filled in, not declared."""
    start_files: Annotated[tuple[Watched, ...], Meta()] = ()
    reload_files: Annotated[tuple[Watched, ...], Meta()] = ()

    def problems(self) -> Iterator[str]:
        if self.masked and (self.running or self.enabled):
            yield "what is masked can be neither running nor enabled"
        if isinstance(self.running, str):
            yield f"running cannot be declared as {self.running}"

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        start, reload = loaded.watched(self.restart_on, lookup), loaded.watched(self.reload_on, lookup)
        return self.model_copy(
            update={
                "start_files": start,
                "reload_files": reload,
                "started_with": None if self.running is False else loaded.declared_digest(start),
                "reloaded_with": None if self.running is False else loaded.declared_digest(reload),
            }
        )

    def reads(self) -> Mapping[str, AnyRead]:
        start = loaded.reads(f"unit/{self.name}", self.start_files)
        reload = loaded.reads(f"unit/{self.name}.reload", self.reload_files)
        return {
            "state": Read(Units, self.name),
            **{f"start_{name}": read for name, read in start.items()},
            **{f"reload_{name}": read for name, read in reload.items()},
        }

    def observe(self, state: UnitState | None, **files: Any) -> Self | Unknown | None:
        wanted = self.absent or self.running or self.enabled
        if state is None or (wanted and not state.exists and not state.active):
            return None
        if trouble := self._trouble(state):
            return Unknown(trouble)
        running = "crashing" if state.crashing else "failed" if state.active_state == "failed" else state.active
        if self.may_skip and self.running and state.skipped and not running:
            running = self.running
        masked = state.load_state == "masked"
        # its links cannot be seen behind the mask: they are set anew together with unmasking
        enabled = self.enabled if masked else ENABLED.get(state.file_state)
        if self.absent and not running and not enabled:
            return None
        return type(self)(
            name=self.name,
            running=running,
            enabled=enabled,
            masked=masked,
            unit_files_read=not state.needs_daemon_reload,
            started_with=self._loaded(state, self.start_files, self.started_with, "start_", files),
            reloaded_with=self._loaded(state, self.reload_files, self.reloaded_with, "reload_", files),
            interrupts=self.interrupts,
        )

    def _trouble(self, state: UnitState) -> str | None:
        """Why it cannot be compared with what is declared."""
        if state.id != self.name:
            return f"it is another name of {state.id}: declare that"
        if state.load_state == "masked" and self.masked is None and (self.running or self.enabled):
            return "it is masked: declare masked=False to have it unmasked"
        if self.enabled is not None and state.file_state in NEITHER:
            return f"it can be neither enabled nor disabled ({state.file_state}): leave 'enabled' out"
        if self.running and state.type == "oneshot" and not state.stays_active:
            return "it is a oneshot that does not stay active (RemainAfterExit=no): leave 'running' out"
        if self.running is not None and state.moving:
            return f"it was still {state.active_state} ({state.sub_state}) after 5 s: look again later"
        return None

    def _loaded(
        self,
        state: UnitState,
        watched: tuple[Watched, ...],
        declared: str | None,
        prefix: str,
        files: Mapping[str, Any],
    ) -> str | None:
        if not state.active:
            return declared  # whatever starts next loads what is there
        facts = {name.removeprefix(prefix): value for name, value in files.items() if name.startswith(prefix)}
        return loaded.loaded_digest(watched, state.invocation, state.started, facts.pop("stamp", None), facts)

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(retire, {"name": self.name}, "stop and disable it")
            return
        fields = frozenset(self.declared()) if change.action in ("create", "replace") else change.fields
        if change.action != "update" or "unit_files_read" in fields:
            yield daemon_reload()
        if "masked" in fields and not self.masked:
            yield Step(mask, {"name": self.name, "masked": False}, "unmask it")
        if self.enabled is not None and fields & {"enabled", "masked"} and not self.masked:
            yield Step(
                enable, {"name": self.name, "enabled": self.enabled}, "enable it" if self.enabled else "disable it"
            )
        if verb := self._verb(change.action == "create", fields):
            arguments = {"settles": self.settles, "stamps": self._stamps(verb), "may_skip": self.may_skip}
            yield Step(control, {"name": self.name, "verb": verb, **arguments}, f"{verb} it")
        if "masked" in fields and self.masked:
            yield Step(mask, {"name": self.name, "masked": True}, "mask it")

    def _verb(self, create: bool, fields: frozenset[str]) -> str | None:
        if "running" in fields and self.running is False:
            return "stop"
        if create and self.running:  # a package starts its service before our files are there
            return "restart" if self.start_files else "reload-or-restart" if self.reload_files else "start"
        if "running" in fields:
            return "start"
        if "started_with" in fields:
            return "try-restart"
        return "reload" if "reloaded_with" in fields else None

    def _stamps(self, verb: str) -> dict[str, str]:
        """The digests that hold after this verb, by the name of their stamp."""
        held = {f"unit/{self.name}.reload": self.reloaded_with}
        if verb != "reload":
            held[f"unit/{self.name}"] = self.started_with
        return {name: digest for name, digest in held.items() if digest and verb != "stop"}

    def needs(self) -> Iterator[str]:
        yield "package:*"
        stem = self.name.rsplit(".", 1)[0]
        for name in dict.fromkeys((self.name, f"{stem}.service")):
            yield from (f"unit:{name}", f"dropin:{name}/*")
            yield from (f"file:/etc/systemd/system/{name}", f"file:/etc/systemd/system/{name}.d/*")
        yield from (*self.restart_on, *self.reload_on)

    def watches(self) -> Mapping[str, str]:
        return {**dict.fromkeys(self.reload_on, "reloads"), **dict.fromkeys(self.restart_on, "restarts")}

    def impact(self, change: Change) -> Impact | None:
        if change.action == "create" or ("running" in change.fields and self.running):
            return None  # nothing runs yet
        if change.action == "delete" or change.fields & {"running", "started_with"}:
            return self.interrupts
        return "reloads without loss" if "reloaded_with" in change.fields else None


ENABLED: Mapping[str, bool] = {"enabled": True, "disabled": False, "linked": False, "linked-runtime": False, "": False}
"""What `UnitFileState` means for the next boot; `enabled-runtime` means neither: lost at boot, but not disabled."""

NEITHER = frozenset({"static", "indirect", "generated", "transient", "alias", "bad"})
"""States of a unit file that `systemctl enable` and `disable` do not change."""


def enable(name: str, enabled: bool) -> Iterator[str]:
    """Whether it starts at boot. Links in /run would go at boot, so disabling takes them too. Source: systemctl(1)."""
    if enabled:
        yield f"systemctl enable --quiet -- {q(name)}"
        return
    yield "\n".join(
        [
            "set -eu",
            f"systemctl disable --quiet --runtime -- {q(name)} 2>/dev/null || true",
            f"systemctl disable --quiet -- {q(name)}",
        ]
    )


def mask(name: str, masked: bool) -> Iterator[str]:
    """Make it impossible to start, or possible again. Source: systemctl(1)."""
    if masked:
        yield f"systemctl mask --quiet -- {q(name)}"
        return
    yield f"set -eu\nsystemctl unmask --quiet --runtime -- {q(name)}\nsystemctl unmask --quiet -- {q(name)}"


def retire(name: str) -> Iterator[str]:
    """Stop it and take it out of the boot; that its unit file is gone already does not matter."""
    yield "\n".join(
        [
            "set -eu",
            f"u={q(name)}",
            'said() { systemctl show --property="$1" --value -- "$u"; }',
            'systemctl stop -- "$u" || [ "$(said LoadState)" = not-found ]',
            'systemctl reset-failed -- "$u" 2>/dev/null || true',
            'systemctl disable --quiet -- "$u" || [ -z "$(said UnitFileState)" ]',
        ]
    )


def control(name: str, verb: str, settles: int, stamps: Mapping[str, str], may_skip: bool = False) -> Iterator[str]:
    """Start, stop, restart or reload it and see that it stays so: what dies after a second was not started.

    The end of its journal is part of the error. Source: systemctl(1), systemd.exec(5) on INVOCATION_ID.
    """
    head = [
        "set -eu",
        f"u={q(name)}",
        'said() { systemctl show --property="$1" --value -- "$u"; }',
        'fail() { echo "$u $1; the end of its journal:"; journalctl -q --no-pager -o cat -n 15 -u "$u" | cut -c1-300',
        "exit 1; } >&2",
        'systemctl reset-failed -- "$u" 2>/dev/null || true' if verb != "reload" else ":",
        f'systemctl {verb} -- "$u" || fail "did not {verb}"',
    ]
    stopped = [
        'systemctl reset-failed -- "$u" 2>/dev/null || true',
        '[ "$(said ActiveState)" = inactive ] || fail "did not stop"',
    ]
    started = [
        '[ "$(said ConditionResult)" = yes ] || exit 0' if may_skip else ":",
        "i=$(said InvocationID)",
        f'case "$u" in *.service) sleep {int(settles)} ;; esac',
        'a=$(said ActiveState); case "$a" in active|reloading) ;; *) fail "did not stay up: it is $a" ;; esac',
        '[ "$i" = "$(said InvocationID)" ] || fail "died soon after its start and was started again"',
        *(loaded.stamp_script(stamp, "said InvocationID", digest) for stamp, digest in stamps.items()),
    ]
    yield "\n".join(head + (stopped if verb == "stop" else started))
