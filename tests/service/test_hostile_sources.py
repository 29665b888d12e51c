"""Promise: a program that is hard to read costs its sender time, and nobody else."""

from __future__ import annotations

import ast
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sandbox.exactness import MOST_NODES, inexact
from tests.conftest import Server

LARGE = 200 << 10
SOURCES = {
    "assignments": "\n".join(f"x{number} = {number}" for number in range(14_000)),
    "one name": "x = 1\n" + "x = x + 1\n" * 20_000,
    "functions": "\n".join(f"def f{number}(a):\n    return f{number}(a)" for number in range(5_000)),
    "one sum": "x = " + "+".join(["1"] * 2_500),
    "one list": "x = [" + ",".join(map(str, range(30_000))) + "]",
    "comparisons": "x = " + "<".join(["1"] * 20_000),
    "strings": "x = '" + "a" * LARGE + "'",
    "dots": "x = a" + ".a" * 900,
    "calls": "x = " + "f(" * 80 + ")" * 80,
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_guard_stops_at_what_is_too_large_or_too_deep(name: str) -> None:
    tree = ast.parse(SOURCES[name])
    reasons = inexact(tree)
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES or name == "one sum":
        assert len(reasons) == 1


@pytest.mark.engine
@pytest.mark.parametrize("name", SOURCES)
def test_every_one_gets_an_answer_that_is_not_the_platforms_fault(agent: httpx.Client, name: str) -> None:
    code = f"{SOURCES[name]}\nimport os\n"
    answer = agent.post("/v1/executions", json={"code": code, "task_id": f"source-{name.replace(' ', '-')}"}).json()
    assert answer["status"] in {"succeeded", "failed", "rejected"}, answer


@pytest.mark.engine
@pytest.mark.alone
def test_others_are_served_meanwhile(server: Server) -> None:
    def canary(client: httpx.Client) -> float:
        began = time.monotonic()
        assert client.post("/v1/executions", json={"code": "print(6 * 7)"}).json()["stdout"] == "42\n"
        return time.monotonic() - began

    def attack(number: int) -> None:
        code = f"{SOURCES['one name']}\n{number}\n"
        with server.client() as client:
            client.post("/v1/executions", json={"code": code, "task_id": f"attack-{number}", "lane": "monty"})

    with server.client() as client, ThreadPoolExecutor(4) as attackers:
        alone = statistics.median(canary(client) for _ in range(20))
        attacks = [attackers.submit(attack, number) for number in range(8)]
        during = [canary(client)]
        while not all(one.done() for one in attacks):
            during.append(canary(client))
    # Reading one of the sources takes some hundred milliseconds; a canary that had to wait for the four that come
    # together would take a hundred times its usual time.
    assert statistics.median(during) < alone * 40 + 0.1, (alone, during)
