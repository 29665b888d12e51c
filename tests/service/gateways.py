"""What tests of whole gateways share: policies with keys, boxes seen from outside, raw connections, waiting."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import docker
import httpx

from sandbox.profile import SPARE
from tests.conftest import Server

QUICK = "limits: {time: {default: 5s, max: 10s}, memory: {default: 64Mi, max: 128Mi}}, retries: {base: 10ms, cap: 20ms}"


def policy(keys: Mapping[str, tuple[str, str]] | None = None, defaults: str = QUICK) -> str:
    """A policy with small limits; `keys` are names of tenants and roles, and `key-of-NAME` opens as NAME."""
    lines = [
        f"  - {{name: {name}, sha256: {hashlib.sha256(f'key-of-{name}'.encode()).hexdigest()},"
        f" tenant: {tenant}, profile: default, roles: [{role}]}}\n"
        for name, (tenant, role) in (keys or {}).items()
    ]
    return f"version: 1\nengine: {{spares: 0}}\ndefaults: {{{defaults}}}\n" + (
        "keys:\n" + "".join(lines) if lines else ""
    )


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@dataclass
class Clockwork(Server):
    """A gateway whose clock can be set."""

    program: tuple[str, ...] = ("-m", "tests.service.clock_server")

    @property
    def hands(self) -> Path:
        return self.data.parent / "clock"

    def ahead(self, seconds: float) -> None:
        new = self.hands.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self.hands)


def boxes(server: Server) -> list[str]:
    """The ids of this gateway's containers, running or not."""
    instance = (server.data / "instance").read_text().strip()
    client = docker.from_env()
    try:
        found = client.api.containers(all=True, filters={"label": f"airlock.instance={instance}"})
        return [str(one["Id"]) for one in found if not one["Labels"]["airlock.execution"].startswith(SPARE)]
    finally:
        client.close()


def submit_later(client: httpx.Client, **body: object) -> str:
    """Submit without waiting for the answer; the execution is recorded when this returns. Monty may be done by then."""
    accepted = client.post("/v1/executions", json=body, headers={"Prefer": "respond-async"})
    assert accepted.status_code == 202 or (accepted.status_code, accepted.json()["lane"]) == (200, "monty"), (
        accepted.text
    )
    execution: str = accepted.json()["id"]
    return execution


def running(client: httpx.Client, execution: str) -> bool:
    status: str = client.get(f"/v1/executions/{execution}").json()["status"]
    return status == "running"


@dataclass
class Raw:
    """A connection over which anything can be said."""

    server: Server
    connection: socket.socket = field(init=False)

    def __enter__(self) -> Self:
        self.connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def say(self, data: bytes) -> bytes:
        """Send, then read until the server closes the connection or has nothing more to say for a while."""
        self.connection.sendall(data)
        received = b""
        self.connection.settimeout(1.5)
        try:
            while some := self.connection.recv(1 << 16):
                received += some
        except (TimeoutError, ConnectionResetError):
            pass
        return received
