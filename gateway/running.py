"""A gateway's life: it takes up what an earlier one left, keeps house while it serves, and stops in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp

from gateway.api import create_app
from gateway.conductor import Conductor
from gateway.errors import Unavailable
from gateway.parts import Base, Front, Insight, Keepers, Lanes, Means
from gateway.policy import Profile
from gateway.quantities import format_keeping
from gateway.quotas import day_of
from gateway.reader import Reader
from gateway.records import StoredSize
from gateway.recovery import recover
from gateway.reloading import on_hang_up
from gateway.sizes import BELIEVED
from gateway.sizes import MOST as MOST_SIZES
from gateway.times import now
from sandbox.monty import POSTURE as MONTY_POSTURE

log = logging.getLogger(__name__)

_JANITOR_SECONDS: Final = 30.0
_TENDING_SECONDS: Final = 5.0  # how late a review is passed on or ends, at most
_RETENTION_SECONDS: Final = 30.0
_GRACE_SECONDS: Final = 10.0  # for live executions at a stop; what is left is taken up by the next start


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One gateway."""

    base: Base
    lanes: Lanes
    means: Means
    conductor: Conductor
    keepers: Keepers
    insight: Insight
    front: Front

    def app(self) -> ASGIApp:
        """The gateway as an ASGI application."""
        return create_app(
            self.front.desk,
            self.base.authenticator,
            self.front.limiter,
            running=self.running,
            tracer=lambda: self.base.observer.tracer,
            console=self.front.console.make,
        )

    def let_go(self) -> None:
        """Let all listeners go, so that a server that stops need not wait for them."""
        self.front.watching.stop()
        self.front.console.stop()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what an earlier gateway left, then keep house until the end."""
        for name, profile in self.base.in_force.current.profiles.items():
            log.info("the profile %s keeps %s", name, _kept_words(profile))
        await self.base.store.open()
        self._trace()
        chores = self._chores()
        hang_up = on_hang_up(self.keepers.reloader)
        try:
            await self._take_up()
            yield
        finally:
            hang_up()
            await self._stop(chores)

    def _trace(self) -> None:
        """Draw spans from here on, where somebody wants them: the SDK has a thread, which no fork survives."""
        if self.base.telemetry.traces:
            from gateway.otlp import OtlpTracer  # noqa: PLC0415  # megabytes, and only who sends traces needs them

            try:
                self.base.observer.tracer = OtlpTracer()
            except Exception:
                log.exception("no traces are sent: OpenTelemetry's variables cannot be used")

    def _chores(self) -> list[asyncio.Task[None]]:
        keepers = self.keepers
        return [
            asyncio.create_task(_keep(self._reap, _JANITOR_SECONDS), name="janitor"),
            asyncio.create_task(_keep(keepers.tending.tend, _TENDING_SECONDS), name="reviews"),
            asyncio.create_task(_keep(keepers.pruner.prune, _RETENTION_SECONDS), name="retention"),
            asyncio.create_task(self._prove(), name="self-test"),
            asyncio.create_task(keepers.deliveries.run(), name="letters"),
            asyncio.create_task(self.front.console.gauges.keep(), name="gauges"),
            asyncio.create_task(keepers.reloader.watch(), name="policy"),
        ]

    async def _reap(self) -> int:
        """Remove boxes without a live owner."""
        live = self.conductor.live_attempts()
        return sum([await lane.reap(live) for lane in self.lanes.drivers.values()])

    async def _prove(self) -> None:
        """Let every kind of box prove itself before the first program wants one."""
        await self.lanes.proofs.keep_posture(MONTY_POSTURE)
        await self.insight.readiness.view()

    async def _take_up(self) -> None:
        """Go on where an earlier gateway ended."""
        store, means = self.base.store, self.means
        await self._reap()
        means.sizes.load(reversed(await store.read(_memory_sizes)))
        means.quotas.load(await store.read(lambda reader: reader.uses(day_of(now()))))
        await self.keepers.tending.replan()
        await recover(store, self.conductor, self.base.in_force.current)

    async def _stop(self, chores: list[asyncio.Task[None]]) -> None:
        for chore in chores:
            chore.cancel()
        await self.keepers.pruner.close()
        await self.means.shadow.close()
        await self.conductor.close(_GRACE_SECONDS)
        await self.means.queue.close()
        await asyncio.gather(*chores, return_exceptions=True)
        await asyncio.gather(*(lane.close() for lane in self.lanes.drivers.values()))
        await self.lanes.monty.close()
        await self.means.expectations.close()
        await self.base.store.close()
        if self.base.observer.tracer is not None:
            await self.base.observer.tracer.close()


def _kept_words(profile: Profile) -> str:
    """How long what is kept, for the log of a start."""
    return ", ".join(f"{body} {format_keeping(seconds)}" for body, seconds in profile.retention)


def _memory_sizes(reader: Reader) -> list[StoredSize]:
    return reader.memory_sizes(now() - BELIEVED, MOST_SIZES)


async def _keep(work: Callable[[], Awaitable[int]], seconds: float) -> None:
    """Do `work` for ever, whatever becomes of it; a store that cannot be reached now is tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Unavailable:
            continue
        except Exception:
            log.exception("housekeeping failed, and is tried again")
