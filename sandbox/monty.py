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
import threading
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import pydantic_monty
from pydantic_monty import (
    CollectStreams,
    FunctionSnapshot,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySession,
    MontySyntaxError,
    MontyTypingError,
    ResourceLimits,
)

from sandbox.diagnostics import Diagnostic, read_diagnostics
from sandbox.driver import Readiness
from sandbox.guest_value import encode_result
from sandbox.hands import Hands
from sandbox.job import Job, JsonValue, Lane
from sandbox.monty_text import MontySource, UnfitError, faithful, monty_source, unfit_inputs
from sandbox.outcome import Ending, Evidence, Outcome, Output, Result, Usage
from sandbox.posture import interpreter_posture

POSTURE: Final = interpreter_posture("pydantic-monty", importlib.metadata.version("pydantic-monty"))
"""What isolates a program of this lane: the interpreter itself."""

_MEMORY_BYTES: Final = 128 << 20
_CHECK_SECONDS: Final = 1.0  # for each turn of a check's; only one of them does any work
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
    """The workers, started at their first use: one that checks types, and a pool for everything else.

    The client is called from threads: its calls on the event loop take three times as long, and change threads eleven times.
    """

    def __init__(self, workers: int | None = None) -> None:
        count = workers or os.cpu_count() or 1
        self.pool: Final = _Pool(count, _REQUEST_SECONDS)
        self.hands: Final = Hands(count, "monty")
        """Who runs waits here, first come, first served: a wait for the pool ends in a container, which costs far more."""
        self._checkers = _Pool(1, _CHECK_SECONDS)
        self._checking_hand = Hands(1, "monty-checker")
        self._checking = asyncio.Lock()
        self._checker: _WarmChecker | None = None

    async def close(self) -> None:
        """End the workers; what runs in one is waited for."""
        await asyncio.gather(self.hands.close(), self._checking_hand.close())
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._checker is not None:
            self._checker.close()
        self._checkers.close()
        self.pool.close()

    async def compile_gate(self, code: str) -> GateVerdict:
        """Compile `code` without running it: its first line suspends, and the session is dropped there."""
        return await self.hands.do(partial(self._compile_gate, code))

    def _compile_gate(self, code: str) -> GateVerdict:
        gate = _gate_name()
        try:
            with self.pool.checkout(limits=_limits(_CHECK_SECONDS)) as session:
                snapshot = session.feed_start(f"{gate}()\n{_without_future(code)}")
        except MontySyntaxError as error:
            kind = Gate.UNSUPPORTED if "too deeply nested" in str(error) else Gate.SYNTAX
            return GateVerdict(kind, error.display("msg"), _line(error))
        except MontyRuntimeError as error:
            return GateVerdict(Gate.UNSUPPORTED, error.display("msg"), _line(error))
        except MontyCrashedError:
            return GateVerdict(Gate.TOO_COMPLEX, "the program takes too long to compile", lasting=False)
        except _TROUBLE as error:
            return GateVerdict(Gate.UNSUPPORTED, f"Monty is not available ({type(error).__name__})", lasting=False)
        if isinstance(snapshot, FunctionSnapshot) and snapshot.function_name == gate:
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
            return await self._checking_hand.do(partial(self._checked, _without_future(code)))
        except (*_TROUBLE, ValueError, KeyError):
            return None
        finally:
            self._checking.release()

    def _checked(self, code: str) -> tuple[Diagnostic, ...]:
        checker = self._checker
        if checker is None or checker.worn:
            if checker is not None:
                checker.close()
            checker = self._checker = None
            checker = self._checker = _WarmChecker(self._checkers)
        return checker.check(code)


class _Pool:
    """Workers that are used by threads. A worker that takes longer than `turn_seconds` for one turn is killed."""

    def __init__(self, workers: int, turn_seconds: float) -> None:
        self._workers = workers
        self._turn_seconds = turn_seconds
        self._starting = threading.Lock()
        self._pool: pydantic_monty.Monty | None = None

    def checkout(
        self, *, limits: ResourceLimits, type_check_stubs: str | None = None
    ) -> AbstractContextManager[MontySession]:
        """A session of a worker's, for as long as it is entered; with stubs every program is type-checked first."""
        return self._running().checkout(
            limits=limits,
            assert_message_annotations=False,
            type_check=type_check_stubs is not None,
            type_check_stubs=type_check_stubs,
            type_check_format=None if type_check_stubs is None else "json",
        )

    def _running(self) -> pydantic_monty.Monty:
        """The workers' program is the installed one, never one that is found on the PATH."""
        with self._starting:
            if self._pool is None:
                self._pool = pydantic_monty.Monty(
                    binary_path=Path(sysconfig.get_path("scripts")) / "monty",
                    min_processes=1,
                    max_processes=self._workers,
                    checkout_timeout=_CHECKOUT_SECONDS,
                    request_timeout=self._turn_seconds,
                    max_checkouts_per_worker=1000,
                ).__enter__()
            return self._pool

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)


class _WarmChecker:
    """One session that checks many programs and runs none: the gate in front of each never type-checks."""

    def __init__(self, pool: _Pool) -> None:
        self._gate = _gate_name()
        self._stack = ExitStack()
        stubs = f"def {self._gate}() -> None: ...\n"
        self._session = self._stack.enter_context(pool.checkout(limits=_limits(_CHECK_SECONDS), type_check_stubs=stubs))
        self._checks = 0
        self.worn = False

    def close(self) -> None:
        """Give the worker back; one that crashed is gone already."""
        with suppress(MontyError):
            self._stack.close()

    def check(self, code: str) -> tuple[Diagnostic, ...]:
        """The diagnostics. The gate has one argument too many, so there is always one, and nothing ever runs."""
        self._checks += 1
        self.worn = True  # until the answer is there
        try:
            snapshot = self._session.feed_start(f"{self._gate}(1)\n{code}")
            if isinstance(snapshot, FunctionSnapshot) and snapshot.function_name == "import_stubs":
                snapshot.resume({"return_value": {}})
        except MontyTypingError as error:
            found = tuple(read_diagnostics(error.display(), self._gate))
            self.worn = self._checks >= _CHECKS_PER_SESSION
            return found
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
        return await self._monty.hands.do(partial(self._run, job, time.perf_counter()))

    def _run(self, job: Job, began: float) -> Outcome:
        collected = CollectStreams(job.limits.output_bytes)
        limits = _limits(job.limits.wall_seconds, min(job.limits.memory_bytes, _MEMORY_BYTES))
        try:
            source = _source(job.code)
            with self._monty.pool.checkout(limits=limits) as session:
                value = session.feed_run(source.text, inputs=dict(job.inputs), print_callback=collected)
        except (*_TROUBLE, UnfitError, ValueError, TypeError) as error:
            return _unsupported(f"{type(error).__name__}: {str(error)[:200]}")
        seconds = time.perf_counter() - began
        return _outcome(_Ran(source.has_value, value, collected, seconds), job.limits.output_bytes)

    async def ready(self) -> Readiness:
        """See `driver.Driver.ready`."""
        try:
            value = await self._monty.hands.do(self._sum)
        except _TROUBLE as error:
            return Readiness(available=False, detail=f"Monty does not run: {type(error).__name__}")
        return Readiness(available=value == 2, detail="Monty runs")  # noqa: PLR2004  # the sum of one and one

    def _sum(self) -> object:
        with self._monty.pool.checkout(limits=_limits(_CHECK_SECONDS)) as session:
            value: object = session.feed_run("1 + 1")
            return value

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
