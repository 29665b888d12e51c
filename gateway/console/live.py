"""Live updates: what the queue is, told to open pages when it changed. One look a second for a tenant, however many listen."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import Final

from gateway.archive import Archive, Queue
from gateway.callers import Caller
from gateway.errors import RateLimited, Unavailable

_LOOK_SECONDS: Final = 0.7
_HEARTBEAT_SECONDS: Final = 15.0
_MOST_STREAMS: Final = 20  # of one person: browsers that were left open
_OPENING: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": nothing new\n\n"


class Live:
    """One gateway's listeners. Where `generation` is another, who listens comes again, and is looked at again."""

    def __init__(self, archive: Archive, generation: Callable[[], int]) -> None:
        self._archive = archive
        self._generation = generation
        self._looks: dict[str, tuple[float, Queue]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._listeners: Counter[tuple[str, str]] = Counter()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let all listeners go: they come back to the next gateway."""
        self._stopping.set()

    def listen(self, caller: Caller, review: str | None, lasts: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
        """Events for one open page, as long as its session `lasts`; `review`: also of that one's state."""
        name = (caller.tenant, caller.name)
        if self._listeners[name] >= _MOST_STREAMS:
            raise RateLimited("Too many pages of yours are open.", retry_after_seconds=5)
        return self._follow(name, caller, review, lasts)

    async def _follow(
        self, name: tuple[str, str], caller: Caller, review: str | None, lasts: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        self._listeners[name] += 1
        try:
            told: tuple[Queue | None, str | None] = (None, None)
            quiet, began = time.monotonic(), self._generation()
            yield _OPENING
            while not self._stopping.is_set() and self._generation() == began and lasts():
                try:
                    queue = await self._queue(caller)
                    state = await self._archive.version(caller, review) if review else None
                except Unavailable:
                    queue, state = told[0] or Queue(0, ""), told[1]
                if queue != told[0]:
                    yield _event("queue", {"open": queue.open, "newest": queue.newest})
                if state != told[1] and state is not None:
                    yield _event("review", {"version": state})
                if (queue, state) != told:
                    told, quiet = (queue, state), time.monotonic()
                elif time.monotonic() - quiet > _HEARTBEAT_SECONDS:
                    quiet = time.monotonic()
                    yield _HEARTBEAT
                await self._pause()
        finally:
            self._listeners[name] -= 1
            if not self._listeners[name]:
                del self._listeners[name]

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), _LOOK_SECONDS)
        except TimeoutError:
            return

    async def _queue(self, caller: Caller) -> Queue:
        async with self._locks.setdefault(caller.tenant, asyncio.Lock()):
            known = self._looks.get(caller.tenant)
            if known is None or time.monotonic() - known[0] > _LOOK_SECONDS / 2:
                known = (time.monotonic(), await self._archive.queue(caller))
                self._looks[caller.tenant] = known
            return known[1]


def _event(name: str, data: dict[str, str | int]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
