"""No statement's time grows with what the store has seen: the database itself says how it would find each row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from sqlalchemy import Select, Update, create_engine
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.sql.compiler import SQLCompiler

from gateway import statements
from gateway.store import migrate

_Statement = Select[tuple[object, ...]] | Update


def _found(name: str, value: object) -> Iterator[tuple[str, _Statement]]:
    if isinstance(value, (Select, Update)):
        yield name, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _found(f"{name} {key}", one)
    elif isinstance(value, tuple):
        for number, one in enumerate(value):
            yield from _found(f"{name} {number}", one)


ONLY_WHAT_WAITS = "SCAN executions USING INDEX ix_executions_unanswered"  # the index has nothing else
OF_WHAT_IS_OPEN = "USE TEMP B-TREE FOR GROUP BY"  # counted are the open reviews alone
STATEMENTS = [
    pytest.param(statement, id=label)
    for name, value in vars(statements).items()
    if name.isupper() and not name.startswith("_")
    for label, statement in _found(name, value)
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("plans") / "airlock.db"
    migrate(f"sqlite:///{path}")
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


def plan(database: sqlite3.Connection, words: str, parameters: int) -> list[str]:
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {words}", [None] * parameters)]


def test_the_plans_tell_a_scan_and_a_sort(database: sqlite3.Connection) -> None:
    told = plan(database, "SELECT id FROM executions WHERE status = ? ORDER BY submitted_at", 1)
    assert any(one.startswith("SCAN") for one in told)
    assert any("TEMP B-TREE" in one for one in told)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_null_is_written_into_the_statement_and_is_no_parameter(statement: _Statement) -> None:
    compiled = statement.compile(dialect=sqlite_dialect())
    assert isinstance(compiled, SQLCompiler)
    assert [name for name, bind in compiled.binds.items() if bind.value is None and not bind.required] == []


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_statement_finds_its_rows_by_an_index_and_in_order(
    database: sqlite3.Connection, statement: _Statement
) -> None:
    compiled = statement.compile(dialect=create_engine("sqlite://").dialect)
    told = plan(database, str(compiled), len(compiled.positiontup or ()))
    assert told
    assert all(one.startswith("SEARCH") or one in {ONLY_WHAT_WAITS, OF_WHAT_IS_OPEN} for one in told), told
