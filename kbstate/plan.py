"""The plan: what apply would do to each host, in order, as a value that is shown, saved, compared and refused. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict

from kbstate.resource import Change
from kbstate.secret import Hasher
from kbstate.selection import Selection

if TYPE_CHECKING:
    from kbstate.collect import Observation
    from kbstate.desired import Host

FORMAT_VERSION = "1"


class HostPlan(BaseModel):
    """What apply would do to one host."""

    model_config = ConfigDict(frozen=True)

    name: str
    reachable: bool = True
    complete: bool = True
    """Whether everything that the run is about could be read."""
    errors: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    """In the order in which apply makes them."""
    unknown: dict[str, str] = {}
    """Address → reason, of what could not be read and of what cannot be decided for that."""
    unchanged: int = 0
    forgotten: tuple[str, ...] = ()
    """Addresses that leave the ledger and stay on the host: they had been there before kbstate."""
    left_out: dict[str, str] = {}
    """Address → reason, of changes that are not made because they require what `--exclude` leaves out."""

    @property
    def digest(self) -> str:
        """Over all that the host's part of the plan says."""
        raise NotImplementedError

    @classmethod
    def failed(cls, name: str, error: str, reachable: bool = True) -> Self:
        """The plan of a host that could not be reached or read."""
        raise NotImplementedError


class Summary(BaseModel):
    """How many resources of all hosts are in which state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    add: int = 0
    change: int = 0
    replace: int = 0
    delete: int = 0
    unknown: int = 0
    unchanged: int = 0


class Plan(BaseModel):
    """The plan of several hosts, as it is printed and saved."""

    model_config = ConfigDict(frozen=True)

    kbstate_version: str
    created_at: str
    hosts: tuple[HostPlan, ...]
    selection: Selection = Selection()

    @classmethod
    def of(cls, hosts: Iterable[HostPlan], selection: Selection, created_at: str | None = None) -> Self:
        """A plan made by this version of kbstate, now."""
        raise NotImplementedError

    @property
    def summary(self) -> Summary:
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """Over canonical JSON without time and versions."""
        raise NotImplementedError

    def to_json(self) -> str:
        """The document of `plan --json` and of a saved plan."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, text: str, path: str = "the plan") -> Self:
        """A saved plan. Raises PlanFileError."""
        raise NotImplementedError

    def exit_code(self, detailed: bool) -> int:
        """4 if anything could not be read, else 2 if `detailed` and there are changes, else 0."""
        raise NotImplementedError


def plan_host(host: Host, observation: Observation, hasher: Hasher, selection: Selection) -> HostPlan:
    """What apply would do to this host, from what was observed. Raises CycleError and other DesiredErrors."""
    raise NotImplementedError


def refuse_unsafe(plan: HostPlan, allow_destroy: Collection[str]) -> None:
    """Raises UnsafePlan if the plan destroys what was not named with `--allow-destroy`."""
    raise NotImplementedError


def moved(saved: HostPlan | Plan, fresh: HostPlan | Plan) -> list[str]:
    """What is different in a plan made anew, a sentence each; empty if the digests are equal."""
    raise NotImplementedError
