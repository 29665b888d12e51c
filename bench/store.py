"""Two gateways that differ in their history alone: an empty store, and one with many executions."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import lanes
from bench.client import Connection
from bench.engine import RawEngine
from bench.history import fill
from bench.lanes import Lanes
from bench.results import Results
from bench.scale import Scale
from bench.servers import Gateway
from bench.subject import Latency

TASK: Final = "history"

# What an agent sends in one task: most of it right, one mistake, one program that needs a box.
PROGRAMS: Final = (
    "print(1)",
    "values = [3, 5, 10]\nsum(values) / len(values)",
    "words = 'the quick brown fox'.split()\nprint(len(words))\nmax(words, key=len)",
    "rows = [{'n': n, 'square': n * n} for n in range(20)]\nrows[-1]",
    "x = [1, 2, 3]\nx[7]",
    "x = [1, 2, 3]\nx[2]",
    "import statistics\nprint(statistics.mean([1, 2, 3, 4]))",
    "total = 0\nfor n in range(1000):\n    total += n\ntotal",
    "def area(r):\n    return 314 * r * r // 100\n\nprint([area(r) for r in range(5)])",
    "print('done')",
)


async def make_stores(folder: Path, rows: int, say: Callable[[str], None], advance: Callable[[int], None]) -> None:
    """Data directories `empty` and `full` below `folder`."""
    say("a first task, to be copied")
    first = Gateway(folder / "first", lanes.policy())
    try:
        await first.start()
        await _record(first)
    finally:
        await first.stop()
    for name in ("empty", "full"):
        (folder / name).mkdir()
        shutil.copytree(first.data, folder / name / "data")
    say(f"a store with {rows} executions")
    await asyncio.to_thread(fill, folder / "full" / "data" / "airlock.db", TASK, rows, advance)
    await asyncio.to_thread(os.sync)  # or it would go on being written while others are measured


async def _record(gateway: Gateway) -> None:
    connection = Connection(gateway.server.port)
    try:
        for program in PROGRAMS:
            await connection.post(lanes.PATH, json.dumps({"code": program, "task_id": TASK}).encode())
    finally:
        await connection.close()


async def store_subjects(
    folder: Path, scale: Scale, raw: RawEngine | None, stack: AsyncExitStack, results: Results
) -> list[Latency]:
    """The lanes of both gateways; the container lane only where boxes are to be measured."""
    subjects = []
    boxes = raw if scale.store_boxes else None
    for name in ("empty", "full"):
        gateway = Gateway(folder / name, lanes.policy(spares=1 if boxes else 0), with_engine=boxes is not None)
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        there = Lanes(gateway, boxes, stack, spares=1 if boxes else 0)
        what = f"{name} store"
        monty = replace(lanes.MONTY_CACHED, title=f"{lanes.MONTY_CACHED.title}, {what}")
        subjects.append(there.latency(f"monty-{name}", monty, scale.store_batch))
        if boxes is not None:
            box = replace(lanes.BOX_WARM, title=f"{lanes.BOX_WARM.title}, {what}")
            subjects.append(there.latency(f"box-{name}", box, scale.store_boxes, lane="container"))
    database = folder / "full" / "data" / "airlock.db"
    results.settings["full store"] = f"{scale.rows} executions, {database.stat().st_size / 1e9:.1f} GB"
    return subjects
