"""Without a container engine the gateway serves what Monty can run, and says so; nobody pays for what is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Server

POLICY = "version: 1\nengine: {queue_age: 2s}\ndefaults: {retries: {base: 10ms, cap: 20ms}}\n"


@pytest.fixture
def lonely(make_server: Callable[..., Server]) -> Server:
    return make_server(POLICY, DOCKER_HOST="unix:///nonexistent/docker.sock")


def test_the_missing_lane_is_told_and_the_other_one_serves(lonely: Server) -> None:
    with lonely.client() as client:
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        lanes = ready.json()["lanes"]
        assert (lanes["monty"]["available"], lanes["container"]["available"]) == (True, False)
        assert lanes["container"]["detail"]
        answer = client.post("/v1/executions", json={"code": "print(6 * 7)"}).json()
        assert (answer["status"], answer["lane"], answer["stdout"]) == ("succeeded", "monty", "42\n")


def test_what_needs_a_container_is_the_platforms_fault_and_free(lonely: Server) -> None:
    with lonely.client() as client:
        body = {"code": "import socket\nprint(1)", "task_id": "needs-a-box"}
        refused = client.post("/v1/executions", json=body)
        problem = refused.json()
        assert (refused.status_code, problem["retryable"]) == (503, True)
        assert int(refused.headers["Retry-After"]) > 0
        execution = problem["execution"]
        assert (execution["status"], execution["cause"]) == ("platform_error", "queue_too_long")
        assert [one["cause"] for one in execution["attempts"]] == ["engine_lost"], "then it waited for the engine"
        assert execution["next_actions"] == ["resubmit_unchanged"]
        assert execution["task"]["budget"]["failures_total"]["left"] == 12


@pytest.mark.engine
def test_a_key_whose_execution_the_platform_failed_stands_for_the_next_one(lonely: Server) -> None:
    body, key = {"code": "print(1)", "task_id": "again", "lane": "container"}, {"Idempotency-Key": "k"}

    def send() -> tuple[str, str]:
        with lonely.client() as client:
            told = client.post("/v1/executions", json=body, headers=key).json()
        execution = told.get("execution", told)
        return execution["id"], execution["status"]

    failed = [send(), send()]
    assert [status for _, status in failed] == ["platform_error"] * 2
    lonely.stop()
    del lonely.environment["DOCKER_HOST"]
    lonely.start()
    (first, status), again = send(), send()
    assert status == "succeeded"
    assert again == (first, status)
    assert len({first, *(one for one, _ in failed)}) == 3
