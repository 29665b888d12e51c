"""An agent who writes as much as it may: looking at it costs the gateway neither its memory nor its time."""

from __future__ import annotations

import concurrent.futures
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.service.gateways import policy

PATIENT = "budget: {failures_in_a_row: 6, failures_total: 1000, same_failure: 1000}"
TRIES = 6


def peak_bytes(server: Server) -> int:
    assert server.process is not None
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    assert match
    return int(match[1]) * 1024


def many_lines() -> str:
    """Millions of characters in lines of which each resembles many others: the worst there is to compare."""
    return "\n".join(f"{'ab'[line % 2]}{line * 7919 % 97}" for line in range(1_200_000))[:4_500_000]


@pytest.mark.alone
def test_looking_at_the_largest_programs_holds_nobody_up_and_fills_no_memory(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(policy(defaults=PATIENT))
    with server.client(timeout=150) as agent, server.client(server.reviewer_key, timeout=150) as reviewer:
        writing, lines = 0.0, many_lines()
        for number in range(TRIES):
            began = time.monotonic()
            answer = agent.post("/v1/executions", json={"code": f"# {number}\n{lines}", "task_id": "large"})
            writing = max(writing, time.monotonic() - began)
        view = answer.json()
        assert answer.status_code == 200, view
        assert (view["status"], view["error"]["type"]) == ("rejected", "SourceTooLarge")
        before = peak_bytes(server)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            looks = list(pool.map(lambda _: agent.get("/v1/tasks/large").json(), range(10)))
        assert all(len(look["executions"]) == TRIES for look in looks)
        assert peak_bytes(server) - before < 10 * 25_000_000, "one large program for each look, not all of them"

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            looking = pool.submit(reviewer.get, f"/v1/reviews/{view['task']['review']}")
            worst = 0.0
            while not looking.done():
                asked = time.monotonic()
                assert agent.get("/healthz").status_code == 200
                worst = max(worst, time.monotonic() - asked)
            took = time.monotonic() - began
        review = looking.result().json()
        assert review["execution"] in [one["execution"]["id"] for one in review["tries"]]
        assert 1 < len(review["tries"]) < TRIES
        assert took < 20 * writing, "a look costs about as much as what is looked at"
        assert worst < 20 * writing
