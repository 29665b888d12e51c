"""What is said on a connection that is no honest request, and who leaves in the middle of one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import Raw, boxes, eventually, policy

KEYS: Final = {"ada": ("t", "agent")}
BODY: Final = b'{"code": "1", "task_id": "smuggled"}'
HEAD: Final = b"POST /v1/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SMUGGLED: Final = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
ATTACKS: Final = {
    "a length and chunks": HEAD + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and a length": HEAD + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 200\r\n\r\n{}" + SMUGGLED,
    "two lengths in one": HEAD + b"Content-Length: 2, 200\r\n\r\n{}" + SMUGGLED,
    "a length with a sign": HEAD + b"Content-Length: +2\r\n\r\n{}" + SMUGGLED,
    "a length with a space": HEAD + b"Content-Length : 2\r\n\r\n{}" + SMUGGLED,
    "a length in other digits": HEAD + b"Content-Length: \xb2\r\n\r\n{}" + SMUGGLED,
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two codings": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a hidden coding": HEAD + b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED,
    "a wrong chunk": HEAD + CHUNKED + b"\r\n-1\r\n{}\r\n0\r\n\r\n" + SMUGGLED,
    "no host": b"GET /v1/policy HTTP/1.1\r\n\r\n" + SMUGGLED,
    "two hosts": b"GET /v1/policy HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n" + SMUGGLED,
    "a return in a value": b"GET /v1/policy HTTP/1.1\r\nHost: localhost\r\nX: a\rSet-Cookie: b\r\n\r\n" + SMUGGLED,
    "a NUL in a value": b"GET /v1/policy HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n" + SMUGGLED,
    "a space in a path": b"GET /v1/policy x HTTP/1.1\r\nHost: localhost\r\n\r\n" + SMUGGLED,
}
LINE: Final = re.compile(r"airlock\.http: ([0-9a-f]{16}) (\S+) (\S+) (\S+) (\d+|None) [0-9.]+ms$", re.MULTILINE)


def lines(server: Server) -> list[tuple[str, ...]]:
    """The log's lines about requests: id, caller, method, path, status."""
    return LINE.findall(server.log.read_text())


def about_programs(server: Server) -> list[tuple[str, ...]]:
    return [line for line in lines(server) if line[3] in {"/v1/executions", "/v1/policy"}]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_request_hidden_in_another_one_is_never_read(server: Server, agent: httpx.Client, name: str) -> None:
    before = len(about_programs(server))
    with Raw(server) as raw:
        received = raw.say(ATTACKS[name])
    assert re.match(rb"HTTP/1\.1 400 ", received), received[:200]
    assert received.count(b"HTTP/1.1 ") == 1, "one refusal, and nothing after it"
    assert agent.get("/v1/tasks/smuggled").status_code == 404
    assert len(about_programs(server)) - before <= 1, "one line for it at most"
    assert "Traceback" not in server.log.read_text()


def test_one_request_is_one_line_of_the_log(server: Server) -> None:
    """Also of those that come together, and whatever they hold: no line can be forged."""
    forged = "%0d%0a2025-01-01%2000:00:00,000%20INFO%20airlock.http:%200123456789abcdef%20admin%20GET%20x%20200%201.0ms"
    answers = {
        "/v1/tasks/one-line?key=not-for-the-log": "422",
        f"/v1/tasks/one-line{forged}": "422",
        "/one-line": "404",
        "/v1/executions/one-line%00": "422",
        "/v1/reviews/one-line": "403",
    }

    def found() -> list[tuple[str, ...]]:
        return [line for line in lines(server) if "one-line" in line[3]]

    with Raw(server) as raw:
        raw.say(b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in answers))
    eventually(lambda: len(found()) >= len(answers), 10)
    assert [(line[3], line[4]) for line in found()] == [
        (path.partition("?")[0], status) for path, status in answers.items()
    ]
    assert len({line[0] for line in found()}) == len(answers)
    assert "not-for-the-log" not in server.log.read_text()


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "", "@"])
def test_without_keys_a_foreign_host_is_nobody(server: Server, host: str) -> None:
    with Raw(server) as raw:
        received = raw.say(b"GET /v1/policy HTTP/1.1\r\nConnection: close\r\nHost: " + host.encode() + b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 (400|403) ", received), received[:200]
    assert b"digest" not in received


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("connections")
    (data / "policy.yaml").write_text(policy(KEYS))
    started = Server(data, data / "policy.yaml").start()
    yield started
    started.stop()


@pytest.mark.engine
def test_a_caller_who_leaves_is_no_reason_to_forget_the_limit(quick: Server) -> None:
    """The program was taken: it ends at its own limit, is recorded, and its box is gone."""
    code = "import time\nprint('begun', flush=True)\ntime.sleep(60)"
    body = json.dumps({"code": code, "task_id": "left", "lane": "container", "limits": {"time": "2s"}}).encode()
    with quick.client("key-of-ada") as ada:
        with Raw(quick) as raw:
            key = b"Authorization: Bearer key-of-ada\r\n"
            raw.connection.sendall(HEAD + key + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            eventually(lambda: ada.get("/v1/tasks/left").status_code == 200)
        answer = ada.get("/v1/tasks/left", params={"wait": 30}).json()["latest"]
        assert (answer["status"], answer["stdout"]) == ("timed_out", "begun\n")
        assert 2 <= answer["usage"]["wall_seconds"] < 3
        eventually(lambda: not boxes(quick), 10)
        assert ada.get("/v1/policy").status_code == 200


def test_callers_who_leave_while_they_wait_are_waited_for_no_longer(quick: Server) -> None:
    """They ask for the longest wait and go: their requests end long before it is over, and hold nothing."""
    callers = 300
    with quick.client("key-of-ada") as ada:
        for number in range(3):
            ada.post("/v1/executions", json={"code": f"def broken{number}(:", "task_id": "waits"})
        assert ada.get("/v1/tasks/waits").json()["turn"] == "reviewer"
        look = b"GET /v1/tasks/waits?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key-of-ada\r\n\r\n"
        for _ in range(callers):
            with Raw(quick) as raw:
                raw.connection.sendall(look)
        eventually(lambda: [line[4] for line in lines(quick)].count("499") == callers, 30)
        assert ada.get("/v1/policy").status_code == 200
    assert "Traceback" not in quick.log.read_text()
