"""Waiting for a box: the pause before another try, the place in the queue, and how long an execution can wait there."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from gateway.causes import Cause
from gateway.commits import Commits
from gateway.observer import Observer
from gateway.queue import Queue, TooLong
from gateway.retries import backoff_seconds
from gateway.turns import Ticket
from gateway.work import Work
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Outcome


class Waiting:
    """One gateway's executions before their turn in a box. `chance` is between 0 and 1, new at each call."""

    def __init__(self, *, queue: Queue, commits: Commits, observer: Observer, chance: Callable[[], float]) -> None:
        self._queue = queue
        self._commits = commits
        self._observer = observer
        self._chance = chance

    async def pause(self, work: Work) -> None:
        """Wait before another try of what the platform lost: by chance, by what all retries may add, by what was asked for."""
        attempts = work.execution.attempts
        if not attempts:
            self._queue.pace.first()
        if not attempts or attempts[-1].ending is not Ending.LOST:
            return
        await self._commits.record(work)
        asked = work.outcome.evidence.retry_after_seconds if work.outcome else None
        backoff = backoff_seconds(work.execution.losses, work.profile.retries, self._chance())
        await asyncio.sleep(max(backoff, asked or 0.0, self._queue.pace.again_seconds(time.monotonic())))

    async def turn(self, work: Work, ticket: Ticket) -> Cause | None:
        """Return when it is the turn of who drew the ticket: None, or why it does not come. Raises `QueueFull` at once.

        Whatever comes of it, whoever asked must `leave`.
        """
        began = time.perf_counter()
        if self._queue.enter(ticket, must=_had_a_box(work) or await self._commits.is_told(work)):
            self._observer.waited(work, 0.0)
            return None
        work.placed.set()
        await self._commits.record(work)
        start_in, age = _start_in(work), self._queue.bounds.age_seconds
        try:
            await self._queue.turn(ticket, min(start_in, age))
        except TooLong:  # not by the clock: a timer may be a little early
            return Cause.EXPIRED if start_in <= age else Cause.QUEUE_TOO_LONG
        finally:
            self._observer.waited(work, time.perf_counter() - began)
        return None

    def leave(self, ticket: Ticket, ran: Outcome | None) -> None:
        """Give the turn, or the place in the queue, back, with what came of it; None where nothing was run."""
        self._queue.leave(ticket, ran=ran is not None, loss=ran.evidence.loss if ran else None)


def ticket_of(work: Work, limits: Limits) -> Ticket:
    """What an execution has in its hand from now on, while it waits for a box of these limits."""
    return Ticket(work.id, work.tenant, work.request.priority, limits.memory_bytes, time.monotonic())


def _had_a_box(work: Work) -> bool:
    """Then it is not refused for want of one: it ran, and whoever asks again would have it run anew."""
    return any(attempt.lane is Lane.CONTAINER for attempt in work.execution.attempts)


def _start_in(work: Work) -> float:
    """Seconds until it has to have started; for ever where its caller does not mind."""
    within = work.request.start_within
    return math.inf if within is None or work.execution.attempts else work.began + within - time.monotonic()
