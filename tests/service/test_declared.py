"""What a program asks for in its own text is given within the policy, told, refused with the number, or shown to a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import policy

RULES = policy(
    {"ada": ("a", "agent"), "ann": ("a", "reviewer")},
    "limits: {memory: {default: 64Mi, max: 256Mi}, time: {default: 5s, max: 20s}}, isolation: {packages: [numpy==2.1.0]},"
    " budget: {failures_in_a_row: 9}",
)
HELD = policy(
    {"ada": ("a", "agent"), "ann": ("a", "reviewer")},
    "limits: {memory: {default: 64Mi, max: 256Mi}, time: {default: 5s, max: 20s}}, review: {when: [budget_exhausted, stuck, above_default]}",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("declared")
    (data / "policy.yaml").write_text(RULES)
    running = Server(data, data / "policy.yaml").start()
    yield running
    running.stop()


@pytest.fixture
def agent(server: Server) -> Iterator[httpx.Client]:
    with server.client("key-of-ada") as client:
        yield client


def block(*lines: str, code: str = "print(1)") -> str:
    return "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///", code])


MORE = ("[tool.airlock]", "memory = '128Mi'", "timeout = '10s'")


def test_what_the_code_asks_for_is_given_and_told(agent: httpx.Client) -> None:
    told = agent.post("/v1/executions", json={"code": block(*MORE), "limits": {"time": "7s"}}).json()
    assert (told["status"], told["lane"]) == ("succeeded", "monty")
    limits = told["limits"]
    assert (limits["memory_bytes"], limits["wall_seconds"]) == (128 << 20, 7)
    assert (limits["sources"]["memory"], limits["sources"]["time"], limits["sources"]["cpu"]) == (
        "code",
        "request",
        "default",
    )
    again = agent.get(f"/v1/executions/{told['id']}").json()
    assert again["limits"] == limits


@pytest.mark.engine
def test_the_box_has_what_the_code_asked_for(agent: httpx.Client) -> None:
    code = block(*MORE, "lane = 'container'", code="x = bytearray(80 << 20)\nprint(len(x) >> 20)")
    told = agent.post("/v1/executions", json={"code": code}).json()
    assert (told["status"], told["lane"], told["stdout"]) == ("succeeded", "container", "80\n")
    assert told["attempts"][0]["limits"]["memory_bytes"] == 128 << 20
    small = agent.post("/v1/executions", json={"code": code, "limits": {"memory": "64Mi"}}).json()
    assert small["status"] == "out_of_memory", "the request's own limit wins"


@pytest.mark.parametrize(
    ("lines", "kind", "rule", "words"),
    [
        (["[tool.airlock]", "memory = '1Gi'"], "LimitAboveMaximum", "script.limit", "256Mi"),
        (["[tool.airlock]", "memory = 'lots'"], "BadScriptBlock", "script.block", "not a size"),
        (["[tool.airlock", "memory = '1Gi'"], "BadScriptBlock", "script.block", "not TOML"),
        (["dependencies = ['pandas']"], "MissingDependency", "script.dependency", "pandas"),
    ],
    ids=["above max", "no size", "no TOML", "dependency"],
)
def test_what_cannot_be_had_is_told_before_anything_runs(
    agent: httpx.Client, lines: list[str], kind: str, rule: str, words: str
) -> None:
    told = agent.post(
        "/v1/executions", json={"code": block(*lines), "task_id": f"refused-{kind}-{len(lines[0])}"}
    ).json()
    assert (told["status"], told["attempts"], told["error"]["type"]) == ("rejected", [], kind)
    assert (told["findings"][0]["rule"], told["findings"][0]["severity"]) == (rule, "error")
    assert told["findings"][0]["line"] >= 2
    assert words in told["error"]["message"]
    assert told["next_actions"] == ["fix_and_resubmit"]
    assert told["limits"]["memory_bytes"] == 64 << 20


@pytest.mark.engine
def test_a_python_that_the_image_has_not_is_told(agent: httpx.Client) -> None:
    told = agent.post("/v1/executions", json={"code": block("requires-python = '>=4'")}).json()
    assert (told["status"], told["error"]["type"]) == ("rejected", "WrongPython")
    told = agent.post("/v1/executions", json={"code": block("requires-python = '>=3.9'")}).json()
    assert told["status"] == "succeeded"


@pytest.mark.parametrize(
    "asked",
    [
        {"code": block(*MORE)},
        {"code": "print(1)", "limits": {"memory": "128Mi"}},
    ],
    ids=["in the code", "in the request"],
)
def test_more_than_the_default_waits_for_a_person_where_the_policy_says_so(
    make_server: Callable[..., Server], asked: dict[str, object]
) -> None:
    server = make_server(HELD)
    with server.client("key-of-ada") as ada, server.client("key-of-ann") as ann:
        usual = ada.post("/v1/executions", json={"code": "print(2)", "task_id": "t"}).json()
        assert usual["status"] == "succeeded"
        held = ada.post("/v1/executions", json={**asked, "task_id": "t"}).json()
        assert (held["status"], held["attempts"], held["error"]["type"]) == ("denied", [], "NeedsReview")
        assert held["task"]["state"] == "in_review"
        assert held["task"]["budget"]["failures_total"] == {"left": 12, "limit": 12}
        assert held["limits"]["memory_bytes"] == 128 << 20
        assert ada.post("/v1/executions", json={"code": "print(3)", "task_id": "t"}).status_code == 409

        review = ann.get(f"/v1/reviews/{held['task']['review']}").json()
        assert (review["reason"], review["execution"]) == ("above_default", held["id"])
        ruled = ann.post(
            f"/v1/reviews/{review['id']}/rulings", json={"token": review["token"], "ruling": "approve"}
        ).json()["ruled_execution"]
        ran = ada.get(f"/v1/executions/{ruled}", params={"wait": 30}).json()
        assert (ran["status"], ran["limits"]["memory_bytes"]) == ("succeeded", 128 << 20)

        after = ada.post("/v1/executions", json={"code": "print(3)", "task_id": "t"}).json()
        assert (after["status"], after["task"]["state"]) == ("succeeded", "open"), "once about one program"


def test_a_reviewer_gives_what_the_code_asked_for_in_vain(make_server: Callable[..., Server]) -> None:
    server = make_server(policy({"ada": ("a", "agent"), "ann": ("a", "reviewer")}, "budget: {failures_in_a_row: 1}"))
    with server.client("key-of-ada") as ada, server.client("key-of-ann") as ann:
        refused = ada.post("/v1/executions", json={"code": block("[tool.airlock]", "memory = '2Gi'"), "task_id": "t"})
        review = ann.get(f"/v1/reviews/{refused.json()['task']['review']}").json()
        over = {"token": review["token"], "ruling": "raise_limits", "limits": {"memory": "8Gi"}}
        assert ann.post(f"/v1/reviews/{review['id']}/rulings", json=over).status_code == 422, "ceilings hold"
        ruling = {"token": review["token"], "ruling": "raise_limits", "limits": {"memory": "2Gi"}}
        ruled = ann.post(f"/v1/reviews/{review['id']}/rulings", json=ruling).json()["ruled_execution"]
        ran = ada.get(f"/v1/executions/{ruled}", params={"wait": 30}).json()
        assert (ran["status"], ran["limits"]["sources"]["memory"]) == ("succeeded", "reviewer")
        assert ran["limits"]["memory_bytes"] == 2 << 30
