"""How much is measured: the long form for the page, the short one for a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Counts and seconds of a run. `batches` are samples by subject and round, `boxes` those of one turn under load."""

    rounds: int
    batches: Mapping[str, int]
    load_rounds: int
    load_seconds: float
    levels: tuple[int, ...]
    box_levels: tuple[int, ...]
    cold_levels: tuple[int, ...]
    raw_levels: tuple[int, ...]
    boxes: int
    rows: int
    store_rounds: int
    store_batch: int
    store_boxes: int
    starts: int


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
    load_rounds=5,
    load_seconds=1.5,
    levels=(1, 8, 32),
    box_levels=(1, 8, 32),
    cold_levels=(8,),
    raw_levels=(1, 2, 4, 8),
    boxes=16,
    rows=1_000_000,
    store_rounds=20,
    store_batch=30,
    store_boxes=3,
    starts=5,
)
SHORT: Final = Scale(
    rounds=5,
    batches={**_BATCHES, "fork": 3, "box-warm": 3, "cell": 3, "box-cold": 1},
    load_rounds=2,
    load_seconds=1.0,
    levels=(32,),
    box_levels=(8,),
    cold_levels=(8,),
    raw_levels=(4, 8),
    boxes=12,
    rows=20_000,
    store_rounds=20,
    store_batch=10,
    store_boxes=0,
    starts=5,
)
