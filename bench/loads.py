"""Many clients at once: each sends its next program when it has the last one's answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bench.client import Connection

PROGRAM: Final = "print(1)"
PAUSE_SECONDS: Final = 0.25  # a spare box is idle before its program comes; its floor gets the same rest


@dataclass(frozen=True, slots=True)
class Effort:
    """How many clients there are in each turn, and for how many seconds each."""

    levels: tuple[int, ...]
    seconds: float


async def pause() -> None:
    """Rest, so that what runs next was idle before."""
    await asyncio.sleep(PAUSE_SECONDS)


async def closed_loop(port: int, path: str, body: Callable[[int, int], bytes], clients: int, seconds: float) -> float:
    """Programs answered per second by a server that `clients` clients keep busy for a while.

    `body` makes the request of a client's n-th program.
    """
    deadline = 0.0

    async def client(number: int, connection: Connection) -> int:
        done = 0
        while time.perf_counter() < deadline:
            await connection.post(path, body(number, done))
            done += 1
        return done

    connections = [Connection(port) for _ in range(clients)]
    try:
        for connection in connections:
            await connection.prepare()
        began = time.perf_counter()
        deadline = began + seconds
        done = await asyncio.gather(*(client(number, one) for number, one in enumerate(connections)))
        return sum(done) / (time.perf_counter() - began)
    finally:
        for connection in connections:
            await connection.close()


async def fixed_work(port: int, path: str, bodies: Iterator[bytes], clients: int) -> list[float]:
    """Have `clients` clients send all `bodies`, each only once; returns when each was answered, on the performance counter."""
    ends = []

    async def client(connection: Connection) -> None:
        try:
            for body in bodies:
                await connection.post(path, body)
                ends.append(time.perf_counter())
        finally:
            await connection.close()

    await asyncio.gather(*(client(Connection(port)) for _ in range(clients)))
    return ends
