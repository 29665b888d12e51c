"""What is asked of the database as a thing: its file, its space, its troubles. What is in it is the store's.

SQLite keeps a file of its own; on any other database space and locks are its own operators' business.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from gateway.errors import StorageUnavailable
from gateway.session import Session

log = logging.getLogger(__name__)

_SHRINKABLE: Final = 2  # auto_vacuum = INCREMENTAL
_PATIENCE_SECONDS: Final = 0.05  # of a checkpoint: it holds writers up for as long as it waits for readers
_PRIMARY: Final = 0xFF  # SQLite's extended result codes have the primary one in their low byte
_RETRY_SECONDS: Final = 5


class Trouble(StrEnum):
    """Why nothing can be recorded."""

    FULL = "disk_full"
    READ_ONLY = "read_only"
    FAILING = "io_error"
    DAMAGED = "damaged"
    OTHER = "other"


_TROUBLES: Final = MappingProxyType(
    {
        sqlite3.SQLITE_FULL: Trouble.FULL,
        sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
        sqlite3.SQLITE_PERM: Trouble.READ_ONLY,
        sqlite3.SQLITE_IOERR: Trouble.FAILING,
        sqlite3.SQLITE_CANTOPEN: Trouble.FAILING,
        sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
        sqlite3.SQLITE_NOTADB: Trouble.DAMAGED,
    }
)
_WORDS: Final = MappingProxyType(
    {
        Trouble.FULL: "The store's disk is full: nothing more can be recorded, so nothing more is run.",
        Trouble.READ_ONLY: "The store's disk cannot be written: nothing can be recorded, so nothing is run.",
        Trouble.FAILING: "The store's disk fails: nothing can be recorded, so nothing is run.",
        Trouble.DAMAGED: "The store is damaged: nothing can be recorded, so nothing is run.",
        Trouble.OTHER: "The store cannot be written or read now.",
    }
)


def trouble_of(error: BaseException) -> Trouble:
    """What the database's error comes down to."""
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", None)
    return _TROUBLES.get(code & _PRIMARY, Trouble.OTHER) if isinstance(code, int) else Trouble.OTHER


def unavailable(trouble: Trouble) -> StorageUnavailable:
    """What callers are told of it."""
    extra = {"reason": trouble.value, "retryable": True}
    return StorageUnavailable(_WORDS[trouble], extra=extra, retry_after_seconds=_RETRY_SECONDS)


def make_shrinkable(url: str) -> None:
    """Have a database of an earlier version give its space back from now on; needs as much free disk as it takes itself.

    New ones are born so. Where it cannot be done, that is said, and space is reused instead of returned.
    """
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    if engine.dialect.name != "sqlite":
        return
    try:
        with engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA auto_vacuum").scalar() != _SHRINKABLE:
                connection.exec_driver_sql("PRAGMA auto_vacuum = INCREMENTAL")
                connection.exec_driver_sql("VACUUM")
    except SQLAlchemyError as error:
        log.warning("the database keeps the space that retention frees, and reuses it: %s", trouble_of(error))


def checkpoint(url: str) -> None:
    """Copy SQLite's log into the database and empty it, unless somebody reads what is in it; blocking."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    if engine.dialect.name != "sqlite":
        return
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(_PATIENCE_SECONDS * 1000)}")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
    except SQLAlchemyError as error:
        log.warning("the log beside the database stays as large as it is: %s", trouble_of(error))


class DatabaseError(Exception):
    """The database cannot be read; the message is for an operator."""


def unopened(error: BaseException) -> DatabaseError:
    """Why a gateway cannot start on a database."""
    words = "The database cannot be opened now ({}): its disk needs some space, and this user the right to write there."
    return DatabaseError(words.format(trouble_of(error)))


@contextmanager
def looking(url: str) -> Iterator[Session]:
    """A session that cannot write, beside a gateway at work or without one; raises `DatabaseError`, also from within."""
    try:
        engine = _looking(url)
    except SQLAlchemyError as error:
        raise DatabaseError(f"This is no database: {error}") from None
    try:
        connection = engine.raw_connection()
        try:
            session = Session(connection.cursor(), engine.dialect)
            if engine.dialect.name != "sqlite":
                session.say("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY ISOLATION LEVEL REPEATABLE READ")
            yield session
            session.end()
        finally:
            connection.close()
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raise DatabaseError(f"The database cannot be read: {error}") from None
    finally:
        engine.dispose()


def _looking(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    path = Path(parsed.database or "")
    if not path.is_file():
        raise DatabaseError(f"There is no database {path}.")
    file = f"file:{quote(str(path.absolute()))}"
    read_only = parsed.set(database=file, query={"mode": "ro", "uri": "true"})
    return create_engine(read_only, poolclass=NullPool, connect_args={"isolation_level": None, "timeout": 10})
