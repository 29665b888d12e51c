"""Whatever is wrong with a request, the answer is a problem that names it, and nothing else happened."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import httpx
import pytest

from tests.service.fake_service import SECRET, FakeService
from tests.service.keys import AGENT, KEYED, KEYLESS, OPERATOR, REVIEWER, STRANGE_REVIEWER, STRANGER, client

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def assert_problem(answer: httpx.Response, status: int, kind: str, field: str | None = None) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.headers["x-request-id"]) == 16
    problem = answer.json()
    assert isinstance(problem, dict)
    assert problem["type"] == f"urn:airlock:problem:{kind}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert "pydantic" not in answer.text
    assert "Traceback" not in answer.text
    assert SECRET not in answer.text
    assert len(answer.content) < 10_000
    if field:
        assert field in [error["field"] for error in problem["errors"]], problem
        assert field in problem["detail"] or len(problem["errors"]) > 3
    return problem


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"{", "line 1"),
        (b'{"code": "x",}', "line 1"),
        (b"code=x", "line 1, column 1"),
        (b'{"code": "\xff"}', "UTF-8"),
        (b'{"code": "x", "inputs": {"a": NaN}}', "NaN"),
        (b'{"code": "x", "inputs": {"a": 1e999}}', "larger"),
        (b'{"code": "\\ud800"}', "surrogate"),
        (b'{"code": "x", "code": "y"}', "'code' appears twice"),
        (b'{"code": "x", "inputs": {"a": ' + b"[" * 200_000, "nested deeper"),
        (b'{"code": "x", "inputs": {"a": ' + b"1" * 5000 + b"}}", "digits"),
    ],
)
async def test_malformed_json(service: FakeService, body: bytes, says: str) -> None:
    answer = await client(service).post("/v1/executions", content=body, headers=JSON)
    problem = assert_problem(answer, 400, "malformed-request")
    assert says in str(problem["detail"])
    assert not service.kept


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "code"),
        ([], "body"),
        ("code", "body"),
        (None, "body"),
        ({"code": ""}, "code"),
        ({"code": 1}, "code"),
        ({"code": None}, "code"),
        ({"code": ["x"]}, "code"),
        ({"code": "x", "cod": "y"}, "cod"),
        ({"code": "x", "task_id": ""}, "task_id"),
        ({"code": "x", "task_id": "../x"}, "task_id"),
        ({"code": "x", "task_id": "x" * 129}, "task_id"),
        ({"code": "x", "task_id": "x\n"}, "task_id"),
        ({"code": "x", "inputs": []}, "inputs"),
        ({"code": "x", "inputs": {"a b": 1}}, "inputs"),
        ({"code": "x", "inputs": {"class": 1}}, "inputs"),
        ({"code": "x", "inputs": {"x" * 100_000: 1}}, "inputs"),
        ({"code": "x", "args": "abc"}, "args"),
        ({"code": "x", "args": ["a", 1]}, "args.1"),
        ({"code": "x", "args": ["a\0"]}, "args.0"),
        ({"code": "x", "args": [""] * 100_000}, "args"),
        ({"code": "x", "env": {"A=B": "1"}}, "env"),
        ({"code": "x", "files": {}}, "files"),
        ({"code": "x", "files": [{"path": "../../etc/passwd", "content": ""}]}, "files.0.path"),
        ({"code": "x", "files": [{"path": "/etc/passwd", "content": ""}]}, "files.0.path"),
        ({"code": "x", "files": [{"path": "a//b", "content": ""}]}, "files.0.path"),
        ({"code": "x", "files": [{"path": "a/./b", "content": ""}]}, "files.0.path"),
        ({"code": "x", "files": [{"path": "a\0", "content": ""}]}, "files.0.path"),
        ({"code": "x", "files": [{"path": "x" * 300, "content": ""}]}, "files.0.path"),
        ({"code": "x", "files": [{"path": "a"}]}, "files.0.content"),
        ({"code": "x", "files": [{"path": "a", "content": "", "mode": 7}]}, "files.0.mode"),
        ({"code": "x", "files": [{"path": "a", "content": "", "encoding": "rot13"}]}, "files.0.encoding"),
        ({"code": "x", "files": [{"path": "a", "content": "!", "encoding": "base64"}]}, "files.0"),
        ({"code": "x", "files": [{"path": "a", "content": ""}, {"path": "a", "content": ""}]}, "files"),
        ({"code": "x", "outputs": ["../*"]}, "outputs.0"),
        ({"code": "x", "limits": "all"}, "limits"),
        ({"code": "x", "limits": {"memory": "lots"}}, "limits.memory"),
        ({"code": "x", "limits": {"memory": -1}}, "limits.memory"),
        ({"code": "x", "limits": {"memory": 0}}, "limits.memory"),
        ({"code": "x", "limits": {"memory": True}}, "limits.memory"),
        ({"code": "x", "limits": {"memory": "\u0661Gi"}}, "limits.memory"),
        ({"code": "x", "limits": {"memory": 10**400}}, "limits.memory"),
        ({"code": "x", "limits": {"memory": "2Gi"}}, "limits.memory"),
        ({"code": "x", "limits": {"time": "soon"}}, "limits.time"),
        ({"code": "x", "limits": {"pids": 1.5}}, "limits.pids"),
        ({"code": "x", "limits": {"pids": "64"}}, "limits.pids"),
        ({"code": "x", "limits": {"gpu": 1}}, "limits.gpu"),
        ({"code": "x", "lane": "host"}, "lane"),
        ({"code": "x", "force": "maybe"}, "force"),
        ({"code": "x", "image": "evil"}, "image"),
    ],
)
async def test_a_wrong_field_is_named(service: FakeService, body: object, field: str) -> None:
    answer = await client(service).post("/v1/executions", content=json.dumps(body), headers=JSON)
    assert_problem(answer, 422, "invalid-request", field)
    assert not service.kept


async def test_many_wrong_fields_are_told_in_few_words(service: FakeService) -> None:
    body = {"code": "x", **{f"{'x' * 1000}{number}": number for number in range(1000)}}
    answer = await client(service).post("/v1/executions", json=body)
    problem = assert_problem(answer, 422, "invalid-request")
    errors = problem["errors"]
    assert isinstance(errors, list)
    assert len(errors) == 20


async def test_a_body_that_is_too_large(service: FakeService) -> None:
    answer = await client(service).post("/v1/executions", json={"code": "x" * (10 << 20)})
    assert_problem(answer, 413, "body-too-large", "body")
    assert not service.kept


async def test_a_body_that_is_not_json(service: FakeService) -> None:
    answer = await client(service).post("/v1/executions", data={"code": "x"})
    assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\x7f", "a b"])
async def test_an_idempotency_key_is_short_visible_ascii(service: FakeService, key: str) -> None:
    answer = await client(service).post("/v1/executions", json={"code": "x"}, headers={"Idempotency-Key": key})
    assert_problem(answer, 422, "invalid-request", "Idempotency-Key")


async def test_an_idempotency_key_stands_for_one_request(service: FakeService) -> None:
    async with client(service) as agent:
        headers = {"Idempotency-Key": "k" * 255}
        first = await agent.post("/v1/executions", json={"code": "x"}, headers=headers)
        again = await agent.post("/v1/executions", json={"code": "x"}, headers=headers)
        other = await agent.post("/v1/executions", json={"code": "y"}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert_problem(other, 422, "idempotency-mismatch")


@pytest.mark.parametrize("wait", ["-1", "601", "1.5", "x", "", "1e2", "9" * 400])
async def test_a_preferred_wait_has_bounds(service: FakeService, wait: str) -> None:
    answer = await client(service).post("/v1/executions", json={"code": "x"}, headers={"Prefer": f"wait={wait}"})
    assert_problem(answer, 422, "invalid-request", "Prefer")


@pytest.mark.parametrize("path", ["/v1/executions/exe_0000", "/v1/tasks/t"])
@pytest.mark.parametrize("wait", ["-1", "61", "1.5", "x", "nan", "9" * 400])
async def test_a_long_poll_has_bounds(service: FakeService, path: str, wait: str) -> None:
    answer = await client(service).get(path, params={"wait": wait})
    assert_problem(answer, 422, "invalid-request", "wait")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"state": "lost"}, "state"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"after": "../x"}, "after"),
    ],
)
async def test_the_list_of_reviews_has_bounds(service: FakeService, params: dict[str, str], field: str) -> None:
    answer = await client(service, REVIEWER).get("/v1/reviews", params=params)
    assert_problem(answer, 422, "invalid-request", field)


@pytest.mark.parametrize(
    "name", ["..%2f..%2fetc%2fpasswd", "%00", "a%00b", "x" * 300, "%2e%2e", "a%20b", "%F0%9F%92%A9"]
)
@pytest.mark.parametrize("route", ["executions/{}", "tasks/{}", "reviews/{}", "executions/{}/files/a"])
async def test_a_name_that_is_none_finds_nothing(service: FakeService, route: str, name: str) -> None:
    key = REVIEWER if route.startswith("reviews") else AGENT
    answer = await client(service, key).get(f"/v1/{route.format(name)}")
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["..%2fx", "%2e%2e/x", "a/%2e%2e/b", "%2fetc/passwd", "a%00", "a//b", "x" * 300, "a/" * 300 + "a", "."]
)
async def test_a_file_is_found_by_its_own_name_only(service: FakeService, path: str) -> None:
    async with client(service) as agent:
        await agent.post("/v1/executions", json={"code": "x"})
        answer = await agent.get(f"/v1/executions/exe_0000/files/{path}")
        assert answer.status_code in {404, 422}
        assert_problem(await agent.get("/v1/executions/exe_0000/files/a.txt"), 404, "not-found")


async def test_there_is_no_such_route_or_method(service: FakeService) -> None:
    async with client(service) as agent:
        for path in ("/", "/v1", "/v1/executions/", "/docs", "/redoc", "/v2/executions"):
            assert_problem(await agent.get(path), 404, "not-found")
        answer = await agent.put("/v1/executions", json={})
        assert_problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "POST"


async def test_a_mistake_of_ours_tells_nothing(service: FakeService) -> None:
    answer = await client(service).post("/v1/executions", json={"code": '{"raise": true}'})
    assert_problem(answer, 500, "internal-error")


async def test_the_platforms_fault_is_a_503_with_all_there_is_to_know(service: FakeService) -> None:
    program = json.dumps({"status": "platform_error", "retryable": True})
    answer = await client(service).post("/v1/executions", json={"code": program})
    problem = assert_problem(answer, 503, "unavailable")
    assert problem["retryable"] is True
    assert int(answer.headers["retry-after"]) > 0
    execution = problem["execution"]
    assert isinstance(execution, dict)
    assert execution["status"] == "platform_error"
    shown = await client(service).get(f"/v1/executions/{execution['id']}")
    assert (shown.status_code, shown.json()["status"]) == (200, "platform_error")


async def test_a_task_in_review_says_whose_turn_it_is(service: FakeService) -> None:
    async with client(service) as agent:
        for _ in range(3):
            failed = await agent.post("/v1/executions", json={"code": '{"status": "failed"}', "task_id": "t"})
            assert failed.status_code == 200
        answer = await agent.post("/v1/executions", json={"code": "x", "task_id": "t"})
    problem = assert_problem(answer, 409, "not-your-turn")
    assert problem["turn"] == "reviewer"


async def in_review(service: FakeService) -> str:
    async with client(service) as agent:
        for _ in range(3):
            await agent.post("/v1/executions", json={"code": '{"status": "failed"}', "task_id": "t"})
    return "rev_0000"


@pytest.mark.parametrize(
    ("ruling", "field"),
    [
        ({}, "token"),
        ({"token": "t"}, "ruling"),
        ({"token": "t", "ruling": "allow"}, "ruling"),
        ({"token": "t", "ruling": "approve_edited"}, "body"),
        ({"token": "t", "ruling": "raise_limits"}, "body"),
        ({"token": "t", "ruling": "grant"}, "body"),
        ({"token": "t", "ruling": "grant", "failures": 0}, "failures"),
        ({"token": "t", "ruling": "grant", "failures": 1001}, "failures"),
        ({"token": "t", "ruling": "answer"}, "body"),
        ({"token": "t", "ruling": "reject"}, "body"),
        ({"token": "t", "ruling": "approve", "code": "x"}, "body"),
        ({"token": "t", "ruling": "approve", "by": "ann"}, "by"),
    ],
)
async def test_a_ruling_must_be_whole(service: FakeService, ruling: dict[str, object], field: str) -> None:
    review = await in_review(service)
    answer = await client(service, REVIEWER).post(f"/v1/reviews/{review}/rulings", json=ruling)
    assert_problem(answer, 422, "invalid-request", field)
    assert service.opened[review].state == "open"


async def test_a_stale_ruling_is_412_and_a_second_one_409(service: FakeService) -> None:
    review = await in_review(service)
    async with client(service, REVIEWER) as reviewer:
        path = f"/v1/reviews/{review}/rulings"
        stale = await reviewer.post(path, json={"token": "old", "ruling": "approve"})
        assert_problem(stale, 412, "stale-review")
        token = (await reviewer.get(f"/v1/reviews/{review}")).json()["token"]
        assert (await reviewer.post(path, json={"token": token, "ruling": "approve"})).status_code == 200
        second = await reviewer.post(path, json={"token": token, "ruling": "approve"})
        assert_problem(second, 409, "review-decided")


@pytest.mark.parametrize("key", [AGENT, OPERATOR, STRANGER])
async def test_only_a_reviewer_sees_and_decides_reviews(service: FakeService, key: str) -> None:
    review = await in_review(service)
    token = service.opened[review].token
    async with client(service, key) as caller:
        assert_problem(await caller.get("/v1/reviews"), 403, "forbidden")
        assert_problem(await caller.get(f"/v1/reviews/{review}"), 403, "forbidden")
        ruling = {"token": token, "ruling": "approve"}
        assert_problem(await caller.post(f"/v1/reviews/{review}/rulings", json=ruling), 403, "forbidden")
        assert_problem(await caller.post(f"/v1/reviews/{review}/rulings", json={"nonsense": 1}), 403, "forbidden")
    assert service.opened[review].state == "open"


@pytest.mark.parametrize("key", [REVIEWER, OPERATOR])
async def test_only_an_agent_submits_cancels_and_closes(service: FakeService, key: str) -> None:
    await client(service).post("/v1/executions", json={"code": "x", "task_id": "t"})
    async with client(service, key) as caller:
        assert_problem(await caller.post("/v1/executions", json={"code": "x"}), 403, "forbidden")
        assert_problem(await caller.delete("/v1/executions/exe_0000"), 403, "forbidden")
        assert_problem(await caller.delete("/v1/tasks/t"), 403, "forbidden")
        for path in ("/v1/executions/exe_0000", "/v1/tasks/t", "/v1/policy"):
            assert (await caller.get(path)).status_code == 200


async def test_another_tenants_things_do_not_exist(service: FakeService) -> None:
    review = await in_review(service)
    async with client(service, STRANGER) as stranger:
        for path in ("/v1/executions/exe_0000", "/v1/executions/exe_0000/files/a", "/v1/tasks/t"):
            assert_problem(await stranger.get(path), 404, "not-found")
        for path in ("/v1/executions/exe_0000",):
            assert_problem(await stranger.delete(path), 404, "not-found")
    async with client(service, STRANGE_REVIEWER) as stranger:
        assert (await stranger.get("/v1/reviews")).json() == {"reviews": [], "next": None}
        assert_problem(await stranger.get(f"/v1/reviews/{review}"), 404, "not-found")
        ruling = {"token": service.opened[review].token, "ruling": "approve"}
        assert_problem(await stranger.post(f"/v1/reviews/{review}/rulings", json=ruling), 404, "not-found")


GUARDED = [
    ("POST", "/v1/executions"),
    ("GET", "/v1/executions/exe_0000"),
    ("GET", "/v1/executions/exe_0000/events"),
    ("GET", "/v1/executions/exe_0000/files/a"),
    ("GET", "/v1/executions/exe_0000/policy"),
    ("DELETE", "/v1/executions/exe_0000"),
    ("GET", "/v1/tasks/t"),
    ("DELETE", "/v1/tasks/t"),
    ("GET", "/v1/reviews"),
    ("GET", "/v1/reviews/rev_0000"),
    ("POST", "/v1/reviews/rev_0000/rulings"),
    ("POST", "/v1/reviews/rev_0000/checks"),
    ("GET", "/v1/webhooks/dead-letters"),
    ("POST", "/v1/webhooks/dead-letters/msg_0000/replay"),
    ("DELETE", "/v1/webhooks/dead-letters/msg_0000"),
    ("GET", "/v1/policy"),
    ("POST", "/v1/policy/reload"),
    ("GET", "/v1/policy/schema"),
    ("GET", "/v1/policy/findings"),
    ("POST", "/v1/policy/explain"),
    ("GET", "/v1/policies/" + "0" * 64),
    ("GET", "/v1/isolation"),
    ("POST", "/v1/isolation/proofs"),
    ("GET", "/v1/isolation/" + "e" * 64),
    ("GET", "/v1/retention"),
    ("POST", "/v1/retention/passes"),
    ("GET", "/v1/lanes/monty"),
    ("POST", "/v1/lanes/monty/restorations"),
    ("GET", "/metrics"),
]


_OPERATORS = ("retention", "metrics", "findings", "lanes")
KNOWN_PARAMETERS = {
    ("GET", "/v1/executions/exe_0000"): "there are wait",
    ("GET", "/v1/tasks/t"): "there are wait",
    ("GET", "/v1/reviews"): "there are after, limit, state",
    ("GET", "/v1/webhooks/dead-letters"): "there are after, limit",
    ("GET", "/v1/policy/findings"): "there are days",
}


@pytest.mark.parametrize(("method", "path"), [*GUARDED, ("GET", "/healthz"), ("GET", "/readyz")])
async def test_an_unknown_query_parameter_is_refused_by_name_with_those_that_there_are(
    service: FakeService, method: str, path: str
) -> None:
    key = REVIEWER if "reviews" in path else OPERATOR if any(name in path for name in _OPERATORS) else AGENT
    key = OPERATOR if method == "POST" and "isolation" in path else key
    content = b'{"code": "1"}' if path == "/v1/executions" else b"{}" if method == "POST" else None
    answer = await client(service, key=key).request(
        method, f"{path}?wiat=30&wiat=1", content=content, headers={"Content-Type": "application/json"}
    )
    problem = assert_problem(answer, 422, "invalid-request")
    known = KNOWN_PARAMETERS.get((method, path), "there is none here")
    assert problem["errors"] == [{"field": "wiat", "message": f"there is no such parameter; {known}"}]
    assert not service.kept, "nothing was run"


async def test_a_file_whose_name_holds_a_line_feed_can_be_fetched(service: FakeService) -> None:
    names = ["a\nb.txt", "\n", "ends\n", "d\ne/f\r\n"]
    code = json.dumps({"contents": {name: base64.b64encode(name.encode()).decode() for name in names}})
    agent = client(service)
    made = (await agent.post("/v1/executions", json={"code": code})).json()
    for name in names:
        answer = await agent.get(f"/v1/executions/{made['id']}/files/{quote(name)}")
        assert (answer.status_code, answer.content) == (200, name.encode()), name


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "Bearer wrong")],
        [("Authorization", f"Bearer {AGENT}"), ("Authorization", f"Bearer {AGENT}")],
        [("Authorization", f"Basic {AGENT}")],
        [("Cookie", f"Authorization=Bearer {AGENT}")],
    ],
)
async def test_without_one_valid_key_nothing_is_told_and_nothing_read(
    service: FakeService, method: str, path: str, headers: list[tuple[str, str]]
) -> None:
    url = f"{path}?key={AGENT}&access_token={AGENT}"
    content = b"this is not even JSON" if method == "POST" else None
    answer = await client(service, key=None).request(
        method, url, headers=[*headers, ("Content-Type", "application/json")], content=content
    )
    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="airlock"'


async def test_every_route_needs_a_key_unless_it_is_meant_to_be_open(service: FakeService) -> None:
    document = (await client(service, key=None).get("/openapi.json")).json()
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    open_routes = {("GET", "/healthz"), ("GET", "/readyz")}
    assert len(routes - open_routes) == len(GUARDED)
    for method, path in routes:
        answer = await client(service, key=None).request(method, path.replace("{", "").replace("}", ""))
        assert (answer.status_code == 401) is ((method, path) not in open_routes)


async def test_a_scheme_in_any_case_is_the_scheme(service: FakeService) -> None:
    headers = {"Authorization": f"bEARER {AGENT}"}
    assert (await client(service, key=None).get("/v1/policy", headers=headers)).status_code == 200


async def test_without_keys_a_web_page_under_its_own_name_gets_nothing(service: FakeService) -> None:
    async with client(service, None, KEYLESS, host="evil.example") as page:
        assert_problem(await page.post("/v1/executions", json={"code": "x"}), 403, "forbidden")
    async with client(service, REVIEWER, KEYLESS, host="evil.example") as page:
        assert_problem(await page.get("/v1/reviews"), 403, "forbidden")
    async with client(service, None, KEYLESS, host="127.0.0.1:8080") as agent:
        assert (await agent.post("/v1/executions", json={"code": "x"})).status_code == 200
        assert_problem(await agent.get("/v1/reviews"), 403, "forbidden")
    async with client(service, AGENT, KEYED, host="airlock.example") as agent:
        assert (await agent.post("/v1/executions", json={"code": "x"})).status_code == 200
