"""Promise: who may rule, and how many have to agree, is what the policy says; what was ruled is done once, by somebody with a name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from tests.conftest import UNUSED_TLS, Server
from tests.service.gateways import eventually, policy

PEOPLE = {
    "ada": ("a", "agent"),
    "ann": ("a", "reviewer"),
    "bob": ("a", "reviewer"),
    "zoe": ("a", "reviewer"),
    "eve": ("b", "reviewer"),
}
SMALL = "limits: {time: {default: 5s, max: 10s}, memory: {default: 64Mi, max: 128Mi}}, retries: {base: 10ms, cap: 20ms}"
FAILS = "budget: {failures_in_a_row: 1}"


def rules(review: str, more: str = FAILS) -> str:
    return policy(PEOPLE, f"{SMALL}, {more}, review: {{{review}}}")


class Team:
    """An agent and the people around it, over real HTTP."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def call(self, name: str, method: str, path: str, **body: object) -> httpx.Response:
        with self.server.client(f"key-of-{name}") as client:
            return client.request(method, path, json=body) if body else client.request(method, path)

    def submit(self, code: str = "1 / 0", task: str = "t", **more: object) -> dict:  # type: ignore[type-arg]
        view = self.call("ada", "POST", "/v1/executions", code=code, task_id=task, **more).json()
        assert isinstance(view, dict)
        return view

    def review(self, name: str, review: str) -> dict:  # type: ignore[type-arg]
        view = self.call(name, "GET", f"/v1/reviews/{review}").json()
        assert isinstance(view, dict)
        return view

    def rule(self, name: str, review: str, ruling: str, **more: object) -> httpx.Response:
        token = more.pop("token", None) or self.review(name, review)["token"] or "none"
        return self.call(name, "POST", f"/v1/reviews/{review}/rulings", token=token, ruling=ruling, **more)


@pytest.fixture
def team(make_server: Callable[..., Server]) -> Callable[[str], Team]:
    return lambda text: Team(make_server(text))


def refused(answer: httpx.Response, status: int, why: str) -> None:
    assert (answer.status_code, answer.json().get("refusal")) == (status, why), answer.text


async def test_of_fifty_people_who_rule_at_the_same_moment_one_decides(make_server: Callable[..., Server]) -> None:
    """Each with a key and a connection of their own; all have seen the same state."""
    people = {f"r{number}": ("a", "reviewer") for number in range(50)}
    server = make_server(policy({"ada": ("a", "agent"), **people}, f"{SMALL}, {FAILS}"))
    review = Team(server).submit()["task"]["review"]
    clients = [
        httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer key-of-{one}"}, verify=UNUSED_TLS)
        for one in people
    ]
    seen = await asyncio.gather(*(client.get(f"/v1/reviews/{review}", timeout=60) for client in clients))
    token = {one.json()["token"] for one in seen}
    assert len(token) == 1
    body = {"token": token.pop(), "ruling": "grant", "failures": 1}
    ruled = await asyncio.gather(
        *(client.post(f"/v1/reviews/{review}/rulings", json=body, timeout=60) for client in clients)
    )
    await asyncio.gather(*(client.aclose() for client in clients))
    codes = [one.status_code for one in ruled]
    assert (codes.count(200), codes.count(409)) == (1, 49)
    winner = next(one.json() for one in ruled if one.status_code == 200)
    assert winner["decided_by"] == list(people)[codes.index(200)]
    assert types(server).count("Ruled") == 1


def types(server: Server) -> list[str]:
    """The log, as words."""
    import sqlite3  # noqa: PLC0415  # only here

    with sqlite3.connect(server.data / "airlock.db") as connection:
        return [row[0] for row in connection.execute("SELECT type FROM events ORDER BY task, seq")]


def test_two_people_have_to_agree_and_one_of_them_twice_is_one(team: Callable[[str], Team]) -> None:
    t = team(rules("approvals: 2"))
    review = t.submit()["task"]["review"]
    first = t.review("ann", review)
    assert first["people_needed"]["approve"] == 2
    assert first["people_needed"]["reject"] == 1
    said = t.rule("ann", review, "approve", token=first["token"]).json()
    assert (said["state"], said["proposal"]["ruling"], said["proposal"]["approved_by"]) == ("open", "approve", ["ann"])
    assert said["token"] != first["token"]
    refused(t.rule("bob", review, "approve", token=first["token"]), 412, "stale")
    refused(t.rule("ann", review, "approve"), 409, "approved_already")
    assert t.call("ada", "GET", "/v1/tasks/t").json()["turn"] == "reviewer"
    waits = t.submit()
    assert (waits["status"], waits["turn"], waits["next_actions"]) == (409, "reviewer", ["wait", "close_task"])
    assert waits["budget"]["failures_in_a_row"] == {"left": 0, "limit": 1}
    done = t.rule("bob", review, "approve").json()
    assert (done["state"], done["decided_by"], done["proposal"]) == ("decided", "bob", None)
    assert done["ruled_execution"]
    assert [one for one in types(t.server) if one in {"Escalated", "Approved", "Ruled"}][:3] == [
        "Escalated",
        "Approved",
        "Ruled",
    ]
    refused(t.rule("zoe", review, "approve"), 409, "decided")


def test_another_edit_makes_the_count_begin_anew(team: Callable[[str], Team]) -> None:
    t = team(rules("approvals: 2"))
    review = t.submit()["task"]["review"]
    assert t.rule("ann", review, "approve_edited", code="1", message="mine").json()["proposal"]["code"] == "1"
    other = t.rule("bob", review, "approve_edited", code="2", message="a better one").json()
    assert (other["state"], other["proposal"]["code"], other["proposal"]["approved_by"]) == ("open", "2", ["bob"])
    assert other["proposal"]["message"] == "a better one"
    done = t.rule("ann", review, "approve_edited", code="2").json()
    assert (done["state"], done["message"]) == ("decided", "a better one"), "the agent reads what was said to it"
    ran = t.call("ada", "GET", f"/v1/executions/{done['ruled_execution']}?wait=30").json()
    assert (ran["status"], ran["result"]) == ("succeeded", 2)


def test_who_wrote_an_edit_or_raised_a_limit_does_not_approve_it(team: Callable[[str], Team]) -> None:
    t = team(rules("four_eyes: [approve_edited, raise_limits]"))
    rulings: tuple[dict[str, object], ...] = ({"code": "5"}, {"limits": {"memory": "256Mi"}})
    for number, ruling in enumerate(rulings):
        review = t.submit(task=f"t{number}")["task"]["review"]
        kind = "approve_edited" if "code" in ruling else "raise_limits"
        assert t.review("ann", review)["people_needed"] == {
            "approve": 1, "approve_edited": 2, "raise_limits": 2, "grant": 1, "reject": 1, "answer": 1,
        }  # fmt: skip
        assert t.rule("ann", review, kind, **ruling).json()["state"] == "open"
        refused(t.rule("ann", review, kind, **ruling), 409, "approved_already")
        assert t.rule("bob", review, kind, **ruling).json()["state"] == "decided"


def test_an_edit_that_the_checks_refuse_is_not_taken_and_the_review_stays_as_it_was(
    team: Callable[[str], Team],
) -> None:
    t = team(rules("expires: 1h", f"{FAILS}, checks: {{imports: {{deny: [ctypes]}}}}"))
    review = t.submit()["task"]["review"]
    token = t.review("ann", review)["token"]
    for code, rule in (("import ctypes", "import.denied"), ("x = (", "syntax"), ("print(totl)", "name.unknown")):
        answer = t.rule("ann", review, "approve_edited", token=token, code=code)
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (422, "urn:airlock:problem:refused-by-checks")
        assert (problem["findings"][0]["rule"], problem["token"]) == (rule, token)
        checked = t.call("ann", "POST", f"/v1/reviews/{review}/checks", code=code).json()
        assert (checked["admitted"], checked["findings"][0]["rule"]) == (False, rule)
    assert t.call("ann", "POST", f"/v1/reviews/{review}/checks", code="7").json()["admitted"]
    assert t.call("eve", "POST", f"/v1/reviews/{review}/checks", code="7").status_code == 404
    assert t.call("ada", "POST", f"/v1/reviews/{review}/checks", code="7").status_code == 403
    assert t.review("ann", review)["token"] == token
    assert t.rule("ann", review, "approve_edited", token=token, code="7").json()["state"] == "decided"


def test_only_those_rule_whom_the_policy_names_and_the_next_level_when_it_is_asked(
    team: Callable[[str], Team],
) -> None:
    t = team(rules("reviewers: [ann], escalate: [{after: 1h, to: [bob]}]"))
    review = t.submit()["task"]["review"]
    assert t.review("bob", review)["rulings"] == []
    refused(t.rule("bob", review, "approve"), 403, "not_asked")
    token = t.review("ann", review)["token"]
    up = t.rule("ann", review, "escalate").json()
    assert (up["state"], up["level"], up["escalates_at"]) == ("open", 1, None)
    refused(t.rule("ann", review, "escalate"), 409, "no_next_level")
    refused(t.rule("zoe", review, "approve"), 403, "not_asked")
    assert t.review("ann", review)["token"] == token, "who else is asked changes nothing of what was seen"
    assert t.rule("bob", review, "answer", result=1).json()["decided_by"] == "bob"


def test_nobody_rules_on_a_program_of_another_key_of_theirs_and_two_keys_of_one_person_are_one(
    team: Callable[[str], Team],
) -> None:
    text = (
        rules("approvals: 2")
        .replace("name: ann,", "name: ann, owner: kim,")
        .replace("name: ada,", "name: ada, owner: kim,")
    )
    text = text.replace("name: bob,", "name: bob, owner: lee,").replace("name: zoe,", "name: zoe, owner: lee,")
    t = team(text)
    review = t.submit()["task"]["review"]
    refused(t.rule("ann", review, "approve"), 403, "self_review")
    assert t.review("ann", review)["rulings"] == []
    assert t.rule("bob", review, "approve").json()["state"] == "open"
    refused(t.rule("zoe", review, "approve"), 409, "approved_already")


def test_a_ruling_needs_its_words_and_a_no_is_data_for_the_agent(team: Callable[[str], Team]) -> None:
    t = team(rules("expires: 1h"))
    review = t.submit()["task"]["review"]
    assert t.rule("ann", review, "reject").status_code == 422
    assert t.rule("ann", review, "grant", failures=99).status_code == 422
    assert t.rule("ann", review, "raise_limits", limits={"memory": "64Gi"}).status_code == 422
    message = "use `sum` <b>not</b> a loop\u202e"
    assert t.rule("ann", review, "reject", message=message, final=False).status_code == 200
    task = t.call("ada", "GET", "/v1/tasks/t?wait=30").json()
    assert (task["message"], task["turn"], task["next_actions"]) == (message, "agent", ["fix_and_resubmit"])
    assert task["budget"]["failures_in_a_row"]["left"] == 1
    refused(t.rule("ann", review, "approve"), 409, "decided")


def test_an_agent_that_waits_is_told_the_ruling_and_what_a_person_answered_is_marked(
    team: Callable[[str], Team],
) -> None:
    t = team(rules("expires: 1h"))
    review = t.submit()["task"]["review"]

    async def wait_and_rule() -> dict:  # type: ignore[type-arg]
        headers = {"Authorization": "Bearer key-of-ada"}
        async with httpx.AsyncClient(base_url=t.server.url, headers=headers) as agent:
            waiting = asyncio.create_task(agent.get("/v1/tasks/t", params={"wait": 60}, timeout=90))
            await asyncio.sleep(0.5)
            assert not waiting.done()
            await asyncio.to_thread(t.rule, "ann", review, "answer", result={"total": 3})
            told = (await waiting).json()
            assert isinstance(told, dict)
            return told

    told = asyncio.run(wait_and_rule())
    assert (told["latest"]["source"], told["latest"]["result"]) == ("human", {"total": 3})
    assert told["next_actions"] == ["continue"]


def test_an_unsure_program_is_shown_before_it_runs_and_its_yes_is_remembered(team: Callable[[str], Team]) -> None:
    t = team(rules("when: [low_confidence], confidence: 0.8, remember: 1h", "budget: {failures_in_a_row: 2}"))
    assert t.submit("40 + 1", confidence=0.9)["status"] == "succeeded"
    assert t.submit("40 + 1", task="none")["status"] == "succeeded", "who says nothing is not asked about it"
    held = t.submit("40 + 2", confidence=0.3)
    assert (held["status"], held["cause"], held["task"]["state"]) == ("denied", "held", "in_review")
    review = t.review("ann", held["task"]["review"])
    assert review["reason"] == "low_confidence"
    ruled = t.rule("ann", review["id"], "approve").json()["ruled_execution"]
    assert t.call("ada", "GET", f"/v1/executions/{ruled}?wait=30").json()["result"] == 42
    after = t.call("ada", "GET", "/v1/tasks/t").json()["budget"]
    assert after["grants"]["left"] == 2, "a yes before the run lets no failing task go on"

    again = t.submit("40 + 2", task="other", confidence=0.1)
    assert (again["status"], again["result"], again["task"]["state"]) == ("succeeded", 42, "open")
    [note] = [one for one in again["findings"] if one["rule"] == "review.remembered"]
    assert "ann" in note["message"]
    assert review["id"] in note["message"]
    for changed in (
        {"code": "40 + 3"},
        {"code": "40 + 2", "inputs": {"a": 1}},
        {"code": "40 + 2", "limits": {"memory": "100Mi"}},
    ):
        asked = t.submit(**changed, task=f"t-{len(str(changed))}", confidence=0.1)
        assert asked["task"]["state"] == "in_review", changed
    t.server.stop()
    path = t.server.policy
    assert path is not None
    path.write_text(path.read_text().replace("confidence: 0.8", "confidence: 0.7"))
    t.server.start()
    assert t.submit("40 + 2", task="new policy", confidence=0.1).get("errors"), "no such name"
    assert t.submit("40 + 2", task="new-policy", confidence=0.1)["task"]["state"] == "in_review"


def test_what_a_person_raised_is_remembered_with_those_limits_and_no_others(team: Callable[[str], Team]) -> None:
    t = team(rules("when: [always], remember: 1h"))
    held = t.submit("7")
    ruled = t.rule("ann", held["task"]["review"], "raise_limits", limits={"memory": "256Mi"}).json()["ruled_execution"]
    assert t.call("ada", "GET", f"/v1/executions/{ruled}?wait=30").json()["limits"]["memory_bytes"] == 256 << 20
    again = t.submit("7", task="other")
    assert (again["status"], again["limits"]["memory_bytes"]) == ("succeeded", 256 << 20)
    assert again["limits"]["sources"]["memory"] == "reviewer"
    more = t.submit("7", task="more", limits={"memory": "128Mi"})
    assert more["task"]["state"] == "in_review", "another question"


def test_a_yes_is_for_its_tenant_alone_and_no_longer_than_the_policy_says(team: Callable[[str], Team]) -> None:
    text = rules("when: [always], remember: 2s")
    text = text.replace("tenant: b, profile: default, roles: [reviewer]", "tenant: b, profile: default, roles: [agent]")
    t = team(text)
    held = t.submit("8")
    t.rule("ann", held["task"]["review"], "approve")
    with t.server.client("key-of-eve") as other:
        asked = other.post("/v1/executions", json={"code": "8", "task_id": "t"}).json()
    assert asked["task"]["state"] == "in_review"
    tries = iter(range(100))
    eventually(lambda: t.submit("8", task=f"later-{next(tries)}")["task"]["state"] == "in_review", 30)


def test_what_the_policy_denies_is_shown_where_it_says_so_and_a_spent_budget_without_a_person_ends_the_task(
    team: Callable[[str], Team],
) -> None:
    t = team(
        rules(
            "when: [policy_denied]",
            "budget: {failures_in_a_row: 3}, costs: {policy_denied: 1}, checks: {imports: {deny: [os]}}",
        )
    )
    denied = t.submit("import os")
    assert (denied["status"], denied["task"]["state"]) == ("denied", "in_review")
    assert t.review("ann", denied["task"]["review"])["reason"] == "policy_denied"
    for number in range(3):
        failed = t.submit(f"1 / 0  # {number}", task="alone")
    assert (failed["task"]["state"], failed["task"]["closed_reason"]) == ("closed", "budget_exhausted")
    assert failed["next_actions"] == ["start_new_task"]
