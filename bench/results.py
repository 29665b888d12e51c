"""What one run measured, as plain data: read by the bars, the page, the chart and the JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from bench.stats import Rounds, flat, median, summary


@dataclass(frozen=True, slots=True)
class Described:
    """A subject in words: `isolation` is what stands between two programs of two callers there."""

    title: str
    isolation: str
    kind: str  # "ours", "floor" or "peer"


@dataclass(slots=True)
class Results:
    """Seconds, programs per second and bytes, by the subjects' names.

    `rates` has for each subject and each level of concurrency one rate of each round. `missing` says why a subject
    was not measured.
    """

    subjects: dict[str, Described] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    latencies: dict[str, list[list[float]]] = field(default_factory=dict)
    rates: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def best_level(self, name: str) -> int | None:
        """The concurrency at which a subject is fastest, by the median of its rounds."""
        levels = {level: rates for level, rates in self.rates.get(name, {}).items() if rates}
        return max(levels, key=lambda level: median(levels[level])) if levels else None

    def best_rates(self, name: str) -> Rounds:
        """The rates at the best level, as rounds of one sample."""
        level = self.best_level(name)
        return [] if level is None else self.rates_at(name, level)

    def rates_at(self, name: str, level: int) -> Rounds:
        """The rates at one level, as rounds of one sample."""
        return [[rate] for rate in self.rates.get(name, {}).get(level, [])]

    def add(self, more: Results) -> None:
        """Put the rounds of another run, of some of the same subjects, behind those of this one; sizes are the latest."""
        for name, rounds in more.latencies.items():
            self.latencies.setdefault(name, []).extend(rounds)
        for name, levels in more.rates.items():
            for level, rates in levels.items():
                self.rates.setdefault(name, {}).setdefault(level, []).extend(rates)
        self.sizes |= more.sizes
        self.missing |= more.missing

    def plain(self) -> dict[str, object]:
        """All of it as what JSON knows, with the summaries."""
        return {
            **asdict(self),
            "summaries": {name: asdict(summary(rounds)) for name, rounds in self.latencies.items() if flat(rounds)},
            "rate_medians": _medians(self.rates),
        }


def _medians(rates: Mapping[str, Mapping[int, list[float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {str(level): median(values) for level, values in levels.items() if values}
        for name, levels in rates.items()
    }
