"""The scripted driver keeps the port's promises, and does what its script says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from sandbox.driver import Readiness
from sandbox.job import Job, Lane
from sandbox.outcome import Ending, Outcome, ProgramError
from sandbox.testing import ScriptedDriver
from tests.engine_support import make_job
from tests.lanes.contract import DriverContract

SUCCEEDED = Outcome(ending=Ending.SUCCEEDED, lane=Lane.CONTAINER)
ERROR = ProgramError(type="ValueError", message="x", line=1, traceback="")


async def act(job: Job) -> Outcome:
    if job.code == "sleep":
        await asyncio.sleep(60)
    if job.code == "raise":
        return Outcome(ending=Ending.FAILED, lane=Lane.CONTAINER, error=ERROR)
    return SUCCEEDED


@dataclass
class ScriptedWorld:
    driver: ScriptedDriver = field(default_factory=lambda: ScriptedDriver(act))

    def succeeding(self) -> Job:
        return make_job("pass")

    def failing(self) -> Job:
        return make_job("raise")

    def endless(self) -> Job:
        return make_job("sleep")

    async def present(self) -> set[tuple[str, int]]:
        return self.driver.running | self.driver.leftovers

    async def leave_behind(self, execution: str, attempt: int) -> None:
        self.driver.leftovers.add((execution, attempt))


class TestScriptedDriver(DriverContract):
    @pytest.fixture
    def world(self) -> ScriptedWorld:
        return ScriptedWorld()


async def test_a_script_is_answered_in_order_and_its_end_is_a_lost_job() -> None:
    driver = ScriptedDriver([SUCCEEDED])
    first, second = make_job("1"), make_job("2")
    assert await driver.run(first) is SUCCEEDED
    assert (await driver.run(second)).ending is Ending.LOST
    assert driver.jobs == [first, second]


async def test_a_script_may_be_a_function() -> None:
    driver = ScriptedDriver(lambda job: Outcome(ending=Ending(job.code), lane=Lane.MONTY))
    assert (await driver.run(make_job("timed_out"))).ending is Ending.TIMED_OUT


async def test_readiness_and_close_are_the_tests_to_see() -> None:
    away = Readiness(available=False, detail="away")
    driver = ScriptedDriver(readiness=away)
    assert await driver.ready() is away
    await driver.close()
    assert driver.closed
