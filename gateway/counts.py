"""What is counted of executions and reviews for Prometheus. Pure: numbers in memory, as cheap as adding one.

Labels are profiles and words of our own, so that there are as many series as the policy makes. Never an id, never a tenant.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from sandbox.job import Lane

_WAITS: Final = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_STARTS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RUNS: Final = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 1800.0)
_REVIEWS: Final = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0, 259200.0, 604800.0, 1814400.0)
_BYTES: Final = tuple(float(1 << power) for power in range(23, 33))  # 8 MiB to 4 GiB
_NEWEST: Final = 1000  # attempts that the retry ratio looks at


@dataclass(slots=True)
class Histogram:
    """How many values were at most as large as each bound, and their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Each bound as Prometheus writes it, and how many values were not above it."""
        count = 0
        for bound, here in zip((*self.bounds, None), self.counts, strict=True):
            count += here
            yield "+Inf" if bound is None else repr(bound), count


@dataclass(slots=True)
class Counts:
    """Since this gateway started. Seconds and bytes."""

    executions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By profile and outcome, once the answer is on disk."""
    attempts: Counter[str] = field(default_factory=Counter)
    """By why they were made: `first`, or the cause of the attempt before."""
    queue_wait: Histogram = field(default_factory=lambda: Histogram(_WAITS))
    box_start: Histogram = field(default_factory=lambda: Histogram(_STARTS))
    run: dict[Lane, Histogram] = field(default_factory=lambda: {lane: Histogram(_RUNS) for lane in Lane})
    memory_peak: Histogram = field(default_factory=lambda: Histogram(_BYTES))
    budget_exhausted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Reviews opened, by profile and why a person is asked."""
    review_wait: Histogram = field(default_factory=lambda: Histogram(_REVIEWS))
    decided: Counter[str] = field(default_factory=Counter)
    """Reviews that ended, by ruling, or `expired` or `withdrawn`."""
    remembered: int = 0
    """Programs that a person's earlier yes let run without asking again."""
    cache: Counter[str] = field(default_factory=Counter)
    """Looks into the result cache, by `hit` and `miss`."""
    _again: deque[bool] = field(default_factory=lambda: deque(maxlen=_NEWEST))

    def attempted(self, reason: str, *, again: bool) -> None:
        """An attempt begins; `again`: because the platform lost the one before, or gave it too little memory."""
        self.attempts[reason] += 1
        self._again.append(again)

    @property
    def retry_ratio(self) -> float:
        """Which share of the newest thousand attempts was made again by the platform; 0 before the first."""
        return sum(self._again) / len(self._again) if self._again else 0.0
