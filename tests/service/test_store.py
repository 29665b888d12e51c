"""The store, on the real database: all or nothing, in order, one log per task, and a projection that is its fold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.connection import Writer
from gateway.errors import Unavailable
from gateway.events import Answered, Event, Opened, Status, Submitted, chain, encode
from gateway.lifecycle import IllegalEvent, begin, fold
from gateway.records import StoredTask
from gateway.store import Store, migrate
from gateway.times import now
from sandbox.job import Limits

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=5, pids=64, disk_bytes=1 << 20, output_bytes=1 << 16)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path / 'airlock.db'}"
    migrate(url)
    opened = Store(url)
    await opened.open()
    yield opened
    await opened.close()


async def open_task(store: Store, name: str) -> StoredTask:
    event = Opened("t", name, "agent")
    return await store.write(lambda writer: writer.open_task(f"tsk_{name}", begin(event), event, now()))


def program(number: int) -> list[Event]:
    return [
        Submitted(f"e{number}", f"d{number}", LIMITS, "agent"),
        Answered(f"e{number}", Status.FAILED, 1, fingerprint=f"f{number}"),
    ]


async def append(store: Store, task: str, events: list[Event]) -> StoredTask:
    def work(writer: Writer) -> StoredTask:
        stored = writer.task(task)
        assert stored is not None
        return writer.append(stored, events, now())

    return await store.write(work)


async def test_the_projection_is_the_fold_of_the_log_and_the_chain_holds(store: Store) -> None:
    await open_task(store, "a")
    for number in range(20):
        await append(store, "tsk_a", program(number))
    log = await store.read(lambda reader: reader.log_of("tsk_a"))
    stored = await store.read(lambda reader: reader.task("tsk_a"))
    assert stored is not None
    assert fold(line.event for line in log) == stored.task
    assert [line.seq for line in log] == list(range(1, 42))
    previous = ""
    for line in log:
        assert (line.prev_hash, line.hash) == (previous, chain(previous, line.seq, line.at, *encode(line.event)))
        previous = line.hash
    assert stored.head == previous


async def test_concurrent_appends_to_one_task_are_all_there(store: Store) -> None:
    await open_task(store, "a")
    await asyncio.gather(*(append(store, "tsk_a", program(number)) for number in range(50)))
    stored = await store.read(lambda reader: reader.task("tsk_a"))
    assert stored is not None
    assert (stored.task.total, stored.task.seq) == (50, 101)


async def test_what_raises_writes_nothing_and_harms_nobody_in_the_same_transaction(store: Store) -> None:
    await open_task(store, "a")

    def bad(writer: Writer) -> None:
        event = Opened("t", "half", "agent")
        writer.open_task("tsk_half", begin(event), event, now())
        raise IllegalEvent("no")

    results = await asyncio.gather(
        append(store, "tsk_a", program(1)),
        store.write(bad),
        append(store, "tsk_a", program(2)),
        return_exceptions=True,
    )
    assert isinstance(results[1], IllegalEvent)
    stored = await store.read(lambda reader: reader.task("tsk_a"))
    assert stored is not None
    assert stored.task.total == 2
    assert await store.read(lambda reader: reader.task("tsk_half")) is None


async def test_an_illegal_event_is_refused_and_the_log_stays(store: Store) -> None:
    await open_task(store, "a")
    with pytest.raises(IllegalEvent):
        await append(store, "tsk_a", [Answered("e9", Status.FAILED, 1)])
    assert len(await store.read(lambda reader: reader.log_of("tsk_a"))) == 1


async def test_a_log_that_moved_on_under_the_writer_is_not_overwritten(store: Store) -> None:
    before = await open_task(store, "a")
    await append(store, "tsk_a", program(1))
    with pytest.raises(Unavailable):
        await store.write(lambda writer: writer.append(before, program(2), now()))


async def test_it_is_on_disk_with_full_sync_and_a_write_ahead_log(store: Store, tmp_path: Path) -> None:
    await open_task(store, "a")
    other = Store(f"sqlite:///{tmp_path / 'airlock.db'}")
    await other.open()
    assert await other.read(lambda reader: reader.task("tsk_a")) is not None
    await other.close()
    assert (tmp_path / "airlock.db-wal").exists()


async def test_migrations_make_what_the_tables_say(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415  # only here
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    from gateway.tables import metadata  # noqa: PLC0415

    path = tmp_path / "fresh.db"
    migrate(f"sqlite:///{path}")
    migrate(f"sqlite:///{path}")
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
