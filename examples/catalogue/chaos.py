"""A gateway of our own, and what befalls it: kill -9 at random moments, and a start some time later.

It is ended by the number of its process, never by a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from examples.catalogue.wire import Away, Connection

_ROOT: Final = Path(__file__).resolve().parents[2]
_SERVE: Final = ("-c", "from gateway.cli import app; app()", "serve")
_START_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 60.0
_LONGEST_ABSENCE: Final = 1.0
_TICK_SECONDS: Final = 0.02


class StartError(Exception):
    """The gateway does not start; its last words."""


@dataclass(slots=True)
class OwnGateway:
    """A gateway process with its data in `folder`."""

    folder: Path
    policy: Path
    port: int = 0
    _process: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.port:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                self.port = listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "gateway"

    @property
    def reviewer_key(self) -> str:
        """The reviewer's key, which it made at its first start."""
        return (self.data / "reviewer.key").read_text(encoding="ascii").strip()

    async def start(self, *, ready: bool = True) -> None:
        """Start it; returns when it answers, or with `ready` when it runs programs. Raises `StartError`."""
        self._end_earlier()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOCK_")}  # noqa: TID251  # handed on
        own = {
            "AIRLOCK_LISTEN": f"127.0.0.1:{self.port}",
            "AIRLOCK_DATA": str(self.data),
            "AIRLOCK_POLICY": str(self.policy),
            "AIRLOCK_LOG": "warning",
        }
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *_SERVE, cwd=_ROOT, env=inherited | own, stdout=log, stderr=log
            )
        (self.folder / "gateway.pid").write_text(str(self._process.pid), encoding="ascii")
        await self._answers("/readyz" if ready else "/healthz")

    async def be_there(self) -> None:
        """Start it where it was killed and not started again."""
        if self._process is None or self._process.returncode is not None:
            await self.start()
        else:
            await self._answers("/readyz")

    async def _answers(self, path: str) -> None:
        connection = Connection(self.url)
        deadline = time.monotonic() + _START_SECONDS
        try:
            while time.monotonic() < deadline:
                if self._process is None or self._process.returncode is not None:
                    break
                with contextlib.suppress(Away):
                    if (await connection.ask("GET", path)).status == 200:  # noqa: PLR2004
                        return
                await asyncio.sleep(_TICK_SECONDS)
        finally:
            await connection.close()
        words = (self.folder / "gateway.log").read_text("utf-8", "replace").strip()
        raise StartError("\n".join(words.splitlines()[-5:]))

    def _end_earlier(self) -> None:
        """End the gateway of a coordinator that was killed: it holds the data."""
        noted = self.folder / "gateway.pid"
        pid = int(noted.read_text(encoding="ascii")) if noted.exists() else 0
        process = Path(f"/proc/{pid}")
        mine = f"AIRLOCK_DATA={self.data}".encode()
        with contextlib.suppress(OSError):
            if pid and mine in (process / "environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
                while (process / "environ").read_bytes():  # of what has ended, also while nobody collects it, nothing
                    time.sleep(_TICK_SECONDS)

    async def kill(self) -> None:
        """As a machine that goes down: nothing is said before."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """End it gently."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    def memory_bytes(self) -> int:
        """What it holds in memory; 0 while it is away."""
        pid = self._process.pid if self._process is not None else 0
        with contextlib.suppress(OSError):
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
            return int(found[1]) * 1024 if found else 0
        return 0

    def processor_seconds(self) -> float:
        """Processor time of it and of its children, ended ones included, since its start; 0 while it is away."""
        pid = self._process.pid if self._process is not None else 0
        with contextlib.suppress(OSError):
            children = [
                int(one) for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split()
            ]
            return sum(_ticks(one) for one in (pid, *children)) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def store_bytes(self) -> int:
        """What its database takes on disk, the write-ahead log included."""
        return sum(path.stat().st_size for path in self.data.glob("airlock.db*"))


def _ticks(pid: int) -> int:
    """Clock ticks of a process and of its children that ended: proc(5), fields 14 to 17 of `stat`."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


@dataclass(frozen=True, slots=True)
class Every:
    """How often to kill: once in each stretch of this many products, or of this many seconds."""

    amount: float
    seconds: bool

    @classmethod
    def read(cls, text: str) -> Every:
        """`5000` are products, `60s` are seconds; raises `ValueError`."""
        match = re.fullmatch(r"(\d+)(s?)", text)
        if not match or not int(match[1]):
            raise ValueError(f"{text}: write 5000 for products, 60s for seconds")
        return cls(int(match[1]), bool(match[2]))

    def moments(self, begin: float, chance: random.Random) -> Iterator[float]:
        """A random moment of each stretch after `begin`, for ever."""
        stretch = int(begin // self.amount)
        while True:
            moment = (stretch + chance.random()) * self.amount
            if moment > begin:
                yield moment
            stretch += 1


@dataclass(slots=True)
class Chaos:
    """Kills `gateway` again and again. `progress` counts what `every` is about."""

    gateway: OwnGateway
    every: Every
    progress: Callable[[], float]
    killed: Callable[[], None]
    _chance: random.Random = field(default_factory=random.Random)

    async def work(self) -> None:
        """Go on until cancelled."""
        for moment in self.every.moments(self.progress(), self._chance):
            while self.progress() < moment:  # noqa: ASYNC110  # seconds pass without an event
                await asyncio.sleep(_TICK_SECONDS)
            await asyncio.sleep(self._chance.uniform(0, _TICK_SECONDS))  # not when somebody has just been answered
            await self.gateway.kill()
            self.killed()
            await asyncio.sleep(self._chance.uniform(0, _LONGEST_ABSENCE))
            await self.gateway.start(ready=False)
