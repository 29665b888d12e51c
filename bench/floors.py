"""The floors: what the machine itself takes for the heart of each lane, measured without a gateway around it."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic_monty import CollectString, Monty

from bench.client import Connection, timed_post
from bench.engine import IMAGE, RawEngine, in_threads
from bench.loads import PROGRAM, Effort, closed_loop, pause
from bench.results import Described
from bench.servers import Server
from bench.stats import steady_rate
from bench.subject import Latency, Throughput
from sandbox.attach import Attachment
from sandbox.engine import Engine
from sandbox.frames import StreamReader

# Runs in a box, from its interpreter's standard library alone: for each line, fork, run, pipe back, one line out.
FORK_SERVER: Final = r"""
import os, sys
code = compile("print(1)", "main.py", "exec")
for line in iter(sys.stdin.buffer.readline, b""):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        os.close(reading)
        os.close(writing)
        sys.stdout = open(1, "w", closefd=False)
        exec(code, {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    said = b""
    while piece := os.read(reading, 65536):
        said += piece
    os.close(reading)
    os.waitpid(child, 0)
    os.write(1, said.strip() + b"\n")
"""


@dataclass(slots=True)
class ForkServer:
    """A warm interpreter in one long-lived box; each line asks it for a fork that runs the program."""

    raw: RawEngine
    engine: Engine
    container: str
    stream: Attachment
    frames: StreamReader

    @classmethod
    async def open(cls, raw: RawEngine, stack: AsyncExitStack) -> ForkServer:
        """Start the box and have it fork once."""
        engine = Engine(None, calls=2)
        stack.push_async_callback(engine.close)
        container = await engine.create(raw.options(FORK_SERVER))
        raw.made.add(container)
        stream = await engine.attach(container)
        stack.push_async_callback(stream.close)
        await engine.start(container)
        server = cls(raw, engine, container, stream, StreamReader())
        await server.once()
        return server

    async def once(self) -> float:
        """Seconds from the line in to the line out."""
        said = b""
        began = time.perf_counter()
        self.stream.writer.write(b"run\n")
        while not said.endswith(b"\n"):
            data = await self.stream.reader.read(1 << 16)
            if not data:
                raise ConnectionError(f"the fork server ended after {said!r}")
            said += b"".join(piece for _, piece in self.frames.feed(data))
        seconds = time.perf_counter() - began
        if said != b"1\n":
            raise ValueError(f"the fork server said {said!r}")
        return seconds


async def fork_floor(raw: RawEngine, stack: AsyncExitStack, batch: int) -> Latency:
    """A fork of a warm Python in a running box, over its attached stream."""
    server = await ForkServer.open(raw, stack)
    isolation = "none between programs: all in one hardened box"
    return Latency("fork", Described("fork over an attached stream", isolation, "floor"), batch, server.once, pause)


def monty_floor(stack: AsyncExitStack, batch: int) -> Latency:
    """Monty's own pool in this process: check a worker out, run, give it back."""
    pool = stack.enter_context(Monty(binary_path=Path(sysconfig.get_path("scripts")) / "monty"))

    async def once() -> float:
        collected = CollectString()
        began = time.perf_counter()
        with pool.checkout() as session:
            session.feed_run(PROGRAM, print_callback=collected)
        return time.perf_counter() - began

    described = Described("Monty's pool, in process", "Monty's interpreter, a worker process", "floor")
    return Latency("monty", described, batch, once)


async def bare_floor(folder: Path, stack: AsyncExitStack) -> Server:
    """The bare endpoint's server."""
    server = bare_server(folder)
    stack.push_async_callback(server.stop)
    await server.start()
    return server


def bare_server(folder: Path) -> Server:
    """FastAPI and Monty, and nothing else; see `bare.py`."""
    return Server((sys.executable, "-m", "bench.bare", "{port}"), folder / "bare.log")


_BARE: Final = Described("bare FastAPI endpoint that calls Monty", "Monty's interpreter, a worker process", "floor")
_BARE_BODY: Final = b'{"code": "print(1)"}'


async def bare_latency(server: Server, stack: AsyncExitStack, batch: int) -> Latency:
    """The bare endpoint, one program after another."""
    connection = Connection(server.port)
    stack.push_async_callback(connection.close)

    async def once() -> float | None:
        seconds, answer = await timed_post(connection, "/run", _BARE_BODY)
        return seconds if b"1\\n" in answer else None

    return Latency("bare", _BARE, batch, once)


def bare_throughput(server: Server, effort: Effort) -> Throughput:
    """The bare endpoint under load."""

    async def rate(level: int) -> float:
        return await closed_loop(server.port, "/run", lambda _client, _number: _BARE_BODY, level, effort.seconds)

    return Throughput("bare", _BARE, effort.levels, rate)


def raw_containers(raw: RawEngine, levels: tuple[int, ...], count: int) -> Throughput:
    """Boxes as the gateway's, made by nothing but SDK calls; `count` of them count at each level."""

    async def rate(level: int) -> float:
        ends = await asyncio.to_thread(in_threads, raw.one_box, level + count + level, level)
        return steady_rate(ends, level, count)

    described = Described("raw containers: create, attach, start, read, remove", "a hardened box for each", "floor")
    return Throughput("raw", described, levels, rate)


def _timed(call: Callable[[], object], expected: object) -> Callable[[], Awaitable[float]]:
    """A sample: how many seconds a call of the SDK took that has to say what is expected."""

    def run() -> float:
        began = time.perf_counter()
        said = call()
        seconds = time.perf_counter() - began
        if said != expected:
            raise ValueError(f"the engine said {said!r}")
        return seconds

    async def once() -> float:
        return await asyncio.to_thread(run)

    return once


async def docker_run(raw: RawEngine, batch: int) -> Latency:
    """`containers.run` of the SDK, which waits and removes."""
    once = _timed(lambda: raw.client.containers.run(IMAGE, ["python3", "-c", PROGRAM], remove=True), b"1\n")
    isolation = "default container for each: bridge network, writable root, no limits"
    return Latency("docker-run", Described("docker run", isolation, "peer"), batch, once)


async def docker_exec(raw: RawEngine, batch: int) -> Latency:
    """`exec_run` in a running container."""
    sleeper = ["python3", "-c", "import time; time.sleep(1e6)"]
    container = await asyncio.to_thread(raw.client.containers.run, IMAGE, sleeper, detach=True)
    raw.made.add(str(container.id))

    once = _timed(lambda: container.exec_run(["python3", "-c", PROGRAM]), (0, b"1\n"))
    isolation = "none between programs: one default container, reused"
    return Latency("docker-exec", Described("docker exec", isolation, "peer"), batch, once)
