"""The store: one append-only log per task, its projection, and the bodies beside it.

It remembers and finds; it decides nothing. All writing goes through one thread, so that concurrent callers share one
transaction and one sync to disk, and each still has an all-or-nothing part of it. Works are run where the database is:
in the store's threads, so that nobody waits on the event loop for a disk, and a statement costs no change of threads.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from sqlalchemy import Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from gateway.database import Trouble, checkpoint, make_shrinkable, trouble_of, unavailable, unopened
from gateway.errors import Unavailable
from gateway.news import News
from gateway.notices import Subscription
from gateway.reader import Reader
from gateway.recent import Recent
from gateway.records import StoredTask
from gateway.session import Session
from gateway.tables import REVISION
from gateway.writer import Writer

log = logging.getLogger(__name__)
T = TypeVar("T")

_GROUP = 64  # parts that share one transaction: bounds how long the first of them waits for the last
_READERS = 4
_LEFT = 1_000  # tasks, of some kilobytes each at most
_BUSY_SECONDS = 10  # how long SQLite waits for another process's lock
_LOG_BYTES = 16 << 20  # of the log beside the database, which a burst made larger, when it is begun again
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"journal_size_limit={_LOG_BYTES}")


@dataclass(frozen=True, slots=True)
class _Settled:
    """What a part came to, and the tasks that it changed."""

    result: object = None
    error: BaseException | None = None
    changed: Sequence[StoredTask] = ()
    news: Sequence[News] = ()


@dataclass(slots=True)
class _Part(Generic[T]):
    """One caller's work, waiting for a thread of the store's."""

    work: Callable[[Writer], T]
    done: asyncio.Future[T]
    context: Context = field(default_factory=copy_context)
    """Of the caller, in which the news of its work are told."""


_Queue: TypeAlias = "queue.SimpleQueue[_Part[object] | None]"  # None is its end


class Store:
    """The database behind a queue of writes and a queue of reads. `subscriptions` say who gets letters about what is written."""

    def __init__(self, url: str, subscriptions: Sequence[Subscription] = ()) -> None:
        self._engine = _engine(url)
        self._failures = (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error)
        self._begin_writing = "BEGIN IMMEDIATE" if self._engine.dialect.name == "sqlite" else "BEGIN"
        self._writes: _Queue = queue.SimpleQueue()
        self._reads: _Queue = queue.SimpleQueue()
        self.recent = Recent()
        self._subscriptions = tuple(subscriptions)
        self.on_commit: Callable[[], None] | None = None
        """Called after each commit, on the event loop; it must be quick."""
        self.on_news: Callable[[Sequence[News]], None] | None = None
        """Called with what a part brought about, before its caller is told; as quick."""
        self._writer: threading.Thread | None = None
        self._readers: list[threading.Thread] = []
        self._closing = False
        self._left: dict[
            str, StoredTask
        ] = {}  # tasks as the writer's thread left them, by id; nothing of what was undone
        self._url = url
        self._met: Trouble | None = None  # by parts of the group that is written now
        self.trouble: Trouble | None = None
        """Why the latest write failed; None where it did not."""

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Have letters about what is written from now on go to these alone."""
        self._subscriptions = tuple(subscriptions)

    @property
    def writing(self) -> bool:
        """Whether writes are taken."""
        return self._writer is not None and self._writer.is_alive() and not self._closing

    async def open(self) -> None:
        """Begin to take writes. The schema must be current (`migrate`)."""
        self._writer = self._thread("store-writer", self._write_for_ever)

    async def close(self) -> None:
        """Take nothing more; what was taken is done first, and its callers told."""
        self._closing = True
        if self._writer is not None:
            self._writes.put(None)
            await asyncio.to_thread(self._writer.join)
        for _ in self._readers:
            self._reads.put(None)
        for reader in self._readers:
            await asyncio.to_thread(reader.join)
        self._engine.dispose()

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on one consistent view of the store; raises `Unavailable` when the database fails."""
        if self._closing:
            raise Unavailable("The gateway is stopping.")
        if not self._readers:
            self._readers = [self._thread(f"store-reader-{n}", self._read_for_ever) for n in range(_READERS)]
        return await _handed(work, self._reads)

    async def write(self, work: Callable[[Writer], T]) -> T:
        """Run `work` all or nothing; it is on disk when this returns. It may be run twice, and must do nothing but write.

        What `work` raises is raised here, and then nothing of it is written. Raises
        `Unavailable` when the database fails.
        """
        if not self.writing:
            raise Unavailable("The store takes no writes now.")
        return await _handed(work, self._writes)

    async def probe(self) -> Trouble | None:
        """Write something that says nothing; why that fails, if it does."""
        try:
            await self.write(lambda writer: writer.touch())
        except Unavailable:
            return self.trouble or Trouble.OTHER
        return None

    async def checkpoint(self) -> None:
        """Empty the log beside the database, if nobody is using it."""
        await asyncio.to_thread(checkpoint, self._url)

    @staticmethod
    def _thread(name: str, work: Callable[[asyncio.AbstractEventLoop], None]) -> threading.Thread:
        thread = threading.Thread(target=work, args=(asyncio.get_running_loop(),), name=name, daemon=True)
        thread.start()
        return thread

    def _read_for_ever(self, loop: asyncio.AbstractEventLoop) -> None:
        link = _Link(self._engine)
        while (part := self._reads.get()) is not None:
            loop.call_soon_threadsafe(_settle, (part,), (self._read(link, part),))
        link.drop()

    def _read(self, link: _Link, part: _Part[object]) -> _Settled:
        try:
            session = link.session()
            session.say("BEGIN")
            try:
                return _Settled(part.work(Writer(session, {})))
            finally:
                session.say("COMMIT")
        except self._failures as error:
            link.drop()
            return _Settled(error=_failed(error))
        except Exception as error:  # noqa: BLE001  # its caller is told
            return _Settled(error=error)

    def _write_for_ever(self, loop: asyncio.AbstractEventLoop) -> None:
        link = _Link(self._engine)
        while parts := self._next_group():
            self._met = None
            settled = self._write_group(loop, link, parts)
            loop.call_soon_threadsafe(self._committed, parts, settled)
        link.drop()

    def _committed(self, parts: Sequence[_Part[object]], settled: Sequence[_Settled]) -> None:
        """Tell the callers of a group what came of it."""
        for part, one in zip(parts, settled, strict=True):
            self.recent.committed(one.changed)
            if one.news and self.on_news is not None:
                part.context.run(self.on_news, one.news)
        _settle(parts, settled)
        if self.on_commit is not None:
            self.on_commit()

    def _next_group(self) -> list[_Part[object]]:
        """All that waits, up to a group; nothing at the end."""
        parts: list[_Part[object]] = []
        while (part := self._writes.get()) is not None:
            parts.append(part)
            if len(parts) == _GROUP or self._writes.empty():
                return parts
        if parts:
            self._writes.put(None)  # the end comes after them
        return parts

    def _write_group(
        self, loop: asyncio.AbstractEventLoop, link: _Link, parts: Sequence[_Part[object]]
    ) -> Sequence[_Settled]:
        """What each part came to; only after the commit may anybody be told."""
        try:
            session = link.session()
            settled = self._write_at_once(session, parts) or self._write_apart(session, parts)
            session.say("COMMIT")
        except self._failures as error:
            link.drop()
            self._left.clear()
            loop.call_soon_threadsafe(self.recent.forget)
            failed = _failed(error)
            self.trouble = self._met or trouble_of(error)  # what came first explains what came of it
            told = failed if self._met is None else unavailable(self._met)
            return [_Settled(error=told) for _ in parts]
        self.trouble = self._met
        return settled

    def _write_at_once(self, session: Session, parts: Sequence[_Part[object]]) -> Sequence[_Settled]:
        """Run all parts in the hope that none raises; nothing, and nothing is written, where one did."""
        session.say(self._begin_writing)
        try:
            return [self._run(session, part) for part in parts]
        except Exception:  # noqa: BLE001  # it is raised again where it harms nobody else, and told
            session.undo()
            self._left.clear()
            return ()

    def _write_apart(self, session: Session, parts: Sequence[_Part[object]]) -> Sequence[_Settled]:
        """Run each part again in a savepoint of its own, so that what it raises undoes it and nothing else."""
        session.say(self._begin_writing)
        settled = []
        for part in parts:
            session.say("SAVEPOINT part")
            try:
                settled.append(self._run(session, part))
            except Exception as error:  # noqa: BLE001  # its caller is told
                failed = isinstance(error, self._failures)
                told = _failed(error) if failed else error
                self._met = trouble_of(error) if failed else self._met
                session.say("ROLLBACK TO SAVEPOINT part")
                self._left.clear()
                settled.append(_Settled(error=told))
            session.say("RELEASE SAVEPOINT part")
        return settled

    def _run(self, session: Session, part: _Part[object]) -> _Settled:
        if part.done.cancelled():
            return _Settled()
        if len(self._left) > _LEFT:
            self._left.clear()
        writer = Writer(session, self._left, self._subscriptions)
        result = part.work(writer)
        return _Settled(result, changed=writer.changed, news=writer.news)


async def _handed(work: Callable[[Writer], T], to: _Queue) -> T:
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    to.put(_Part(work, done))  # type: ignore[arg-type]  # a queue of parts of any result
    return await done


class _Link:
    """A thread's connection: made when it is needed, and made anew after it failed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._session: Session | None = None

    def session(self) -> Session:
        """The connection's session, outside of any transaction."""
        if self._session is None:
            self._connection = self._engine.raw_connection()
            self._session = Session(self._connection.cursor(), self._engine.dialect)
        return self._session

    def drop(self) -> None:
        """Close the connection; what it had not committed is undone."""
        if self._session is not None:
            self._session.end()
        if self._connection is not None:
            self._connection.invalidate()
        self._connection = self._session = None


def _settle(parts: Sequence[_Part[object]], settled: Sequence[_Settled]) -> None:
    for part, one in zip(parts, settled, strict=True):
        if part.done.done():
            continue
        if one.error is None:
            part.done.set_result(one.result)
        else:
            part.done.set_exception(one.error)


def _failed(error: BaseException) -> Unavailable:
    """What callers are told. The database's own words are for operators: they may name paths."""
    log.error("the store failed: %s", error)
    return unavailable(trouble_of(error))


def _engine(url: str) -> Engine:
    """How connections are made: one for the writer, one for each reader."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=_READERS + 1, max_overflow=0, isolation_level="AUTOCOMMIT")
    arguments = {"timeout": _BUSY_SECONDS, "isolation_level": None}  # None: we say BEGIN, the driver never does
    engine = create_engine(url, pool_size=_READERS + 1, max_overflow=0, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def _connected(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def migrate(url: str) -> None:
    """Bring the schema up to date; blocking, and safe to repeat. Raises `DatabaseError` where that cannot be done now."""
    if is_current(url):
        return
    from alembic import command  # noqa: PLC0415  # a tenth of a start, and nearly every start finds the schema current
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise unopened(error) from error
    make_shrinkable(url)


def is_current(url: str) -> bool:
    """Whether the schema is there, and up to date."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except (OperationalError, ProgrammingError) as error:
        if trouble_of(error) is not Trouble.OTHER:
            raise unopened(error) from error
        return False  # there is no such table
    return found == REVISION
