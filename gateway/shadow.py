"""The shadow: a share of what ran in Monty runs again in a box, after its answer, and what both came to is compared.

One at a time, in a box that nobody waits for, given up as soon as somebody does. It charges nobody, records nothing of a
program, and changes no answer. A difference that a second box confirms switches the Monty lane off.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from gateway.monty_switch import MontySwitch
from gateway.queue import Queue
from gateway.turns import Ticket
from gateway.work import Work
from sandbox.job import Job, Lane
from sandbox.outcome import Ending, Outcome, Output, Result

log = logging.getLogger(__name__)

_BACKLOG: Final = 32  # programs that wait for their shadow; one more is dropped


class Shown(StrEnum):
    """What became of an execution that was chosen for a shadow run."""

    SAME = "same"
    DIFFERENT = "different"  # in two boxes, which agree with each other: Monty was wrong
    UNSTEADY = "unsteady"  # two boxes came to two things: the program is not one that can be compared
    INCONCLUSIVE = "inconclusive"  # a limit, a signal or a lost box: says nothing of what Monty said
    VARIES = "varies"  # it reads a clock or chance: nothing to compare
    NO_ROOM = "no_room"  # others wait for boxes, or had none left, or too many wait for their shadow
    NO_ENGINE = "no_engine"  # there is no engine, or its breaker is open


class Boxes(Protocol):
    """The container lane, of which a new box can be had."""

    async def run(self, job: Job, *, fresh: bool = False) -> Outcome:
        """See `Driver.run`; `fresh`: in a box that was made for this job."""
        ...


@dataclass(frozen=True, slots=True)
class _Pair:
    """What Monty said of an execution, and the job that says it in a box."""

    execution: str
    said: Outcome
    job: Job


class Shadow:
    """One gateway's shadow. `counts` are of executions that were chosen. Belongs to the event loop."""

    def __init__(self, boxes: Boxes, queue: Queue, switch: MontySwitch) -> None:
        self._boxes = boxes
        self._queue = queue
        self.switch = switch
        self.counts: Counter[Shown] = Counter(dict.fromkeys(Shown, 0))
        self._waiting: asyncio.Queue[_Pair] = asyncio.Queue(_BACKLOG)
        self._runner: asyncio.Task[None] | None = None

    def saw(self, work: Work) -> None:
        """An execution has its answer, on disk: compare it beside everything else, if it is chosen."""
        said = work.outcome
        if said is None or said.lane is not Lane.MONTY or said.ending is Ending.UNSUPPORTED:
            return
        if self.switch.off is not None or not is_chosen(work.id, work.profile.lanes.shadow):
            return
        if not work.deterministic:
            self.counts[Shown.VARIES] += 1
            return
        try:
            self._waiting.put_nowait(_Pair(work.id, said, _job(work)))
        except asyncio.QueueFull:
            self.counts[Shown.NO_ROOM] += 1
            return
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="shadow", context=Context())

    @property
    def pending(self) -> int:
        """How many wait for their shadow run, without the one that runs."""
        return self._waiting.qsize()

    async def close(self) -> None:
        """Compare no more; what runs is given up."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})

    async def _run(self) -> None:
        while True:
            pair = await self._waiting.get()
            if self.switch.off is not None:
                continue
            try:
                shown = await self._compare(pair)
            except Exception:
                log.exception("%s: its shadow run failed", pair.execution)
                shown = Shown.INCONCLUSIVE
            self.counts[shown] += 1

    async def _compare(self, pair: _Pair) -> Shown:
        first = await self._in_a_box(pair.job)
        if isinstance(first, Shown):
            return first
        differs = tuple(differences(pair.said, first))
        if not differs:
            return Shown.SAME
        second = await self._in_a_box(replace(pair.job, attempt=2))
        if isinstance(second, Shown):
            log.warning("%s: a box came to another %s than Monty; nobody could confirm it", pair.execution, differs)
            return second
        if unsteady := tuple(differences(first, second)):
            log.warning("%s: two boxes came to another %s each: it cannot be compared", pair.execution, unsteady)
            return Shown.UNSTEADY
        if self.switch.off is None:
            log.critical(
                "%s: in a box it comes to another %s than in Monty. The Monty lane is switched off;"
                " `airlock monty --on` switches it on again",
                pair.execution,
                ", ".join(differs),
            )
            self.switch.switch_off(pair.execution, differs)
        return Shown.DIFFERENT

    async def _in_a_box(self, job: Job) -> Outcome | Shown:
        """What the program comes to in a box that nobody else wants now."""
        if self._queue.breaker.state != "closed":
            return Shown.NO_ENGINE
        ticket = Ticket(job.execution, "", "low", job.limits.memory_bytes, time.monotonic())
        if not self._queue.borrow(ticket):
            return Shown.NO_ROOM
        running = asyncio.create_task(self._boxes.run(job, fresh=True), name=job.execution)
        self._queue.lent(running.cancel)
        try:
            await asyncio.wait({running})
        finally:
            if running.cancel():
                await asyncio.wait({running})
            self._queue.give_back(ticket)
        if running.cancelled():
            return Shown.NO_ROOM
        outcome = running.result()
        if outcome.ending is Ending.LOST:
            return Shown.NO_ENGINE
        judged = outcome.ending in {Ending.SUCCEEDED, Ending.FAILED} and outcome.signal is None
        return outcome if judged and not outcome.limits_reached else Shown.INCONCLUSIVE


def is_chosen(execution: str, share: float) -> bool:
    """Whether an execution is one of this share of all: its id decides, so that everybody can tell."""
    return int.from_bytes(hashlib.sha256(execution.encode()).digest()[:8]) < share * 2**64


def differences(one: Outcome, other: Outcome) -> Iterator[str]:
    """The names of what differs between two outcomes of a program: never what it is."""
    pairs = {
        "stdout": (_bytes(one.stdout), _bytes(other.stdout)),
        "stderr": (_bytes(one.stderr), _bytes(other.stderr)),
        "result": (_value(one.result), _value(other.result)),
        "exit_code": (one.exit_code, other.exit_code),
        "error_type": (_error_type(one), _error_type(other)),
    }
    yield from (name for name, (left, right) in pairs.items() if left != right)


def _bytes(stream: Output) -> tuple[bytes, int | None]:
    return stream.head + stream.tail, stream.omitted_bytes


def _value(result: Result | None) -> tuple[str, str] | None:
    """As text: 1, 1.0 and True are equal in Python, and the order of keys shows."""
    return None if result is None else (result.form, json.dumps(result.value))


def _error_type(outcome: Outcome) -> str | None:
    """An exception's type. A promise that was broken is the request's affair, and the program ended well."""
    return outcome.error.type if outcome.error is not None and outcome.exit_code != 0 else None


def _job(work: Work) -> Job:
    """The same program for a box of its own, under a name of its own."""
    job = work.job(1, Lane.CONTAINER, work.execution.limits)
    return replace(job, execution=f"shd_{work.id.partition('_')[2]}", cell=None, live=None)
