"""A program that comes to the same each time may be answered from the record, where the policy says so, and only then."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import httpx
import pytest
from pydantic import JsonValue

from gateway.bodies import sealed, without_output
from gateway.wire_answers import Answer
from sandbox.job import Lane
from tests.conftest import Server
from tests.service.gateways import policy

KEYS = {"ada": ("team-a", "agent"), "ann": ("team-a", "reviewer"), "bob": ("team-b", "agent")}
CODE = "print(name)\nsum(range(10))"
ASKED: dict[str, JsonValue] = {"code": CODE, "inputs": {"name": "x"}}


def rules(scope: str) -> str:
    return policy(KEYS, f"cache: {{scope: {scope}}}, budget: {{failures_in_a_row: 2}}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("cache")
    (data / "policy.yaml").write_text(rules("tenant"))
    running = Server(data, data / "policy.yaml").start()
    yield running
    running.stop()


@pytest.fixture
def ada(server: Server) -> Iterator[httpx.Client]:
    with server.client("key-of-ada") as client:
        yield client


def run(
    client: httpx.Client, asked: Mapping[str, object], headers: dict[str, str] | None = None
) -> dict[str, JsonValue]:
    answer = client.post("/v1/executions", json=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    told: dict[str, JsonValue] = answer.json()
    return told


def test_the_second_of_its_kind_is_told_and_not_run(ada: httpx.Client) -> None:
    first = run(ada, {**ASKED, "task_id": "one"})
    again = run(ada, {**ASKED, "task_id": "two"})
    assert (first["cached"], first["source"], first["repeats"]) == (False, "program", None)
    assert (again["cached"], again["source"], again["repeats"]) == (True, "record", first["id"])
    assert again["id"] != first["id"]
    assert (again["attempts"], again["usage"]) == ([], None)
    for same in ("status", "lane", "stdout", "stderr", "result", "result_form", "exit_code", "posture", "limits"):
        assert again[same] == first[same], same
    assert ada.get(f"/v1/executions/{again['id']}").json()["cached"] is True
    third = run(ada, {**ASKED, "task_id": "three"})
    assert third["repeats"] == first["id"], "the one that ran"


def test_it_costs_nothing_and_resets_the_row(ada: httpx.Client) -> None:
    run(ada, {"code": "1 + 41", "task_id": "costs"})
    failed = run(ada, {"code": "print(nobody)", "task_id": "costs"})
    assert failed["task"]["budget"]["failures_in_a_row"]["left"] == 1  # type: ignore[index, call-overload]
    again = run(ada, {"code": "1 + 41", "task_id": "costs"})
    assert again["cached"] is True
    budget = again["task"]["budget"]  # type: ignore[index, call-overload]
    assert budget["failures_in_a_row"]["left"] == 2  # type: ignore[index, call-overload]
    assert budget["failures_total"]["left"] == 11  # type: ignore[index, call-overload]


def test_who_asks_for_a_run_gets_one(ada: httpx.Client) -> None:
    asked = {"code": "'fresh'"}
    first = run(ada, asked)
    fresh = run(ada, asked, {"Cache-Control": "max-age=0, No-Cache"})
    assert (fresh["cached"], fresh["repeats"], len(fresh["attempts"])) == (False, None, 1)  # type: ignore[arg-type]
    assert run(ada, asked)["repeats"] == fresh["id"] != first["id"], "the newest is the one that is known"


@pytest.mark.parametrize(
    "more",
    [
        {"inputs": {"name": "y"}},
        {"limits": {"time": "4s"}},
        {"expect": {"max_stdout_bytes": 100}},
        {"code": CODE + "\n"},
        {"force": True},
        {"lane": "monty"},
    ],
    ids=str,
)
def test_another_request_is_another_program(ada: httpx.Client, more: dict[str, JsonValue]) -> None:
    run(ada, ASKED)
    assert run(ada, ASKED)["cached"] is True
    assert run(ada, {**ASKED, **more})["cached"] is False


@pytest.mark.parametrize(
    "code",
    [
        "import random\nrandom.random()",
        "import random\nrandom.seed()\nrandom.random()",
        "import datetime\nstr(datetime.datetime.now())",
    ],
    ids=["chance", "seed of nothing", "clock"],
)
def test_what_varies_runs_each_time(ada: httpx.Client, code: str) -> None:
    told = [run(ada, {"code": code}) for _ in range(2)]
    assert [(one["status"], one["lane"], one["cached"]) for one in told] == [("succeeded", "monty", False)] * 2
    assert told[0]["result"] != told[1]["result"]


@pytest.mark.engine
def test_what_a_container_ran_runs_again(ada: httpx.Client) -> None:
    told = [run(ada, {"code": "1 + 1", "lane": "container"}) for _ in range(2)]
    assert [(one["status"], one["lane"], one["cached"]) for one in told] == [("succeeded", "container", False)] * 2


def test_a_broken_promise_is_not_kept_as_a_result(ada: httpx.Client) -> None:
    asked = {"code": "5", "expect": {"result_schema": {"maximum": 4}}}
    told = [run(ada, {**asked, "task_id": f"broken-{number}"}) for number in range(2)]
    assert [(one["status"], one["cached"]) for one in told] == [("failed", False)] * 2


def test_another_tenants_results_are_none_of_ones_business(server: Server, ada: httpx.Client) -> None:
    run(ada, {"code": "'of team a'"})
    with server.client("key-of-bob") as bob:
        assert run(bob, {"code": "'of team a'"})["cached"] is False
        assert run(bob, {"code": "'of team a'"})["cached"] is True


def test_where_results_are_shared_nothing_else_is(make_server: Callable[..., Server]) -> None:
    server = make_server(rules("shared"))
    with server.client("key-of-ada") as ada, server.client("key-of-bob") as bob:
        hers = run(ada, {**ASKED, "task_id": "adas-task"})
        his = run(bob, {**ASKED, "task_id": "bobs-task"})
        assert (his["cached"], his["result"], his["repeats"], his["usage"]) == (True, 45, None, None)
        assert his["attempts"] == []
        shown = bob.get(f"/v1/executions/{his['id']}").text + bob.get("/v1/tasks/bobs-task").text
        for secret in (str(hers["id"]), "adas-task", "ada", str(hers["submitted_at"]), str(hers["answered_at"])):
            assert secret not in shown
        assert set(his["timings"]) == {"checks", "total"}  # type: ignore[arg-type]
        assert bob.get(f"/v1/executions/{hers['id']}").status_code == 404


def test_without_a_word_in_the_policy_every_program_runs(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS))
    with server.client("key-of-ada") as ada:
        assert [run(ada, ASKED)["cached"] for _ in range(2)] == [False, False]
    with closing(sqlite3.connect(server.data / "airlock.db")) as database:
        assert database.execute("SELECT count(*) FROM results").fetchone() == (0,)


def test_a_result_whose_record_is_gone_is_run_again_and_known_again(make_server: Callable[..., Server]) -> None:
    server = make_server(rules("tenant"))
    with server.client("key-of-ada") as ada:
        first = run(ada, ASKED)
        pruned = without_output(sealed(Answer(lane=Lane.MONTY, stdout="x", exit_code=0)).text)
        for how in (
            "UPDATE executions SET answer = NULL WHERE id = ?",
            "UPDATE results SET execution = 'gone' WHERE execution = ?",
            f"UPDATE executions SET answer = '{pruned}', output_deleted_at = '2026' WHERE id = ?",
        ):
            with closing(sqlite3.connect(server.data / "airlock.db")) as database, database:
                assert database.execute(how, (first["id"],)).rowcount == 1
            again = run(ada, ASKED)
            assert (again["status"], again["cached"], again["result"]) == ("succeeded", False, 45)
            assert run(ada, ASKED)["repeats"] == again["id"]
            first = again


def test_a_reviewers_run_is_a_run(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS, "cache: {scope: tenant}, budget: {failures_in_a_row: 1}"))
    with server.client("key-of-ada") as ada, server.client("key-of-ann") as ann:
        run(ada, ASKED)
        failed = run(ada, {"code": "print(nobody)", "inputs": ASKED["inputs"], "task_id": "t"})
        review = ann.get(f"/v1/reviews/{failed['task']['review']}").json()  # type: ignore[index, call-overload]
        ruling = {"token": review["token"], "ruling": "approve_edited", "code": CODE}
        ruled = ann.post(f"/v1/reviews/{review['id']}/rulings", json=ruling).json()["ruled_execution"]
        ran = ada.get(f"/v1/executions/{ruled}", params={"wait": 30}).json()
        assert (ran["status"], ran["cached"], len(ran["attempts"])) == ("succeeded", False, 1)
