"""Who listens to an execution: its events as they come, for as long as the listener reads.

Nothing is kept for a listener but where it is: it is told when it asks, from what there is of the execution anyway.
So one that reads slowly holds up nobody and costs nothing, and one that comes back hears the rest.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from gateway.callers import Caller
from gateway.changes import Changes
from gateway.conductor import Conductor
from gateway.errors import NotFound, Unavailable
from gateway.in_force import InForce
from gateway.limiter import Limiter
from gateway.reader import Reader
from gateway.records import StoredTask
from gateway.rules import profile_named, rules_of
from gateway.store import Store
from gateway.stream import BEGINNING, HEARTBEAT, OPENING, Position, Teller
from gateway.views import execution_view, task_info
from gateway.wire_answers import ExecutionView

HEARTBEAT_SECONDS = 10.0
_LOOK_SECONDS = 1.0  # between looks at what is not live here and has no answer either: a start is about to take it up


@dataclass(slots=True, weakref_slot=True)
class _Answered:
    """An answer, shared by all who are being told of it."""

    view: ExecutionView
    profile: str
    result: str = field(init=False)

    def __post_init__(self) -> None:
        self.result = json.dumps(self.view.result)


class Watching:
    """One gateway's listeners."""

    def __init__(
        self, *, policy: InForce, store: Store, conductor: Conductor, changes: Changes, limiter: Limiter
    ) -> None:
        self._policy = policy
        self._store = store
        self._conductor = conductor
        self._changes = changes
        self._limiter = limiter
        self._listeners: Counter[tuple[str, str]] = Counter()
        self._waiting: set[asyncio.Event] = set()
        self._answers: WeakValueDictionary[str, _Answered] = WeakValueDictionary()
        self._reading: dict[str, asyncio.Task[_Answered | None]] = {}
        self._stopping = False

    def stop(self) -> None:
        """Let all listeners go, so that a server that stops need not wait for them. They come back to the next one."""
        self._stopping = True
        for changed in self._waiting:
            changed.set()

    async def events(
        self, caller: Caller, execution: str, after: Position | None
    ) -> AsyncGenerator[bytes, None] | None:
        """See `service.Service.events`."""
        await self._store.read(lambda reader: _task(reader, caller, execution))
        if after is not None and after.over:
            return None
        if self._stopping:
            raise Unavailable("The gateway is stopping.", retry_after_seconds=5)
        name = (caller.tenant, caller.name)
        self._limiter.admit_stream(caller, self._listeners[name])
        return self._counted(name, self._follow(caller, execution, after or BEGINNING))

    async def _counted(self, name: tuple[str, str], pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        self._listeners[name] += 1
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()
            self._listeners[name] -= 1
            if not self._listeners[name]:
                del self._listeners[name]

    async def _follow(self, caller: Caller, execution: str, after: Position) -> AsyncGenerator[bytes, None]:
        teller = Teller(after)
        yield OPENING
        with self._changes.watch(execution) as changed:
            self._waiting.add(changed)
            try:
                while not self._stopping:
                    changed.clear()
                    running = self._conductor.running(execution)
                    work = running[0] if running is not None and not running[0].answered else None
                    answered = await self._answered(caller, execution) if work is None else None
                    if answered is not None:
                        for piece in teller.answered(answered.view, answered.result):
                            yield piece
                        yield await self._finished(caller, execution, teller, answered)
                        return
                    for piece in teller.queued():
                        yield piece
                    if work is not None and work.live is not None:
                        for piece in teller.live(work.execution.attempts, work.live):
                            yield piece
                    if not await _wait(changed, HEARTBEAT_SECONDS if work is not None else _LOOK_SECONDS):
                        yield HEARTBEAT
            finally:
                self._waiting.discard(changed)

    async def _answered(self, caller: Caller, execution: str) -> _Answered | None:
        """The answer, if it is on disk. It is read once, and is in memory once, for all who are told of it now."""
        known = self._answers.get(execution)
        if known is not None:
            return known
        reading = self._reading.get(execution)
        if reading is None:
            reading = self._reading[execution] = asyncio.create_task(self._read(caller, execution))
            reading.add_done_callback(lambda _: self._reading.pop(execution, None))
        return await asyncio.shield(reading)

    async def _read(self, caller: Caller, execution: str) -> _Answered | None:
        def find(reader: Reader) -> _Answered | None:
            row, stored = reader.execution(execution), _task(reader, caller, execution)
            if row is None or row.answered_at is None:
                return None
            profile = profile_named(self._policy.current, row.profile)
            rules = rules_of(profile, anonymous=stored.task.anonymous)
            return _Answered(execution_view(row, stored.task, rules, profile.retention), row.profile)

        found = await self._store.read(find)
        if found is not None:
            self._answers[execution] = found
        return found

    async def _finished(self, caller: Caller, execution: str, teller: Teller, answered: _Answered) -> bytes:
        """The end, with the task as it is by now."""
        stored = await self._store.read(lambda reader: _task(reader, caller, execution))
        rules = rules_of(profile_named(self._policy.current, answered.profile), anonymous=stored.task.anonymous)
        return teller.finished(answered.view, task_info(stored.task, rules))


async def _wait(changed: asyncio.Event, seconds: float) -> bool:
    """Whether something changed in that time."""
    try:
        await asyncio.wait_for(changed.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _task(reader: Reader, caller: Caller, execution: str) -> StoredTask:
    """The task of an execution of the caller's tenant; another tenant's is as if it did not exist."""
    owner = reader.execution_task(execution)
    stored = reader.task(owner) if owner is not None else None
    if stored is None or stored.task.tenant != caller.tenant:
        raise NotFound("There is no such execution.")
    return stored
