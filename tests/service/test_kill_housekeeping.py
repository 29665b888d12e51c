"""A process killed between any two statements of a migration, or of retention: what is left is whole, and is gone on with."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, event

from gateway.bodies import BIT, Body
from gateway.retention import Pruner
from gateway.session import Session
from gateway.store import Store, is_current, migrate
from gateway.times import now
from gateway.writer import Writer
from tests.service.test_retention import DAYS, add, rules

EXECUTIONS = 6
Row = tuple[Any, ...]


def killed(work: Callable[[], object]) -> bool:
    """Do it in a process of its own; whether that was killed on the way. What it raises fails the test."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  # it must not get back into pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "see what it printed"
    return False


def mortal(steps: int) -> Callable[[], None]:
    """What is to be called at each step, of which this many are survived."""
    left = itertools.count(steps, -1)

    def step() -> None:
        if next(left) <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def contents(path: Path) -> tuple[list[Row], dict[str, list[Row]]]:
    """The schema and the rows."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        schema = database.execute("select type, name, sql from sqlite_master order by type, name").fetchall()
        tables = [name for kind, name, _ in schema if kind == "table"]
        return schema, {name: database.execute(f"select * from {name}").fetchall() for name in tables}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of an earlier version, with rows."""
    path = tmp_path / "old.db"
    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    command.upgrade(config, "0003")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("insert into tasks values ('tsk_1', 't', 'a', 'ada', 0, 'open', 1, 'h', '{}', '2026')")
        columns = (
            "id, task, tenant, caller, profile, policy, source, idempotency_key, request_digest, request,"
            " submitted_at, status, answer, answered_at"
        )
        for number in range(EXECUTIONS):
            row = (f"exe_{number}", "tsk_1", "t", "ada", "p", "p", "agent", f"k{number}", "d", "{}", "2026")
            database.execute(
                f"insert into executions ({columns}) values (?,?,?,?,?,?,?,?,?,?,?,'failed','{{}}','2026')", row
            )
    return path


def test_killed_in_a_migration_the_next_start_does_it_whole(old: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    shutil.copy(old, whole)
    migrate(f"sqlite:///{whole}")
    expected, kills = contents(whole), 0
    with closing(sqlite3.connect(whole)) as database:
        kept = database.execute("select kept from executions").fetchall()
    assert kept == [(BIT[Body.CODE] | BIT[Body.OUTPUT] | BIT[Body.KEYS],)] * EXECUTIONS

    def dying(path: Path, survived: int) -> None:
        step = mortal(survived)
        event.listen(Engine, "after_cursor_execute", lambda *_: step())
        migrate(f"sqlite:///{path}")

    for survived in range(1000):
        path = tmp_path / "killed.db"
        shutil.copy(old, path)
        died = killed(lambda: dying(path, survived))  # noqa: B023  # called at once
        migrate(f"sqlite:///{path}")
        assert is_current(f"sqlite:///{path}")
        assert contents(path) == expected, f"after {survived} statements"
        path.unlink()
        if not died:
            break
        kills += 1
    assert kills > 20, "it died on the way"


async def test_killed_while_retention_deletes_it_leaves_no_half_deleted_execution(tmp_path: Path) -> None:
    made, full = now() - 100 * DAYS, tmp_path / "full.db"
    migrate(f"sqlite:///{full}")

    async def pruned(path: Path, step: Callable[[], None]) -> list[int]:
        """What each execution still keeps after a pass; no row says other than what is there."""
        change, say = Session.change, Session.say

        def counted(self: Session, *words: object) -> int:
            step()
            return change(self, *words)  # type: ignore[arg-type]

        def said(self: Session, words: str) -> None:
            if words == "COMMIT":
                step()
            say(self, words)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "change", counted)
            patch.setattr(Session, "say", said)
            store = Store(f"sqlite:///{path}")
            await store.open()
            await Pruner(policy=rules(), store=store).prune()
            await store.close()
        return await kept(path)

    async def kept(path: Path) -> list[int]:
        store, found = Store(f"sqlite:///{path}"), []
        await store.open()
        for id_ in ids:
            row = await store.read(lambda reader, id_=id_: reader.execution(id_))  # type: ignore[misc]
            file = await store.read(lambda reader, id_=id_: reader.file(id_, "a"))  # type: ignore[misc]
            assert row is not None
            assert bool(row.request) is bool(row.kept & BIT[Body.CODE])
            assert ('"stdout"' in (row.answer or "")) is bool(row.kept & BIT[Body.OUTPUT])
            assert (file is not None) is bool(row.kept & BIT[Body.FILES])
            found.append(row.kept)
        await store.close()
        return found

    def fill(writer: Writer) -> list[str]:
        return [add(writer, made, key=f"k{number}") for number in range(EXECUTIONS)]

    store = Store(f"sqlite:///{full}")
    await store.open()
    ids = await store.write(fill)
    await store.checkpoint()
    await store.close()
    kills = 0
    for survived in range(1000):
        path = tmp_path / f"killed{survived}.db"
        shutil.copy(full, path)
        died = await asyncio.to_thread(killed, lambda: asyncio.run(pruned(path, mortal(survived))))  # noqa: B023
        assert set(await kept(path)) in ({15}, {0}), "a batch is deleted whole or not at all"
        assert await pruned(path, lambda: None) == [0] * EXECUTIONS, "and the next pass finds the rest"
        if not died:
            break
        kills += 1
    assert kills > EXECUTIONS, "it died on the way"
