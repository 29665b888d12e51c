"""Promise: nothing runs on a yes that does not hold: of too few people, of the wrong ones, too late, or to something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import Clockwork, policy
from tests.service.test_rulings import FAILS, SMALL, Team, refused, types

HOUR = 3600
KEYS = {
    "ada": ("a", "agent"),
    "bot": ("a", "agent"),
    "ann": ("a", "reviewer"),
    "bob": ("a", "reviewer"),
    "zoe": ("a", "reviewer"),
    "olga": ("a", "operator"),
}
Make = Callable[..., Server]


def rules(review: str, more: str = FAILS) -> str:
    """Ann has an agent of her own, the bot."""
    text = policy(KEYS, f"{SMALL}, {more}, review: {{{review}}}")
    return text.replace("name: ann,", "name: ann, owner: kim,").replace("name: bot,", "name: bot, owner: kim,")


def reload(team: Team, text: str) -> None:
    assert team.server.policy is not None
    team.server.policy.write_text(text)
    assert team.call("olga", "POST", "/v1/policy/reload").status_code == 200


def without(name: str, text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if f"name: {name}," not in line)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Clockwork]:
    (tmp_path / "policy.yaml").write_text(rules("expires: 1h"))
    server = Clockwork(tmp_path / "data", tmp_path / "policy.yaml")
    server.environment["AIRLOCK_TEST_CLOCK"] = str(server.hands)
    server.data.mkdir()
    server.ahead(0)
    server.start()
    yield server
    server.stop()


def test_a_yes_that_comes_after_the_time_is_no_yes_whether_or_not_anybody_ended_the_review(patient: Clockwork) -> None:
    t = Team(patient)
    reviews = [t.submit(task=task)["task"]["review"] for task in ("up", "down")]
    tokens = {review: t.review("bob", review)["token"] for review in reviews}
    patient.ahead(2 * HOUR)  # housekeeping comes by every few seconds
    late = t.rule("bob", reviews[0], "approve", token=tokens[reviews[0]])
    refused(late, 409, "decided")
    assert late.json()["state"] == "expired"
    shown = t.review("bob", reviews[0])
    assert (shown["token"], shown["rulings"]) == (None, [])
    patient.kill()
    patient.start()
    refused(t.rule("bob", reviews[1], "approve_edited", code="1", token=tokens[reviews[1]]), 409, "decided")


def test_a_program_stays_its_agents_when_a_reviewer_had_it_run_in_a_task_that_another_agent_opened(
    make_server: Make,
) -> None:
    t = Team(make_server(rules("expires: 1h")))
    assert t.submit("1")["status"] == "succeeded"
    review = t.call("bot", "POST", "/v1/executions", code="1 / 0", task_id="t").json()["task"]["review"]
    refused(t.rule("ann", review, "approve"), 403, "self_review")
    ran = t.rule("bob", review, "approve").json()["ruled_execution"]
    again = t.call("ada", "GET", f"/v1/executions/{ran}?wait=30").json()["task"]["review"]
    assert again != review
    assert t.review("ann", again)["rulings"] == []
    refused(t.rule("ann", again, "approve"), 403, "self_review")
    assert t.rule("zoe", again, "approve").status_code == 200


def test_what_two_people_said_yes_to_is_asked_again_where_one_of_them_asks(make_server: Make) -> None:
    t = Team(make_server(rules("when: [always], approvals: 2, remember: 1h")))
    review = t.submit("7")["task"]["review"]
    t.rule("ann", review, "approve")
    t.rule("bob", review, "approve")
    assert t.submit("7", task="same")["status"] == "succeeded"
    own = t.call("bot", "POST", "/v1/executions", code="7", task_id="own").json()
    assert (own["status"], own["task"]["state"]) == ("denied", "in_review")


def test_a_yes_holds_no_longer_than_its_person_may_rule(make_server: Make) -> None:
    text = rules("when: [always], approvals: 2, remember: 1h")
    t = Team(make_server(text))
    review = t.submit("7")["task"]["review"]
    t.rule("ann", review, "approve")
    t.rule("bob", review, "approve")
    open_review = t.submit("8", task="open")["task"]["review"]
    assert t.rule("ann", open_review, "approve").json()["proposal"]["approved_by"] == ["ann"]
    reload(t, without("ann", text))
    assert t.submit("7", task="later")["task"]["state"] == "in_review"
    assert t.review("bob", open_review)["proposal"] is None
    said = t.rule("bob", open_review, "approve").json()
    assert (said["state"], said["proposal"]["approved_by"]) == ("open", ["bob"])
    reload(t, text.replace("roles: [reviewer]", "roles: [auditor]", 1))  # ann's key comes back, and rules no more
    done = t.rule("zoe", open_review, "approve").json()
    assert done["state"] == "decided"


def test_a_yes_under_one_policy_is_none_under_another(make_server: Make) -> None:
    text = rules("approvals: 2")
    t = Team(make_server(text))
    review = t.submit()["task"]["review"]
    t.rule("ann", review, "approve", message="under the old one")
    old = t.review("bob", review)["token"]
    reload(t, text.replace("max: 128Mi", "max: 96Mi"))
    refused(t.rule("bob", review, "approve", token=old), 412, "stale")
    assert t.review("bob", review)["proposal"] is None, "nobody said yes to this"
    said = t.rule("bob", review, "approve").json()
    assert (said["state"], said["proposal"]["approved_by"], said["proposal"]["message"]) == ("open", ["bob"], None)
    done = t.rule("ann", review, "approve").json()
    assert (done["state"], done["decided_by"], done["message"]) == ("decided", "ann", None)


async def test_where_two_have_to_agree_twenty_who_do_at_once_are_one_until_they_have_looked_again(
    make_server: Make,
) -> None:
    people = {f"r{number}": ("a", "reviewer") for number in range(20)}
    server = make_server(policy({"ada": ("a", "agent"), **people}, f"{SMALL}, {FAILS}, review: {{approvals: 2}}"))
    review = Team(server).submit()["task"]["review"]
    path, states = f"/v1/reviews/{review}", []
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for _ in range(2):
            keys = [{"Authorization": f"Bearer key-of-{one}"} for one in people]
            token = (await client.get(path, headers=keys[0])).json()["token"]
            body = {"token": token, "ruling": "approve"}
            ruled = await asyncio.gather(*(client.post(f"{path}/rulings", json=body, headers=key) for key in keys))
            assert sorted(one.status_code for one in ruled)[:2] in ([200, 409], [200, 412])
            states.append(next(one.json()["state"] for one in ruled if one.status_code == 200))
    assert states == ["open", "decided"]
    log = types(server)
    assert (log.count("Approved"), log.count("Ruled"), log.count("Submitted")) == (1, 1, 2)
