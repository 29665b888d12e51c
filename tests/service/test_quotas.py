"""Promise: a key gets its share of the day and no more, across restarts; nobody pays for what the platform did."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.gateways import Clockwork, eventually, policy, running, submit_later

DAY = 86_400
MIDDAY = 43_200


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Clockwork]:
    server = Clockwork(tmp_path / "data", tmp_path / "policy.yaml")
    server.environment["AIRLOCK_TEST_CLOCK"] = str(server.hands)
    server.ahead(0)
    yield server
    server.stop()


def start(server: Clockwork, quotas: str, more: str = "") -> None:
    keys = {"one": ("acme", "agent"), "two": ("acme", "agent")}
    (server.data.parent / "policy.yaml").write_text(policy(keys, f"quotas: {quotas}{more}"))
    server.start()


def post(client: httpx.Client, code: str = "1", **body: object) -> httpx.Response:
    return client.post("/v1/executions", json={"code": code, **body})


def used(client: httpx.Client) -> dict[str, object]:
    today: dict[str, object] = client.get("/v1/policy").json()["today"]
    return today


def test_a_share_of_programs_outlives_a_restart_and_ends_with_the_day(made: Clockwork) -> None:
    start(made, "{executions: 3}")
    with made.client("key-of-one") as one, made.client("key-of-two") as two:
        assert [post(one).status_code for _ in range(2)] == [200, 200]
        assert (used(one)["executions"], used(one)["executions_left"]) == (2, 1)
        made.kill()
        made.start()
        assert used(one)["executions"] == 2
        assert post(one).status_code == 200
        refused = post(one)
        assert refused.status_code == 429
        assert refused.json()["type"] == "urn:airlock:problem:quota-spent"
        assert refused.json()["limits"] == ["quotas.executions"]
        wait = int(refused.headers["Retry-After"])
        assert 0 < wait <= DAY
        assert post(two).status_code == 200, "another key of the tenant has a share of its own"
        made.ahead(wait)
        assert post(one).status_code == 200
        assert used(one)["executions"] == 1


@pytest.mark.engine
def test_what_was_taken_runs_to_its_end_and_its_cpu_time_counts(made: Clockwork) -> None:
    start(made, "{cpu: 1s}", ", limits: {time: {default: 20s}}")
    spin = "import time\nend = time.process_time() + {0}\nwhile time.process_time() < end: pass\nprint('done')"
    with made.client("key-of-one") as one:
        first = submit_later(one, code=spin.format(1.2), lane="container")
        eventually(lambda: running(one, first))
        assert post(one).status_code == 200, "nothing is charged before it ends"
        answer = one.get(f"/v1/executions/{first}", params={"wait": 60}).json()
        assert (answer["status"], answer["stdout"]) == ("succeeded", "done\n")
        refused = post(one)
        assert (refused.status_code, refused.json()["limit"]) == (429, "quotas.cpu")
        cpu = used(one)["cpu_seconds"]
        assert isinstance(cpu, float)
        assert 1.2 <= cpu < answer["usage"]["cpu_seconds"] + 0.1
        made.stop()
        made.start()
        assert used(one)["cpu_seconds"] == cpu
        assert post(one).status_code == 429


@pytest.mark.engine
def test_to_cancel_a_program_does_not_make_it_free(made: Clockwork) -> None:
    start(made, "{cpu: 1h}", ", limits: {time: {default: 20s}}")
    with made.client("key-of-one") as one:
        endless = submit_later(one, code="while True: pass", lane="container")
        eventually(lambda: len(one.get(f"/v1/executions/{endless}").json()["attempts"]) == 1)
        assert one.delete(f"/v1/executions/{endless}").json()["status"] == "cancelled"
        assert float(str(used(one)["cpu_seconds"])) > 0


def test_what_the_platform_failed_counts_for_nothing(made: Clockwork) -> None:
    made.environment["DOCKER_HOST"] = "unix:///nonexistent.sock"
    start(made, "{executions: 1}", ", retries: {attempts: 1}")
    with made.client("key-of-one") as one:
        for _ in range(2):
            assert post(one, lane="container").json()["execution"]["status"] == "platform_error"
        assert used(one)["executions"] == 0
        with sqlite3.connect(made.data / "airlock.db") as database:
            rows = database.execute("SELECT executions, cpu_milliseconds FROM uses").fetchall()
        database.close()
        assert rows in ([], [(0, 0)])
        assert post(one).status_code == 200
        assert post(one).status_code == 429


def test_without_quotas_nothing_is_written(made: Clockwork) -> None:
    start(made, "{}")
    with made.client("key-of-one") as one:
        assert post(one).status_code == 200
        assert used(one) is None
    with sqlite3.connect(made.data / "airlock.db") as database:
        assert database.execute("SELECT count(*) FROM uses").fetchone() == (0,)
    database.close()
