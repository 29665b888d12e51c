from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from bench.history import TENANTS, fill, read_original
from gateway.events import chain, encode
from gateway.lifecycle import fold
from gateway.reader import Reader
from gateway.store import Store
from tests.conftest import Server

COPIES = 2 * TENANTS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway without an engine that recorded one task, stopped, with its history copied."""
    folder = tmp_path_factory.mktemp("history")
    server = Server(folder / "data", environment={"DOCKER_HOST": f"unix://{folder}/no-engine.sock"}).start()
    with server.client() as client:
        for code, status in (("print(1)", "succeeded"), ("print(", "rejected")):
            answer = client.post("/v1/executions", json={"code": code, "task_id": "history"}).json()
            assert answer["status"] == status, answer
    server.stop()
    told: list[int] = []
    assert fill(server.data / "airlock.db", "history", COPIES * 2, told.append) == COPIES * 2 == sum(told)
    yield server
    server.stop()


async def test_every_copy_is_a_log_that_the_gateway_itself_could_have_written(server: Server) -> None:
    with closing(sqlite3.connect(server.data / "airlock.db")) as database:
        tasks = [str(row[0]) for row in database.execute("SELECT id FROM tasks")]
    assert len(tasks) == COPIES + 1

    def check(reader: Reader) -> None:
        for task in tasks:
            stored, head, log = reader.task(task), "", reader.log_of(task)
            for line in log:
                assert line.prev_hash == head
                head = chain(head, line.seq, line.at, *encode(line.event))
                assert line.hash == head
            assert stored is not None
            assert (stored.head, stored.task) == (head, fold(line.event for line in log))
            execution = reader.execution(stored.task.latest or "")
            assert execution is not None
            assert (execution.task, execution.tenant) == (task, stored.task.tenant)

    store = Store(f"sqlite:///{server.data / 'airlock.db'}")
    try:
        await store.read(check)
    finally:
        await store.close()


def test_copies_differ_in_ids_times_and_tenants(server: Server) -> None:
    with closing(sqlite3.connect(server.data / "airlock.db")) as database:
        ids, executions = database.execute("SELECT count(DISTINCT id), count(*) FROM executions").fetchone()
        tenants, names, times = database.execute(
            "SELECT count(DISTINCT tenant), count(DISTINCT task_id), count(DISTINCT opened_at) FROM tasks"
        ).fetchone()
        ordered = [row[0] for row in database.execute("SELECT submitted_at FROM executions ORDER BY id")]
    assert ids == executions == COPIES * 2 + 2
    assert (tenants, names, times) == (TENANTS, COPIES + 1, COPIES + 1)
    assert ordered == sorted(ordered)


def test_a_gateway_goes_on_with_a_copied_history(server: Server) -> None:
    server.start()
    with server.client() as client:
        assert client.get("/v1/tasks/history-0").json()["turn"] == "agent"
        assert client.get("/v1/tasks/history-1").status_code == 404  # another tenant's
        answer = client.post("/v1/executions", json={"code": "print(1)", "task_id": "history"}).json()
        assert answer["status"] == "succeeded"


def test_a_task_that_was_never_recorded_cannot_be_copied(server: Server) -> None:
    with (
        closing(sqlite3.connect(server.data / "airlock.db")) as database,
        pytest.raises(ValueError, match="no task 'missing'"),
    ):
        read_original(database, "missing")
