"""A gateway that dies: nothing is lost, nobody is charged, no box stays behind."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Callable

import docker
import httpx
import pytest

from sandbox.profile import SPARE
from tests.conftest import Server

pytestmark = pytest.mark.engine

EXECUTIONS = 10
FINAL = {"succeeded", "failed", "platform_error"}


def boxes(server: Server) -> int:
    instance = (server.data / "instance").read_text().strip()
    client = docker.from_env()
    try:
        found = client.api.containers(all=True, filters={"label": f"airlock.instance={instance}"})
        return sum(not one["Labels"]["airlock.execution"].startswith(SPARE) for one in found)
    finally:
        client.close()


def submit(server: Server, number: int) -> None:
    """Send and never hear back: the server dies first."""
    fails = number % 2
    code = f"import time\ntime.sleep(4)\n{'1 / 0' if fails else repr(number)}\n"
    body = {"code": code, "task_id": f"crash-{number}", "lane": "container"}
    with server.client() as client, contextlib.suppress(httpx.TransportError):
        client.post("/v1/executions", json=body, headers={"Idempotency-Key": f"key-{number}"})


def recorded(client: httpx.Client, number: int) -> bool:
    """Whether the gateway has written it down; what it has not, it has not taken."""
    return client.get(f"/v1/tasks/crash-{number}").status_code == 200


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_killed_while_ten_run_it_finishes_them_all_after_the_restart(make_server: Callable[[], Server]) -> None:
    server = make_server()
    with concurrent.futures.ThreadPoolExecutor(EXECUTIONS) as pool:
        for number in range(EXECUTIONS):
            pool.submit(submit, server, number)
        with server.client() as client:
            wait_until(lambda: all(recorded(client, number) for number in range(EXECUTIONS)), 30)
            wait_until(lambda: boxes(server) >= 3, 30)
        server.kill()
    assert boxes(server) > 0, "there was something to clean up"
    server.start()
    with server.client() as client:
        for number in range(EXECUTIONS):
            view = client.get(f"/v1/tasks/crash-{number}", params={"wait": 60}).json()
            latest = view["latest"]
            assert latest["status"] == ("failed" if number % 2 else "succeeded")
            assert len(view["executions"]) == 1
            charged = 12 - view["budget"]["failures_total"]["left"]
            assert charged == number % 2, "the crash itself costs nothing"
            again = client.post(
                "/v1/executions",
                json={
                    "code": f"import time\ntime.sleep(4)\n{'1 / 0' if number % 2 else repr(number)}\n",
                    "task_id": f"crash-{number}",
                    "lane": "container",
                },
                headers={"Idempotency-Key": f"key-{number}"},
            )
            assert again.json()["id"] == latest["id"], "the key still stands for the same execution"
    wait_until(lambda: boxes(server) == 0, 20)


def test_a_stopped_gateway_leaves_no_box(make_server: Callable[[], Server]) -> None:
    server = make_server()
    with server.client() as client:
        client.post("/v1/executions", json={"code": "print(1)", "lane": "container"})
    assert server.stop() == 0
    assert boxes(server) == 0


def test_two_gateways_cannot_share_one_data_directory(make_server: Callable[[], Server]) -> None:
    first = make_server()
    second = Server(first.data)
    with pytest.raises(AssertionError, match="Another gateway is using"):
        second.start()
