"""What tests on the real engine share: jobs, a driver of their own, and an engine that can be taken away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.calls import EngineAddress
from sandbox.container import ContainerDriver
from sandbox.engine import Engine, EngineError, address_from_environment
from sandbox.job import Cell, InputFile, Job, JsonValue, Limits
from sandbox.outcome import Ending, Outcome
from sandbox.profile import INSTANCE_LABEL, EngineFacts, container_options
from sandbox.supply import Hardening

IN_BOTH = pytest.mark.parametrize("lab", ["box", "cell"], indirect=True)
"""Of promises that hold in cells too, and whose tests run their programs by `lab.run`."""
IMAGE = "airlock-guest:latest"
SESSION = f"test-{secrets.token_hex(6)}"  # boxes of other sessions on this engine are none of ours
LIMITS = Limits(
    cpu_cores=1.0, memory_bytes=128 << 20, wall_seconds=10.0, pids=32, disk_bytes=16 << 20, output_bytes=64 << 10
)
_numbers = itertools.count(1)

# The client library leaves the socket of a connection that failed to the garbage collector.
SDK_LEAKS = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)


def make_job(  # noqa: PLR0913 - one parameter for each field of a job
    code: str,
    limits: Limits = LIMITS,
    *,
    inputs: Mapping[str, JsonValue] | None = None,
    stdin: str = "",
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    files: Sequence[InputFile] = (),
    outputs: Sequence[str] = (),
    image: str = IMAGE,
    runtime: str | None = None,
    cell: Cell | None = None,
) -> Job:
    return Job(
        execution=f"{SESSION}-{next(_numbers)}",
        attempt=1,
        code=code,
        limits=limits,
        image=image,
        runtime=runtime,
        cell=cell,
        inputs=inputs or {},
        stdin=stdin,
        args=tuple(args),
        env=env or {},
        files=tuple(files),
        outputs=tuple(outputs),
    )


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


@dataclass
class Lab:
    """A driver under an instance name of its own, and a way to see its boxes from outside."""

    driver: ContainerDriver
    engine: Engine
    instance: str
    cell: Cell | None = None

    async def run(self, code: str, limits: Limits = LIMITS, *, outputs: Sequence[str] = ()) -> Outcome:
        return await self.driver.run(make_job(code, limits, outputs=outputs, cell=self.cell))

    async def run_all(self, *codes: str, limits: Limits = LIMITS) -> list[Outcome]:
        return list(await asyncio.gather(*(self.run(code, limits) for code in codes)))

    async def boxes(self) -> set[tuple[str, int]]:
        found = await self.engine.labelled(INSTANCE_LABEL, self.instance)
        return {(labels["airlock.execution"], int(labels["airlock.attempt"])) for labels in found.values()}

    async def sole_box(self) -> Mapping[str, Any]:
        """The engine's own words on the box that runs, as soon as there is one; a new one is listed before it is found."""
        seen: list[Mapping[str, Any]] = []

        async def running() -> bool:
            for container in await self.engine.labelled(INSTANCE_LABEL, self.instance):
                with contextlib.suppress(EngineError):
                    seen.append(await self.engine._call(5, lambda client: client.inspect_container(container)))  # noqa: B023, SLF001 - called at once
            return bool(seen) and seen[-1]["State"]["Running"] is True

        await eventually(running)
        return seen[-1]

    async def leave_behind(self, execution: str, attempt: int) -> None:
        """A box as a gateway leaves it that was killed."""
        job = replace(make_job(""), execution=execution, attempt=attempt)
        options = container_options(
            job,
            engine=EngineFacts(cgroup_version=1),
            instance=self.instance,
            deadline=time.time() + 60,
            guest="input()",
        )
        options.config["HostConfig"].pop("MemorySwappiness")
        await self.engine.start(await self.engine.create(replace(options, name=f"{self.instance}-{execution}")))

    async def settle(self) -> None:
        """Wait until everything that ended is removed, cells at rest too; fails when something stays."""
        self.driver.supply.cells.empty()

        async def empty() -> bool:
            return not await self.boxes()

        await eventually(empty)


@asynccontextmanager
async def open_lab(
    address: EngineAddress | None = None,
    boxes: int = 4,
    *,
    seen_from: EngineAddress | None = None,
    cell: Cell | None = None,
    harden: Hardening = container_options,
) -> AsyncIterator[Lab]:
    """A driver on the engine at `address`; `seen_from` is where its boxes are looked at, None the usual engine."""
    instance = f"{SESSION}-{next(_numbers)}"
    driver = ContainerDriver(instance, IMAGE, boxes, address=address, harden=harden)
    engine = Engine(seen_from, calls=2)
    try:
        yield Lab(driver, engine, instance, cell)
    finally:
        await driver.close()
        assert await Lab(driver, engine, instance).boxes() == set()
        await engine.close()


def facts(outcome: Outcome) -> dict[str, JsonValue]:
    """What a probe found out inside a box and printed as its last line of JSON."""
    assert outcome.ending is Ending.SUCCEEDED, outcome
    found = json.loads(outcome.stdout.text.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def limited(**changes: float) -> Limits:
    """The usual limits with some of them changed."""
    whole = {name: value if name in {"cpu_cores", "wall_seconds"} else int(value) for name, value in changes.items()}
    return replace(LIMITS, **whole)  # type: ignore[arg-type] # the names are checked by the dataclass


@dataclass
class EngineProxy:
    """The real engine behind a socket of our own, so that it can be away, come back, hang or fail."""

    address: EngineAddress
    mode: str = "through"  # or "hang", or "fail"
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def up(self) -> None:
        path = self.address.url.removeprefix("unix://")
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def down(self) -> None:
        """Stop listening and cut every connection, as an engine does that dies."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._connections):
            writer.transport.abort()
        Path(self.address.url.removeprefix("unix://")).unlink(missing_ok=True)  # noqa: ASYNC240 - one small file
        await asyncio.sleep(0.05)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            if self.mode == "fail":
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops")
            elif self.mode == "hang":
                await reader.read()
            else:
                await self._forward(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        real = address_from_environment().url.removeprefix("unix://")
        far_reader, far_writer = await asyncio.open_unix_connection(real)
        self._connections.add(far_writer)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._connections.discard(far_writer)
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


@asynccontextmanager
async def open_proxy() -> AsyncIterator[EngineProxy]:
    with tempfile.TemporaryDirectory() as folder:
        proxy = EngineProxy(EngineAddress(f"unix://{folder}/engine.sock"))
        try:
            yield proxy
        finally:
            await proxy.down()
