"""Threads that do what would block the event loop, one work after another.

Less than an executor: a work costs one wake of a thread and one of the loop. Knows nothing of what is done.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Part(Generic[T]):
    """A work on its way. `wanted` turns False when its caller stops waiting."""

    work: Callable[[], T]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[T]
    wanted: bool = True


class Hands:
    """`count` threads, started with the first work; works are begun in the order in which they came."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._parts: queue.SimpleQueue[_Part[object] | None] = queue.SimpleQueue()  # None is its end
        self._threads: list[threading.Thread] = []

    async def do(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Cancelled, it is not begun; begun, its end is waited for, so that nothing is left."""
        if not self._threads:
            self._begin()
        loop = asyncio.get_running_loop()
        part = _Part(work, loop, loop.create_future())
        self._parts.put(part)
        try:
            return await asyncio.shield(part.done)
        except asyncio.CancelledError:
            part.wanted = False
            await asyncio.wait({part.done})
            part.done.exception()  # nobody is left to be told
            raise

    async def close(self) -> None:
        """Take nothing more; what was taken is done first."""
        for _ in self._threads:
            self._parts.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _begin(self) -> None:
        for number in range(self._count):
            thread = threading.Thread(target=self._work_for_ever, name=f"{self._name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work_for_ever(self) -> None:
        while (part := self._parts.get()) is not None:
            result: object = None
            error: Exception | None = None
            try:
                result = part.work() if part.wanted else None
            except Exception as raised:  # noqa: BLE001  # its caller is told
                error = raised
            except BaseException as raised:  # noqa: BLE001  # a library's panic is no reason to have one hand less
                error = RuntimeError(f"{type(raised).__name__}: {raised}")
            with suppress(RuntimeError):  # the loop is gone, and whoever waited with it
                part.loop.call_soon_threadsafe(_settle, part.done, result, error)


def _settle(done: asyncio.Future[object], result: object, error: Exception | None) -> None:
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
