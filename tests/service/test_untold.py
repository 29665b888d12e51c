"""Promise: what nobody was told of begins at once, and what lasts or waits is on disk long before its answer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from gateway.commits import UNTOLD_SECONDS
from tests.conftest import Server
from tests.event_stream import told
from tests.service.gateways import eventually, policy, submit_later
from tests.service.test_expect import multiplying

pytestmark = pytest.mark.engine

NARROW = "engine: {spares: 0, boxes: 1, queue: 1}"
TRIES = 30  # to be quick, on a machine that others use too


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server(policy(defaults="isolation: {mode: cell}, lanes: {monty: false}"))


def commits(server: Server, execution: str) -> list[list[str]]:
    """The types of an execution's events, those of one commit together: they have its time."""
    with closing(sqlite3.connect(server.data / "airlock.db")) as database:
        found: dict[str, list[str]] = {}
        for at, kind in database.execute(
            "select at, type from events where data ->> 'execution' = ? order by seq", (execution,)
        ):
            found.setdefault(at, []).append(kind)
    return list(found.values())


@contextmanager
def nothing_is_written(server: Server) -> Iterator[None]:
    """Meanwhile the store can be read, and whatever writes waits."""
    with closing(sqlite3.connect(server.data / "airlock.db", isolation_level=None)) as database:
        database.execute("begin immediate")
        yield
        database.execute("rollback")


def count(server: Server, metric: str) -> float:
    with server.client(server.reviewer_key) as operator:
        page = operator.get("/metrics")
    assert page.status_code == 200, page.text
    return sum(float(line.split()[-1]) for line in page.text.splitlines() if line.startswith(metric))


def names_heard(server: Server, execution: str, silence: float) -> list[str]:
    """What a listener hears before nothing comes for so many seconds, or the end."""
    heard = []
    try:
        with (
            server.client(timeout=silence) as client,
            client.stream("GET", f"/v1/executions/{execution}/events") as answer,
        ):
            for event in told(answer.iter_bytes()):
                heard.append(event.name)  # noqa: PERF401  # what came before the silence stays
    except httpx.ReadTimeout:
        pass
    return heard


def quick(client: httpx.Client) -> str:
    """An execution that ended long before it was to be recorded."""
    for _ in range(TRIES):
        answer = client.post("/v1/executions", json={"code": "print(1)"}).json()
        assert answer["lane"] == "container", answer
        if answer["timings"]["total"] < UNTOLD_SECONDS / 2:
            return str(answer["id"])
    pytest.fail(f"no program ended within {UNTOLD_SECONDS / 2} s")


def test_what_ends_at_once_is_one_commit(server: Server) -> None:
    with server.client() as client:
        (together,) = commits(server, quick(client))
        assert together[0] == "Submitted"
        assert together[-3:] == ["Started", "Finished", "Answered"]


def test_what_lasts_is_on_disk_while_it_runs_and_can_be_cancelled(server: Server) -> None:
    heard = []

    def wait() -> None:
        with server.client() as client:
            body = {"code": "import time\ntime.sleep(60)", "task_id": "lasts"}
            heard.append(client.post("/v1/executions", json=body, timeout=60).json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    with server.client() as client:
        eventually(lambda: client.get("/v1/tasks/lasts").status_code == 200)
        (execution,) = client.get("/v1/tasks/lasts").json()["executions"]
        before = commits(server, execution["id"])
        client.delete(f"/v1/executions/{execution['id']}")
    waiting.join()
    assert before[-1][-1] == "Started"
    assert heard[0]["status"] == "cancelled"


def test_what_was_acknowledged_is_on_disk_before_it_is_answered(server: Server) -> None:
    with server.client() as client:
        execution = submit_later(client, code="print(1)")
        assert "Submitted" in [kind for commit in commits(server, execution) for kind in commit]


def test_nobody_hears_that_a_program_started_before_that_is_on_disk(make_server: Callable[..., Server]) -> None:
    server = make_server(policy().replace("engine: {spares: 0}", NARROW))
    with server.client() as client:
        submit_later(client, code="import time\ntime.sleep(3)", lane="container")
        execution = submit_later(client, code="print('out')", lane="container")
        with nothing_is_written(server):
            eventually(lambda: count(server, "airlock_attempts_total") == 2)
            heard = names_heard(server, execution, silence=1)
            assert all("Started" not in commit for commit in commits(server, execution))
        assert "queued" in heard
        assert "started" not in heard
        assert {"started", "stdout", "finished"} <= set(names_heard(server, execution, silence=30))


def test_what_is_acknowledged_while_it_changes_its_lane_is_run_however_full_the_queue(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(policy().replace("engine: {spares: 0}", NARROW))
    heard = []

    def submit() -> None:
        with server.client() as client:
            body = {"code": "1 / 0"}  # which Monty leaves to CPython to tell of
            heard.append(client.post("/v1/executions", json=body, headers={"Prefer": "respond-async"}))

    submitting = threading.Thread(target=submit)
    with server.client() as client:
        for _ in range(2):  # the box, and the place in the queue
            submit_later(client, code="import time\ntime.sleep(4)", lane="container")
        with nothing_is_written(server):
            submitting.start()
            eventually(lambda: count(server, 'airlock_attempts_failed_total{cause="lane"}') == 1)
        submitting.join()
        assert heard[0].status_code == 202, heard[0].text
        answer = client.get(heard[0].headers["Location"], params={"wait": 30}).json()
        assert (answer["status"], answer["error"]["type"]) == ("failed", "ZeroDivisionError")


def test_a_promise_that_takes_long_to_judge_is_on_disk_meanwhile(server: Server) -> None:
    with server.client() as client:
        quick(client)  # so the next is quick too, and what takes long is its judge
        body = {"code": "1 + 1", "expect": {"result_schema": multiplying(40)}}
        answer = client.post("/v1/executions", json=body).json()
        assert answer["status"] == "failed", answer
        assert commits(server, answer["id"])[0][-1] == "Started"
