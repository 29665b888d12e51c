"""However a task or an execution ends, everything that was accepted gets one final answer, and nothing runs on."""

from __future__ import annotations

import concurrent.futures
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import boxes, eventually, policy, running, submit_later

pytestmark = pytest.mark.engine

FIRST_FAILURE_ASKS = "budget: {failures_in_a_row: 1}"
LONG = "import time\nprint('begun', flush=True)\ntime.sleep(20)"
BROKEN = "def broken(:"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("ends")
    (data / "policy.yaml").write_text(policy(defaults=f"{FIRST_FAILURE_ASKS}, limits: {{time: {{default: 30s}}}}"))
    started = Server(data, data / "policy.yaml").start()
    yield started
    started.stop()


@pytest.fixture
def agent(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def reviewer(server: Server) -> Iterator[httpx.Client]:
    with server.client(server.reviewer_key) as client:
        yield client


def long_and_broken(agent: httpx.Client, name: str) -> tuple[str, str]:
    """A program that runs, and the review that another one of the same task opened."""
    execution = submit_later(agent, code=LONG, task_id=name, lane="container")
    eventually(lambda: running(agent, execution))
    broken = agent.post("/v1/executions", json={"code": BROKEN, "task_id": name}).json()
    return execution, broken["task"]["review"]


def test_a_rejection_ends_what_the_task_still_runs(server: Server, agent: httpx.Client, reviewer: httpx.Client) -> None:
    execution, review = long_and_broken(agent, "rejected")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.get, f"/v1/executions/{execution}", params={"wait": 30})
        token = reviewer.get(f"/v1/reviews/{review}").json()["token"]
        ruling = {"token": token, "ruling": "reject", "message": "no"}
        assert reviewer.post(f"/v1/reviews/{review}/rulings", json=ruling).status_code == 200
        answer = waiting.result().json()
    assert (answer["status"], answer["task"]["state"]) == ("cancelled", "closed")
    assert agent.get(f"/v1/executions/{execution}").json()["answered_at"] is not None
    eventually(lambda: not boxes(server), 15)
    assert "Traceback" not in server.log.read_text()


def test_a_closed_task_runs_nothing_more(server: Server, agent: httpx.Client) -> None:
    execution = submit_later(agent, code=LONG, task_id="closed", lane="container")
    eventually(lambda: running(agent, execution))
    assert agent.delete("/v1/tasks/closed").json()["state"] == "closed"
    assert agent.get(f"/v1/executions/{execution}").json()["status"] == "cancelled"
    eventually(lambda: not boxes(server), 15)
    assert "Traceback" not in server.log.read_text()


def test_an_expired_review_ends_what_the_task_still_runs(make_server: Callable[..., Server]) -> None:
    defaults = f"{FIRST_FAILURE_ASKS}, review: {{expires: 1s}}, limits: {{time: {{default: 30s}}}}"
    server = make_server(policy(defaults=defaults))
    with server.client() as agent:
        execution, _ = long_and_broken(agent, "expired")
        answer = agent.get(f"/v1/executions/{execution}", params={"wait": 25}).json()
        assert (answer["status"], answer["task"]["closed_reason"]) == ("cancelled", "expired")
        eventually(lambda: not boxes(server), 15)
    assert "Traceback" not in server.log.read_text()


def test_many_cancellations_at_once_are_one(server: Server, agent: httpx.Client) -> None:
    execution = submit_later(agent, code=LONG, task_id="cancelled", lane="container")
    eventually(lambda: running(agent, execution))
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(agent.get, f"/v1/executions/{execution}", params={"wait": 30}) for _ in range(4)]
        cancelling = [pool.submit(agent.delete, f"/v1/executions/{execution}") for _ in range(8)]
        answers = [one.result() for one in (*waiting, *cancelling)]
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "cancelled")}
    assert len({answer.json()["answered_at"] for answer in answers}) == 1
    eventually(lambda: not boxes(server), 15)


@pytest.mark.parametrize("lane", ["monty", "container"])
def test_a_cancellation_at_any_moment_leaves_one_final_answer(agent: httpx.Client, lane: str) -> None:
    """Also at the moment when the answer is known, but not yet on disk."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number in range(12):
            body = {"code": "print(1)", "task_id": f"{lane}-{number}", "lane": lane}
            execution = submit_later(agent, **body)
            waiting = pool.submit(agent.get, f"/v1/executions/{execution}", params={"wait": 30})
            time.sleep(number * (0.002 if lane == "monty" else 0.04))
            cancelled = [pool.submit(agent.delete, f"/v1/executions/{execution}") for _ in range(2)]
            answers = [waiting.result(), *(one.result() for one in cancelled)]
            assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
            assert {answer.json()["status"] for answer in answers} <= {"succeeded", "cancelled"}
            assert len({answer.json()["status"] for answer in answers}) == 1


def test_a_review_can_be_rejected_after_the_ceilings_came_down(make_server: Callable[..., Server]) -> None:
    """The operator who lowers them does not lock the reviewers out; only running it needs limits that can be had."""
    server = make_server(policy(defaults=FIRST_FAILURE_ASKS))
    with server.client() as agent:
        reviews = [
            agent.post("/v1/executions", json={"code": BROKEN, "task_id": name}).json()["task"]["review"]
            for name in ("reject", "answer", "approve")
        ]
    server.stop()
    assert server.policy is not None
    lower = "limits: {memory: {default: 64Mi, max: 64Mi}}"
    server.policy.write_text(
        f"version: 1\nceilings: {{memory: 64Mi, disk: 512Mi}}\ndefaults: {{{FIRST_FAILURE_ASKS}, {lower}}}\n"
    )
    server.start()
    with server.client(server.reviewer_key) as reviewer:

        def rule(review: str, **ruling: object) -> httpx.Response:
            token = reviewer.get(f"/v1/reviews/{review}").json()["token"]
            return reviewer.post(f"/v1/reviews/{review}/rulings", json={"token": token, **ruling})

        rejected = rule(reviews[0], ruling="reject", message="no")
        answered = rule(reviews[1], ruling="answer", result=1)
        approved = rule(reviews[2], ruling="approve")
    assert (rejected.status_code, answered.status_code) == (200, 200)
    assert (approved.status_code, approved.json()["errors"][0]["field"]) == (422, "limits.memory")


def test_told_to_stop_it_lets_what_runs_end_and_loses_nothing(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(defaults="limits: {time: {default: 60s}}"))
    with server.client() as agent, concurrent.futures.ThreadPoolExecutor(1) as pool:
        body = {"code": "import time\ntime.sleep(2)\nprint('done')", "task_id": "short", "lane": "container"}
        short = pool.submit(agent.post, "/v1/executions", json=body)
        code = "import time\ntime.sleep(max(0, until - time.time()))"  # longer than anybody waits for it, once
        until = time.time() + 18
        late = submit_later(agent, code=code, inputs={"until": until}, task_id="late", lane="container")
        eventually(lambda: running(agent, late) and agent.get("/v1/tasks/short").status_code == 200)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        assert short.result().json()["stdout"] == "done\n", "it had the time to end"
        assert server.stop() == 0
    assert boxes(server) == []
    server.start()
    with server.client() as agent:
        answer = agent.get(f"/v1/executions/{late}", params={"wait": 40}).json()
        assert (answer["status"], [one["ending"] for one in answer["attempts"]]) == ("succeeded", ["lost", "succeeded"])
