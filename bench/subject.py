"""What can be measured, as the plan sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from bench.results import Described

Step: TypeAlias = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """No preparation is needed."""


@dataclass(frozen=True, slots=True)
class Latency:
    """One program after another. `once` returns its seconds, None for a sample that was not what it should be.

    `ready` comes before each sample and `settle` after a batch, neither counted: what a sample leaves to be cleared
    away is done before anybody else is measured.
    """

    name: str
    described: Described
    batch: int
    once: Callable[[], Awaitable[float | None]]
    ready: Step = nothing
    settle: Step = nothing


@dataclass(frozen=True, slots=True)
class Throughput:
    """Many programs at a time: `rate` returns how many ended in a second at a level of concurrency."""

    name: str
    described: Described
    levels: tuple[int, ...]
    rate: Callable[[int], Awaitable[float]]
    settle: Step = nothing
