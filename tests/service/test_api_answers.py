"""What the routes answer when all is well, and what the API says of itself."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import pytest
from pydantic import BaseModel, TypeAdapter

from gateway import openapi, openapi_examples, requests, wire, wire_answers
from tests.service.fake_service import FakeService
from tests.service.keys import AGENT, REVIEWER, client


@pytest.fixture
def service() -> FakeService:
    return FakeService()


async def test_an_answer_is_waited_for(service: FakeService) -> None:
    answer = await client(service).post("/v1/executions", json={"code": '{"seconds": 0.3, "result": [1]}'})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    view = wire_answers.ExecutionView.model_validate_json(answer.content)
    assert (view.status, view.result) == ("succeeded", [1])
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("preference", "applied"),
    [
        ("wait=0", "wait=0"),
        ("respond-async", "respond-async"),
        ("Wait=1", "wait=1"),
        ("wait=1, respond-async", "respond-async, wait=1"),
    ],
)
async def test_what_takes_longer_than_preferred_is_accepted(
    service: FakeService, preference: str, applied: str
) -> None:
    async with client(service) as agent:
        code = '{"seconds": 1.5, "stdout": "done"}'
        answer = await agent.post("/v1/executions", json={"code": code}, headers={"Prefer": preference})
        assert answer.status_code == 202
        assert answer.headers["location"] == "/v1/executions/exe_0000"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["preference-applied"] == applied
        assert answer.json()["status"] == "queued"
        began = time.monotonic()
        later = await agent.get(answer.headers["location"], params={"wait": 30})
        assert later.json()["stdout"] == "done"
        assert time.monotonic() - began < 5


async def test_what_is_quicker_than_preferred_is_answered(service: FakeService) -> None:
    headers = {"Prefer": "handling=lenient, wait=20"}
    answer = await client(service).post("/v1/executions", json={"code": "x"}, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"


async def test_other_preferences_are_not_ours(service: FakeService) -> None:
    answer = await client(service).post("/v1/executions", json={"code": "x"}, headers={"Prefer": "return=minimal"})
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers


async def test_a_live_execution_can_be_cancelled(service: FakeService) -> None:
    async with client(service) as agent:
        await agent.post("/v1/executions", json={"code": '{"seconds": 60}'}, headers={"Prefer": "wait=0"})
        assert (await agent.delete("/v1/executions/exe_0000")).json()["status"] == "cancelled"


async def test_a_file_is_bytes_to_save_never_a_page_to_show(service: FakeService) -> None:
    content = b"<script>alert(1)</script>\0\xff"
    name = 'out/r\u00e9sum\u00e9 "1".html'
    program = json.dumps({"contents": {name: base64.b64encode(content).decode()}})
    async with client(service) as agent:
        await agent.post("/v1/executions", json={"code": program})
        answer = await agent.get(f"/v1/executions/exe_0000/files/{name}")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''r%C3%A9sum%C3%A9%20%221%22.html"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_task_and_its_close(service: FakeService) -> None:
    async with client(service) as agent:
        await agent.post("/v1/executions", json={"code": "x", "task_id": "t"})
        task = wire_answers.TaskView.model_validate_json((await agent.get("/v1/tasks/t")).content)
        assert (task.id, task.state, task.turn) == ("t", "open", "agent")
        assert (await agent.delete("/v1/tasks/t")).json()["state"] == "closed"


async def test_reviews_come_in_pages(service: FakeService) -> None:
    async with client(service) as agent:
        for task in ("a", "b", "c"):
            for _ in range(3):
                await agent.post("/v1/executions", json={"code": '{"status": "failed"}', "task_id": task})
    async with client(service, REVIEWER) as reviewer:
        first = (await reviewer.get("/v1/reviews", params={"limit": 2, "state": "open"})).json()
        assert [review["task"] for review in first["reviews"]] == ["a", "b"]
        second = (await reviewer.get("/v1/reviews", params={"limit": 2, "after": first["next"]})).json()
        assert [review["task"] for review in second["reviews"]] == ["c"]
        assert second["next"] is None


async def test_an_edited_program_reaches_the_agent(service: FakeService) -> None:
    async with client(service) as agent, client(service, REVIEWER) as reviewer:
        for _ in range(3):
            await agent.post("/v1/executions", json={"code": '{"status": "failed"}', "task_id": "t"})
        review = (await reviewer.get("/v1/reviews/rev_0000")).json()
        ruling = {"token": review["token"], "ruling": "approve_edited", "code": "fixed"}
        decided = await reviewer.post("/v1/reviews/rev_0000/rulings", json=ruling)
        assert (decided.status_code, decided.json()["state"]) == (200, "decided")
        assert (await agent.get("/v1/tasks/t", params={"wait": 1})).json()["latest"]["stdout"] == "fixed\n"


async def test_the_policy_that_binds_the_caller(service: FakeService) -> None:
    assert (await client(service).get("/v1/policy")).json()["profile"] == "default"


async def test_health_needs_no_key() -> None:
    async with client(FakeService(), key=None) as anybody:
        assert (await anybody.get("/healthz")).json() == {"live": True}
        ready = await anybody.get("/readyz")
        assert ready.status_code == 200


async def test_without_an_engine_it_is_ready_and_says_what_is_missing() -> None:
    answer = await client(FakeService(container=False), key=None).get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["lanes"]["container"]["available"] is False


async def test_not_ready_is_a_503_that_says_why() -> None:
    answer = await client(FakeService(monty=False), key=None).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False


async def test_many_callers_wait_at_once(service: FakeService) -> None:
    async with client(service) as agent:
        began = time.monotonic()
        posts = [agent.post("/v1/executions", json={"code": '{"seconds": 0.5}'}) for _ in range(50)]
        answers = await asyncio.gather(*posts)
        assert {answer.status_code for answer in answers} == {200}
        assert time.monotonic() - began < 5


async def document() -> dict[str, object]:
    answer = await client(FakeService(), AGENT).get("/openapi.json")
    value = answer.json()
    assert isinstance(value, dict)
    return value


async def test_every_reference_in_the_document_leads_somewhere() -> None:
    text = json.dumps(await document())
    schemas = json.loads(text)["components"]["schemas"]
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(schemas)
    assert "HTTPValidationError" not in schemas


CHANGES_NOTHING = {"/v1/policy/explain", "/v1/reviews/{review}/checks"}  # so that nobody can be in its way


async def test_every_operation_is_named_secured_and_tells_its_errors() -> None:
    paths = (await document())["paths"]
    assert isinstance(paths, dict)
    names = set()
    for path, methods in paths.items():
        for operation in methods.values():
            names.add(operation["operationId"])
            if not path.startswith("/v1/"):
                continue
            assert operation["security"] == [{"HTTPBearer": []}]
            errors = {status for status in operation["responses"] if status >= "400"}
            assert {"401", "403", "422", "503"} <= errors
            assert "requestBody" not in operation or {"400", "408", "413", "415"} <= errors
            assert "requestBody" not in operation or path in CHANGES_NOTHING or "409" in errors
            for status in errors:
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"]
    assert {"submit_execution", "get_task", "rule_on_review", "readyz"} <= names
    files = paths["/v1/executions/{execution}/files/{path}"]["get"]["responses"]["200"]["content"]
    assert list(files) == ["application/octet-stream"]


def models_of(responses: dict[int | str, dict[str, object]]) -> list[tuple[type[BaseModel], object]]:
    found: list[tuple[type[BaseModel], object]] = []
    for response in responses.values():
        model, content = response.get("model", wire.Problem), response["content"]
        assert isinstance(content, dict)
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for media_type, body in content.items():
            if media_type == "application/problem+json":
                found.append((wire.Problem, body["example"]))
            found += [(model, example["value"]) for example in body.get("examples", {}).values()]
    return found


@pytest.mark.parametrize(
    "responses",
    [
        openapi.SUBMIT,
        openapi.EXECUTION,
        openapi.TASK,
        openapi.REVIEWS,
        openapi.REVIEW,
        openapi.RULING,
        openapi.POLICY,
        openapi.READY,
    ],
)
def test_every_example_answer_has_the_shape_that_it_illustrates(responses: dict[int | str, dict[str, object]]) -> None:
    examples = models_of(responses)
    assert examples
    for model, example in examples:
        TypeAdapter(model).validate_json(json.dumps(example))


def test_every_example_request_would_be_taken() -> None:
    for program in openapi_examples.PROGRAMS.values():
        requests.ExecutionRequest.model_validate_json(json.dumps(program["value"]))
    for ruling in openapi_examples.RULINGS.values():
        requests.RulingRequest.model_validate_json(json.dumps(ruling["value"]))
