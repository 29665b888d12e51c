"""Promise: whatever has no live owner is removed, by its labels alone, also after the engine was restarted under us."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from sandbox.engine import Engine
from sandbox.outcome import Ending, Fault
from sandbox.profile import (
    ATTEMPT_LABEL,
    DEADLINE_LABEL,
    EXECUTION_LABEL,
    FOREIGN_GRACE_SECONDS,
    INSTANCE_LABEL,
    EngineFacts,
    container_options,
    orphaned,
)
from tests.engine_support import SDK_LEAKS, SESSION, Lab, eventually, limited, make_job, open_lab
from tests.private_engine import PrivateEngine, open_private_engine

NOW: Final = 2_000_000_000.0
MINE: Final = {INSTANCE_LABEL: "mine", EXECUTION_LABEL: "e", ATTEMPT_LABEL: "2", DEADLINE_LABEL: "1"}
LATE: Final = str(int(NOW - FOREIGN_GRACE_SECONDS - 1))


@pytest.mark.parametrize(
    ("labels", "orphan"),
    [
        (MINE, False),
        (MINE | {ATTEMPT_LABEL: "1"}, True),
        (MINE | {EXECUTION_LABEL: "f"}, True),
        (MINE | {ATTEMPT_LABEL: "two"}, True),
        (MINE | {ATTEMPT_LABEL: "²"}, True),
        (MINE | {ATTEMPT_LABEL: "9" * 5000}, True),
        ({INSTANCE_LABEL: "mine"}, True),
        ({INSTANCE_LABEL: "other", DEADLINE_LABEL: LATE}, True),
        ({INSTANCE_LABEL: "other", DEADLINE_LABEL: str(int(NOW))}, False),
        ({INSTANCE_LABEL: "other", DEADLINE_LABEL: str(int(NOW - FOREIGN_GRACE_SECONDS + 5))}, False),
        ({INSTANCE_LABEL: "other"}, False),
        ({INSTANCE_LABEL: "other", DEADLINE_LABEL: "-5"}, False),
        ({INSTANCE_LABEL: "other", DEADLINE_LABEL: "soon"}, False),
        ({INSTANCE_LABEL: "other", DEADLINE_LABEL: "1" * 5000}, False),
        ({}, False),
    ],
)
def test_only_what_is_certainly_nobodys_is_an_orphan(labels: dict[str, str], orphan: bool) -> None:  # noqa: FBT001
    assert (orphaned(labels, "mine", {("e", 2)}, NOW) is not None) == orphan


async def _box_of(lab: Lab, engine: Engine, instance: str, deadline: float) -> str:
    job = replace(make_job(""), execution=f"{lab.instance}-{instance}")
    options = container_options(
        job, engine=EngineFacts(cgroup_version=1), instance=instance, deadline=deadline, guest="input()"
    )
    container = await engine.create(options)
    await engine.start(container)
    return container


@pytest.mark.engine
async def test_boxes_of_a_gateway_that_is_gone_for_ever_are_removed_by_another() -> None:
    async with open_lab() as lab:
        gone = await _box_of(lab, lab.engine, f"{SESSION}-gone", time.time() - FOREIGN_GRACE_SECONDS - 60)
        alive = await _box_of(lab, lab.engine, f"{SESSION}-alive", time.time() + 60)
        await lab.driver.reap(frozenset())
        left = await lab.engine.labelled(INSTANCE_LABEL)
        assert gone not in left
        assert alive in left
        await lab.engine.remove(alive)


@pytest.fixture(scope="module")
def own_engine() -> Iterator[PrivateEngine]:
    with open_private_engine() as engine:
        yield engine


@pytest.mark.engine
@pytest.mark.parametrize("live_restore", [False, True], ids=["boxes-die-with-it", "boxes-outlive-it"])
@SDK_LEAKS
async def test_an_engine_that_is_killed_under_a_run_loses_it_and_nothing_stays(
    own_engine: PrivateEngine,
    live_restore: bool,  # noqa: FBT001
) -> None:
    await asyncio.to_thread(own_engine.stop)
    own_engine.settings = {"live-restore": live_restore}
    await asyncio.to_thread(own_engine.start)
    async with open_lab(own_engine.address) as lab:
        assert (await lab.run("print(1)")).ending is Ending.SUCCEEDED
        running = asyncio.create_task(lab.run("import time\ntime.sleep(60)", limited(wall_seconds=60)))

        async def started() -> bool:
            return b"Up" in (await asyncio.to_thread(own_engine.docker, "ps")).stdout

        await eventually(started)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_engine.kill)
        lost = await running
        assert (lost.ending, lost.fault) == (Ending.LOST, Fault.PLATFORM)
        assert (await lab.run("print(2)")).ending is Ending.LOST
        await asyncio.to_thread(own_engine.start)
        outcome = await lab.run("print(3)")
        assert outcome.stdout.text == "3\n"

        async def nothing_left() -> bool:
            await lab.driver.reap(frozenset())
            return not (await asyncio.to_thread(own_engine.docker, "ps", "--all", "--quiet")).stdout

        await eventually(nothing_left)
    gc.collect()
