"""The queue before the boxes: bounded, in `turns`' order, closed while the engine is away.

Effects are futures, one clock and the probe that it is given; it knows no store and no program.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from gateway.breaker import Breaker
from gateway.errors import QueueFull
from gateway.retries import RetryPace
from gateway.turns import Ticket, Turns
from sandbox.outcome import Loss

log = logging.getLogger(__name__)

_FIRST_HOLD_SECONDS: Final = 1.0  # that a box is taken to be busy with one program, before any was seen
_NEWEST_SHARE: Final = 0.1  # of the newest program in the mean that the wait is foretold from


class TooLong(Exception):
    """The turn did not come in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`places` boxes at once, `length` programs that wait at most, none of them longer than `age_seconds`.

    Retries add at most `retry_share` to the load.
    """

    places: int
    length: int
    age_seconds: float
    retry_share: float


class Queue:
    """One engine's queue.

    `memory_bytes` tells what all boxes together may use, None while unknown; `probe` tries one harmless box.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        memory_bytes: Callable[[], int | None],
        probe: Callable[[], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breaker = Breaker()
        self.pace = RetryPace(bounds.retry_share)
        self.turns = Turns(bounds.places)
        self.bounds = bounds
        self.refused = 0
        self._memory_bytes = memory_bytes
        self._probe = probe
        self._clock = clock
        self._called: dict[str, asyncio.Future[None]] = {}
        self._began: dict[str, float] = {}
        self._hold = _FIRST_HOLD_SECONDS
        self._mending: asyncio.Task[None] | None = None
        self._borrowed: Ticket | None = None
        self._recall: Callable[[], object] | None = None

    @property
    def oldest_seconds(self) -> float:
        """How long the one waits that waits longest."""
        return self.turns.oldest_seconds(self._clock())

    def foretold_seconds(self) -> float:
        """How long one that comes now would wait, going by how long programs kept their boxes lately."""
        running = self.turns.running - (self._borrowed is not None)
        ahead = self.turns.waiting + 1 - (self.bounds.places - running)
        return max(0.0, ahead * self._hold / self.bounds.places)

    def enter(self, ticket: Ticket, *, must: bool) -> bool:
        """Draw a ticket, and say whether it is its turn already. `must`: it was promised, so the bounds do not hold.

        Raises `QueueFull` where too many wait, or so long that this one's time would be over before its turn.
        """
        foretold = self.foretold_seconds()
        if not must and (self.turns.waiting >= self.bounds.length or foretold > self.bounds.age_seconds):
            self.refused += 1
            raise QueueFull(
                f"{self.turns.waiting} programs wait for a box.",
                extra={"limit": "engine.queue", "waiting": self.turns.waiting},
                retry_after_seconds=max(1, math.ceil(min(foretold, self.bounds.age_seconds))),
            )
        self.turns.draw(ticket)
        self._call()
        if ticket.name in self._began:
            return True
        if self._recall is not None:
            self._recall()
        return False

    def borrow(self, ticket: Ticket) -> bool:
        """Have a turn that nobody wants now, one at a time; False where somebody may. Who borrows must `give_back`.

        One place more stays free where there are several, so that the next program that comes finds one.
        """
        bound = self.bounds.places - min(2, self.bounds.places)
        if self._borrowed is not None or self.turns.waiting or self.turns.running > bound:
            return False
        self.turns.draw(ticket)
        self._call()
        if ticket.name not in self._began:
            self.turns.leave(ticket.name)
            return False
        self._borrowed = ticket
        return True

    def lent(self, recall: Callable[[], object]) -> None:
        """`recall` is called when somebody has to wait while a turn is borrowed."""
        self._recall = recall

    def give_back(self, ticket: Ticket) -> None:
        """End what was borrowed. It says nothing of the engine, nor of how long programs keep their boxes."""
        self._borrowed = self._recall = None
        self.leave(ticket, ran=False)

    async def turn(self, ticket: Ticket, within_seconds: float) -> None:
        """Wait for the turn; raises `TooLong`. Whoever stops waiting, or was served, must `leave`."""
        if ticket.name in self._began:
            return
        called = self._called[ticket.name] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within_seconds):
                await called
        except TimeoutError:
            if ticket.name not in self._began:
                raise TooLong from None
        finally:
            self._called.pop(ticket.name, None)

    def leave(self, ticket: Ticket, *, ran: bool, loss: Loss | None = None) -> None:
        """Give the turn, or the place in line, back. `ran`: an attempt was made, and `loss` is what failed under it."""
        began, now = self._began.pop(ticket.name, None), self._clock()
        self.turns.leave(ticket.name)
        if ran:
            if began is not None and loss is None:
                self._hold += _NEWEST_SHARE * (now - began - self._hold)
            self.breaker.saw(loss, now)
            self._mend()
        self._call()

    async def close(self) -> None:
        """Probe no more."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait({self._mending})

    def _call(self) -> None:
        """Let in whoever may."""
        while self.breaker.state == "closed":
            ticket = self.turns.next(self._memory_bytes(), self._clock())
            if ticket is None:
                return
            self._began[ticket.name] = self._clock()
            called = self._called.get(ticket.name)
            if called is not None and not called.done():
                called.set_result(None)

    def _mend(self) -> None:
        if self.breaker.state == "open" and (self._mending is None or self._mending.done()):
            log.error("the engine is away: programs wait until a probe runs there")
            self._mending = asyncio.create_task(self._until_closed(), name="breaker", context=Context())

    async def _until_closed(self) -> None:
        while self.breaker.state != "closed":
            await asyncio.sleep(self.breaker.probe_at - self._clock())
            self.breaker.begin_probe()
            self.breaker.probed(well=await self._probe(), now=self._clock())
        log.warning("the engine is back: programs run again")
        self._call()
