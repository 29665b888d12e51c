"""Promise: what nobody was told of begins at once, and what lasts or waits is on disk long before its answer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from gateway.commits import UNTOLD_SECONDS
from tests.conftest import Server
from tests.service.gateways import eventually, policy, submit_later

pytestmark = pytest.mark.engine

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


def test_what_ends_at_once_is_one_commit(server: Server) -> None:
    with server.client() as client:
        for _ in range(TRIES):
            answer = client.post("/v1/executions", json={"code": "print(1)"}).json()
            assert answer["lane"] == "container", answer
            if answer["timings"]["total"] < UNTOLD_SECONDS / 2:
                break
        else:
            pytest.fail(f"no program ended within {UNTOLD_SECONDS / 2} s")
        (together,) = commits(server, answer["id"])
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
