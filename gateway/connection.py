"""What is found and written over one connection: every statement of the gateway stands here.

Each means the same on SQLite and on PostgreSQL. Nothing is decided here; transactions are the store's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import tables
from gateway.errors import Unavailable
from gateway.events import Event, chain, decode, encode
from gateway.lifecycle import Task, apply
from gateway.records import (
    ExecutionHead,
    LoggedEvent,
    StoredExecution,
    StoredPosture,
    StoredReview,
    StoredTask,
)
from gateway.times import stamp

_TASK = TypeAdapter(Task)


class Reader:
    """Finds things over one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def task(self, task: str) -> StoredTask | None:
        """A task by its internal id."""
        return await self._task(select(tables.tasks).where(tables.tasks.c.id == task))

    async def task_named(self, tenant: str, task_id: str) -> StoredTask | None:
        """A task by its tenant's name for it."""
        at = tables.tasks.c
        return await self._task(select(tables.tasks).where(at.tenant == tenant, at.task_id == task_id))

    async def anonymous_in_review(self, tenant: str, caller: str) -> StoredTask | None:
        """The caller's anonymous task that waits for a person, if any."""
        at = tables.tasks.c
        mine = (at.tenant == tenant, at.caller == caller, at.anonymous.is_(True), at.state == "in_review")
        return await self._task(select(tables.tasks).where(*mine).limit(1))

    async def _task(self, query: Select[tuple[object, ...]]) -> StoredTask | None:
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            return None
        return StoredTask(id=row["id"], head=row["head"], task=_TASK.validate_json(row["body"]))

    async def execution(self, execution: str) -> StoredExecution | None:
        """An execution by its id."""
        return await self._execution(select(tables.executions).where(tables.executions.c.id == execution))

    async def execution_keyed(self, tenant: str, caller: str, key: str) -> StoredExecution | None:
        """The execution that a caller submitted under an idempotency key."""
        at = tables.executions.c
        mine = (at.tenant == tenant, at.caller == caller, at.idempotency_key == key)
        return await self._execution(select(tables.executions).where(*mine))

    async def _execution(self, query: Select[tuple[object, ...]]) -> StoredExecution | None:
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else StoredExecution(**row)

    async def execution_heads(self, task: str, limit: int) -> list[ExecutionHead]:
        """A task's executions without their bodies, newest first: ids sort by time, also where the clock was set back."""
        at = tables.executions.c
        query = select(at.id, at.status, at.submitted_at, at.answered_at).where(at.task == task)
        rows = await self._connection.execute(query.order_by(at.id.desc()).limit(limit))
        return [ExecutionHead(*row) for row in rows]

    async def newest_id(self) -> str:
        """The newest id there is of a task, an execution or a review; empty where there is nothing."""
        newest = [
            await self._newest(column) for column in (tables.tasks.c.id, tables.executions.c.id, tables.reviews.c.id)
        ]
        return max(newest, key=lambda one: one.partition("_")[2])

    async def _newest(self, column: ColumnElement[str]) -> str:
        found: str | None = (await self._connection.execute(select(func.max(column)))).scalar_one_or_none()
        return found or ""

    async def unanswered(self) -> list[StoredExecution]:
        """Every execution without an answer, oldest first."""
        at = tables.executions.c
        query = select(tables.executions).where(at.answered_at.is_(None)).order_by(at.id)
        return [StoredExecution(**row) for row in (await self._connection.execute(query)).mappings()]

    async def file(self, execution: str, path: str) -> bytes | None:
        """A file that an execution left."""
        at = tables.files.c
        query = select(at.content).where(at.execution == execution, at.path == path)
        found: bytes | None = (await self._connection.execute(query)).scalar_one_or_none()
        return found

    async def review(self, review: str) -> StoredReview | None:
        """A review by its id."""
        query = select(tables.reviews).where(tables.reviews.c.id == review)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else StoredReview(**row)

    async def reviews(self, tenant: str, state: str | None, limit: int, after: str | None) -> list[StoredReview]:
        """A tenant's reviews, oldest first (ids sort by time), those after the id `after`."""
        at = tables.reviews.c
        query = select(tables.reviews).where(at.tenant == tenant).order_by(at.id).limit(limit)
        if state is not None:
            query = query.where(at.state == state)
        if after is not None:
            query = query.where(at.id > after)
        return [StoredReview(**row) for row in (await self._connection.execute(query)).mappings()]

    async def reviews_due(self, at: datetime) -> list[StoredReview]:
        """Open reviews whose time is over."""
        column = tables.reviews.c
        query = select(tables.reviews).where(column.state == "open", column.expires_at <= stamp(at))
        return [StoredReview(**row) for row in (await self._connection.execute(query)).mappings()]

    async def open_reviews(self) -> int:
        """How many reviews wait for a person."""
        query = select(func.count()).select_from(tables.reviews).where(tables.reviews.c.state == "open")
        return (await self._connection.execute(query)).scalar_one()

    async def policy_document(self, digest: str) -> str | None:
        """The resolved policy of that digest, as canonical JSON."""
        at = tables.policies.c
        found = await self._connection.execute(select(at.document).where(at.digest == digest))
        document: str | None = found.scalar_one_or_none()
        return document

    async def posture(self, digest: str) -> StoredPosture | None:
        """A posture by its digest."""
        query = select(tables.postures).where(tables.postures.c.digest == digest)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else StoredPosture(**row)

    async def log_of(self, task: str) -> list[LoggedEvent]:
        """A task's whole log, in order."""
        at = tables.events.c
        query = select(tables.events).where(at.task == task).order_by(at.seq)
        rows = (await self._connection.execute(query)).mappings()
        return [
            LoggedEvent(row["seq"], row["at"], decode(row["type"], row["data"]), row["prev_hash"], row["hash"])
            for row in rows
        ]


class Writer(Reader):
    """Finds and writes within one part of a transaction."""

    async def open_task(self, task: str, opened: Task, event: Event, at: datetime) -> StoredTask:
        """Begin a task's log with its first event, which made `opened`."""
        logged = _log_row(task, 1, at, event, "")
        await self._connection.execute(
            insert(tables.tasks).values(
                id=task,
                tenant=opened.tenant,
                task_id=opened.task_id,
                caller=opened.by,
                anonymous=opened.anonymous,
                state=opened.state.value,
                seq=1,
                head=logged["hash"],
                body=_TASK.dump_json(opened).decode(),
                opened_at=stamp(at),
            )
        )
        await self._connection.execute(insert(tables.events).values(logged))
        return StoredTask(id=task, head=str(logged["hash"]), task=opened)

    async def append(self, stored: StoredTask, events: Sequence[Event], at: datetime) -> StoredTask:
        """Append to a log and move its projection on; raises `IllegalEvent` for what cannot happen."""
        task, head, rows = stored.task, stored.head, []
        for item in events:
            task = apply(task, item)
            row = _log_row(stored.id, task.seq, at, item, head)
            rows.append(row)
            head = str(row["hash"])
        await self._connection.execute(insert(tables.events), rows)
        column = tables.tasks.c
        moved = await self._connection.execute(
            update(tables.tasks)
            .where(column.id == stored.id, column.seq == stored.task.seq)
            .values(state=task.state.value, seq=task.seq, head=head, body=_TASK.dump_json(task).decode())
        )
        if moved.rowcount != 1:
            raise Unavailable("The task was changed by another gateway at the same moment.")
        return StoredTask(id=stored.id, head=head, task=task)

    async def add_execution(self, execution: StoredExecution) -> None:
        """Keep a submitted program, with its answer if it has one already."""
        await self._connection.execute(insert(tables.executions).values(execution.row()))

    async def answer_execution(self, execution: StoredExecution) -> None:
        """Keep the answer of a program that was added without one."""
        at = tables.executions.c
        await self._connection.execute(
            update(tables.executions)
            .where(at.id == execution.id, at.answered_at.is_(None))
            .values(
                status=execution.status,
                answer_source=execution.answer_source,
                repeats=execution.repeats,
                answer=execution.answer,
                answered_at=execution.answered_at,
            )
        )

    async def add_files(self, execution: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Keep the files that an execution left."""
        if files:
            rows = [{"execution": execution, "path": path, "content": content} for path, content in files]
            await self._connection.execute(insert(tables.files), rows)

    async def add_review(self, review: StoredReview) -> None:
        """Keep a review that was opened."""
        await self._connection.execute(insert(tables.reviews).values(review.row()))

    async def end_review(self, review: StoredReview) -> None:
        """Keep how a review ended."""
        await self._connection.execute(
            update(tables.reviews).where(tables.reviews.c.id == review.id).values(review.row())
        )

    async def keep_policy(self, digest: str, document: str, at: datetime) -> None:
        """Keep a resolved policy that decided something; the second time is free."""
        column = tables.policies.c
        known = await self._connection.execute(select(column.digest).where(column.digest == digest))
        if known.first() is None:
            row = {"digest": digest, "document": document, "first_used_at": stamp(at)}
            await self._connection.execute(insert(tables.policies).values(row))

    async def keep_posture(self, posture: StoredPosture) -> None:
        """Keep a posture, with what its latest self-test found."""
        column = tables.postures.c
        known = await self._connection.execute(select(column.digest).where(column.digest == posture.digest))
        found = {"trials": posture.trials, "tested_at": posture.tested_at}
        if known.first() is None:
            row = {"digest": posture.digest, "document": posture.document, **found}
            await self._connection.execute(insert(tables.postures).values(row))
        else:
            mine = column.digest == posture.digest
            await self._connection.execute(update(tables.postures).where(mine).values(found))


def _log_row(task: str, seq: int, at: datetime, item: Event, previous: str) -> dict[str, str | int]:
    name, data = encode(item)
    digest = chain(previous, seq, stamp(at), name, data)
    return {
        "task": task,
        "seq": seq,
        "at": stamp(at),
        "type": name,
        "data": data,
        "prev_hash": previous,
        "hash": digest,
    }
