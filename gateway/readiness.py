"""What the gateway can do now, asked of the real things and remembered for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway import __version__
from gateway.conductor import Conductor
from gateway.database import Trouble
from gateway.errors import Unavailable
from gateway.in_force import InForce
from gateway.queue import Queue
from gateway.store import Store
from gateway.wire_operations import LaneInfo, ReadyView, StoreInfo
from sandbox.driver import Driver
from sandbox.driver import Readiness as LaneReadiness
from sandbox.job import Lane

_TROUBLED_SECONDS = 1.0  # as long is remembered that nothing can be recorded
_REMEMBERED_SECONDS = 5.0  # so that probes by many watchers cost the engine no more than one


class Readiness:
    """One gateway's readiness."""

    def __init__(
        self, *, store: Store, lanes: Mapping[Lane, Driver], conductor: Conductor, policy: InForce, queue: Queue
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._conductor = conductor
        self._policy = policy
        self._queue = queue
        self._asked: dict[Lane, tuple[float, LaneReadiness]] = {}
        self._asking = asyncio.Lock()
        self._probed: tuple[float, Trouble | None] | None = None
        self._probing = asyncio.Lock()

    async def lane(self, lane: Lane) -> LaneReadiness:
        """Whether a lane can run programs."""
        async with self._asking:
            at = asyncio.get_running_loop().time()
            known = self._asked.get(lane)
            if known is None or at - known[0] > _REMEMBERED_SECONDS:
                known = (asyncio.get_running_loop().time(), await self._lanes[lane].ready())
                self._asked[lane] = known
            return known[1]

    async def store(self) -> StoreInfo:
        """Whether something can be recorded, by recording something."""
        async with self._probing:
            at = asyncio.get_running_loop().time()
            known = self._probed
            seconds = _TROUBLED_SECONDS if self._store.trouble or (known and known[1]) else _REMEMBERED_SECONDS
            if known is None or at - known[0] > seconds:
                known = self._probed = (at, await self._store.probe())
            trouble = self._store.trouble or known[1]
        return StoreInfo(writable=trouble is None, reason=trouble.value if trouble else None)

    async def view(self) -> ReadyView:
        """The gateway is ready when it can record and run at least in one lane."""
        lanes = {lane: await self.lane(lane) for lane in self._lanes}
        try:
            reviews = await self._store.read(lambda reader: reader.open_reviews())
        except Unavailable:
            reviews = None
        store = await self.store()
        findings = [finding for one in lanes.values() for finding in one.findings]
        return ReadyView(
            ready=store.writable
            and reviews is not None
            and not findings
            and any(one.available for one in lanes.values()),
            findings=findings,
            store=store,
            lanes={
                lane: LaneInfo(available=one.available, detail=one.detail, python=one.python)
                for lane, one in lanes.items()
            },
            live_executions=len(self._conductor.live_attempts()),
            open_reviews=reviews,
            breaker=self._queue.breaker.state,
            queued=self._queue.turns.waiting,
            policy=self._policy.current.name,
            version=__version__,
        )
