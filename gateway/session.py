"""One connection of the driver's, and statements on it.

SQLAlchemy turns each statement into the database's own words once; the way of a row from and to the driver is ours,
because its way costs several times what SQLite needs. Columns are plain (`tables.py`), so the driver's values are ours too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from sqlalchemy import ClauseElement, Dialect
from sqlalchemy.engine.interfaces import DBAPICursor

T = TypeVar("T")
Value: TypeAlias = str | int | bytes | None
_Arguments: TypeAlias = list[Value] | Mapping[str, Value]

_SPARE: Final = 10
_KEPT: Final = 256  # statements; there are fewer than a hundred


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement in the database's words. `order` is that of its parameters, None where they go by name."""

    words: str
    order: tuple[str, ...] | None
    constants: dict[str, Value]

    def arguments(self, values: Mapping[str, Value]) -> _Arguments:
        """The parameters as the driver wants them."""
        if self.constants:
            values = {**self.constants, **values}
        return values if self.order is None else [values[name] for name in self.order]


class Session:
    """A connection, used by one thread at a time. Transactions are said, never implied."""

    def __init__(self, cursor: DBAPICursor, dialect: Dialect) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self._prepared: dict[ClauseElement, _Prepared] = {}

    def say(self, words: str) -> None:
        """Begin, divide or end a transaction."""
        self._cursor.execute(words)

    def undo(self) -> None:
        """Undo what is not committed. The database may have done so already, and the connection may be gone."""
        with suppress(Exception):
            self._cursor.execute("ROLLBACK")

    def end(self) -> None:
        """Undo what is not committed and let go of the connection: a lock could outlive it."""
        self.undo()
        with suppress(Exception):
            self._cursor.close()

    def touch(self) -> None:
        """Write a page that says nothing. PostgreSQL has no such page; what it cannot write it says when it is asked."""
        if self._dialect.name == "sqlite":
            self._cursor.execute("PRAGMA user_version = 1")

    def defer_references(self) -> bool:
        """Look at references between rows not before the commit; False where that cannot be said of these tables."""
        if self._dialect.name != "sqlite":
            return False
        self._cursor.execute("PRAGMA defer_foreign_keys = ON")
        return True

    def space(self) -> tuple[int, int] | None:
        """The pages of the database and those unused; None where they are not ours to keep."""
        if self._dialect.name != "sqlite":
            return None
        return self._number("PRAGMA page_count"), self._number("PRAGMA freelist_count")

    def give_back(self, pages: int) -> bool:
        """Cut off up to so many unused pages, but for a tenth of all, which what comes next will need."""
        space = self.space()
        if space is None:
            return False
        whole, unused = space
        more = min(pages, unused - whole // _SPARE)
        for _ in range(more):
            self._cursor.execute("PRAGMA incremental_vacuum(1)")  # a larger number is not stepped through by the driver
        return more > 0 and self._number("PRAGMA page_count") < whole

    def _number(self, words: str) -> int:
        self._cursor.execute(words)
        (row,) = self._cursor.fetchall()
        return int(row[0])

    def every(self, statement: ClauseElement, make: Callable[..., T], **values: Value) -> list[T]:
        """What `make` makes of each row that a query finds."""
        prepared = self._prepare(statement)
        self._cursor.execute(prepared.words, prepared.arguments(values))
        return [make(*row) for row in self._cursor.fetchall()]

    def one(self, statement: ClauseElement, make: Callable[..., T], **values: Value) -> T | None:
        """What `make` makes of the one row that a query finds, if any."""
        found = self.every(statement, make, **values)
        return found[0] if found else None

    def change(self, statement: ClauseElement, values: Mapping[str, Value]) -> int:
        """How many rows a statement added or changed."""
        prepared = self._prepare(statement)
        self._cursor.execute(prepared.words, prepared.arguments(values))
        return self._cursor.rowcount

    def add(self, statement: ClauseElement, rows: Sequence[Mapping[str, Value]]) -> None:
        """Insert rows."""
        prepared = self._prepare(statement)
        arguments = [prepared.arguments(row) for row in rows]
        self._cursor.executemany(prepared.words, arguments)  # type: ignore[arg-type]  # all by place, or all by name

    def _prepare(self, statement: ClauseElement) -> _Prepared:
        known = self._prepared.get(statement)
        if known is None:
            if len(self._prepared) >= _KEPT:
                self._prepared.clear()
            compiled = statement.compile(dialect=self._dialect)
            order = getattr(compiled, "positiontup", None)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            known = _Prepared(str(compiled), None if order is None else tuple(order), constants)
            self._prepared[statement] = known
        return known
