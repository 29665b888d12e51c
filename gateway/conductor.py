"""The conductor: takes the next step, does it, records it. The only place where decisions meet effects.

It owns one asyncio task per execution. What it does not record did not happen: an effect that
could be seen outside begins only after its `Started` is on disk, and nobody is told an answer
that is not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from gateway.answers import attempts_info, from_outcome, platform_error, refused, remembered
from gateway.changes import Changes
from gateway.checks import Checker, error_of
from gateway.errors import GatewayError, Unavailable
from gateway.events import Admitted, Answered, Checked, Event, Finished, Started, Status
from gateway.failures import fingerprint
from gateway.lifecycle import IllegalEvent, State
from gateway.recording import record_work
from gateway.records import Recorded
from gateway.retries import backoff_seconds
from gateway.steps import Check, Run, Step, next_step
from gateway.store import Store
from gateway.times import now
from gateway.wire import Answer
from gateway.work import Work
from sandbox.driver import Driver
from sandbox.job import Lane
from sandbox.outcome import Ending, Fault

log = logging.getLogger(__name__)

_STORE_RETRY_SECONDS = 1.0


class Conductor:
    """Runs executions to their answers."""

    def __init__(
        self,
        store: Store,
        checker: Checker,
        lanes: Mapping[Lane, Driver],
        changes: Changes,
        chance: Callable[[], float],
    ) -> None:
        self._store = store
        self._checker = checker
        self._lanes = lanes
        self._changes = changes
        self._chance = chance
        self._running: dict[str, tuple[Work, asyncio.Task[None]]] = {}
        self._kept_policies: set[str] = set()  # by their digests; as many as there are profiles
        self._letting_go = False

    def start(self, work: Work) -> asyncio.Task[None]:
        """Begin to drive an execution; the task ends when its answer is on disk, or with why it was not taken."""
        waited_before = max(0.0, (now() - work.submitted_at).total_seconds())
        work.began = time.monotonic() - waited_before
        runner = asyncio.create_task(self._drive(work), name=work.id)
        self._running[work.id] = (work, runner)
        runner.add_done_callback(lambda _: self._running.pop(work.id, None))
        return runner

    def running(self, execution: str) -> tuple[Work, asyncio.Task[None]] | None:
        """A live execution and its task."""
        return self._running.get(execution)

    def live_of(self, tenant: str, caller: str) -> int:
        """How many executions of one caller are live."""
        return sum((work.tenant, work.caller) == (tenant, caller) for work, _ in self._running.values())

    def live_attempts(self) -> frozenset[tuple[str, int]]:
        """The (execution, attempt) pairs that a box may belong to."""
        return frozenset((id_, len(work.execution.attempts)) for id_, (work, _) in self._running.items())

    async def record(self, work: Work) -> None:
        """Put on disk what has happened so far. A cancellation waits for it: half of it cannot be undone."""
        saving = asyncio.ensure_future(self._save(work))
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await asyncio.gather(saving, return_exceptions=True)
            raise

    async def _save(self, work: Work) -> None:
        async with work.lock:
            if not work.pending:
                return
            events = tuple(work.pending)
            work.policy_kept = work.profile.digest in self._kept_policies
            recorded = await self._write(work, events)
            self._kept_policies.add(work.profile.digest)
            if not work.recorded or work.kept is not None:
                work.kept = recorded
            work.task, work.recorded, work.written = recorded.task.id, True, None
            del work.pending[: len(events)]
        self._changes.notify(recorded.task.id)

    async def _write(self, work: Work, events: Sequence[Event]) -> Recorded:
        """Write once for what nobody was told of; keep trying for what was acknowledged, or it would be lost."""
        while True:
            try:
                return await self._store.write(lambda writer: record_work(writer, work, events, now()))
            except Unavailable:
                if not work.recorded or self._letting_go:
                    raise
                log.exception("%s: cannot be recorded now", work.id)
                await asyncio.sleep(_STORE_RETRY_SECONDS)

    async def cancel(self, execution: str, by: str) -> bool:
        """End a live execution; False when it is not live here. Returns when its answer is on disk."""
        found = self._running.get(execution)
        if found is None:
            return False
        work, runner = found
        if work.cancelled_by is None:  # a second one would interrupt the recording of the first
            work.cancelled_by = by
            runner.cancel()
        await asyncio.wait({runner})
        return True

    async def close(self, grace_seconds: float) -> None:
        """Let live executions end by themselves for a while, then let go of them: the next start takes them up."""
        runners = {runner for _, runner in self._running.values()}
        if runners:
            _, late = await asyncio.wait(runners, timeout=grace_seconds)
            self._letting_go = True
            for runner in late:
                runner.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _drive(self, work: Work) -> None:
        try:
            await self._advance_or_cancel(work)
        except GatewayError:
            raise
        except Exception as error:
            if isinstance(error, IllegalEvent) and await self._answered_elsewhere(work):
                return
            log.exception("%s: a step failed", work.id)
            await self._give_up(work)

    async def _advance_or_cancel(self, work: Work) -> None:
        try:
            await self._advance(work)
        except asyncio.CancelledError:
            if work.cancelled_by is None:
                raise
            if work.answered:  # too late to cancel
                await self.record(work)
            else:
                await self._answer_cancelled(work)

    async def _answered_elsewhere(self, work: Work) -> bool:
        """Whether it was answered by what ended its task while it ran; then nothing of the run counts."""
        found = await self._store.read(lambda reader: reader.execution(work.id))
        return found is not None and found.answered_at is not None

    async def _advance(self, work: Work) -> None:
        while (step := next_step(work.execution, work.failures, work.rules)) is not None:
            await self._do(work, step)
        await self.record(work)

    async def _do(self, work: Work, step: Step) -> None:
        match step:
            case Check():
                await self._check(work)
            case Run():
                await self._run(work, step)
            case Admitted():
                work.happened(step)
            case Answered():
                work.answer = await self._answer(work, step)
                work.happened(step)

    async def _check(self, work: Work) -> None:
        began = time.perf_counter()
        report = await self._checker.check(work.request, work.profile)
        work.timings["checks"] = time.perf_counter() - began
        work.findings = report.findings
        work.happened(Checked(work.id, report.verdict, report.lane))

    async def _run(self, work: Work, step: Run) -> None:
        """An attempt. In Monty nothing can be seen outside before the answer, so its events wait for one commit."""
        if losses := work.execution.losses:
            await asyncio.sleep(backoff_seconds(losses, work.profile.retries, self._chance()))
        work.happened(Started(work.id, step.attempt, step.lane))
        if step.lane is Lane.CONTAINER:
            await self.record(work)
        outcome = await self._lanes[step.lane].run(work.job(step.attempt, step.lane, step.limits))
        work.outcome = outcome
        for phase, seconds in outcome.timings:
            work.timings[phase] = work.timings.get(phase, 0.0) + seconds
        mark = fingerprint(outcome, work.request.code) if outcome.fault is Fault.CODE else None
        detail, evidence = outcome.evidence.detail, outcome.evidence
        if detail:
            evidence = replace(evidence, detail="")
        if outcome.ending is Ending.LOST:
            log.warning("%s: attempt %d was lost: %s", work.id, step.attempt, detail)
        work.happened(Finished(work.id, step.attempt, outcome.ending, outcome.fault, mark, detail[:500], evidence))

    async def _answer(self, work: Work, ruling: Answered) -> Answer:
        if ruling.repeats is not None:
            return await self._recorded_answer(ruling.repeats)
        if ruling.status is Status.PLATFORM_ERROR:
            answer = platform_error(work.execution.lane)
        elif work.outcome is None:
            answer = refused(work.findings, error_of(work.findings))
        else:
            answer = from_outcome(work.id, work.outcome, work.execution.limits)
        timings = {name: round(seconds, 6) for name, seconds in work.timings.items()}
        return answer.model_copy(
            update={
                "findings": list(work.findings),
                "attempts": attempts_info(work.execution.attempts),
                "timings": {**timings, "total": round(time.monotonic() - work.began, 6)},
            }
        )

    async def _recorded_answer(self, execution: str) -> Answer:
        found = await self._store.read(lambda reader: reader.execution(execution))
        if found is None or found.answer is None:
            raise IllegalEvent(f"{execution} failed, but its answer is not recorded")
        return remembered(found)

    async def _answer_cancelled(self, work: Work) -> None:
        """The program may have run; nothing of it counts."""
        work.answer = Answer(
            lane=work.execution.lane,
            findings=list(work.findings),
            attempts=attempts_info(work.execution.attempts),
        )
        work.happened(Answered(work.id, Status.CANCELLED, 0, by=work.cancelled_by or work.caller))
        await self.record(work)

    async def _give_up(self, work: Work) -> None:
        """A fault of ours: the execution still gets its answer, and nobody is charged."""
        if work.answered:
            return
        attempts = work.execution.attempts
        if work.execution.state is State.RUNNING:
            work.happened(Finished(work.id, len(attempts), Ending.LOST, Fault.PLATFORM, detail="a step failed"))
        work.answer = platform_error(work.execution.lane)
        work.happened(Answered(work.id, Status.PLATFORM_ERROR, 0))
        await self.record(work)
