"""What a request expects of its program is held against the run: in both lanes, in words that help, and whatever the schema does."""

from __future__ import annotations

import asyncio
import http.server
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import JsonValue

from gateway.schemas import Schemas
from tests.conftest import Server
from tests.service.gateways import policy

LANES = [
    pytest.param("monty", id="monty"),
    pytest.param("container", id="container", marks=pytest.mark.engine),
]
ROWS = {
    "type": "object",
    "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/row"}}},
    "required": ["rows"],
    "$defs": {"row": {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}},
}


def run(agent: httpx.Client, code: str, lane: str = "auto", **more: object) -> dict[str, JsonValue]:
    body = {"code": code, "lane": lane, "task_id": f"expect-{time.monotonic_ns()}", **more}
    answer = agent.post("/v1/executions", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, JsonValue] = answer.json()
    return told


@pytest.mark.parametrize("lane", LANES)
def test_a_kept_promise_changes_nothing(agent: httpx.Client, lane: str) -> None:
    expect = {"result_schema": ROWS, "max_stdout_bytes": 2, "max_stderr_bytes": 0, "max_result_bytes": 100}
    kept = run(agent, "print(1)\n{'rows': [{'price': 1.5}]}", lane, expect=expect)
    assert (kept["status"], kept["error"], kept["lane"]) == ("succeeded", None, lane)


@pytest.mark.parametrize("lane", LANES)
def test_a_broken_promise_is_a_failure_that_says_where_and_what(agent: httpx.Client, lane: str) -> None:
    code = "print(1)\n{'rows': [{'price': 1}, {'price': 'dear'}]}"
    broken = run(agent, code, lane, expect={"result_schema": ROWS, "max_stdout_bytes": 1})
    assert (broken["status"], broken["exit_code"], broken["lane"]) == ("failed", 0, lane)
    error = broken["error"]
    assert isinstance(error, dict)
    assert error["type"] == "bad_result"
    lines = str(error["message"]).splitlines()
    assert lines[0] == 'result/rows/1/price: the value is not of type "number"'
    assert lines[1] == 'found: "dear"'
    assert lines[2].startswith("stdout: larger than the 1 bytes")
    assert "expect" in str(error["hint"])
    assert broken["stdout"] == "1\n"
    assert broken["result"] == {"rows": [{"price": 1}, {"price": "dear"}]}


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("code", ["x = 1", "{1, 2} if x else {3}"], ids=["no value", "no JSON"])
def test_a_result_that_is_not_there_breaks_every_schema(agent: httpx.Client, lane: str, code: str) -> None:
    told = run(agent, code, "auto" if "{" in code else lane, expect={"result_schema": True}, inputs={"x": 1})
    assert (told["status"], told["error"] and told["error"]["type"]) == ("failed", "bad_result")  # type: ignore[call-overload, index]


@pytest.mark.engine
def test_files_that_were_promised_must_come_back(agent: httpx.Client) -> None:
    code = "open('a.csv', 'w').write('1,2')"
    expect = {"files": ["a.csv"], "max_files_bytes": 3}
    assert run(agent, code, outputs=["*.csv"], expect=expect)["status"] == "succeeded"
    broken = run(agent, code, outputs=["*.csv"], expect={"files": ["b.csv"]})
    assert broken["status"] == "failed"
    assert "b.csv is missing" in str(broken["error"])
    assert [file["path"] for file in broken["files"]] == ["a.csv"]  # type: ignore[union-attr, index, call-overload]


def test_a_program_that_failed_anyway_is_not_judged(agent: httpx.Client) -> None:
    failed = agent.post("/v1/executions", json={"code": "def f(:", "expect": {"result_schema": False}}).json()
    assert (failed["status"], failed["error"]["type"]) == ("rejected", "SyntaxError")


def test_an_expectation_makes_another_program_and_the_same_mistake_is_seen(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(defaults="budget: {failures_in_a_row: 9, same_failure: 3}"))
    with server.client() as agent:

        def submit(code: str, limit: int) -> dict[str, JsonValue]:
            expect = {"result_schema": {"maximum": limit}}
            told: dict[str, JsonValue] = agent.post(
                "/v1/executions", json={"code": code, "task_id": "t", "expect": expect}
            ).json()
            return told

        first = submit("3", 1)
        again = submit("3", 1)
        assert (first["source"], again["source"], again["repeats"]) == ("program", "record", first["id"])
        other = submit("3", 5)
        assert (other["status"], other["source"]) == ("succeeded", "program")
        for code in ("7", "8"):
            assert submit(code, 1)["task"]["state"] == "open"  # type: ignore[index, call-overload]
        assert submit("9", 1)["task"]["state"] == "in_review"  # type: ignore[index, call-overload]
    with server.client(server.reviewer_key) as reviewer:
        (found,) = reviewer.get("/v1/reviews").json()["reviews"]
        review = reviewer.get(f"/v1/reviews/{found['id']}").json()
        assert (review["reason"], review["tries"][-1]["expect"]["result_schema"]) == ("stuck", {"maximum": 1})
        ruling = {"token": review["token"], "ruling": "answer", "result": 100}
        ruled = reviewer.post(f"/v1/reviews/{review['id']}/rulings", json=ruling).json()["ruled_execution"]
        answer = reviewer.get(f"/v1/executions/{ruled}").json()
        assert (answer["status"], answer["source"], answer["result"]) == ("succeeded", "human", 100)


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "nonsense"}, "#/type"),
        ({"properties": {"a/b": {"minimum": "x"}}}, "#/properties/a~1b/minimum"),
        ({"items": {"pattern": "(?=a)b"}}, "#/items/pattern"),
        ({"pattern": r"(a)\1"}, "#/pattern"),
        ({"pattern": r"\w{1000}{1000}"}, "#/pattern"),
        ({"$ref": "file:///etc/passwd"}, ""),
        ({"$ref": "#/$defs/none"}, ""),
        ({"$schema": "https://example.com/mine"}, ""),
        ({"description": "x" * 70_000}, ""),
        (["type"], ""),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_schema_is_refused_with_its_place(agent: httpx.Client, schema: JsonValue, pointer: str) -> None:
    refused = agent.post("/v1/executions", json={"code": "1", "expect": {"result_schema": schema}})
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["field"] == f"expect.result_schema{pointer}"
    assert "root:" not in refused.text


def test_files_without_outputs_could_never_come_back(agent: httpx.Client) -> None:
    refused = agent.post("/v1/executions", json={"code": "1", "expect": {"files": ["a"]}})
    assert (refused.status_code, "outputs" in refused.text) == (422, True)


@pytest.fixture
def listener() -> Iterator[http.server.HTTPServer]:
    class Counting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked += 1  # type: ignore[attr-defined]
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Counting)
    server.asked = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_reference_is_ever_fetched(agent: httpx.Client, listener: http.server.HTTPServer) -> None:
    url = f"http://127.0.0.1:{listener.server_port}/schema"
    schemas: list[JsonValue] = [
        {"$ref": url},
        {"$schema": url},
        {"$id": url, "$ref": "other"},
        {"$dynamicRef": url},
        {"properties": {"a": {"$id": url, "items": {"$ref": "more#/x"}}}},
    ]
    for schema in schemas:
        refused = agent.post("/v1/executions", json={"code": "1", "expect": {"result_schema": schema}})
        assert refused.status_code == 422, schema
    assert listener.asked == 0  # type: ignore[attr-defined]
    httpx.get(url, trust_env=False)
    assert listener.asked == 1, "it counts"  # type: ignore[attr-defined]


def multiplying(levels: int) -> dict[str, JsonValue]:
    """Each level refers to the next twice: 2 to the power of the levels to look at, in a kilobyte."""
    more: dict[str, JsonValue] = {
        f"a{level}": {"anyOf": [{"$ref": f"#/$defs/a{level + 1}"}, {"$ref": f"#/$defs/a{level + 1}"}]}
        for level in range(levels)
    }
    return {"$ref": "#/$defs/a0", "$defs": {**more, f"a{levels}": {"type": "string"}}}


def test_a_schema_that_never_ends_harms_nobody_and_is_its_senders_failure(server: Server) -> None:
    with server.client() as agent, server.client() as neighbour:
        hostile: list[dict[str, JsonValue]] = []

        def attack() -> None:
            expect = {"result_schema": multiplying(40)}
            hostile.extend(run(agent, f"{number}", expect=expect) for number in range(2))

        attacking = threading.Thread(target=attack)
        attacking.start()
        served = 0
        while attacking.is_alive():
            assert run(neighbour, f"{served} + 1")["result"] == served + 1
            served += 1
        attacking.join()
        assert [(one["status"], one["error"]["type"]) for one in hostile] == [("failed", "bad_result")] * 2  # type: ignore[index, call-overload]
        assert served > 20, "others are served while it is judged"
        assert run(agent, "4", expect={"result_schema": {"const": 4}})["status"] == "succeeded"


def test_a_pattern_takes_time_that_grows_with_the_text_alone(agent: httpx.Client) -> None:
    told = run(agent, "'a' * 100_000 + '!'", expect={"result_schema": {"pattern": "^(a+)+$"}})
    assert "does not match" in str(told["error"])


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"anyOf": [{"$ref": "#"}, {"type": "string"}]}], ids=str)
def test_a_schema_that_refers_to_itself_ends(agent: httpx.Client, schema: JsonValue) -> None:
    assert run(agent, "1", expect={"result_schema": schema})["status"] in {"succeeded", "failed"}


async def test_a_worker_that_dies_is_replaced_and_none_is_left() -> None:
    schemas = Schemas()
    before = _children()
    assert (await schemas.judge("t", {"type": "integer"}, 1)).broken == ()
    (worker,) = _children() - before
    os.kill(worker, signal.SIGKILL)
    assert (await schemas.judge("t", {"type": "integer"}, "x")).broken[
        0
    ].message == 'the value is not of type "integer"'
    await schemas.close()
    assert _children() == before


async def test_one_tenants_endless_schemas_hold_up_no_other_tenants() -> None:
    schemas = Schemas()
    endless = [asyncio.create_task(schemas.judge("a", multiplying(40), number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (await schemas.judge("b", {"type": "integer"}, 1)).broken == ()
    waiting = sum(not one.done() for one in endless)
    assert all(one.spent for one in await asyncio.gather(*endless))
    await schemas.close()
    assert waiting >= 3, "b did not wait for all of a's"


def _children() -> set[int]:
    return {int(pid) for thread in Path("/proc/self/task").glob("*/children") for pid in thread.read_text().split()}
