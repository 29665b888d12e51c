"""The gate: sizes, times and headers, against a real server over real sockets."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service.echo_server import CONNECTIONS, LARGE, SECRET

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
SECONDS = 1.0  # how long the server waits for headers and bodies
MIB = 1 << 20
JSON = "Content-Type: application/json\r\n"


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[str]
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def peak_bytes(self) -> int:
        match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert match
        return int(match[1]) * 1024


@contextmanager
def serving(log: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.service.echo_server", str(SECONDS)]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout
            yield Server(int(process.stdout.readline()), process, log)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "log") as server:
        yield server


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    closed: bool

    def header(self, wanted: str) -> str | None:
        return next((value for name, value in self.headers if name == wanted), None)

    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer, and where it says that the connection ends, see whether it does."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = int(dict(headers)["content-length"]) if "content-length" in dict(headers) else None
    while (len(body) < length) if length is not None else not body.endswith(b"0\r\n\r\n"):
        body += _some(connection)
    if length is None:
        body = body.split(b"\r\n")[1]
    closed = dict(headers).get("connection") == "close" and _ends(connection)
    return Answer(int(first.split()[1]), headers, body, closed)


def _ends(connection: socket.socket) -> bool:
    connection.settimeout(1.5)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def _some(connection: socket.socket) -> bytes:
    some = connection.recv(65536)
    assert some, "the server closed the connection without an answer"
    return some


def post(server: Server, head: str, body: bytes = b"", path: str = "/") -> Answer:
    with server.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode() + body)
        return read_answer(connection)


def assert_problem(answer: Answer, status: int, kind: str) -> None:
    assert answer.status == status
    assert answer.header("content-type") == "application/problem+json"
    assert answer.json()["type"] == f"urn:airlock:problem:{kind}"
    assert answer.json()["status"] == status
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("cache-control") == "no-store"


def test_a_request_passes_and_every_answer_says_what_it_must(server: Server) -> None:
    answer = post(server, JSON + "Content-Length: 2\r\nX-Request-Id: mine\r\n", b"{}")
    assert answer.json() == {"received": 2}
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("cache-control") == "no-store"
    assert re.fullmatch("[0-9a-f]{16}", answer.header("x-request-id") or "")
    assert answer.header("server") is None
    assert not answer.closed


def test_the_largest_body_passes_announced_and_chunked(server: Server) -> None:
    announced = post(server, JSON + f"Content-Length: {8 * MIB}\r\n", b" " * (8 * MIB))
    assert announced.json() == {"received": 8 * MIB}
    chunk = f"{MIB:x}\r\n".encode() + b" " * MIB + b"\r\n"
    chunked = post(server, JSON + "Transfer-Encoding: chunked\r\n", chunk * 8 + b"0\r\n\r\n")
    assert chunked.json() == {"received": 8 * MIB}


@pytest.mark.parametrize("length", [8 * MIB + 1, 10 * MIB, 100_000_000_000, 10**19])
def test_an_announced_body_that_is_too_large_is_refused_before_it_comes(server: Server, length: int) -> None:
    began = time.monotonic()
    answer = post(server, JSON + f"Content-Length: {length}\r\n")
    assert_problem(answer, 413, "body-too-large")
    assert "8388608 bytes" in str(answer.json()["detail"])
    assert answer.closed
    assert time.monotonic() - began < 1.5


def test_the_refusal_reaches_a_client_that_goes_on_sending(server: Server) -> None:
    answer = post(server, JSON + f"Content-Length: {10 * MIB}\r\n", b" " * (10 * MIB))
    assert_problem(answer, 413, "body-too-large")


def test_a_chunked_body_is_cut_at_the_cap_and_costs_no_memory(server: Server) -> None:
    post(server, JSON + f"Content-Length: {8 * MIB}\r\n", b" " * (8 * MIB))
    before = server.peak_bytes()
    with server.connect() as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        sent = 0
        try:
            while sent < 200 * MIB:
                connection.sendall(chunk)
                sent += 65536
        except OSError:
            pass
        assert sent < 200 * MIB
        assert_problem(read_answer(connection), 413, "body-too-large")
    assert server.peak_bytes() - before < 20 * MIB


def test_a_slow_body_is_cut_off(server: Server) -> None:
    with server.connect() as connection:
        began = time.monotonic()
        connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 1000\r\n\r\n".encode())
        for _ in range(8):  # each byte comes in time, the body does not
            connection.sendall(b" ")
            time.sleep(SECONDS / 10)
        answer = read_answer(connection)
        assert_problem(answer, 408, "request-timeout")
        assert answer.closed
        assert SECONDS * 0.9 < time.monotonic() - began < SECONDS + 2


@pytest.mark.parametrize("drip", [False, True])
def test_slow_headers_are_cut_off(server: Server, *, drip: bool) -> None:
    with server.connect() as connection:
        began = time.monotonic()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        closed = False
        connection.settimeout(0.2)
        while not closed and time.monotonic() - began < 5:
            try:
                if drip:
                    connection.sendall(b"X-A: b\r\n")
                closed = connection.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True
        assert SECONDS * 0.9 < time.monotonic() - began < SECONDS + 1


def test_a_silent_connection_is_cut_off(server: Server) -> None:
    with server.connect() as connection:
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert SECONDS * 0.9 < time.monotonic() - began < SECONDS + 1


def test_slow_headers_of_a_second_request_are_cut_off(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection).status == 200
        began = time.monotonic()
        connection.settimeout(10)
        connection.sendall(b"GET / HT")
        assert connection.recv(1) == b""
        assert SECONDS * 0.9 < time.monotonic() - began < SECONDS + 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_late_answer_is_waited_for(server: Server, method: str) -> None:
    body = f"{JSON}Content-Length: 2\r\n\r\n{{}}" if method == "POST" else "\r\n"
    with server.connect() as connection:
        connection.sendall(f"{method} /late HTTP/1.1\r\nHost: x\r\n{body}".encode())
        assert read_answer(connection).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip", "x"])
def test_a_compressed_body_is_refused(server: Server, encoding: str) -> None:
    answer = post(server, JSON + f"Content-Encoding: {encoding}\r\nContent-Length: 2\r\n", b"{}")
    assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "head",
    [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/jsonx\r\n",
        "Content-Type: application/json, text/plain\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
    ],
)
def test_only_json_is_read(server: Server, head: str) -> None:
    assert_problem(post(server, head + "Content-Length: 2\r\n", b"{}"), 415, "unsupported-media-type")


def test_a_media_type_may_have_parameters(server: Server) -> None:
    head = "Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n"
    assert post(server, head, b"{}").status == 200


@pytest.mark.parametrize(
    "head",
    [
        "".join(f"X-{number}: v\r\n" for number in range(120)),
        "X-Large: " + "v" * 20_000 + "\r\n",
        "".join(f"X-{number}: {'v' * 1000}\r\n" for number in range(20)),
    ],
)
def test_headers_are_bounded(server: Server, head: str) -> None:
    assert_problem(post(server, head), 431, "headers-too-large")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"v" * 100_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 300 + b"\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01 not HTTP at all\r\n\r\n",
    ],
)
def test_what_is_not_one_clear_request_is_refused(server: Server, request_bytes: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(request_bytes)
        answer = read_answer(connection)
    assert answer.status == 400
    assert answer.header("content-type") == "application/problem+json"
    assert answer.closed


def test_an_answer_that_did_not_wait_for_the_body_ends_the_connection(server: Server) -> None:
    answer = post(server, JSON + "Content-Length: 1000\r\n", b"{", path="/unread")
    assert answer.json() == {"read": False}
    assert answer.closed


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error_of_ours(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 1000\r\n\r\n{{".encode())
    assert post(server, JSON + "Content-Length: 2\r\n", b"{}").status == 200
    assert "Traceback" not in server.log.read_text().rpartition("ZeroDivisionError")[2]


def test_an_unexpected_error_tells_nothing_but_where_the_log_has_it(server: Server) -> None:
    answer = post(server, JSON + "Content-Length: 2\r\n", b"{}", path="/boom?key=not-for-the-log")
    assert_problem(answer, 500, "internal-error")
    assert SECRET.encode() not in answer.body
    assert b"Traceback" not in answer.body
    assert b"/" not in answer.body
    request_id = answer.header("x-request-id") or "?"
    line = logged(server, f"{request_id} - POST")
    assert re.search(r" - POST /boom 500 [0-9.]+ms$", line)
    log = server.log.read_text()
    assert f"{request_id} failed" in log
    assert SECRET in log
    assert "not-for-the-log" not in log


def test_a_server_that_stops_answers_who_still_waits_and_ends_well(tmp_path: Path) -> None:
    with serving(tmp_path / "log") as server, server.connect() as connection:
        connection.sendall(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)
        server.process.terminate()
        answer = read_answer(connection)
        assert_problem(answer, 503, "unavailable")
        assert answer.header("retry-after") == "5"
        assert server.process.wait(10) == 0
        assert "Traceback" not in server.log.read_text()


def logged(server: Server, text: str) -> str:
    """The line of the log with this text, which comes a moment after the answer."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for line in server.log.read_text().splitlines():
            if text in line:
                return line
        time.sleep(0.01)
    raise AssertionError(text)


def test_a_client_that_does_not_read_its_answer_is_let_go(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(4)  # the server waits for one second
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while some := connection.recv(1 << 20):
                received += len(some)
        assert received < LARGE


def test_a_client_that_reads_slowly_but_reads_gets_it_all(server: Server) -> None:
    with server.connect() as connection:
        connection.settimeout(30)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = 0
        for _ in range(8):
            time.sleep(0.2)
            received += len(connection.recv(1 << 20))
        while some := connection.recv(1 << 20):
            received += len(some)
        assert received > LARGE


def test_too_many_connections_are_turned_away_with_a_problem(server: Server) -> None:
    held = [server.connect() for _ in range(CONNECTIONS)]
    try:
        with server.connect() as connection:
            answer = read_answer(connection)
            assert_problem(answer, 503, "unavailable")
            assert answer.header("retry-after") == "1"
    finally:
        for one in held:
            one.close()
    time.sleep(0.2)
    assert post(server, "Content-Type: application/json\r\nContent-Length: 2\r\n", b"{}").status == 200
