"""Server processes on this machine: started, timed until they answer, weighed, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.client import Connection, HttpError, as_object

ROOT: Final = Path(__file__).resolve().parent.parent
START_SECONDS: Final = 60.0
READY_SECONDS: Final = 180.0  # the first self-test of every kind of box comes before
STOP_SECONDS: Final = 60.0
SERVE: Final = ("-c", "from gateway.cli import app; app()", "serve")


class ServerError(Exception):
    """A server did not start, or does not answer."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what is meant for other gateways, with `changes`."""
    inherited = os.environ.items()  # noqa: TID251  # handed on, not read
    return {name: value for name, value in inherited if not name.startswith("AIRLOCK_")} | dict(changes)


@dataclass(slots=True)
class Server:
    """One process that listens on a port of its own; its words go to `log`."""

    command: Sequence[str]
    log: Path
    changes: Mapping[str, str] = field(default_factory=dict)
    health: str = "/healthz"
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> float:
        """Start it and wait for its first answer; returns how many seconds that took."""
        command = [one.replace("{port}", str(self.port)) for one in self.command]
        variables = {name: value.replace("{port}", str(self.port)) for name, value in self.changes.items()}
        began = time.perf_counter()
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=environment(variables), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        connection = Connection(self.port)
        try:
            while time.perf_counter() - began < START_SECONDS:
                if self.process.returncode is not None:
                    raise ServerError(f"it ended: {self.last_words}")
                try:
                    await connection.get(self.health)
                except (HttpError, OSError):
                    await asyncio.sleep(0.005)
                else:
                    return time.perf_counter() - began
        finally:
            await connection.close()
        raise ServerError(f"it does not answer: {self.last_words}")

    @property
    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    @property
    def pid(self) -> int:
        """The process's id; raises `ServerError` where there is none."""
        if self.process is None:
            raise ServerError("it was not started")
        return self.process.pid

    async def stop(self) -> None:
        """End it, gently first."""
        if self.process is None:
            return
        process, self.process = self.process, None
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@dataclass(slots=True)
class Gateway:
    """A real gateway with its own data and policy. `with_engine` False points it to an engine that does not exist."""

    folder: Path
    policy: str
    with_engine: bool = True
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        policy = self.folder / "policy.yaml"
        policy.write_text(self.policy, encoding="utf-8")
        changes = {
            "AIRLOCK_LISTEN": "127.0.0.1:{port}",
            "AIRLOCK_DATA": str(self.data),
            "AIRLOCK_POLICY": str(policy),
        }
        if not self.with_engine:
            changes["DOCKER_HOST"] = f"unix://{self.folder}/no-engine.sock"
        self.server = Server((sys.executable, *SERVE), self.folder / "log", changes)

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def instance(self) -> str:
        """Its name on the engine, which its boxes carry."""
        return (self.data / "instance").read_text(encoding="ascii").strip()

    async def start(self) -> None:
        """Start it and wait until its lanes run programs; raises `ServerError` with the reason where they do not."""
        await self.server.start()
        lanes = ("monty", "container") if self.with_engine else ("monty",)
        connection = Connection(self.server.port)
        deadline = time.monotonic() + READY_SECONDS
        detail = "it does not answer"
        try:
            while time.monotonic() < deadline:
                try:
                    detail = _unready(as_object(await connection.get("/readyz")), lanes)
                except HttpError as error:
                    detail = str(error)
                if not detail:
                    return
                await asyncio.sleep(0.2)
        finally:
            await connection.close()
        raise ServerError(detail)

    async def stop(self) -> None:
        """End it; its boxes go with it."""
        await self.server.stop()


def _unready(view: Mapping[str, object], wanted: Sequence[str]) -> str:
    """Why not every wanted lane is available; empty when they are."""
    lanes = view["lanes"]
    if not isinstance(lanes, dict):
        return "it names no lanes"
    return "; ".join(f"{name}: {lanes[name]['detail']}" for name in wanted if not lanes[name]["available"])
