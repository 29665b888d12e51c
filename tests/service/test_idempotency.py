"""An idempotency key is one execution: sent twice, fifty times at once, after a restart."""

from __future__ import annotations

import concurrent.futures
import json
import sqlite3
from collections.abc import Callable

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import policy

pytestmark = pytest.mark.engine

KEYS = {"ada": ("team-a", "agent"), "amy": ("team-a", "agent")}
KEY = {"Idempotency-Key": "k", "Content-Type": "application/json"}
REQUEST = {
    "code": "import os\nopen('a', 'w').write('a')\nos.urandom(8).hex()",
    "task_id": "t",
    "outputs": ["a"],
    "lane": "auto",
}
BODY = json.dumps(REQUEST)
SAME = json.dumps(REQUEST, indent=3, sort_keys=True)  # of the same meaning


def executions(server: Server) -> int:
    database = sqlite3.connect(f"file:{server.data / 'airlock.db'}?mode=ro", uri=True)
    try:
        (count,) = database.execute("select count(*) from executions").fetchone()
    finally:
        database.close()
    return int(count)


def _of_itself(answer: httpx.Response) -> dict[str, object]:
    """What an answer says of its execution; its task goes on."""
    told: dict[str, object] = answer.json()
    del told["task"]
    return told


def test_a_key_stands_for_one_execution_whoever_sends_it_how_often_and_when(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS))
    with server.client("key-of-ada") as ada, server.client("key-of-amy") as amy:

        def send(number: int) -> httpx.Response:
            return ada.post("/v1/executions", content=SAME if number % 2 else BODY, headers=KEY)

        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(send, range(50)))
        assert {answer.status_code for answer in answers} == {200}
        distinct = {answer.text for answer in answers}
        assert len(distinct) == 1, distinct
        told = answers[0].json()
        assert (told["status"], len(told["attempts"])) == ("succeeded", 1)
        assert executions(server) == 1
        other = ada.post("/v1/executions", content=BODY.replace("urandom(8)", "urandom(9)"), headers=KEY)
        assert (other.status_code, other.json()["execution"]) == (422, told["id"])
        assert executions(server) == 1
        hers = amy.post("/v1/executions", content=BODY, headers=KEY)
        assert hers.json()["id"] != told["id"], "a key is its caller's own"
        unkept = ada.post("/v1/executions", content='{"code": 7}', headers={**KEY, "Idempotency-Key": "bad"})
        mended = ada.post("/v1/executions", content='{"code": "7"}', headers={**KEY, "Idempotency-Key": "bad"})
        assert (unkept.status_code, mended.status_code) == (422, 200), "what was never taken holds no key"
        server.kill()
        server.start()
    with server.client("key-of-ada") as ada, concurrent.futures.ThreadPoolExecutor(10) as pool:
        before = executions(server)
        again = list(pool.map(lambda _: ada.post("/v1/executions", content=BODY, headers=KEY), range(10)))
        assert [_of_itself(answer) for answer in again] == [_of_itself(answers[0])] * len(again)
        assert executions(server) == before
        assert ada.get(told["files"][0]["href"]).text == "a"
        assert ada.post("/v1/executions", content='{"code": "8"}', headers=KEY).status_code == 422
