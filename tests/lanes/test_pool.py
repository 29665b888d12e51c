"""Spare boxes: the same as any other, used once, replaced in the background, gone at the end."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sandbox.container import ContainerDriver
from sandbox.engine import Engine
from sandbox.job import Job
from sandbox.outcome import Ending
from sandbox.profile import INSTANCE_LABEL, SPARE
from sandbox.supply import Source
from tests.engine_support import IMAGE, LIMITS, SDK_LEAKS, SESSION, Lab, eventually, limited, make_job, open_proxy
from tests.lanes.contract import DriverContract

pytestmark = pytest.mark.engine


class Warm:
    """A driver that keeps two spare boxes, and a look at the engine from outside."""

    def __init__(self, instance: str, spares: int = 2) -> None:
        self.instance = instance
        self.driver = ContainerDriver(instance, IMAGE, 4, spares=spares)
        self.engine = Engine(None, calls=2)

    async def names(self) -> set[tuple[str, int]]:
        found = await self.engine.labelled(INSTANCE_LABEL, self.instance)
        return {(labels["airlock.execution"], int(labels["airlock.attempt"])) for labels in found.values()}

    async def present(self) -> set[tuple[str, int]]:
        return {name for name in await self.names() if not name[0].startswith(SPARE)}

    async def leave_behind(self, execution: str, attempt: int) -> None:
        await Lab(self.driver, self.engine, self.instance).leave_behind(execution, attempt)

    async def full(self, spares: int = 1) -> None:
        async def enough() -> bool:
            return self.driver.supply.pool.spare >= spares

        await eventually(enough)

    def succeeding(self) -> Job:
        return make_job("print(1)")

    def failing(self) -> Job:
        return make_job("1 / 0")

    def endless(self) -> Job:
        """Too large for the spare boxes, so that its own name is seen."""
        return make_job("import time\ntime.sleep(60)", limited(memory_bytes=130 << 20, wall_seconds=60))

    async def close(self) -> None:
        await self.driver.close()
        assert await self.names() == set()
        await self.engine.close()


@pytest_asyncio.fixture
async def warm() -> AsyncIterator[Warm]:
    opened = Warm(f"{SESSION}-warm")
    await opened.driver.expect(IMAGE, None, None, LIMITS)
    await opened.full()
    yield opened
    await opened.close()


class TestContract(DriverContract):
    """What a driver promises, it promises with spare boxes too."""

    @pytest.fixture
    def world(self, warm: Warm) -> Warm:
        return warm


async def test_a_program_enters_a_box_that_is_there_already(warm: Warm) -> None:
    outcome = await warm.driver.run(make_job("print(1)"))
    phases = dict(outcome.timings)
    assert outcome.stdout.text == "1\n"
    assert "acquire" in phases
    assert "create" not in phases
    assert warm.driver.supply.sources[Source.SPARE] == 1


async def test_every_program_has_a_box_of_its_own(warm: Warm) -> None:
    code = "import os\nprint(os.path.exists('/tmp/x'))\nopen('/tmp/x', 'w').close()"
    for _ in range(3):
        await warm.full()
        assert (await warm.driver.run(make_job(code))).stdout.text == "False\n"
    assert warm.driver.supply.sources[Source.SPARE] == 3


async def test_what_a_box_is_made_of_must_be_what_the_job_asks_for(warm: Warm) -> None:
    outcome = await warm.driver.run(make_job("print(1)", limited(memory_bytes=64 << 20)))
    assert "create" in dict(outcome.timings)
    await warm.full()
    outcome = await warm.driver.run(make_job("print(1)", limited(wall_seconds=3, output_bytes=8192)))
    assert "acquire" in dict(outcome.timings)  # these two are not the engine's affair


async def test_a_spare_box_is_what_a_new_one_is(warm: Warm) -> None:
    (spare,) = await warm.engine.labelled(INSTANCE_LABEL, warm.instance)
    other = Warm(f"{SESSION}-cold", spares=0)
    running = asyncio.create_task(other.driver.run(make_job("import time\ntime.sleep(60)")))

    async def started() -> bool:
        return bool(await other.names())

    await eventually(started)
    (new,) = await other.engine.labelled(INSTANCE_LABEL, other.instance)
    assert await _spec(warm.engine, spare) == await _spec(other.engine, new)
    running.cancel()
    await asyncio.wait({running})
    await other.close()


async def _spec(engine: Engine, container: str) -> str:
    """All that the engine knows of a container, save what is its own name and its own history."""
    inspected: dict[str, Any] = await engine._call(5, lambda client: client.inspect_container(container))  # noqa: SLF001 - whole
    inspected["Config"].pop("Labels")
    kept = {name: inspected[name] for name in ("Config", "HostConfig", "Mounts", "Image", "AppArmorProfile", "Driver")}
    return json.dumps(kept, sort_keys=True)


async def test_a_spare_box_that_died_is_not_noticed_by_its_program(warm: Warm) -> None:
    (spare,) = await warm.engine.labelled(INSTANCE_LABEL, warm.instance)
    await warm.engine.kill(spare)
    outcome = await warm.driver.run(make_job("print(1)"))
    assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "1\n")


async def test_the_janitor_leaves_spare_boxes_alone(warm: Warm) -> None:
    assert await warm.driver.reap(frozenset()) == 0
    assert len(await warm.names()) == 1


async def test_there_are_never_more_than_allowed_and_demand_decides_which(warm: Warm) -> None:
    jobs = [make_job("print(1)", limited(memory_bytes=(64 + number) << 20)) for number in range(4)]
    for job in jobs:
        await warm.driver.run(job)
    await warm.full(2)
    await asyncio.sleep(1)
    assert warm.driver.supply.pool.spare <= 2
    outcome = await warm.driver.run(make_job("print(1)", jobs[-1].limits))
    assert "acquire" in dict(outcome.timings)


async def test_a_cancelled_job_takes_its_spare_box_with_it(warm: Warm) -> None:
    (before,) = await warm.names()
    running = asyncio.create_task(warm.driver.run(make_job("import time\ntime.sleep(60)")))
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert before not in await warm.names()


@SDK_LEAKS
async def test_an_engine_that_is_away_empties_the_pool_and_its_return_fills_it() -> None:
    async with open_proxy() as proxy:
        await proxy.up()
        driver = ContainerDriver(f"{SESSION}-away", IMAGE, 2, spares=1, address=proxy.address)
        await driver.expect(IMAGE, None, None, LIMITS)

        async def full() -> bool:
            return driver.supply.pool.spare == 1

        await eventually(full)
        await proxy.down()
        assert (await driver.run(make_job("print(1)"))).ending is Ending.LOST
        assert driver.supply.pool.spare == 0
        await proxy.up()
        assert (await driver.run(make_job("print(1)"))).ending is Ending.SUCCEEDED
        await eventually(full)
        await driver.close()
    gc.collect()
