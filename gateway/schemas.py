"""JSON Schemas at arm's length: worker processes read them and hold results against them, and may die of it.

Knows the workers and how they end; what a schema is for is not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from pydantic import JsonValue, TypeAdapter

_PROGRAM: Final = Path(__file__).with_name("schema_worker.py")
_WORKERS: Final = 2  # a schema that takes all its time holds one of them for a second
_WAIT_SECONDS: Final = 60.0  # on the clock, for a machine that is very busy: what is bounded is the processor's time
_TRIES: Final = 2  # a worker can also be killed for what is not the schema's doing


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong: where (a JSON Pointer), in which words, and what stands there."""

    at: str
    message: str
    found: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Nothing is wrong; or something is with the schema, or with the value. `spent`: nobody could finish."""

    schema: Flaw | None = None
    broken: tuple[Flaw, ...] = ()
    spent: bool = False


_JUDGEMENT: Final = TypeAdapter(Judgement)


class Schemas:
    """Judges schemas, and values by them. Workers are started when they are first needed."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_WORKERS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._idle: list[asyncio.subprocess.Process] = []

    async def read(self, owner: str, schema: JsonValue) -> Judgement:
        """Whether it is a schema that can be used; raises `OSError` where no worker can be started.

        Of one owner one question at a time is looked at, so that none takes all workers.
        """
        return await self._ask(owner, {"schema": schema})

    async def judge(self, owner: str, schema: JsonValue, value: JsonValue) -> Judgement:
        """Whether a value is what the schema says; in turn and raising as `read` does."""
        return await self._ask(owner, {"schema": schema, "value": value})

    async def close(self) -> None:
        """End all workers."""
        while self._idle:
            await _end(self._idle.pop())

    async def _ask(self, owner: str, question: JsonValue) -> Judgement:
        try:
            line = json.dumps(question).encode() + b"\n"
        except RecursionError:
            return Judgement(spent=True)
        turn = self._turns.setdefault(owner, asyncio.Lock())
        async with turn, self._free:
            for _ in range(_TRIES):
                answer = await self._answer(line)
                if answer is not None:
                    return _JUDGEMENT.validate_json(answer) if answer else Judgement(spent=True)
        return Judgement(spent=True)

    async def _answer(self, line: bytes) -> bytes | None:
        """A worker's answer: empty where it died of the question, None where somebody else killed it."""
        worker = self._idle.pop() if self._idle else await _start()
        answer = b""
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                answer = await _said(worker, line)
                if not answer and await worker.wait() == -signal.SIGKILL:
                    return None
        except TimeoutError:
            return b""
        finally:
            if answer:
                self._idle.append(worker)
            else:  # dead, or about to answer what nobody asks any more
                await _end(worker)
        return answer


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(_PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,  # a terminal's interrupt is for the gateway, which ends its workers itself
    )


async def _said(worker: asyncio.subprocess.Process, line: bytes) -> bytes:
    if worker.stdin is None or worker.stdout is None:
        raise TypeError("a worker has pipes")
    try:
        worker.stdin.write(line)
        await worker.stdin.drain()
        return await worker.stdout.readline()
    except ConnectionError:
        return b""


async def _end(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
    if worker.stdin is not None:
        worker.stdin.close()
    await worker.wait()
