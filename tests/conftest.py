"""The ladder of fixtures: a port, a server process on it, clients of the server.

The server is the real one: the real command, engine, Monty and database.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 100  # on a machine that has much else to do; a test has 180
UNUSED_TLS = ssl.create_default_context()
"""What each client would read the authorities' certificates for, in 50 ms of the processor, though none here speaks TLS."""
LONGEST_FIRST = ("service/test_kill_matrix.py", "service/test_any_request.py")
"""Of workers side by side, none may begin with one of these when the others are nearly done."""
ALONE = ("security", "browser", "examples")
"""Folders in which limits of time are promised, pages are waited for, and gateways are killed by the clock."""
_PORTS = range(10_000, 32_000)  # below those that the system gives to clients, which could take one in the meantime
_WORKERS = 16


@pytest.hookimpl(tryfirst=True)  # before the marks are asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in ALONE:
            item.add_marker("alone")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not str(item.path).endswith(LONGEST_FIRST))


def free_port() -> int:
    """A port on which nobody listens, and which no other worker of this run takes before its server has it."""
    mine = _PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _WORKERS :: _WORKERS]  # noqa: TID251
    while True:
        with socket.socket() as listener, contextlib.suppress(OSError):
            port = random.choice(mine)  # other runs on this machine look for ports too
            listener.bind(("127.0.0.1", port))
            return port


@dataclass
class Server:
    """A gateway process; it can be killed and started again on the same data."""

    data: Path
    policy: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    program: tuple[str, ...] = ("-c", "from gateway.cli import app; app()")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    def start(self) -> Server:
        self.data.mkdir(parents=True, exist_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRLOCK_")},  # noqa: TID251
            "AIRLOCK_LISTEN": f"127.0.0.1:{self.port}",
            "AIRLOCK_DATA": str(self.data),
            **({"AIRLOCK_POLICY": str(self.policy)} if self.policy else {}),
            **self.environment,
        }
        command = [sys.executable, *self.program, "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        with self.client(timeout=1) as client:
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise AssertionError(f"the server ended: {self.log.read_text()}")
                try:
                    client.get("/healthz")
                except httpx.TransportError:
                    time.sleep(0.05)
                else:
                    return self
        self.kill()
        raise AssertionError(f"the server does not answer: {self.log.read_text()}")

    def kill(self) -> None:
        """As a machine that goes down: nothing is said before."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> int:
        if self.process is None:
            return 0
        self.process.terminate()
        code = self.process.wait(30)
        self.process = None
        return code

    def client(self, key: str | None = None, timeout: float = 60) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout, verify=UNUSED_TLS)

    @property
    def reviewer_key(self) -> str:
        return (self.data / "reviewer.key").read_text().strip()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway with the default policy, shared by tests that keep to their own tasks."""
    running = Server(tmp_path_factory.mktemp("server")).start()
    yield running
    running.stop()


@pytest.fixture
def agent(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def reviewer(server: Server) -> Iterator[httpx.Client]:
    with server.client(server.reviewer_key) as client:
        yield client


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Gateways of a test's own, which it may kill; given a policy's text, with that policy."""
    made: list[Server] = []

    def make(policy: str | None = None, **environment: str) -> Server:
        data = tmp_path / f"data{len(made)}"
        data.mkdir()
        path = data / "policy.yaml"
        if policy is not None:
            path.write_text(policy)
        server = Server(data, path if policy is not None else None, environment)
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.stop()
