"""A store with a long history, made quickly: one real task, as a gateway recorded it, written down many times.

Each copy gets ids, times, a tenant and a chain of hashes of its own, so that it is what the gateway would have written.
Only the digests of requests stay those of the original. Knows the tables' names and nothing of their other columns.
"""

from __future__ import annotations

import itertools
import random
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from gateway.events import chain

Value: TypeAlias = str | int | bytes | None
Row: TypeAlias = dict[str, Value]

TENANT: Final = "local"  # of a gateway without keys
TENANTS: Final = 20
DAYS: Final = 90
_BATCH: Final = 200  # copies in one transaction
_ID: Final = re.compile(r"\b(?:tsk|exe|rev)_[0-9a-f]{31}\b")
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
_RANDOM_BITS: Final = 80  # of an id, behind its milliseconds


@dataclass(frozen=True, slots=True)
class Original:
    """One task's rows."""

    task: Row
    executions: tuple[Row, ...]
    events: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them."""
        return (self.task, *self.executions, *self.events)


def read_original(database: sqlite3.Connection, task_id: str) -> Original:
    """The rows of the task of that name; raises ValueError where there is none."""
    database.row_factory = sqlite3.Row
    found = database.execute("SELECT * FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
    if found is None:
        raise ValueError(f"no task {task_id!r} was recorded")
    mine = (found["id"],)
    executions = database.execute("SELECT * FROM executions WHERE task = ? ORDER BY id", mine).fetchall()
    events = database.execute("SELECT * FROM events WHERE task = ? ORDER BY seq", mine).fetchall()
    return Original(dict(found), tuple(dict(row) for row in executions), tuple(dict(row) for row in events))


class _Text:
    """A text with places that differ in every copy: ids, times, the tenant, the task's name."""

    def __init__(self, text: str, places: re.Pattern[str]) -> None:
        self._parts = places.split(text)
        self._keys = self._parts[1::2]

    def filled(self, values: Mapping[str, str]) -> str:
        parts = self._parts.copy()
        parts[1::2] = [values[key] for key in self._keys]
        return "".join(parts)


class Copier:
    """Makes copies of an original. `chance` makes the ids."""

    def __init__(self, original: Original, chance: random.Random) -> None:
        self._chance = chance
        self._name = str(original.task["task_id"])
        texts = [value for row in original.rows for value in row.values() if isinstance(value, str)]
        self._ids = {one: int(one[4:15], 16) for text in texts for one in _ID.findall(text)}
        self._stamps = {one: datetime.fromisoformat(one) for text in texts for one in _STAMP.findall(text)}
        self._first = min(self._stamps.values())
        changing = [*map(re.escape, (*self._ids, *self._stamps, self._name)), f'(?<="){TENANT}(?=")']
        self._places = re.compile(f"({'|'.join(changing)})")
        self._task = self._texts(original.task)
        self._executions = [self._texts(row) for row in original.executions]
        self._events = [self._texts(row) for row in original.events]

    def copy(self, number: int, at: datetime) -> Original:
        """The copy of that number, whose task was opened at `at`."""
        values = self._values(number, at)
        events, head = [], ""
        for texts in self._events:
            row = _filled(texts, values)
            row["prev_hash"] = head
            head = chain(head, int(str(row["seq"])), str(row["at"]), str(row["type"]), str(row["data"]))
            row["hash"] = head
            events.append(row)
        task = _filled(self._task, values) | {"head": head}
        return Original(task, tuple(_filled(row, values) for row in self._executions), tuple(events))

    def _values(self, number: int, at: datetime) -> dict[str, str]:
        by = at - self._first
        milliseconds = int(by.total_seconds() * 1000)
        moved = {one: (then + by).isoformat(timespec="microseconds") for one, then in self._stamps.items()}
        ids = {
            one: f"{one[:4]}{made + milliseconds:011x}{self._chance.getrandbits(_RANDOM_BITS):020x}"
            for one, made in self._ids.items()
        }
        tenant = TENANT if number % TENANTS == 0 else f"team-{number % TENANTS}"
        return {**moved, **ids, self._name: f"{self._name}-{number}", TENANT: tenant}

    def _texts(self, row: Row) -> dict[str, _Text | Value]:
        return {
            name: _Text(value, self._places if value != TENANT else re.compile(f"({TENANT})"))
            if isinstance(value, str)
            else value
            for name, value in row.items()
        }


def _filled(texts: Mapping[str, _Text | Value], values: Mapping[str, str]) -> Row:
    return {name: one.filled(values) if isinstance(one, _Text) else one for name, one in texts.items()}


def fill(path: Path, task_id: str, executions: int, advance: Callable[[int], None]) -> int:
    """Copy the task into the store at `path` until it has that many more executions; returns how many were added.

    Nobody else may have the store open. `advance` is told how many were added each time.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "locking_mode=EXCLUSIVE"):
            database.execute(f"PRAGMA {pragma}")
        original = read_original(database, task_id)
        each = len(original.executions)
        copies = max(1, executions // each)
        made = _copies(original, copies)
        added = 0
        while batch := list(itertools.islice(made, _BATCH)):
            database.execute("BEGIN")
            _insert(database, "tasks", [one.task for one in batch])
            _insert(database, "executions", [row for one in batch for row in one.executions])
            _insert(database, "events", [row for one in batch for row in one.events])
            database.execute("COMMIT")
            added += each * len(batch)
            advance(each * len(batch))
        database.execute("PRAGMA locking_mode=NORMAL")
        database.execute("PRAGMA journal_mode=WAL")
    return added


def _copies(original: Original, count: int) -> Iterator[Original]:
    """The copies, oldest first, spread evenly over the days before now."""
    copier = Copier(original, random.Random(count))  # noqa: S311  # ids that differ, which nobody has to guess
    last = datetime.now(UTC) - timedelta(minutes=1)
    for number in range(count):
        yield copier.copy(number, last - timedelta(days=DAYS) * ((count - number) / count))


def _insert(database: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    names = list(rows[0])
    columns, values = ", ".join(f'"{name}"' for name in names), ", ".join("?" for _ in names)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({values})"  # noqa: S608  # the tables' own names
    database.executemany(statement, [tuple(row.values()) for row in rows])
