"""Promise: what the log says of an execution can be found by its id, and by its caller's trace."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Server
from tests.service.gateways import eventually, policy

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
KEYS = {"ada": ("team-a", "agent")}
HUNGRY = "x = bytearray(90 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1"


def lines(server: Server) -> list[dict[str, object]]:
    """Every line of the log but what the start says on stdout."""
    text = server.log.read_text().splitlines()
    return [json.loads(line) for line in text if not line.startswith(("airlock: ", "reviewer key: "))]


@pytest.mark.engine
def test_the_lines_of_an_execution_are_found_by_its_id(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS), AIRLOCK_LOG_FORMAT="json")
    with server.client("key-of-ada") as agent:
        body = {"code": HUNGRY, "lane": "container", "task_id": "hungry"}
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        asked = [
            agent.post("/v1/executions", json=body, headers=headers),
            agent.post("/v1/executions", json={"code": "1"}),
        ]
        views = [one.json() for one in asked]
        assert [view["status"] for view in views] == ["succeeded", "succeeded"], views
        eventually(lambda: sum(line["event"] == "request" for line in lines(server)) >= 2)
    hungry, other = ([line for line in lines(server) if line.get("execution") == view["id"]] for view in views)
    assert [line["event"] for line in hungry] == ["attempt_had_no_result", "request"]
    for line in hungry:
        assert (line["task"], line["trace_id"], line["tenant"]) == ("hungry", TRACE, "team-a")
        assert (line["policy"], line["request_id"]) == (views[0]["policy"], asked[0].headers["X-Request-Id"])
    assert [line["attempt"] for line in hungry] == [1, 2]
    request = hungry[-1]
    assert (request["method"], request["path"], request["status"], request["caller"]) == (
        "POST",
        "/v1/executions",
        200,
        "ada",
    )
    assert [line["event"] for line in other] == ["request"]
    assert "trace_id" not in other[0]


def test_a_path_cannot_make_a_line_of_its_own(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS), AIRLOCK_LOG_FORMAT="json")
    hostile = "/v1/tasks/%0A%7B%22event%22%3A%22forged%22%7D%E2%80%AE"
    with server.client("key-of-ada") as agent:
        assert agent.get(hostile).status_code in {404, 422}
        eventually(lambda: any(line.get("path") == hostile for line in lines(server)))
    assert not any(line["event"] == "forged" for line in lines(server))


def test_a_format_that_there_is_not_is_no_setting(make_server: Callable[..., Server]) -> None:
    with pytest.raises(AssertionError, match="AIRLOCK_LOG_FORMAT"):
        make_server(policy(KEYS), AIRLOCK_LOG_FORMAT="xml")
