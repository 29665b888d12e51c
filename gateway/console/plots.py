"""Plots of the gateway's own counters, as the numbers that an inline SVG needs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from gateway.gauges import SECONDS, Look

WIDTH, HEIGHT = 600, 140
_POINTS: Final = 120
_HUES: Final = 6  # colours that the stylesheet has for lines


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its points as an SVG has them, and its latest value."""

    name: str
    hue: int
    points: str
    latest: str


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot; `most` is the value at its top."""

    title: str
    unit: str
    lines: Sequence[Line]
    most: str
    minutes: int

    @property
    def told(self) -> str:
        """The plot in words."""
        latest = ", ".join(f"{line.name} {line.latest}" for line in self.lines) or "nothing yet"
        return f"{self.title}, now: {latest}"


def plots(looks: Sequence[Look]) -> list[Plot]:
    """All plots of the overview."""
    return [
        _plot("Runs by lane", "a minute", looks, _rates(looks, "airlock_run_seconds_count", "lane")),
        _plot("Runs by outcome", "a minute", looks, _rates(looks, "airlock_executions_total", "outcome")),
        _plot(
            "Queue",
            "programs",
            looks,
            {
                "wait for a box": _values(looks, "airlock_queue_executions"),
                "live": _values(looks, "airlock_executions_live"),
            },
        ),
        _plot(
            "Boxes",
            "boxes",
            looks,
            {
                "spare": _values(looks, "airlock_boxes_spare"),
                "cells at rest": _values(looks, "airlock_cells_resting"),
            },
        ),
        _plot(
            "Hit rate",
            "% since the start",
            looks,
            {
                "boxes that were there already": _share(
                    looks, "airlock_boxes_acquired_total", "source", {"spare", "cell"}
                ),
                "results that were known": _share(looks, "airlock_cache_lookups_total", "result", {"hit"}),
            },
            most=100.0,
        ),
        _plot(
            "Engine's breaker",
            "0 closed, 1 half open, 2 open",
            looks,
            {"state": _values(looks, "airlock_breaker_state")},
            most=2.0,
        ),
    ]


def _values(looks: Sequence[Look], name: str) -> list[float]:
    return [sum(value for (sample, _), value in look.values.items() if sample == name) for look in looks]


def _rates(looks: Sequence[Look], name: str, label: str) -> dict[str, list[float]]:
    """How many a minute, by the value of a label."""
    sums = [_by_label(look, name, label) for look in looks]
    names = sorted({one for each in sums for one in each})
    return {one: _derived(looks, [each.get(one, 0.0) for each in sums]) for one in names}


def _by_label(look: Look, name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for (sample, pairs), value in look.values.items():
        if sample == name and (key := dict(pairs).get(label)) is not None:
            found[key] = found.get(key, 0.0) + value
    return found


def _derived(looks: Sequence[Look], values: Sequence[float]) -> list[float]:
    steps = zip(looks, looks[1:], values, values[1:], strict=False)
    rates = [
        max(0.0, late - early) / max(after.at - before.at, SECONDS / 2) * 60 for before, after, early, late in steps
    ]
    return [0.0, *rates]


def _share(looks: Sequence[Look], name: str, label: str, good: AbstractSet[str]) -> list[float]:
    """How much of all counted so far has one of the good values, in percent."""
    shares = []
    for look in looks:
        counts = _by_label(look, name, label)
        whole = sum(counts.values())
        shares.append(100 * sum(counts.get(one, 0.0) for one in good) / whole if whole else 0.0)
    return shares


def _plot(
    title: str, unit: str, looks: Sequence[Look], series: Mapping[str, Sequence[float]], *, most: float | None = None
) -> Plot:
    thinned = {name: _thinned(values, max) for name, values in series.items()}
    top = most or _round_up(max((max(values, default=0.0) for values in thinned.values()), default=0.0))
    lines = [
        Line(name, number % _HUES, _points(values, top), f"{series[name][-1]:.3g}" if series[name] else "0")
        for number, (name, values) in enumerate(thinned.items())
    ]
    minutes = math.ceil((looks[-1].at - looks[0].at) / 60) if looks else 0
    return Plot(title, unit, lines, f"{top:g}", minutes)


def _thinned(values: Sequence[float], of: Callable[[Iterable[float]], float]) -> list[float]:
    step = math.ceil(len(values) / _POINTS) or 1
    return [of(values[start : start + step]) for start in range(0, len(values), step)]


def _points(values: Sequence[float], top: float) -> str:
    if not values:
        return ""
    across = WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{place * across:.1f},{HEIGHT - min(value / top, 1) * HEIGHT:.1f}" for place, value in enumerate(values)
    )


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..."""
    if value <= 1:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= value)
