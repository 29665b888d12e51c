"""A result that comes late, from a gateway that was taken for dead, is refused and counted: the later attempt counts."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.service.crashes import Mortal, Nursery, nursery, template
from tests.service.gateways import boxes, eventually, policy, submit_later

pytestmark = pytest.mark.engine

KEYS = {"ada": ("team", "agent"), "olga": ("team", "operator")}
CODE = "import time\nprint('begun', flush=True)\ntime.sleep(3)\nprint('over')"


def events(folder: Path, kind: str) -> list[dict]:  # type: ignore[type-arg]
    with closing(sqlite3.connect(folder / "airlock.db")) as database:
        return [json.loads(data) for (data,) in database.execute("select data from events where type = ?", (kind,))]


def late(server: Mortal) -> bool:
    with server.client("key-of-olga") as operator:
        metrics = operator.get("/metrics").text
    assert "airlock_late_results_total" in metrics, metrics
    return "airlock_late_results_total 1.0" in metrics


@pytest.fixture(scope="module")
def parent() -> Iterator[Nursery]:
    with nursery() as made:
        yield made


@pytest.mark.parametrize("answered", [False, True], ids=["while it runs again", "after its answer"])
def test_the_result_of_a_gateway_that_was_taken_for_dead_is_refused_and_counted(
    parent: Nursery, tmp_path: Path, *, answered: bool
) -> None:
    """Two gateways on one database: the second takes up what the first, which stands still, had begun."""
    rules = tmp_path / "policy.yaml"
    rules.write_text(policy(KEYS))
    database = f"sqlite:///{template(tmp_path)}"
    first, second = (
        Mortal(tmp_path / name, rules, {"AIRLOCK_DATABASE_URL": database}, nursery=parent) for name in ("1", "2")
    )
    first.begin(None)
    assert first.pid is not None
    with first.client("key-of-ada") as one, second.client("key-of-ada") as two:
        execution = submit_later(one, code=CODE, lane="container", task_id="t")
        with one.stream("GET", f"/v1/executions/{execution}/events") as stream:
            assert "event: stdout" in stream.iter_lines()
        os.kill(first.pid, signal.SIGSTOP)
        try:
            second.begin(None)
            eventually(lambda: events(tmp_path, "Started")[-1]["attempt"] == 2)
            eventually(lambda: not answered or bool(events(tmp_path, "Answered")))
        finally:
            os.kill(first.pid, signal.SIGCONT)
        eventually(lambda: late(first))
        eventually(lambda: bool(events(tmp_path, "Answered")))
        view = two.get(f"/v1/executions/{execution}").json()
        assert (view["status"], view["stdout"]) == ("succeeded", "begun\nover\n")
        assert [attempt["ending"] for attempt in view["attempts"]] == ["lost", "succeeded"]
        assert len(events(tmp_path, "Answered")) == 1
        assert [end["attempt"] for end in events(tmp_path, "Finished")] == [1, 2]
        assert one.get(f"/v1/executions/{execution}").json()["status"] == "succeeded", "it tells what counts"
        assert not late(second)
    for server in (first, second):
        server.end()
        assert not boxes(server)
