"""The store: one append-only log per task, its projection, and the bodies beside it.

It remembers and finds; it decides nothing. All writing goes through one queue, so that concurrent callers share one
transaction and one sync to disk, and each still has an all-or-nothing part of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from gateway.connection import Reader, Writer
from gateway.errors import Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

_GROUP = 64  # parts that share one transaction: bounds how long the first of them waits for the last
_BUSY_SECONDS = 10  # how long SQLite waits for another process's lock
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")

_Settled: TypeAlias = tuple[object, BaseException | None]


@dataclass(slots=True)
class _Part(Generic[T]):
    """One caller's work, waiting for its transaction."""

    work: Callable[[Writer], Awaitable[T]]
    done: asyncio.Future[T]


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


def _engine(url: str, begin: str, pool_size: int) -> AsyncEngine:
    """A pool of connections. Its errors do not quote what callers wrote: they go to the log."""
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_size=pool_size, max_overflow=0, hide_parameters=True)
    arguments = {"timeout": _BUSY_SECONDS, "isolation_level": None}  # None: we say BEGIN, the driver never does
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, connect_args=arguments, hide_parameters=True)

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
