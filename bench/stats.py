"""Figures of many samples: percentiles, and ratios that noise hits on both sides alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Rounds: TypeAlias = Sequence[Sequence[float]]
"""Samples of one subject, round by round; in each round every subject had its turn."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of `values` lie, interpolated; raises ValueError where there are none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Sequence[float]) -> float:
    """The middle of `values`."""
    return percentile(values, 50)


def flat(rounds: Rounds) -> list[float]:
    """All samples together."""
    return [value for one in rounds for value in one]


def steady_rate(ends: Sequence[float], warm_up: int, count: int) -> float:
    """How many ended in a second, of the `count` after the first `warm_up` ones: neither stock nor run-out counts.

    `ends` are seconds on any clock; raises ValueError where there are too few.
    """
    ordered = sorted(ends)
    if warm_up < 1 or count < 1 or len(ordered) < warm_up + count:
        raise ValueError(f"{len(ordered)} ends do not hold {count} after {warm_up}")
    return count / (ordered[warm_up + count - 1] - ordered[warm_up - 1])


@dataclass(frozen=True, slots=True)
class Summary:
    """What a table shows of many samples, in their own unit."""

    count: int
    p50: float
    p99: float


def summary(rounds: Rounds) -> Summary:
    """The figures of all rounds together."""
    values = flat(rounds)
    return Summary(len(values), percentile(values, 50), percentile(values, 99))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the one is the other: the median over the rounds, and the quartiles around it."""

    value: float
    low: float
    high: float


def ratio(these: Rounds, those: Rounds) -> Ratio:
    """Medians compared round by round: what slowed the machine for a while slowed both sides of its round.

    Rounds in which one side has no sample do not count; raises ValueError where none is left.
    """
    pairs = zip(these, those, strict=False)
    ratios = [median(this) / median(that) for this, that in pairs if this and that]
    return Ratio(median(ratios), percentile(ratios, 25), percentile(ratios, 75))
