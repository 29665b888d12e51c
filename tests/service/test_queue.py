"""The queue before the boxes, over HTTP: bounded, told, fair, and never a promise that is not kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import eventually, policy, running, submit_later

pytestmark = pytest.mark.engine

NARROW = policy().replace("engine: {spares: 0}", "engine: {spares: 0, boxes: 1, queue: 4, queue_age: 20s}")
SLEEP = "import time\ntime.sleep({})\nprint('done')"
TENANTS = {"a": ("one", "agent"), "b": ("two", "agent")}


def sleeper(seconds: float) -> str:
    return SLEEP.format(seconds)


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


async def test_a_full_queue_refuses_with_429_and_keeps_every_promise_that_it_made(
    make_server: Callable[..., Server],
) -> None:
    """200 submitters at once: what is accepted is answered within the queue's age and the run, the rest is told when to come."""
    server = await asyncio.to_thread(make_server, NARROW)
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:

        async def submit(number: int) -> tuple[int, float, httpx.Response]:
            began = time.monotonic()
            headers = {"Prefer": "respond-async"} if number % 2 else {}
            body = {"code": f"print({number})", "lane": "container"}
            answer = await client.post("/v1/executions", json=body, headers=headers)
            return number, time.monotonic() - began, answer

        answers = await asyncio.gather(*(submit(number) for number in range(200)))
        statuses = Counter(answer.status_code for _, _, answer in answers)
        assert set(statuses) == {200, 202, 429}, statuses
        for number, seconds, answer in answers:
            told = answer.json()
            if answer.status_code == 429:
                assert told["limit"] == "engine.queue"
                assert int(answer.headers["Retry-After"]) >= 1
                continue
            if answer.status_code == 202:
                told = (await client.get(answer.headers["Location"], params={"wait": 60})).json()
            else:
                assert seconds < 20 + 10, "the queue's age, and a run"
            assert (told["status"], told["stdout"]) == ("succeeded", f"{number}\n")


def test_what_was_refused_leaves_nothing_behind_and_may_come_again(make_server: Callable[..., Server]) -> None:
    server = make_server(NARROW)
    with server.client() as client:
        held = [submit_later(client, code=sleeper(1.5), lane="container", task_id=f"t{n}") for n in range(5)]
        body = {"code": "print('in')", "lane": "container", "task_id": "late"}
        refused = client.post("/v1/executions", json=body, headers={"Idempotency-Key": "again"})
        assert refused.status_code == 429
        assert client.get("/v1/tasks/late").status_code == 404
        assert client.get("/readyz").json()["queued"] == 4
        for execution in held:
            client.get(f"/v1/executions/{execution}", params={"wait": 30})
        accepted = client.post("/v1/executions", json=body, headers={"Idempotency-Key": "again"})
        assert (accepted.status_code, accepted.json()["stdout"]) == (200, "in\n")


def test_monty_is_served_while_the_boxes_queue_is_full(make_server: Callable[..., Server]) -> None:
    server = make_server(NARROW)
    with server.client() as client:
        for number in range(5):
            submit_later(client, code=sleeper(2), lane="container", task_id=f"t{number}")
        answer = client.post("/v1/executions", json={"code": "print(6 * 7)"})
        assert (answer.status_code, answer.json()["lane"], answer.json()["stdout"]) == (200, "monty", "42\n")


def test_one_tenants_crowd_does_not_keep_another_waiting(make_server: Callable[..., Server]) -> None:
    narrow = policy(TENANTS).replace("engine: {spares: 0}", "engine: {spares: 0, boxes: 1, queue: 50, queue_age: 60s}")
    server = make_server(narrow)
    with server.client("key-of-a") as many, server.client("key-of-b") as one:
        crowd = [submit_later(many, code=sleeper(0.5), lane="container", task_id=f"t{n}") for n in range(8)]
        eventually(lambda: running(many, crowd[0]))
        answer = one.post("/v1/executions", json={"code": "print('soon')", "lane": "container"})
        assert answer.json()["stdout"] == "soon\n"
        statuses = [many.get(f"/v1/executions/{execution}").json()["status"] for execution in crowd]
        assert statuses.count("queued") >= 4, "it came long before the crowd was done"


def test_priority_decides_among_a_tenants_own_programs(make_server: Callable[..., Server]) -> None:
    server = make_server(NARROW)
    with server.client() as client:
        first = submit_later(client, code=sleeper(1.5), lane="container", task_id="first")
        eventually(lambda: running(client, first))
        low = submit_later(client, code="1", lane="container", task_id="low", priority="low")
        high = submit_later(client, code="1", lane="container", task_id="high", priority="high")
        ended = [
            client.get(f"/v1/executions/{execution}", params={"wait": 30}).json()["answered_at"]
            for execution in (low, high)
        ]
        assert ended[1] < ended[0]


def test_a_program_that_cannot_start_in_time_expires_and_costs_nothing(make_server: Callable[..., Server]) -> None:
    server = make_server(NARROW)
    with server.client() as client:
        first = submit_later(client, code=sleeper(8), lane="container", task_id="first")
        eventually(lambda: running(client, first))
        body = {"code": "print('late')", "lane": "container", "task_id": "hasty", "start_within": "500ms"}
        view = client.post("/v1/executions", json=body).json()
        assert (view["status"], view["cause"], view["attempts"]) == ("expired", "expired", [])
        assert view["task"]["budget"]["failures_total"]["left"] == 12
        assert view["next_actions"] == ["resubmit_unchanged"]
        client.get(f"/v1/executions/{first}", params={"wait": 30})
        again = client.post("/v1/executions", json=body).json()
        assert (again["status"], again["stdout"]) == ("succeeded", "late\n")


def test_the_depth_and_the_age_are_measured(make_server: Callable[..., Server]) -> None:
    keys = policy({"op": ("ops", "operator"), "a": ("one", "agent")})
    server = make_server(keys.replace("engine: {spares: 0}", "engine: {spares: 0, boxes: 1, queue: 4}"))
    with server.client("key-of-a") as client, server.client("key-of-op") as operator:
        first = submit_later(client, code=sleeper(2), lane="container", task_id="first")
        eventually(lambda: running(client, first))
        submit_later(client, code="1", lane="container", task_id="second")
        assert metric(operator, "airlock_queue_executions") == 1
        time.sleep(0.2)
        assert 0.2 <= metric(operator, "airlock_queue_oldest_seconds") < 10
