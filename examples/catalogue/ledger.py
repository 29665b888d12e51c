"""What the coordinator remembers: the catalogue so far, in an SQLite file beside the gateway's data.

Not the truth about executions, which is the gateway's: what is lost of it is asked for again, under the same keys.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Final

from examples.catalogue.researcher import Entry

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS catalogue (
    product INTEGER PRIMARY KEY, seconds REAL NOT NULL, source TEXT NOT NULL, charged INTEGER NOT NULL,
    tries INTEGER NOT NULL, why TEXT NOT NULL, record TEXT
);
CREATE TABLE IF NOT EXISTS tries (
    product INTEGER NOT NULL, number INTEGER NOT NULL, execution TEXT NOT NULL, status TEXT NOT NULL, lane TEXT NOT NULL,
    attempts INTEGER NOT NULL, PRIMARY KEY (product, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moments (seconds REAL NOT NULL, what TEXT NOT NULL, value REAL NOT NULL);
"""


class LedgerError(Exception):
    """The folder belongs to another catalogue."""


class Ledger:
    """One catalogue's memory. Entries are kept in groups; what was not yet is done again after a crash."""

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._waiting: list[tuple[float, Entry]] = []
        self._claim(settings)

    def _claim(self, settings: Mapping[str, object]) -> None:
        known = dict(self._db.execute("SELECT name, value FROM settings"))
        for name, value in settings.items():
            text = json.dumps(value)
            if known.setdefault(name, text) != text:
                raise LedgerError(f"this folder's catalogue has {name} {known[name]}, not {text}")
        self._db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", known.items())
        self._db.commit()

    def done(self) -> set[int]:
        """The products that are in the catalogue."""
        return {number for (number,) in self._db.execute("SELECT product FROM catalogue")}

    def seconds(self) -> float:
        """When the last thing that is known happened, in seconds of work."""
        query = "SELECT max(coalesce((SELECT max(seconds) FROM catalogue), 0), coalesce((SELECT max(seconds) FROM moments), 0))"
        found: float = self._db.execute(query).fetchone()[0]
        return found

    def add(self, seconds: float, entry: Entry) -> None:
        """Remember an entry soon."""
        self._waiting.append((seconds, entry))

    def moment(self, seconds: float, what: str, value: float) -> None:
        """Remember with the next flush what happened beside, or how large something was."""
        self._db.execute("INSERT INTO moments VALUES (?, ?, ?)", (seconds, what, value))

    def flush(self) -> None:
        """Put what waits on disk. A product twice is an error of ours, and raises."""
        waiting, self._waiting = self._waiting, []
        for seconds, entry in waiting:
            record = None if entry.record is None else json.dumps(dict(entry.record))
            row = (entry.product, seconds, entry.source, entry.charged, len(entry.tries), entry.why, record)
            self._db.execute("INSERT INTO catalogue VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self._db.executemany(
                "INSERT INTO tries VALUES (?, ?, ?, ?, ?, ?)", [(entry.product, *astuple(one)) for one in entry.tries]
            )
        self._db.commit()

    def close(self) -> None:
        """Put everything on disk and close."""
        self.flush()
        self._db.close()

    def entries(self) -> Iterator[tuple[int, str, int, str, dict[str, object] | None]]:
        """Every product's number, source, charged failures, why not, and record, in order."""
        rows = self._db.execute("SELECT product, source, charged, why, record FROM catalogue ORDER BY product")
        for number, source, charged, why, record in rows:
            yield number, source, charged, why, None if record is None else json.loads(record)

    def export(self, path: Path) -> None:
        """Write the catalogue itself: one record to a line."""
        with path.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(record) + "\n" for *_, record in self.entries() if record is not None)

    def times(self) -> list[float]:
        """When each product was done, in seconds of work, first to last."""
        return [at for (at,) in self._db.execute("SELECT seconds FROM catalogue ORDER BY seconds")]

    def moments(self) -> list[tuple[float, str, float]]:
        """What happened beside, first to last."""
        return list(self._db.execute("SELECT seconds, what, value FROM moments ORDER BY seconds"))

    def executions(self) -> Iterator[tuple[int, int, str, str]]:
        """Every answered program's product, number, execution and status, as its researcher was told."""
        yield from self._db.execute("SELECT product, number, execution, status FROM tries")
