"""Monty: the only importer of its client. Checks programs without running them, and runs those of the Monty lane.

Every session has every limit set and is thrown away after one program. What Monty cannot do
exactly like CPython is `UNSUPPORTED`, never an exception and never a guess.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import secrets
import sysconfig
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic_monty import (
    AsyncFunctionSnapshot,
    AsyncMonty,
    AsyncMontySession,
    CollectStreams,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySyntaxError,
    MontyTypingError,
    ResourceLimits,
)

from sandbox.diagnostics import Diagnostic, read_diagnostics
from sandbox.driver import Readiness
from sandbox.guest_value import encode_result
from sandbox.job import Job, JsonValue, Lane
from sandbox.monty_text import MontySource, UnfitError, faithful, monty_source, unfit_inputs
from sandbox.outcome import Ending, Evidence, Outcome, Output, Result, Usage
from sandbox.posture import interpreter_posture

POSTURE: Final = interpreter_posture("pydantic-monty", importlib.metadata.version("pydantic-monty"))
"""What isolates a program of this lane: the interpreter itself."""

_MEMORY_BYTES: Final = 128 << 20
_CHECK_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 0.25  # for the one checker; a check takes about 2 ms, so that many can wait this long
_CHECKED_CHARACTERS: Final = 32 << 10  # its time grows with the square of the bindings of one name
_CHECKOUT_SECONDS: Final = 2.0
_REQUEST_SECONDS: Final = 5.0
_RECURSION: Final = 200  # far below CPython's 1000: what needs more is the container's
_CHECKS_PER_SESSION: Final = 500  # the checker's memory grows with each program: 38 to 44 MB in 1,500
_REMEMBERED_CHARACTERS: Final = 8 << 10
_REMEMBERED_SOURCES: Final = 500  # with what is put in front of them 10 MB at most
_TROUBLE: Final = (MontyError, OSError, RuntimeError)  # a worker's, or the pool's: a wait in vain is an OSError
_FUTURE: Final = re.compile(r"^from __future__ import [^\n;\\(]*$", re.MULTILINE)


class Gate(StrEnum):
    """What Monty's compiler says of a program."""

    OK = "ok"
    SYNTAX = "syntax"
    UNSUPPORTED = "unsupported"
    TOO_COMPLEX = "too_complex"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The compiler's verdict with its words, and the line where it has one.

    `lasting` is False for what another try could say otherwise: a worker that ended, a pool that is busy.
    """

    gate: Gate
    message: str = ""
    line: int | None = None
    lasting: bool = True


def _limits(seconds: float, memory_bytes: int = _MEMORY_BYTES) -> ResourceLimits:
    return ResourceLimits(
        max_feed_duration_secs=seconds,
        max_memory=memory_bytes,
        max_recursion_depth=_RECURSION,
        max_suspensions=10,
        max_total_sleep_secs=0.0,
    )


class Monty:
    """The pool of workers, started at its first use."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or os.cpu_count() or 1
        self._stack = AsyncExitStack()
        self._starting = asyncio.Lock()
        self._pool: AsyncMonty | None = None
        self._checking = asyncio.Lock()
        self._checker: _WarmChecker | None = None
        self.turns = asyncio.Semaphore(self._workers)
        """Who runs waits here, first come, first served: a wait for the pool ends in a container, which costs far more."""

    async def pool(self) -> AsyncMonty:
        """The running pool. The worker's program is the installed one, never one that is found on the PATH."""
        if self._pool is not None:
            return self._pool
        async with self._starting:
            if self._pool is None:
                self._pool = await self._stack.enter_async_context(
                    AsyncMonty(
                        binary_path=Path(sysconfig.get_path("scripts")) / "monty",
                        min_processes=1,
                        max_processes=self._workers + 1,  # one is the warm checker's
                        checkout_timeout=_CHECKOUT_SECONDS,
                        request_timeout=_REQUEST_SECONDS,
                        max_checkouts_per_worker=1000,
                    )
                )
            return self._pool

    async def close(self) -> None:
        """End the workers."""
        if self._checker is not None:
            await self._checker.close()
        await self._stack.aclose()

    async def compile_gate(self, code: str) -> GateVerdict:
        """Compile `code` without running it: its first line suspends, and the session is dropped there."""
        gate = _gate_name()
        try:
            async with (await self.pool()).checkout(limits=_limits(_CHECK_SECONDS)) as session:
                snapshot = await session.feed_start(f"{gate}()\n{_without_future(code)}")
        except MontySyntaxError as error:
            kind = Gate.UNSUPPORTED if "too deeply nested" in str(error) else Gate.SYNTAX
            return GateVerdict(kind, error.display("msg"), _line(error))
        except MontyRuntimeError as error:
            return GateVerdict(Gate.UNSUPPORTED, error.display("msg"), _line(error))
        except MontyCrashedError:
            return GateVerdict(Gate.TOO_COMPLEX, "the program takes too long to compile", lasting=False)
        except _TROUBLE as error:
            return GateVerdict(Gate.UNSUPPORTED, f"Monty is not available ({type(error).__name__})", lasting=False)
        if isinstance(snapshot, AsyncFunctionSnapshot) and snapshot.function_name == gate:
            return GateVerdict(Gate.OK)
        return GateVerdict(Gate.UNSUPPORTED, "Monty did not stop at the gate")

    async def type_check(self, code: str) -> tuple[Diagnostic, ...] | None:
        """Type-check `code` without running it; None where that would take too long, or others take it up."""
        if len(code) > _CHECKED_CHARACTERS:
            return None
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._checking.acquire()
        except TimeoutError:
            return None
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                return await self._checked(_without_future(code))
        except (*_TROUBLE, ValueError, KeyError):
            if self._checker is not None:
                self._checker.worn = True
            return None
        finally:
            self._checking.release()

    async def _checked(self, code: str) -> tuple[Diagnostic, ...] | None:
        if self._checker is None or self._checker.worn:
            await self._renew_checker()
        return None if self._checker is None else await self._checker.check(code)

    async def _renew_checker(self) -> None:
        if self._checker is not None:
            old, self._checker = self._checker, None
            await old.close()
        self._checker = await _WarmChecker.open(await self.pool())


class _WarmChecker:
    """One session that checks many programs and runs none: the gate in front of each never type-checks."""

    def __init__(self, gate: str, stack: AsyncExitStack, session: AsyncMontySession) -> None:
        self._gate = gate
        self._stack = stack
        self._session = session
        self._checks = 0
        self.worn = False

    @classmethod
    async def open(cls, pool: AsyncMonty) -> _WarmChecker:
        """Check a worker out for long."""
        gate, stack = _gate_name(), AsyncExitStack()
        session = await stack.enter_async_context(
            pool.checkout(
                limits=_limits(_CHECK_SECONDS),
                type_check=True,
                type_check_stubs=f"def {gate}() -> None: ...\n",
                type_check_format="json",
            )
        )
        return cls(gate, stack, session)

    async def close(self) -> None:
        """Give the worker back; one that crashed is gone already."""
        try:
            await self._stack.aclose()
        except MontyError:
            return

    async def check(self, code: str) -> tuple[Diagnostic, ...]:
        """The diagnostics. The gate has one argument too many, so there is always one, and nothing ever runs."""
        self._checks += 1
        self.worn = True  # until the answer is there: who is cancelled here leaves a dead session
        try:
            snapshot = await self._session.feed_start(f"{self._gate}(1)\n{code}")
            if isinstance(snapshot, AsyncFunctionSnapshot) and snapshot.function_name == "import_stubs":
                snapshot = await snapshot.resume({"return_value": {}})
        except MontyTypingError as error:
            self.worn = self._checks >= _CHECKS_PER_SESSION
            return tuple(read_diagnostics(error.display(), self._gate))
        raise ValueError("the gate did not hold")


class MontyDriver:
    """The Monty lane."""

    def __init__(self, monty: Monty) -> None:
        self._monty = monty

    async def run(self, job: Job) -> Outcome:
        """See `driver.Driver.run`: a program's whole run, or `UNSUPPORTED`."""
        if job.stdin or job.args or job.env or job.files or job.outputs:
            return _unsupported("the job has stdin, args, env, files or outputs")
        if reason := unfit_inputs(job.inputs):
            return _unsupported(reason)
        began = time.perf_counter()
        collected = CollectStreams(job.limits.output_bytes)
        limits = _limits(job.limits.wall_seconds, min(job.limits.memory_bytes, _MEMORY_BYTES))
        try:
            source = _source(job.code)
            async with (
                self._monty.turns,
                (await self._monty.pool()).checkout(limits=limits, assert_message_annotations=False) as session,
            ):
                value = await session.feed_run(source.text, inputs=dict(job.inputs), print_callback=collected)
        except (*_TROUBLE, UnfitError, ValueError, TypeError) as error:
            return _unsupported(f"{type(error).__name__}: {str(error)[:200]}")
        seconds = time.perf_counter() - began
        return _outcome(_Ran(source.has_value, value, collected, seconds), job.limits.output_bytes)

    async def ready(self) -> Readiness:
        """See `driver.Driver.ready`."""
        try:
            async with (await self._monty.pool()).checkout(limits=_limits(_CHECK_SECONDS)) as session:
                value: object = await session.feed_run("1 + 1")
        except _TROUBLE as error:
            return Readiness(available=False, detail=f"Monty does not run: {type(error).__name__}")
        return Readiness(available=value == 2, detail="Monty runs")  # noqa: PLR2004  # the sum of one and one

    async def reap(self, live: frozenset[tuple[str, int]]) -> int:
        """See `driver.Driver.reap`: workers end with this process, so nothing is ever left."""
        del live
        return 0

    async def close(self) -> None:
        """See `driver.Driver.close`: the pool is its maker's to close."""


@dataclass(frozen=True, slots=True)
class _Ran:
    """A run that came to its end."""

    has_value: bool
    value: object
    collected: CollectStreams
    seconds: float


def _outcome(ran: _Ran, limit: int) -> Outcome:
    streams: dict[str, list[str]] = {"stdout": [], "stderr": []}
    for stream, text in ran.collected.output:
        streams[stream].append(text)
    stdout, stderr = ("".join(streams[name]) for name in ("stdout", "stderr"))
    form, value = encode_result(ran.value, limit) if ran.has_value else ("json", "null")
    if form != "json" or max(len(stdout.encode()), len(stderr.encode())) > limit:
        return _unsupported("the output is too long, or the value has no JSON form")
    if not (faithful(stdout) and faithful(stderr) and faithful(value)):
        return _unsupported("the output shows what may be printed differently")
    decoded: JsonValue = json.loads(value) if ran.has_value else None
    return Outcome(
        ending=Ending.SUCCEEDED,
        lane=Lane.MONTY,
        stdout=Output(stdout.encode()),
        stderr=Output(stderr.encode()),
        result=Result(decoded, "json") if ran.has_value else None,
        exit_code=0,
        usage=Usage(wall_seconds=ran.seconds),
        posture=POSTURE.digest,
        timings=(("run", ran.seconds),),
    )


def _source(code: str) -> MontySource:
    """What Monty runs for `code`; of short programs it is remembered."""
    return _remembered_source(code) if len(code) <= _REMEMBERED_CHARACTERS else monty_source(code)


_remembered_source = lru_cache(_REMEMBERED_SOURCES)(monty_source)


def _unsupported(detail: str) -> Outcome:
    return Outcome(ending=Ending.UNSUPPORTED, lane=Lane.MONTY, evidence=Evidence(detail=detail))


def _gate_name() -> str:
    """A name that no program uses; a leading underscore would keep it out of the checker's sight."""
    return f"gate_{secrets.token_hex(8)}"


def _without_future(code: str) -> str:
    """Blank what must come first and here does not: future imports change nothing that Monty does."""
    return _FUTURE.sub("", code.removeprefix("\ufeff"))


def _line(error: MontySyntaxError | MontyRuntimeError) -> int | None:
    frames = error.traceback()
    return frames[-1].line - 1 if frames else None
