"""Promise: an execution can be cancelled at any moment, also before the gateway took its first step with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.callers import Caller, Role
from gateway.composition import compose
from gateway.events import Status
from gateway.requests import ExecutionRequest
from gateway.settings import Address, Settings
from gateway.store import migrate


async def test_what_is_cancelled_before_its_first_step_is_answered(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, listen=Address("127.0.0.1", 8080))
    gateway = compose(settings)
    migrate(settings.database)
    await gateway.base.store.open()
    try:
        caller = Caller("ada", "team-a", "default", frozenset({Role.AGENT}))
        submitting = asyncio.create_task(
            gateway.front.desk.submit(caller, ExecutionRequest(code="1"), idempotency_key=None, wait_seconds=None)
        )
        while not (live := gateway.conductor.live_attempts()):  # noqa: ASYNC110  # a moment between two steps is wanted
            await asyncio.sleep(0)
        [(execution, _)] = live
        assert await gateway.conductor.cancel(execution, "ada")
        assert (await asyncio.wait_for(submitting, 10)).status is Status.CANCELLED
    finally:
        await gateway.lanes.monty.close()
        await gateway.base.store.close()
