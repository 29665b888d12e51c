"""The gate before the boxes keeps the driver's promises, and opens only for what has proven itself."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from sandbox.job import Job
from sandbox.outcome import Ending, Fault
from sandbox.proven import Proof, ProvenDriver
from sandbox.selftest import Target
from tests.engine_support import IMAGE, LIMITS, SDK_LEAKS, EngineProxy, Lab, limited, make_job, open_lab, open_proxy
from tests.lanes.contract import DriverContract

pytestmark = pytest.mark.engine

TARGET = Target(IMAGE, None, LIMITS)


@dataclass
class Gate:
    lab: Lab
    kept: list[Proof] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.driver = ProvenDriver(self.lab.driver, {"default": TARGET}, keep=self._keep)

    async def _keep(self, proof: Proof) -> None:
        self.kept.append(proof)

    def succeeding(self) -> Job:
        return make_job("print(1)")

    def failing(self) -> Job:
        return make_job("1 / 0")

    def endless(self) -> Job:
        return make_job("import time\ntime.sleep(60)", limited(wall_seconds=60))

    async def present(self) -> set[tuple[str, int]]:
        return await self.lab.boxes()

    async def leave_behind(self, execution: str, attempt: int) -> None:
        await self.lab.leave_behind(execution, attempt)


@pytest_asyncio.fixture
async def gate() -> AsyncIterator[Gate]:
    async with open_lab() as lab:
        yield Gate(lab)


class TestContract(DriverContract):
    @pytest_asyncio.fixture
    async def world(self, gate: Gate) -> Gate:
        return gate


async def test_many_jobs_wait_for_one_proof(gate: Gate) -> None:
    outcomes = await asyncio.gather(*(gate.driver.run(gate.succeeding()) for _ in range(5)))
    assert {outcome.ending for outcome in outcomes} == {Ending.SUCCEEDED}
    assert len(gate.kept) == 1
    assert {outcome.posture for outcome in outcomes} == {gate.kept[0].posture.digest}


async def test_a_proof_on_demand_is_a_new_one(gate: Gate) -> None:
    await gate.driver.prove()
    await gate.driver.prove()
    first, second = gate.kept
    assert first.at < second.at
    assert gate.driver.proofs() == {"default": second}


async def test_a_job_that_waits_for_a_proof_can_be_cancelled_and_the_proof_goes_on(gate: Gate) -> None:
    running = asyncio.create_task(gate.driver.run(gate.succeeding()))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    outcome = await gate.driver.run(gate.succeeding())
    assert outcome.ending is Ending.SUCCEEDED
    assert len(gate.kept) == 1


async def test_with_one_box_at_a_time_the_proof_is_made_all_the_same() -> None:
    async with open_lab(boxes=1) as lab:
        gate = Gate(lab)
        await gate.driver.prove()
        assert gate.kept[0].findings == ()


async def test_an_image_that_is_missing_is_the_platforms_fault(gate: Gate) -> None:
    outcome = await gate.driver.run(make_job("1", image="no-such-image:latest"))
    assert (outcome.ending, outcome.fault) == (Ending.LOST, Fault.PLATFORM)
    assert "no-such-image" in outcome.evidence.detail


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[EngineProxy]:
    async with open_proxy() as opened:
        yield opened
    gc.collect()  # what the library left, while this test still forgives it


@SDK_LEAKS
async def test_without_its_engine_nothing_is_proven_and_nothing_runs_until_it_is_back(proxy: EngineProxy) -> None:
    async with open_lab(proxy.address) as lab:
        gate = Gate(lab)
        readiness = await gate.driver.ready()
        assert not readiness.available
        assert readiness.findings == ()
        assert (await gate.driver.run(gate.succeeding())).ending is Ending.LOST
        assert gate.kept == []
        await proxy.up()
        assert (await gate.driver.run(gate.succeeding())).ending is Ending.SUCCEEDED
        assert (await gate.driver.ready()).available
