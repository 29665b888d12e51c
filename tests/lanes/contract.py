"""What every driver promises, whatever it runs jobs on. Each driver's test module runs all of it."""

from __future__ import annotations

import asyncio
from typing import Protocol

import pytest

from sandbox.driver import Driver
from sandbox.job import Job
from sandbox.outcome import Ending, Fault
from tests.engine_support import eventually


class World(Protocol):
    """A driver, programs that it can run, and a way to see what is left of them."""

    driver: Driver

    def succeeding(self) -> Job:
        """A program that ends well."""
        ...

    def failing(self) -> Job:
        """A program that ends with an uncaught exception."""
        ...

    def endless(self) -> Job:
        """A program that would run for longer than the test."""
        ...

    async def present(self) -> set[tuple[str, int]]:
        """What exists of jobs, running or left behind."""
        ...

    async def leave_behind(self, execution: str, attempt: int) -> None:
        """As a driver that was killed while it ran a job."""
        ...


def name(job: Job) -> tuple[str, int]:
    return job.execution, job.attempt


class DriverContract:
    async def test_a_job_becomes_an_outcome(self, world: World) -> None:
        outcome = await world.driver.run(world.succeeding())
        assert (outcome.ending, outcome.fault) == (Ending.SUCCEEDED, Fault.NONE)

    async def test_a_bad_program_is_an_outcome_too(self, world: World) -> None:
        outcome = await world.driver.run(world.failing())
        assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.CODE)
        assert outcome.error is not None

    async def test_many_jobs_run_at_once(self, world: World) -> None:
        outcomes = await asyncio.gather(*(world.driver.run(world.succeeding()) for _ in range(6)))
        assert {outcome.ending for outcome in outcomes} == {Ending.SUCCEEDED}

    async def test_a_cancelled_job_leaves_nothing(self, world: World) -> None:
        job = world.endless()
        running = asyncio.create_task(world.driver.run(job))

        async def exists() -> bool:
            return name(job) in await world.present()

        await eventually(exists)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert name(job) not in await world.present()

    async def test_readiness_tells_the_python(self, world: World) -> None:
        readiness = await world.driver.ready()
        assert readiness.available
        assert readiness.detail
        assert readiness.python is not None
        assert readiness.python.startswith("3.")

    async def test_the_janitor_removes_what_has_no_owner_and_nothing_else(self, world: World) -> None:
        await world.leave_behind("left-a", 1)
        await world.leave_behind("left-b", 2)
        # What an engine holds of others who are gone for ever may go at the same moment, and is counted too.
        assert await world.driver.reap(frozenset({("left-b", 2), ("left-a", 7)})) >= 1
        assert await world.present() == {("left-b", 2)}
        assert await world.driver.reap(frozenset()) >= 1
        assert await world.present() == set()
