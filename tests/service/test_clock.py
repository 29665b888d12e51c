"""A clock that jumps: nothing that has a limit notices, and what came later stays later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.gateways import Clockwork, eventually, policy, running, submit_later

HOUR = 3600
BROKEN = "def broken(:"


@pytest.fixture
def clockwork(tmp_path: Path) -> Iterator[Clockwork]:
    rules = "budget: {failures_in_a_row: 1}, review: {expires: 90m}, limits: {time: {default: 4s}}"
    (tmp_path / "policy.yaml").write_text(policy(defaults=rules))
    server = Clockwork(tmp_path / "data", tmp_path / "policy.yaml")
    server.environment["AIRLOCK_TEST_CLOCK"] = str(server.hands)
    server.ahead(0)
    server.start()
    yield server
    server.stop()


def broken(client: httpx.Client, name: str) -> str:
    """A program that is refused, and the review that it opens."""
    answer = client.post("/v1/executions", json={"code": BROKEN, "task_id": name}).json()
    review: str = answer["task"]["review"]
    return review


@pytest.mark.engine
def test_limits_and_durations_do_not_follow_the_clock(clockwork: Clockwork) -> None:
    with clockwork.client() as client:
        for jump in (HOUR, -HOUR):
            short = submit_later(client, code="import time\ntime.sleep(1)\nprint('slept')", lane="container")
            endless = submit_later(client, code="while True: pass", lane="container", limits={"time": "2s"})
            eventually(lambda one=endless: running(client, one))  # type: ignore[misc]
            clockwork.ahead(jump)
            slept, spun = (client.get(f"/v1/executions/{one}", params={"wait": 30}).json() for one in (short, endless))
            assert (slept["status"], slept["stdout"]) == ("succeeded", "slept\n")
            assert (spun["status"], len(spun["attempts"])) == ("timed_out", 1)
            assert 2 <= spun["usage"]["wall_seconds"] < 3
            for answer in (slept, spun):
                assert 1 <= answer["timings"]["total"] < 60, "how long it took, whatever the clock says"


def test_what_comes_later_stays_later_when_the_clock_is_set_back(clockwork: Clockwork) -> None:
    """The newest execution is the newest, and a reviewer who has seen a page finds what came after it."""
    with clockwork.client() as agent, clockwork.client(clockwork.reviewer_key) as reviewer:

        def submit(code: str) -> str:
            made: str = agent.post("/v1/executions", json={"code": code, "task_id": "one"}).json()["id"]
            return made

        reviews = [broken(agent, "first")]
        executions = [submit("1"), submit("2")]
        clockwork.ahead(-HOUR)
        executions += [submit("3"), submit("4")]
        reviews.append(broken(agent, "second"))
        clockwork.stop()
        clockwork.ahead(-2 * HOUR)
        clockwork.start()
        executions.append(submit("5"))
        reviews.append(broken(agent, "third"))

        view = agent.get("/v1/tasks/one").json()
        assert [one["id"] for one in view["executions"]] == executions[::-1]
        assert view["latest"]["result"] == 5
        assert executions == sorted(executions)
        pages = [
            [one["id"] for one in reviewer.get("/v1/reviews", params={"after": seen}).json()["reviews"]]
            for seen in reviews
        ]
        assert pages == [reviews[1:], reviews[2:], []]


def test_a_review_does_not_expire_earlier_than_by_the_jump(clockwork: Clockwork) -> None:
    with clockwork.client() as agent, clockwork.client(clockwork.reviewer_key) as reviewer:

        def state(review: str) -> str:
            found: str = reviewer.get(f"/v1/reviews/{review}").json()["state"]
            return found

        before = broken(agent, "before")
        clockwork.ahead(HOUR)
        after = broken(agent, "after")
        # The keeper of expiry passes every 5 s: wait until it certainly has.
        clockwork.ahead(HOUR * 1.6)
        eventually(lambda: state(before) == "expired", 20)
        assert state(after) == "open", "it has the rest of its time, and the jump took no more than itself"
        clockwork.ahead(HOUR * 2.6)
        eventually(lambda: state(after) == "expired", 20)
