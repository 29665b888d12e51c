"""What a run must show: each bar as a ratio of two subjects of the same run, or a size. Pure.

The bars are the project's promises about speed; a run is judged against them, never against a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from bench.results import Results
from bench.stats import Ratio, Rounds, flat, ratio

MEGABYTE: Final = 1_000_000
TIMES: Final = "\N{MULTIPLICATION SIGN}"


class Verdict(StrEnum):
    """What becomes of a bar."""

    MOONSHOT = "moonshot"
    HOLDS = "holds"
    FAILS = "does not hold"
    UNKNOWN = "not measured"


@dataclass(frozen=True, slots=True)
class Measure:
    """What a bar is about: the names of what has to be measured for it, and what is made of that."""

    subjects: tuple[str, ...]
    of: Callable[[Results], Ratio | None]


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise. `most` says that less is better; `slack` widens the bar in a short run, which noise can bend."""

    name: str
    what: str
    measure: Measure
    bar: float
    moonshot: float
    most: bool = True
    unit: str = TIMES
    slack: float = 1.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A bar and what came of it; `found` is None for what was not measured. `known` is why it is known not to hold."""

    bar: Bar
    found: Ratio | None
    verdict: Verdict
    known: str = ""

    @property
    def as_expected(self) -> bool:
        """Whether it holds, or is known not to. What was not measured is no surprise: the table says so."""
        return self.verdict is Verdict.UNKNOWN or (self.verdict is Verdict.FAILS) == bool(self.known)


def _latency(this: str, that: str) -> Measure:
    return Measure(
        (this, that), lambda results: _ratio(results.latencies.get(this, []), results.latencies.get(that, []))
    )


def _rate(this: str, that: str) -> Measure:
    return Measure((this, that), lambda results: _ratio(results.best_rates(this), results.best_rates(that)))


def _rate_at(level: int, this: str, that: str) -> Measure:
    return Measure((this, that), lambda results: _ratio(results.rates_at(this, level), results.rates_at(that, level)))


def _size(name: str) -> Measure:
    def megabytes(results: Results) -> Ratio | None:
        size = results.sizes.get(name)
        return None if size is None else Ratio(*(size / MEGABYTE,) * 3)

    return Measure(("memory",), megabytes)


def _history(*pairs: tuple[str, str]) -> Measure:
    """The slower of the pairs, which are all measured together."""

    def worst(results: Results) -> Ratio | None:
        found = [one for pair in pairs if (one := _latency(*pair).of(results)) is not None]
        return max(found, key=lambda one: one.value, default=None)

    return Measure(("store",), worst)


def _ratio(these: Rounds, those: Rounds) -> Ratio | None:
    return ratio(these, those) if flat(these) and flat(those) else None


BARS: Final = (
    Bar(
        "monty-p50",
        "Monty lane, p50 over HTTP, checks remembered, against the bare endpoint that only calls Monty",
        _latency("monty-cached", "bare"),
        bar=2.5,
        moonshot=1.5,
        slack=1.4,
    ),
    Bar(
        "monty-rate",
        "Monty lane, programs per second of 32 clients, against the same",
        _rate_at(32, "monty-cached", "bare"),
        bar=0.5,
        moonshot=0.8,
        most=False,
        slack=1.4,
    ),
    Bar(
        "box-p50",
        "warm single-use box, p50 over HTTP, against a fork over an attached stream",
        _latency("box-warm", "fork"),
        bar=2.5,
        moonshot=1.5,
        slack=1.3,
    ),
    Bar(
        "box-rate",
        "single-use boxes per second, sustained, against the best raw create, start and remove",
        _rate("box-warm", "raw"),
        bar=0.85,
        moonshot=0.95,
        most=False,
        slack=1.3,
    ),
    Bar(
        "cell-p50",
        "cell, p50 over HTTP, against a fork over an attached stream",
        _latency("cell", "fork"),
        bar=2.0,
        moonshot=1.2,
        slack=1.3,
    ),
    Bar(
        "cell-rate",
        "cells per second against the best raw create, start and remove",
        _rate("cell", "raw"),
        bar=20,
        moonshot=50,
        most=False,
        slack=1.3,
    ),
    Bar(
        "pooled-peer",
        "llm-sandbox's pooled run, p50, against a warm box",
        _latency("llm-sandbox", "box-warm"),
        bar=15,
        moonshot=40,
        most=False,
    ),
    Bar(
        "history",
        "p50 with a full store against an empty one, the slower of the lanes",
        _history(("monty-full", "monty-empty"), ("box-full", "box-empty")),
        bar=1.2,
        moonshot=1.05,
        slack=1.15,
    ),
    Bar(
        "gateway-memory",
        "gateway's memory, idle with 4 warm boxes, its Monty workers included",
        _size("gateway-all"),
        bar=200,
        moonshot=120,
        unit=" MB",
    ),
    Bar("box-memory", "a warm box's memory", _size("warm-box"), bar=20, moonshot=10, unit=" MB"),
)


KNOWN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "box-p50": "HTTP, a commit, and what bounds and watches a program take longer than the fork",
        "cell-p50": "as for a box; HTTP and a commit alone are all that the bar leaves beside the fork",
        "cell-rate": "two forks and namespaces in the cell, HTTP, a commit and the engine's stream for each program",
    }
)
"""Bars that are known not to hold, by name, and why. One that holds again is to be taken off: until then the run fails."""


def judge(results: Results, *, short: bool = False) -> list[Judged]:
    """Every bar's verdict. In a `short` run a bar holds within its slack, and one known not to hold has to beat it by that."""
    return [_judged(bar, bar.measure.of(results), short=short) for bar in BARS]


def failed(judged: list[Judged]) -> list[Judged]:
    """Those of which another verdict was expected."""
    return [one for one in judged if not one.as_expected]


def subjects(judged: list[Judged]) -> frozenset[str]:
    """What has to be measured to judge these once more."""
    return frozenset(name for one in judged for name in one.bar.measure.subjects)


def _judged(bar: Bar, found: Ratio | None, *, short: bool) -> Judged:
    known = KNOWN.get(bar.name, "")
    if found is None:
        return Judged(bar, None, Verdict.UNKNOWN, known)
    slack = bar.slack if short else 1.0
    slack = 1 / slack if known else slack
    limit = bar.bar * slack if bar.most else bar.bar / slack
    if not _within(found.value, limit, most=bar.most):
        return Judged(bar, found, Verdict.FAILS, known)
    moonshot = _within(found.value, bar.moonshot, most=bar.most)
    return Judged(bar, found, Verdict.MOONSHOT if moonshot else Verdict.HOLDS, known)


def _within(value: float, limit: float, *, most: bool) -> bool:
    return value <= limit if most else value >= limit
