"""Promise: one key takes no more than its share, is told so, and loses nothing by it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import Server

pytestmark = pytest.mark.engine

RATES = "version: 1\nengine: {{boxes: 2}}\ndefaults:\n  rates: {{requests: {requests}, burst: {burst}, executions: {executions}}}\n"


def test_of_two_hundred_at_once_only_so_many_run_and_the_rest_are_told_to_wait(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(RATES.format(requests=60000, burst=2000, executions=5))
    code = "import time\ntime.sleep(0.5)\nprint({number})"

    def post(number: int) -> tuple[int, httpx.Response]:
        with server.client(timeout=170) as client:
            body = {"code": code.format(number=number), "task_id": f"many-{number}"}
            return number, client.post("/v1/executions", json=body)

    with ThreadPoolExecutor(50) as callers:
        answers = list(callers.map(post, range(200)))
    refused = [answer for _, answer in answers if answer.status_code == 429]
    for answer in refused:
        problem = answer.json()
        assert problem["type"].endswith("rate-limited")
        assert problem["limit"] == "rates.executions"
        assert int(answer.headers["Retry-After"]) >= 1
    ran = [(number, answer.json()) for number, answer in answers if answer.status_code == 200]
    assert len(ran) + len(refused) == 200
    assert len(ran) >= 5
    assert all(answer["stdout"] == f"{number}\n" for number, answer in ran)
    assert len({answer["id"] for _, answer in ran}) == len(ran)
    with server.client() as client:
        recorded = [client.get(f"/v1/tasks/many-{number}").status_code for number in range(200)]
    assert recorded.count(200) == len(ran)  # what was refused left no trace


def test_a_known_idempotency_key_is_answered_however_much_is_running(make_server: Callable[..., Server]) -> None:
    server = make_server(RATES.format(requests=60000, burst=2000, executions=1))
    body = {"code": "import time\ntime.sleep(2)\nprint(1)"}
    headers = {"Idempotency-Key": "one", "Prefer": "wait=0"}
    with server.client() as client:
        first = client.post("/v1/executions", json=body, headers=headers)
        assert first.status_code == 202
        assert client.post("/v1/executions", json={"code": "print(2)"}).status_code == 429
        again = client.post("/v1/executions", json=body, headers=headers)
        assert again.json()["id"] == first.json()["id"]


@pytest.mark.alone
def test_a_key_that_asks_too_often_is_told_how_long_to_wait(make_server: Callable[..., Server]) -> None:
    server = make_server(RATES.format(requests=60, burst=10, executions=5))
    with server.client() as client:
        answers = [client.get("/v1/policy") for _ in range(20)]
        codes = [answer.status_code for answer in answers]
        assert codes.count(200) in range(11, 15)  # a second or two may pass meanwhile
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["limit"] == "rates.requests"
        time.sleep(int(refused.headers["Retry-After"]))
        assert client.get("/v1/policy").status_code == 200
        assert client.get("/healthz").status_code == 200
        with server.client(server.reviewer_key) as reviewer:
            assert reviewer.get("/v1/reviews").status_code == 200  # another key, another pace


@pytest.mark.alone
def test_idle_and_slow_connections_harm_nobody(server: Server) -> None:
    def canary() -> float:
        began = time.monotonic()
        with server.client() as client:
            assert client.post("/v1/executions", json={"code": "print(6 * 7)"}).json()["stdout"] == "42\n"
        return time.monotonic() - began

    alone = sorted(canary() for _ in range(15))[7]
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(400)]
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    try:
        for number, one in enumerate(slow):
            head = b"POST /v1/executions HTTP/1.1\r\nHost: localhost\r\n"
            one.sendall(head if number % 2 else head + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        during = sorted(canary() for _ in range(15))[7]
        assert during < alone * 3 + 0.05
    finally:
        for one in (*idle, *slow):
            one.close()
