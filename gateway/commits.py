"""Commits: what happened to an execution goes on disk, and only then is anybody told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Final, TypeVar

from gateway.changes import Changes
from gateway.errors import Unavailable
from gateway.events import Event
from gateway.observer import Observer
from gateway.recording import record_work
from gateway.records import Recorded
from gateway.sizes import Sizes
from gateway.store import Store
from gateway.times import now
from gateway.work import Work

log = logging.getLogger(__name__)
T = TypeVar("T")

UNTOLD_SECONDS: Final = 0.1  # that a program may take of which nobody was told before it is on disk that it began
_STORE_RETRY_SECONDS: Final = 1.0


class Commits:
    """One gateway's commits of its live executions."""

    def __init__(self, *, store: Store, sizes: Sizes, observer: Observer, changes: Changes) -> None:
        self._store = store
        self._sizes = sizes
        self._observer = observer
        self._changes = changes
        self._kept_policies: set[str] = set()  # by their digests; as many as there are profiles
        self._letting_go = False

    def let_go(self) -> None:
        """Try nothing again from here on: the next start takes up what is not on disk."""
        self._letting_go = True

    async def record(self, work: Work) -> None:
        """Put on disk what has happened so far. A cancellation waits for it: half of it cannot be undone."""
        saving = asyncio.ensure_future(self._save(work))
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await asyncio.gather(saving, return_exceptions=True)
            raise

    async def beside(self, work: Work, effect: Callable[[], Coroutine[object, object, T]]) -> T:
        """What `effect` comes to. It begins once it is on disk that it does, or at once while nobody was told of `work`.

        Then it is on disk as soon as it takes longer than most programs do, and what cannot be recorded is ended.
        """
        if work.recorded or self._store.trouble is not None:
            await self.record(work)
            return await effect()
        running = asyncio.create_task(effect())
        try:
            done, _ = await asyncio.wait({running}, timeout=UNTOLD_SECONDS)
            if not done:
                await self.record(work)
            return await running
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait({running})

    async def _save(self, work: Work) -> None:
        async with work.lock:
            if not work.pending:
                return
            events = tuple(work.pending)
            work.policy_kept = work.profile.digest in self._kept_policies
            recorded = await self._write(work, events)
            self._kept_policies.add(work.profile.digest)
            if not work.recorded or work.kept is not None:
                work.kept = recorded
            work.task, work.recorded, work.written = recorded.task.id, True, None
            if work.answered and (found := work.memory_found) is not None:
                self._sizes.found(work.tenant, *found)
            del work.pending[: len(events)]
        self._observer.recorded(work, events)
        self._changes.notify(recorded.task.id)
        self._changes.notify(work.id)

    async def _write(self, work: Work, events: Sequence[Event]) -> Recorded:
        """Write once for what nobody was told of; keep trying for what was acknowledged, or it would be lost."""
        while True:
            try:
                return await self._store.write(lambda writer: record_work(writer, work, events, now()))
            except Unavailable:
                if not work.recorded or self._letting_go:
                    raise
                log.exception("%s: cannot be recorded now", work.id)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
