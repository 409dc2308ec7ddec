"""What comes before what: requirements resolved against what is declared, and a stable order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kbstate.diff import Declared
from kbstate.ledger import Ledger
from kbstate.resource import Change


def requirements(declared: Iterable[Declared]) -> dict[str, tuple[str, ...]]:
    """Address → the declared addresses that it requires directly. Raises DesiredError for one that is not declared."""
    raise NotImplementedError


def order(declared: Sequence[Declared]) -> tuple[Declared, ...]:
    """What is declared, requirements first, as declared where nothing decides. Raises CycleError."""
    raise NotImplementedError


def order_changes(
    changes: Sequence[Change], requires: Mapping[str, Sequence[str]], ledger: Ledger
) -> tuple[Change, ...]:
    """Changes in the order in which apply makes them; what is deleted goes in reverse order of its requirements."""
    raise NotImplementedError
