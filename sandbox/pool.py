"""Spare boxes: started, unused, waiting for exactly one program each.

Owns how many there are of which kind, and when they are made. What a box is, and what runs in it, is not its affair.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final

from sandbox.box import Box, Removals
from sandbox.engine import EngineError
from sandbox.job import Limits

SPARE_SECONDS: Final = 600.0  # that a kind which nobody asks for is kept, and that one box waits at most
TROUBLE_SECONDS: Final = 2.0  # before the next try, after the engine refused one
REFILLS_AT_ONCE: Final = 2
REFILL_PAUSE_SECONDS: Final = (
    0.1  # after a box was taken: to make one is more work than most programs are, which run now
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """What two jobs must have in common to run in the same box: all that a box is created with.

    `preload` None is a box of one program, else a cell's.
    """

    image: str
    runtime: str | None
    limits: Limits
    preload: tuple[str, ...] | None = None


@dataclass(slots=True)
class Tally:
    """How often something was done, and how long it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count it once more."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class _Shelf:
    """The spare boxes of one kind, oldest first, with the time each was made."""

    boxes: deque[tuple[float, Box]] = field(default_factory=deque)
    wanted: int = 0
    making: int = 0
    asked_at: float = field(default_factory=time.monotonic)


class Pool:
    """At most `size` spare boxes of all kinds together; `make` creates and starts one, `idle` says when it may.

    `refills` tallies those that were made.
    """

    def __init__(
        self, size: int, make: Callable[[Kind], Awaitable[Box]], idle: Callable[[], bool], removals: Removals
    ) -> None:
        self.refills = Tally()
        self._size = size
        self._make = make
        self._idle = idle
        self._shelves: dict[Kind, _Shelf] = {}
        self._work = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._refills: set[asyncio.Task[None]] = set()
        self._removals = removals

    def take(self, kind: Kind) -> Box | None:
        """A spare box of this kind, which is the caller's from now on; None where there is none."""
        shelf = self._ask_for(kind)
        while shelf.boxes:
            made_at, box = shelf.boxes.popleft()
            if box.alive and time.monotonic() - made_at < SPARE_SECONDS:
                return box
            self._removals.start(box)
        shelf.wanted = min(shelf.wanted + 1, self._size)
        return None

    def expect(self, kind: Kind) -> None:
        """Have boxes of this kind ready, although nobody asked for one yet."""
        shelf = self._ask_for(kind)
        shelf.wanted = max(shelf.wanted, 1)

    def nudge(self) -> None:
        """Look again whether there is something to do: a run has ended."""
        self._work.set()

    def empty(self) -> None:
        """Give up all spare boxes: they may not be what they were."""
        for shelf in self._shelves.values():
            while shelf.boxes:
                self._removals.start(shelf.boxes.popleft()[1])

    @property
    def spare(self) -> int:
        """How many boxes are waiting."""
        return sum(len(shelf.boxes) for shelf in self._shelves.values())

    async def close(self) -> None:
        """Give up every spare box, also those that are just being made; make no more."""
        if self._keeper is not None:
            self._keeper.cancel()
        for refill in self._refills:
            refill.cancel()
        if self._refills:
            await asyncio.wait(set(self._refills))
        self.empty()

    def _ask_for(self, kind: Kind) -> _Shelf:
        shelf = self._shelves.setdefault(kind, _Shelf())
        shelf.asked_at = time.monotonic()
        if self._size and self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="pool", context=Context())  # of no program
        self._work.set()
        return shelf

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(REFILL_PAUSE_SECONDS)
            self._work.clear()
            self._forget()
            while self._idle() and len(self._refills) < REFILLS_AT_ONCE and (kind := self._next()) is not None:
                self._shelves[kind].making += 1
                refill = asyncio.create_task(self._refill(kind, self._shelves[kind]))
                self._refills.add(refill)
                refill.add_done_callback(self._refilled)
            try:
                async with asyncio.timeout(SPARE_SECONDS / 10):
                    await self._work.wait()
            except TimeoutError:
                continue

    def _refilled(self, refill: asyncio.Task[None]) -> None:
        self._refills.discard(refill)
        self._work.set()

    def _next(self) -> Kind | None:
        """The kind that was asked for last among those that lack boxes; older ones make room for it."""
        by_age = sorted(self._shelves, key=lambda kind: self._shelves[kind].asked_at)
        lacking = [kind for kind in by_age if self._count(kind) < self._shelves[kind].wanted]
        if not lacking:
            return None
        newest = lacking[-1]
        if sum(map(self._count, by_age)) < self._size:
            return newest
        for kind in by_age[: by_age.index(newest)]:
            if self._shelves[kind].boxes:
                self._removals.start(self._shelves[kind].boxes.popleft()[1])
                return newest
        return None

    def _count(self, kind: Kind) -> int:
        return len(self._shelves[kind].boxes) + self._shelves[kind].making

    async def _refill(self, kind: Kind, shelf: _Shelf) -> None:
        began = time.monotonic()
        try:
            box = await self._make(kind)
        except EngineError as error:
            log.info("no spare box could be made: %s", error)
            await asyncio.sleep(TROUBLE_SECONDS)
        else:
            shelf.boxes.append((time.monotonic(), box))
            self.refills.add(time.monotonic() - began)
        finally:
            shelf.making -= 1

    def _forget(self) -> None:
        """Let go of what waited too long, and of kinds that nobody asks for."""
        now = time.monotonic()
        for kind, shelf in list(self._shelves.items()):
            while shelf.boxes and (now - shelf.boxes[0][0] > SPARE_SECONDS or not shelf.boxes[0][1].alive):
                self._removals.start(shelf.boxes.popleft()[1])
            if not shelf.boxes and not shelf.making and now - shelf.asked_at > SPARE_SECONDS:
                del self._shelves[kind]
