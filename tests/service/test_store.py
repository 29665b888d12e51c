"""The store, on the real database: all or nothing, in order, one log per task, and a projection that is its fold."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text

from gateway.database import Trouble
from gateway.errors import StorageUnavailable, Unavailable
from gateway.events import Answered, Event, Opened, Status, Submitted, chain, encode
from gateway.lifecycle import IllegalEvent, begin, fold
from gateway.records import StoredTask
from gateway.store import Store, is_current, migrate
from gateway.tables import REVISION
from gateway.times import now
from gateway.writer import Writer
from sandbox.job import Limits

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=5, pids=64, disk_bytes=1 << 20, output_bytes=1 << 16)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path / 'airlock.db'}"
    migrate(url)
    opened = Store(url)
    await opened.open()
    await opened.write(lambda _: None)  # its connection is there
    yield opened
    await opened.close()


async def open_task(store: Store, name: str, caller: str = "agent") -> StoredTask:
    event = Opened("t", name, caller)
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


class Held:
    """Another process's lock on the database: what is handed to the store meanwhile becomes one group after the first."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def logged(path: Path) -> dict[str, int]:
    """How many events each task has, as another process sees it."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        return dict(other.execute("select task, count(*) from events group by task").fetchall())


async def begun(store: Store, count: int) -> list[asyncio.Task[StoredTask]]:
    """Writes of as many new tasks, all of them handed to the store."""
    writes = [asyncio.create_task(open_task(store, f"n{number}")) for number in range(count)]
    await asyncio.sleep(0.2)
    return writes


async def test_nobody_is_told_before_the_commit_and_everybody_after_it(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "airlock.db"
    with Held(path):
        writes = await begun(store, 20)
        assert not any(write.done() for write in writes)
        assert not logged(path)
    for write in asyncio.as_completed(writes):
        stored = await write
        assert logged(path)[stored.id] == 1, "what is told is there for everybody"


async def test_of_a_group_only_what_raises_is_undone(store: Store, tmp_path: Path) -> None:
    def bad(writer: Writer) -> None:
        event = Opened("t", "half", "agent")
        writer.open_task("tsk_half", begin(event), event, now())
        raise IllegalEvent("no")

    with Held(tmp_path / "airlock.db"):
        before = await begun(store, 2)
        failing = asyncio.create_task(store.write(bad))
        after = asyncio.create_task(open_task(store, "after"))
        await asyncio.sleep(0.2)
    await asyncio.gather(*before, after)
    with pytest.raises(IllegalEvent):
        await failing
    assert set(logged(tmp_path / "airlock.db")) == {"tsk_n0", "tsk_n1", "tsk_after"}
    assert store.recent.task("t", "half") is None


async def test_who_does_not_wait_any_more_is_not_written_and_harms_nobody(store: Store, tmp_path: Path) -> None:
    with Held(tmp_path / "airlock.db"):
        writes = await begun(store, 5)
        writes[2].cancel()
        await asyncio.sleep(0.2)
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results[2], asyncio.CancelledError)
    assert set(logged(tmp_path / "airlock.db")) == {"tsk_n0", "tsk_n1", "tsk_n3", "tsk_n4"}


async def test_a_commit_that_fails_is_told_to_everybody_in_it_and_the_next_one_works(
    store: Store, tmp_path: Path
) -> None:
    def breaks_the_commit(writer: Writer) -> None:
        writer._session.say("PRAGMA defer_foreign_keys=ON")  # noqa: SLF001  # what is wrong is noticed at the commit
        writer.add_files("exe_none", [("a", b"")])

    with Held(tmp_path / "airlock.db"):
        first = await begun(store, 1)
        breaking = asyncio.create_task(store.write(breaks_the_commit))
        others = [asyncio.create_task(open_task(store, name)) for name in ("a", "b", "c")]
        await asyncio.sleep(0.2)
    await asyncio.gather(*first)
    for write in (breaking, *others):
        with pytest.raises(Unavailable) as refused:
            await write
        assert refused.value.status == 503
        assert str(tmp_path) not in str(refused.value)
    assert set(logged(tmp_path / "airlock.db")) == {"tsk_n0"}
    assert store.recent.task("t", "a") is None
    await open_task(store, "a")
    assert set(logged(tmp_path / "airlock.db")) == {"tsk_n0", "tsk_a"}


async def test_of_a_group_for_which_the_disk_is_too_small_nothing_is_told_that_is_not_there(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "airlock.db"
    await open_task(store, "a")
    pages = await store.write(lambda writer: writer._session.one(text("PRAGMA page_count"), int))  # noqa: SLF001
    assert pages is not None
    await store.write(lambda writer: writer._session.say(f"PRAGMA max_page_count={pages + 8}"))  # noqa: SLF001
    with Held(path):
        first = await begun(store, 1)
        writes = {
            f"tsk_{size}": asyncio.create_task(open_task(store, f"{size}", caller="x" * size))
            for size in (1, 2, 500_000, 3, 4)
        }
        await asyncio.sleep(0.2)
    await asyncio.gather(*first)
    results = dict(zip(writes, await asyncio.gather(*writes.values(), return_exceptions=True), strict=True))
    assert isinstance(results["tsk_500000"], Unavailable)
    assert all(isinstance(one, StoredTask | Unavailable) for one in results.values())
    told = {name for name, one in results.items() if isinstance(one, StoredTask)}
    assert set(logged(path)) == {"tsk_a", "tsk_n0"} | told


async def test_a_database_that_cannot_be_written_says_why_and_is_written_when_it_can_be(store: Store) -> None:
    def only_read(writer: Writer) -> None:
        writer._session.say("PRAGMA query_only = ON")  # noqa: SLF001  # as a file system that became read-only

    await open_task(store, "a")
    assert (await store.probe(), store.trouble) == (None, None)
    await store.write(only_read)
    with pytest.raises(StorageUnavailable) as refused:
        await open_task(store, "b")
    assert refused.value.extra == {"reason": "read_only", "retryable": True}
    assert str(store.trouble) == "read_only"
    assert await store.read(lambda reader: reader.task("tsk_a")) is not None, "reading works"
    assert (await store.probe(), store.trouble) == (None, None), "a connection that failed was made anew"
    await open_task(store, "b")
    await store.write(only_read)
    assert await store.probe() is Trouble.READ_ONLY


async def test_what_was_taken_before_the_end_is_written_and_nothing_is_taken_after(
    store: Store, tmp_path: Path
) -> None:
    with Held(tmp_path / "airlock.db"):
        writes = await begun(store, 3)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable):
            await open_task(store, "late")
    await closing
    await asyncio.gather(*writes)
    assert set(logged(tmp_path / "airlock.db")) == {"tsk_n0", "tsk_n1", "tsk_n2"}


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


def test_a_schema_that_is_current_is_told_from_one_that_is_not(tmp_path: Path) -> None:
    from alembic.config import Config  # noqa: PLC0415  # only here
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    assert not is_current(url)
    migrate(url)
    assert is_current(url)
