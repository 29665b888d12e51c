"""Attempts: one run of a program in a lane, and what is known once it ended.

What somebody was told of begins only after its `Started` is on disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.causes import KINDS, cause_of
from gateway.changes import Changes
from gateway.commits import Commits
from gateway.events import Finished, Started
from gateway.expectations import Expectations
from gateway.failures import fingerprint
from gateway.observer import Observer
from gateway.quotas import cpu_seconds
from gateway.steps import Run, more_memory_bytes
from gateway.work import Work
from sandbox.driver import Driver
from sandbox.job import Lane
from sandbox.live import Live
from sandbox.outcome import Fault, Outcome

log = logging.getLogger(__name__)

_LONGEST_DETAIL: Final = 500  # characters, in the log of events


class Attempts:
    """One gateway's attempts."""

    def __init__(
        self,
        *,
        lanes: Mapping[Lane, Driver],
        expectations: Expectations,
        commits: Commits,
        changes: Changes,
        observer: Observer,
    ) -> None:
        self._lanes = lanes
        self._expectations = expectations
        self._commits = commits
        self._changes = changes
        self._observer = observer

    async def make(self, work: Work, step: Run) -> Outcome:
        """Run the program once, and let its beginning and its end happen to the execution."""
        self._begin(work, Started(work.id, step.attempt, step.lane))
        run = partial(self._run, work, step)
        outcome = await (self._commits.beside(work, run) if step.lane is Lane.CONTAINER else run())
        work.cpu_seconds = cpu_seconds(outcome, step.limits)
        work.outcome = outcome = await self._expectations.judged(work.tenant, work.request.expect, outcome)
        for phase, seconds in outcome.timings:
            work.timings[phase] = work.timings.get(phase, 0.0) + seconds
        finished = _finished(work, step, outcome)
        self._observer.attempted(work, outcome, finished.cause)
        work.happened(finished)
        return outcome

    def _begin(self, work: Work, started: Started) -> None:
        work.happened(started)
        self._observer.attempting(work, started)
        work.placed.set()
        if started.lane is Lane.CONTAINER:
            work.live = Live(started.attempt, partial(self._changes.notify, work.id))

    async def _run(self, work: Work, step: Run) -> Outcome:
        began = time.monotonic()
        try:
            return await self._lanes[step.lane].run(work.job(step.attempt, step.lane, step.limits))
        except asyncio.CancelledError:
            work.cpu_seconds = min(time.monotonic() - began, step.limits.wall_seconds) * step.limits.cpu_cores
            raise


def _finished(work: Work, step: Run, outcome: Outcome) -> Finished:
    cause = cause_of(outcome, more_memory=more_memory_bytes(work.execution) is not None)
    fault = Fault.NONE if cause is None else KINDS[cause].fault
    detail = outcome.evidence.detail
    if fault is Fault.PLATFORM:
        log.warning("%s: attempt %d had no result (%s): %s", work.id, step.attempt, cause, detail)
    return Finished(
        work.id,
        step.attempt,
        outcome.ending,
        fault,
        fingerprint(outcome, work.request.code) if fault is Fault.CODE else None,
        detail[:_LONGEST_DETAIL],
        replace(outcome.evidence, detail="") if detail else outcome.evidence,
        cause,
        outcome.usage.peak_memory_bytes,
    )
