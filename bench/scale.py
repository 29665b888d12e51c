"""How much is measured: the long form for the page, the short one for a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Counts and seconds of a run. `boxes` are programs by the number of clients that send them to the container lane.

    `batches` are samples by subject and round.
    """

    rounds: int
    batches: Mapping[str, int]
    load_rounds: int
    load_seconds: float
    levels: tuple[int, ...]
    boxes: Mapping[int, int]
    raw_levels: tuple[int, ...]
    raw_boxes: int
    rows: int
    store_rounds: int
    store_boxes: int
    starts: int
    peers: bool


_BATCHES: Final = {
    "monty": 50,
    "bare": 50,
    "monty-cached": 50,
    "monty-uncached": 30,
    "fork": 4,
    "box-warm": 4,
    "cell": 4,
    "box-cold": 2,
    "docker-exec": 3,
    "docker-run": 1,
    "llm-sandbox": 2,
    "jupyter": 10,
}

LONG: Final = Scale(
    rounds=20,
    batches=_BATCHES,
    load_rounds=4,
    load_seconds=1.5,
    levels=(1, 8, 32),
    boxes={1: 4, 8: 24, 32: 40},
    raw_levels=(1, 2, 4),
    raw_boxes=6,
    rows=1_000_000,
    store_rounds=15,
    store_boxes=2,
    starts=5,
    peers=True,
)
SHORT: Final = Scale(
    rounds=6,
    batches={**_BATCHES, "fork": 3, "box-warm": 3, "cell": 3, "box-cold": 1},
    load_rounds=2,
    load_seconds=1.0,
    levels=(32,),
    boxes={8: 16},
    raw_levels=(2, 4),
    raw_boxes=4,
    rows=20_000,
    store_rounds=8,
    store_boxes=0,
    starts=0,
    peers=False,
)
