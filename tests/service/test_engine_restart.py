"""The engine killed and restarted in the middle of fifty executions: all finish, nobody pays, Monty is served as usual."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import Server
from tests.private_engine import PrivateEngine, open_private_engine
from tests.service.gateways import eventually, policy, running, submit_later

pytestmark = pytest.mark.engine

COUNT = 50
TASKS = 10
RULES = (
    "limits: {time: {default: 20s, max: 20s}}, retries: {attempts: 3, base: 100ms, cap: 1s},"
    " budget: {failures_in_a_row: 2, failures_total: 2}"
)


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    with open_private_engine() as opened:
        yield opened


def test_fifty_executions_outlive_their_engine(engine: PrivateEngine, make_server: Callable[..., Server]) -> None:
    text = policy(defaults=RULES).replace("engine: {spares: 0}", "engine: {spares: 0, boxes: 4}")
    server = make_server(text, DOCKER_HOST=engine.address.url)
    with server.client() as client:
        eventually(lambda: client.get("/readyz").json()["lanes"]["container"]["available"] is True, 60)
        code = "import time\ntime.sleep(0.4)\nprint('through')"
        executions = [
            submit_later(client, code=f"{code}\n{number}", lane="container", task_id=f"t{number % TASKS}")
            for number in range(COUNT)
        ]
        eventually(lambda: sum(running(client, one) for one in executions) >= 2)
        time.sleep(1.0)
        engine.kill()
        eventually(lambda: client.get("/readyz").json()["breaker"] != "closed")
        monty = _served_meanwhile(server)
        engine.start()
        views = [client.get(f"/v1/executions/{one}", params={"wait": 60}).json() for one in executions]
        while any(view["status"] in {"queued", "running"} for view in views):
            views = [client.get(f"/v1/executions/{one}", params={"wait": 60}).json() for one in executions]
    assert Counter(view["status"] for view in views) == {"succeeded": COUNT}
    assert {view["stdout"] for view in views} == {"through\n"}
    assert {view["task"]["budget"]["failures_total"]["left"] for view in views} == {2}, "nobody is charged"
    lost = Counter(one["cause"] for view in views for one in view["attempts"] if one["cause"])
    assert lost, "some were running when the engine went"
    assert set(lost) <= {"engine_lost", "engine_refused", "box_lost"}
    assert monty == ["42\n"] * len(monty)


def _served_meanwhile(server: Server) -> list[str]:
    """What ten agents in Monty get while the engine is away."""
    told: list[str] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            told.append(client.post("/v1/executions", json={"code": "print(6 * 7)"}).json()["stdout"])

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == len(threads)
    return told
