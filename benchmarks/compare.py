"""Contenders side by side: each round runs all in random order, and compares each with the floor of that round."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.field import Sample

Contender = Callable[[], Sample]


@dataclass(frozen=True)
class Row:
    """What a contender came to over all rounds."""

    name: str
    seconds: float
    """Median."""
    ratio: float
    """Median of the ratios to the floor of the same round."""
    spread: tuple[float, float]
    """The smallest and the largest of these ratios."""
    memory: float
    """Median of the peaks, in MiB."""


def rounds(contenders: Mapping[str, Contender], floor: str, count: int, tell: Callable[[str], None]) -> list[Row]:
    """Measure them all so many times; one more round before, which does not count, warms caches."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(count + 1):
        names = random.sample(list(contenders), len(contenders))
        for name in names:
            sample = contenders[name]()
            if number:
                samples[name].append(sample)
        tell(f"  round {number} of {count}" if number else "  warmed up")
    return [row(name, samples[name], samples[floor]) for name in contenders]


def row(name: str, samples: Sequence[Sample], floor: Sequence[Sample]) -> Row:
    """The medians."""
    ratios = sorted(own.seconds / base.seconds for own, base in zip(samples, floor, strict=True))
    return Row(
        name,
        median(sample.seconds for sample in samples),
        median(ratios),
        (ratios[0], ratios[-1]),
        median(sample.memory for sample in samples),
    )


def table(rows: Sequence[Row]) -> str:
    """As people read it."""
    width = max(len(row.name) for row in rows)
    lines = [f"  {'':{width}}   median    ratio   (of rounds)   memory"]
    for row in rows:
        low, high = row.spread
        lines.append(
            f"  {row.name:{width}}  {row.seconds:5.2f} s  {row.ratio:6.2f}   ({low:.2f}-{high:.2f})".ljust(width + 36)
            + f"{row.memory:6.0f} MiB"
        )
    return "\n".join(lines)
