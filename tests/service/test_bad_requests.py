"""What a caller gets wrong is told with its field; nothing is recorded, nothing crashes."""

from __future__ import annotations

import json
import sqlite3
from typing import Final

import httpx
import pytest

from tests.conftest import Server

JSON: Final = {"Content-Type": "application/json"}
BODIES: Final = {
    "malformed": (b'{"code": "1"', 400, None),
    "not an object": (b"[1]", 422, None),
    "unknown field": (b'{"code": "1", "cod": "2"}', 422, "cod"),
    "wrong type": (b'{"code": 7}', 422, "code"),
    "no code": (b"{}", 422, "code"),
    "duplicate key": (b'{"code": "1", "code": "2"}', 400, None),
    "not a number": (b'{"code": "1", "inputs": {"x": NaN}}', 400, None),
    "half a surrogate": (b'{"code": "\\ud800"}', 400, None),
    "traversal": (b'{"code": "1", "files": [{"path": "../../etc/passwd", "content": ""}]}', 422, "files.0.path"),
    "absolute": (b'{"code": "1", "files": [{"path": "/etc/passwd", "content": ""}]}', 422, "files.0.path"),
    "output traversal": (b'{"code": "1", "outputs": ["../*"]}', 422, "outputs.0"),
    "not base64": (b'{"code": "1", "files": [{"path": "a", "content": "!", "encoding": "base64"}]}', 422, "files.0"),
    "above max": (b'{"code": "1", "limits": {"time": "1h"}}', 422, "limits.time"),
    "not a quantity": (b'{"code": "1", "limits": {"memory": "1GB"}}', 422, "limits.memory"),
    "negative": (b'{"code": "1", "limits": {"pids": -1}}', 422, "limits.pids"),
    "bool for int": (b'{"code": "1", "limits": {"pids": true}}', 422, "limits.pids"),
    "a keyword as input": (b'{"code": "1", "inputs": {"for": 1}}', 422, "inputs"),
    "a line feed after a name": (b'{"code": "1", "inputs": {"x\\n": 1}}', 422, "inputs"),
    "a line feed after a variable": (b'{"code": "1", "env": {"X\\n": "1"}}', 422, "env"),
    "reserved task": (b'{"code": "1", "task_id": "anonymous-local-1"}', 422, "task_id"),
    "task with a path": (b'{"code": "1", "task_id": "../x"}', 422, "task_id"),
    "deep": (b'{"code": "1", "inputs": {"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}", 400, None),
    "10 MB": (b'{"code": "' + b"#" * 10_000_000 + b'"}', 413, "body"),
}


def rows(server: Server) -> int:
    database = sqlite3.connect(server.data / "airlock.db")
    try:
        counts = [database.execute(f"select count(*) from {table}").fetchone()[0] for table in ("events", "executions")]
    finally:
        database.close()
    return sum(counts)


@pytest.mark.parametrize("name", BODIES)
def test_a_wrong_body_is_a_problem_that_names_its_field(server: Server, agent: httpx.Client, name: str) -> None:
    body, status, field = BODIES[name]
    before = rows(server)
    response = agent.post("/v1/executions", content=body, headers=JSON)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if field is not None:
        assert field in [error["field"] for error in problem["errors"]]
    assert len(response.content) < 4000
    assert "Traceback" not in response.text
    assert str(server.data) not in response.text
    assert rows(server) == before
    assert agent.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1/executions/nope", "/v1/tasks/nope", "/nope"])
def test_what_is_not_there_is_a_problem_too(agent: httpx.Client, path: str) -> None:
    response = agent.get(path)
    assert (response.status_code, json.loads(response.content)["status"]) == (404, 404)


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%00", "%2fetc%2fpasswd", "x" * 3000])
def test_a_files_name_opens_nothing_outside_its_execution(agent: httpx.Client, name: str) -> None:
    response = agent.get(f"/v1/executions/x/files/{name}")
    assert response.status_code in {404, 422}
    assert response.json()["title"]
