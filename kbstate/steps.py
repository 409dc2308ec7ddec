"""Which steps make which changes, and which changes one step makes together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from kbstate.resource import Change, Preflight, Resource, Step


def subject(change: Change) -> Resource:
    """The resource that knows the steps: what is declared, or what is there and must go."""
    resource = change._observed if change.action == "delete" else change._desired or change._observed
    assert resource is not None
    return resource


def preflights(change: Change) -> Iterator[Preflight]:
    """What must hold before, as far as no step makes sure of it by itself."""
    if change._desired is not None and not change.after_unknown:
        yield from (check for check in change._desired.preflight(change) if not check.in_step)


def together(
    change: Change, following: Sequence[Change], blocked: Callable[[Change], bool]
) -> tuple[list[Change], Step | None]:
    """The change with those right behind it that the same step can make, such as packages, and that step.

    None where the change has steps of its own.
    """
    first = _single(change)
    if first is None or first.together is None:
        return [change], None
    key = first.together
    group, joined = [change], list(_items(first, key))
    for other in following:
        step = _single(other)
        if step is None or blocked(other) or not _alike(first, step, key):
            break
        group.append(other)
        joined += _items(step, key)
    return group, Step(first.op, {**first.args, key: joined}, first.why, key)


def _single(change: Change) -> Step | None:
    """The step of a change that has just one."""
    if change.after_unknown:
        return None
    steps = list(subject(change).steps(change))
    return steps[0] if len(steps) == 1 else None


def _items(step: Step, key: str) -> Iterator[object]:
    value = step.args[key]
    assert isinstance(value, list | tuple)
    yield from value


def _alike(first: Step, other: Step, key: str) -> bool:
    """Whether the two differ in nothing but the items that may be joined."""

    def rest(step: Step) -> Mapping[str, object]:
        return {name: value for name, value in step.args.items() if name != key}

    return other.together == key and other.op == first.op and rest(other) == rest(first)
