"""Promise: a review waits as long as the policy says, by the clock of the store, over restarts, reloads and upgrades."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from alembic import command
from alembic.config import Config

from gateway.tables import REVISION
from tests.service.gateways import Clockwork, eventually, policy

HOUR = 3600
DAY = 24 * HOUR
FIRST, SECOND = "0007", "0010"  # schemas of earlier versions
KEYS = {"ada": ("a", "agent"), "ann": ("a", "reviewer"), "bob": ("a", "reviewer"), "zoe": ("a", "reviewer")}
BUDGET = "budget: {failures_in_a_row: 1}, limits: {time: {default: 4s}}"
PATIENT = "reviewers: [ann], expires: 30d, escalate: [{after: 5d, to: [bob]}, {after: 20d, to: [zoe]}]"


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Clockwork]:
    (tmp_path / "policy.yaml").write_text(policy(KEYS, f"{BUDGET}, review: {{{PATIENT}}}"))
    server = Clockwork(tmp_path / "data", tmp_path / "policy.yaml")
    server.environment["AIRLOCK_TEST_CLOCK"] = str(server.hands)
    server.data.mkdir()
    server.ahead(0)
    yield server
    server.stop()


def alembic(server: Clockwork, move: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{server.data / 'airlock.db'}")
    move(config, revision)


def failed(client: httpx.Client, task: str) -> str:
    answer = client.post("/v1/executions", json={"code": "1 / 0", "task_id": task}).json()
    review: str = answer["task"]["review"]
    return review


@pytest.mark.timeout(400)  # thirteen starts, on whatever machine
def test_three_weeks_ten_restarts_and_two_upgrades_of_the_schema_later_a_review_is_where_it_should_be(
    patient: Clockwork,
) -> None:
    patient.start()
    with patient.client("key-of-ada") as agent, patient.client("key-of-ann") as ann:
        review = failed(agent, "long")
        before = ann.get(f"/v1/reviews/{review}").json()
    assert (before["level"], before["state"]) == (0, "open")
    patient.stop()
    alembic(patient, command.downgrade, FIRST)  # as a gateway left it that knew of no levels
    seen: list[tuple[int, int]] = []
    restarts = 0
    for day in (2, 4, 6, 8, 10, 12, 14, 16, 18, 21):
        patient.ahead(day * DAY)
        if day == 2:
            alembic(patient, command.upgrade, SECOND)
        patient.start()
        restarts += 1
        level = 0 if day < 5 else 1 if day < 20 else 2
        with patient.client("key-of-ann") as ann:
            eventually(lambda level=level: ann.get(f"/v1/reviews/{review}").json()["level"] == level)  # type: ignore[misc]
            shown = ann.get(f"/v1/reviews/{review}").json()
        assert (shown["state"], shown["token"]) == ("open", before["token"]), "the same question, all the time"
        assert shown["expires_at"] == before["expires_at"]
        assert [one["code"] for one in shown["tries"]] == ["1 / 0"]
        seen.append((day, shown["level"]))
        if day % 4:
            patient.stop()
        else:
            patient.kill()
    assert restarts == 10
    assert seen[1:3] == [(4, 0), (6, 1)]
    assert seen[-2:] == [(18, 1), (21, 2)]
    patient.start()
    with patient.client("key-of-zoe") as zoe, patient.client("key-of-ada") as agent:
        body = {"token": before["token"], "ruling": "approve_edited", "code": "6 * 7"}
        ruled = zoe.post(f"/v1/reviews/{review}/rulings", json=body).json()
        ran = agent.get(f"/v1/executions/{ruled['ruled_execution']}", params={"wait": 30}).json()
        assert (ruled["decided_by"], ran["status"], ran["result"]) == ("zoe", "succeeded", 42)
        assert agent.get("/v1/tasks/long").json()["turn"] == "agent"
    with sqlite3.connect(patient.data / "airlock.db") as connection:
        [revision] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        passed = connection.execute("SELECT data FROM events WHERE type = 'PassedOn' ORDER BY seq").fetchall()
    assert revision == REVISION
    assert [one[0] for one in passed] == [f'{{"review":"{review}","level":{level},"by":"policy"}}' for level in (1, 2)]


def test_a_gateway_that_was_down_passes_on_at_once_and_a_policy_that_changed_counts_at_once(patient: Clockwork) -> None:
    patient.start()
    with patient.client("key-of-ada") as agent:
        slow, quick = failed(agent, "slow"), failed(agent, "quick")
    patient.stop()
    patient.ahead(21 * DAY)
    patient.start()

    def state(review: str) -> tuple[str, int, bool]:
        with patient.client("key-of-ann") as ann:
            found = ann.get(f"/v1/reviews/{review}").json()
        return found["state"], found["level"], found["escalates_at"] is None

    eventually(lambda: state(slow) == ("open", 2, True))
    with patient.client("key-of-zoe") as zoe:
        token = zoe.get(f"/v1/reviews/{quick}").json()["token"]
        ruling = {"token": token, "ruling": "grant", "failures": 1}
        assert zoe.post(f"/v1/reviews/{quick}/rulings", json=ruling).status_code == 200
    patient.stop()
    assert patient.policy is not None
    more = PATIENT.replace("]}]", "]}, {after: 22d, to: [zoe]}]")
    patient.policy.write_text(policy(KEYS, f"{BUDGET}, review: {{{more}}}"))
    patient.start()
    assert state(slow) == ("open", 2, False), "the level that the policy has now is planned"
    patient.ahead(23 * DAY)
    eventually(lambda: state(slow) == ("open", 3, True))
    patient.ahead(31 * DAY)
    eventually(lambda: state(slow)[0] == "expired")
    with patient.client("key-of-ada") as agent:
        task = agent.get("/v1/tasks/slow").json()
    assert (task["state"], task["closed_reason"]) == ("closed", "expired"), "nobody's answer is a no"
    assert state(quick)[:2] == ("decided", 2)
