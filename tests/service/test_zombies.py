"""A result that comes late, from a gateway that was taken for dead, is refused and counted: the later attempt counts."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import boxes, eventually, policy, submit_later

pytestmark = pytest.mark.engine

CODE = "import time\nprint('begun', flush=True)\ntime.sleep(3)\nprint('over')"


def attempts(client: httpx.Client, execution: str) -> list[str | None]:
    return [one["ending"] for one in client.get(f"/v1/executions/{execution}").json()["attempts"]]


def log(server: Server, kind: str) -> list[dict]:  # type: ignore[type-arg]
    with closing(sqlite3.connect(server.data / "airlock.db")) as database:
        return [json.loads(data) for (data,) in database.execute("select data from events where type = ?", (kind,))]


def late(client: httpx.Client) -> bool:
    return "airlock_late_results_total 1.0" in client.get("/metrics").text


@pytest.mark.parametrize("answered", [False, True], ids=["while it runs again", "after its answer"])
def test_the_result_of_a_gateway_that_was_taken_for_dead_is_refused_and_counted(
    make_server: Callable[..., Server], tmp_path: Path, *, answered: bool
) -> None:
    first = make_server(policy())
    database = f"sqlite:///{first.data / 'airlock.db'}"
    second = Server(tmp_path / "second", first.policy, {"AIRLOCK_DATABASE_URL": database})
    assert first.process is not None
    with first.client() as one, second.client() as two:
        execution = submit_later(one, code=CODE, lane="container", task_id="t")
        eventually(lambda: bool(boxes(first)))
        with one.stream("GET", f"/v1/executions/{execution}/events") as stream:
            assert "event: stdout" in stream.iter_lines()
        first.process.send_signal(signal.SIGSTOP)
        try:
            second.start()
            eventually(lambda: log(first, "Started")[-1]["attempt"] == 2)
            if answered:
                eventually(lambda: bool(log(first, "Answered")))
            first.process.send_signal(signal.SIGCONT)
            eventually(lambda: late(one))
            eventually(lambda: bool(log(first, "Answered")))
            view = two.get(f"/v1/executions/{execution}").json()
            assert (view["status"], view["stdout"]) == ("succeeded", "begun\nover\n")
            assert [one["ending"] for one in view["attempts"]] == ["lost", "succeeded"]
            assert len(log(first, "Answered")) == 1
            assert [one["attempt"] for one in log(first, "Finished")] == [1, 2]
            assert one.get(f"/v1/executions/{execution}").json()["status"] == "succeeded", "it tells what counts"
            assert not late(two)
        finally:
            first.process.send_signal(signal.SIGCONT)
            if second.process is not None:
                second.stop()
    eventually(lambda: not boxes(first) and not boxes(second))
