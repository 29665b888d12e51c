"""Retention: deletes the bodies whose time is over, a little at a time, and gives the space back.

The log stays whole, with the digests of all that is deleted. What is in review or running is left alone. A pass can end
anywhere: what it deleted is committed with its mark, and the next pass finds the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.bodies import BIT, Body, without_contents, without_output
from gateway.in_force import InForce
from gateway.policy import Retention
from gateway.reader import Reader
from gateway.records import Keeping, StoredExecution
from gateway.rules import profile_named
from gateway.sizes import BELIEVED
from gateway.store import Store
from gateway.times import now, stamp
from gateway.wire_operations import BodyCounts, RetentionRules, RetentionView
from gateway.writer import Writer

_BATCH: Final = 20  # executions in one part of a transaction: some milliseconds of the writer's time
_LOOK: Final = 500  # executions that are looked at in one read, where nothing is deleted
_REST: Final = 4.0  # times as long as the last batch took: who wants to write waits for one batch at most, and seldom
_PAGES: Final = 64  # given back in one part of a transaction
_WAIT_SECONDS: Final = 20.0  # for a pass that somebody asked for; it goes on without them


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a batch did: executions by body, bytes, and those that were left alone because their task is not at rest."""

    rows: Counter[Body] = field(default_factory=Counter)
    freed: int = 0
    held: int = 0


class Pruner:
    """One gateway's retention."""

    def __init__(self, *, policy: InForce, store: Store, clock: Callable[[], datetime] = now) -> None:
        self._policy = policy
        self._store = store
        self._clock = clock
        self._running: asyncio.Task[int] | None = None
        self.rows: Counter[Body] = Counter()
        self.freed_bytes = 0
        self.ended_at: datetime | None = None
        self.space: tuple[int, int] | None = None

    async def prune(self) -> int:
        """One pass over all that is due; returns how many bodies it deleted. Whoever asks meanwhile shares the pass."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._pass(), name="retention")
        return await asyncio.shield(self._running)

    async def close(self) -> None:
        """End the pass that runs, where it is."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def view(self) -> RetentionView:
        """What is due now, and what was deleted since the start. Deletes nothing."""
        due: Counter[Body] = Counter()
        held = 0
        async for upto, rows in self._due(_LOOK):
            found, waiting = await self._store.read(lambda reader, u=upto, r=rows: _judged(reader, r, u))  # type: ignore[misc]
            held += waiting
            for one in found:
                due.update(_bodies(one, upto))
        return self._view(due, held)

    async def prune_now(self) -> RetentionView:
        """Begin a pass, or join the one that runs; answers when it is over, or after twenty seconds."""
        waiting = asyncio.ensure_future(self.prune())
        await asyncio.wait({waiting}, timeout=_WAIT_SECONDS)
        if waiting.done():
            waiting.result()
        return await self.view()

    def _view(self, due: Mapping[Body, int], held: int) -> RetentionView:
        rules = {name: profile.retention for name, profile in self._policy.current.profiles.items()}
        return RetentionView(
            profiles={name: RetentionRules.model_validate(one.model_dump()) for name, one in rules.items()},
            due=_counts(due),
            held=held,
            deleted=_counts(self.rows),
            freed_bytes=self.freed_bytes,
            running=self._running is not None and not self._running.done(),
            ended_at=self.ended_at,
        )

    async def _pass(self) -> int:
        deleted = 0
        async for upto, rows in self._due(_BATCH):
            began, at = time.monotonic(), self._clock()
            done = await self._store.write(lambda writer, u=upto, r=rows, t=at: _delete(writer, r, u, t))  # type: ignore[misc]
            self.rows.update(done.rows)
            self.freed_bytes += done.freed
            deleted += done.rows.total()
            await asyncio.sleep(_REST * (time.monotonic() - began))
        await self._store.write(lambda writer: writer.forget_sizes(self._clock() - BELIEVED))
        await self._give_back(deleted)
        self.ended_at = self._clock()
        return deleted

    async def _due(self, size: int) -> AsyncIterator[tuple[Mapping[int, str], Sequence[Keeping]]]:
        """Executions of which something is due, by profile, oldest answer first, `size` at a time."""
        profile = await self._store.read(lambda reader: reader.profile_after(""))
        while profile is not None:
            upto = _cutoffs(profile_named(self._policy.current, profile).retention, self._clock())
            after = ("", "")
            while rows := await self._store.read(
                lambda reader, p=profile, u=upto, a=after: reader.keeping(p, u, a, size)  # type: ignore[misc]
            ):
                yield upto, rows
                after = (rows[-1].answered_at, rows[-1].id)
            profile = await self._store.read(lambda reader, p=profile: reader.profile_after(p))  # type: ignore[misc]

    async def _give_back(self, deleted: int) -> None:
        """Return unused pages to the file system, and then the log beside the database."""
        began = time.monotonic()
        while await self._store.write(lambda writer: writer.give_back(_PAGES)):
            await asyncio.sleep(_REST * (time.monotonic() - began))
            began = time.monotonic()
        if deleted:
            await self._store.checkpoint()


def _cutoffs(retention: Retention, at: datetime) -> dict[int, str]:
    """For each body's bit the youngest answer that is due now; empty, which is before every time, where it is kept."""
    times = {
        Body.CODE: retention.code,
        Body.OUTPUT: retention.output,
        Body.FILES: retention.files,
        Body.KEYS: retention.keys,
    }
    return {BIT[body]: "" if kept is None else _before(at, kept) for body, kept in times.items()}


def _before(at: datetime, seconds: float) -> str:
    return stamp(at - timedelta(seconds=seconds))


def _bodies(one: Keeping, upto: Mapping[int, str]) -> list[Body]:
    """What of an execution is due."""
    return [body for body, bit in BIT.items() if one.kept & bit and one.answered_at <= upto[bit]]


def _judged(reader: Reader, rows: Sequence[Keeping], upto: Mapping[int, str]) -> tuple[list[Keeping], int]:
    """Those whose task is at rest and that still keep what is due; and how many wait for theirs."""
    at_rest: dict[str, bool] = {}
    for one in rows:
        if one.task not in at_rest:
            stored = reader.task(one.task)
            at_rest[one.task] = stored is not None and stored.task.turn in {"agent", "nobody"}
    found = [one for one in rows if at_rest[one.task] and _bodies(one, upto)]
    return found, sum(not at_rest[one.task] for one in rows)


def _delete(writer: Writer, rows: Sequence[Keeping], upto: Mapping[int, str], at: datetime) -> Deleted:
    """Delete what is due of these, unless their task moved meanwhile."""
    found, held = _judged(writer, rows, upto)
    counts: Counter[Body] = Counter()
    freed = 0
    for one in found:
        row = writer.execution(one.id)
        if row is None:
            continue
        bodies = _bodies(replace(one, kept=row.kept), upto)
        left = _left(row, bodies, stamp(at))
        writer.delete_bodies(left)
        freed += _bytes(row) - _bytes(left)
        if Body.FILES in bodies:
            freed += writer.delete_files(row.id)
        counts.update(bodies)
    return Deleted(counts, freed, held)


def _left(row: StoredExecution, bodies: Sequence[Body], at: str) -> StoredExecution:
    """The row without these bodies."""
    for body in bodies:
        row = replace(row, kept=row.kept & ~BIT[body])
        match body:
            case Body.CODE:
                row = replace(row, request="", code_deleted_at=at)
            case Body.OUTPUT:
                row = replace(row, answer=without_output(row.answer or "{}"), output_deleted_at=at)
            case Body.FILES:
                row = replace(row, answer=without_contents(row.answer or "{}"), files_deleted_at=at)
            case Body.KEYS:
                row = replace(row, idempotency_key=None)
    return row


def _bytes(row: StoredExecution) -> int:
    return sum(len((text or "").encode()) for text in (row.request, row.answer, row.idempotency_key))


def _counts(counted: Mapping[Body, int]) -> BodyCounts:
    return BodyCounts.model_validate({body.value: counted.get(body, 0) for body in Body})
