"""The store: one append-only log per task, its projection, and the bodies beside it.

With the tables and their migrations the only importer of SQLAlchemy. It remembers and finds;
it decides nothing. All writing goes through one queue, so that concurrent callers share one
transaction and one sync to disk, and each still has an all-or-nothing part of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from alembic import command
from alembic.config import Config
from pydantic import TypeAdapter
from sqlalchemy import Connection, Select, event, func, insert, select, update
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from gateway import tables
from gateway.errors import Unavailable
from gateway.events import Event, chain, decode, encode
from gateway.lifecycle import Task, apply
from gateway.records import LoggedEvent, StoredExecution, StoredReview, StoredTask
from gateway.times import stamp

log = logging.getLogger(__name__)
T = TypeVar("T")

_TASK = TypeAdapter(Task)
_GROUP = 64  # parts that share one transaction: bounds how long the first of them waits for the last
_BUSY_SECONDS = 10  # how long SQLite waits for another process's lock
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")

_Settled: TypeAlias = tuple[object, BaseException | None]


@dataclass(slots=True)
class _Part(Generic[T]):
    """One caller's work, waiting for its transaction."""

    work: Callable[[Writer], Awaitable[T]]
    done: asyncio.Future[T]


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

    async def executions_of(self, task: str, limit: int) -> list[StoredExecution]:
        """A task's executions, newest first."""
        at = tables.executions.c
        query = select(tables.executions).where(at.task == task).order_by(at.submitted_at.desc(), at.id.desc())
        rows = (await self._connection.execute(query.limit(limit))).mappings()
        return [StoredExecution(**row) for row in rows]

    async def unanswered(self) -> list[StoredExecution]:
        """Every execution without an answer, oldest first."""
        at = tables.executions.c
        query = select(tables.executions).where(at.answered_at.is_(None)).order_by(at.submitted_at)
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


class Store:
    """The database behind a queue of writes and a pool of readers."""

    def __init__(self, url: str) -> None:
        self._reading = _engine(url, "BEGIN", pool_size=4)
        self._writing = _engine(url, "BEGIN IMMEDIATE", pool_size=1)
        self._queue: asyncio.Queue[_Part[object]] = asyncio.Queue()
        self._loop: asyncio.Task[None] | None = None

    @property
    def writing(self) -> bool:
        """Whether writes are taken."""
        return self._loop is not None and not self._loop.done()

    async def open(self) -> None:
        """Begin to take writes. The schema must be current (`migrate`)."""
        self._loop = asyncio.create_task(self._write_for_ever(), name="store-writer")

    async def close(self) -> None:
        """Stop taking writes; those that were taken are refused, not lost: nobody was told that they happened."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._reading.dispose()
        await self._writing.dispose()

    async def read(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        """Run `work` on one consistent view of the store; raises `Unavailable` when the database fails."""
        try:
            async with self._reading.connect() as connection, connection.begin():
                return await work(Reader(connection))
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    async def write(self, work: Callable[[Writer], Awaitable[T]]) -> T:
        """Run `work` all or nothing; it is on disk when this returns.

        What `work` raises is raised here, and then nothing of it is written. Raises
        `Unavailable` when the database fails.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Part(work, done))  # type: ignore[arg-type]  # a queue of parts of any result
        return await done

    async def _write_for_ever(self) -> None:
        while True:
            parts = [await self._queue.get()]
            while len(parts) < _GROUP and not self._queue.empty():
                parts.append(self._queue.get_nowait())
            try:
                settled = await self._write_group(parts)
            except SQLAlchemyError as error:
                settled = [(None, _unavailable(error))] * len(parts)
            except asyncio.CancelledError:
                _settle(parts, [(None, Unavailable("The gateway is stopping."))] * len(parts))
                raise
            _settle(parts, settled)

    async def _write_group(self, parts: Sequence[_Part[object]]) -> list[_Settled]:
        """What each part came to; only after the commit may anybody be told."""
        async with self._writing.connect() as connection, connection.begin():
            return [await _write_part(connection, part) for part in parts]


async def _write_part(connection: AsyncConnection, part: _Part[object]) -> _Settled:
    """Run one part in a savepoint of its own, so that what it raises undoes it and nothing else."""
    if part.done.cancelled():
        return None, None
    savepoint = await connection.begin_nested()
    running = asyncio.ensure_future(part.work(Writer(connection)))
    await asyncio.wait({running})
    error = running.exception()
    if error is None:
        await savepoint.commit()
        return running.result(), None
    await savepoint.rollback()
    return None, _unavailable(error) if isinstance(error, SQLAlchemyError) else error


def _settle(parts: Sequence[_Part[object]], settled: Sequence[_Settled]) -> None:
    for part, (result, error) in zip(parts, settled, strict=True):
        if part.done.done():
            continue
        if error is None:
            part.done.set_result(result)
        else:
            part.done.set_exception(error)


def _unavailable(error: SQLAlchemyError) -> Unavailable:
    """The database's own words are for operators: they may name paths."""
    log.error("the store failed: %s", error)
    return Unavailable("The store cannot be written or read now.", retry_after_seconds=5)


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


def _engine(url: str, begin: str, pool_size: int) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_size=pool_size, max_overflow=0)
    arguments = {"timeout": _BUSY_SECONDS, "isolation_level": None}  # None: we say BEGIN, the driver never does
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, connect_args=arguments)

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def migrate(url: str) -> None:
    """Bring the schema up to date; blocking, and safe to repeat."""
    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")
