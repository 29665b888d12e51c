"""The conductor: takes the next step, does it, records it. The only place where decisions meet effects.

It owns one asyncio task per execution. What it does not record did not happen: an effect that
could be seen outside begins only after its `Started` is on disk, and nobody is told an answer
that is not.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from gateway.answers import attempts_info, expired, from_outcome, platform_error, refused, remembered
from gateway.cache import key_of, recalled
from gateway.causes import KINDS, Cause, cause_of
from gateway.changes import Changes
from gateway.checks import Checker, error_of
from gateway.circumstances import WORK
from gateway.errors import GatewayError, Unavailable
from gateway.events import Admitted, Answered, Checked, Event, Finished, Started, Status, Verdict
from gateway.expectations import Expectations
from gateway.failures import fingerprint
from gateway.in_force import InForce
from gateway.lifecycle import Execution, IllegalEvent, State
from gateway.observer import Observer
from gateway.queue import Queue, TooLong
from gateway.quotas import Quotas, cpu_seconds
from gateway.reader import Reader
from gateway.reconsidering import GONE, anew, profile_now, taken_back
from gateway.recording import record_work
from gateway.records import Recorded
from gateway.remembering import Memory, note
from gateway.resources import effective
from gateway.retries import backoff_seconds
from gateway.rules import rules_of
from gateway.shadow import Shadow
from gateway.sizes import Sizes
from gateway.steps import Check, Run, Step, more_memory_bytes, next_step, not_started
from gateway.store import Store
from gateway.times import now
from gateway.turns import Ticket
from gateway.wire_answers import Answer
from gateway.work import Work
from sandbox.driver import Driver
from sandbox.job import Lane
from sandbox.live import Live
from sandbox.outcome import Ending, Fault, Outcome

log = logging.getLogger(__name__)

_STORE_RETRY_SECONDS = 1.0


class Conductor:
    """Runs executions to their answers."""

    def __init__(  # noqa: PLR0913  # the parts that it stands on
        self,
        *,
        policy: InForce,
        store: Store,
        checker: Checker,
        lanes: Mapping[Lane, Driver],
        changes: Changes,
        chance: Callable[[], float],
        queue: Queue,
        sizes: Sizes,
        expectations: Expectations,
        shadow: Shadow,
        observer: Observer,
        quotas: Quotas,
        memory: Memory,
    ) -> None:
        self._policy = policy
        self._store = store
        self._checker = checker
        self._lanes = lanes
        self._changes = changes
        self._chance = chance
        self._queue = queue
        self._sizes = sizes
        self._expectations = expectations
        self._shadow = shadow
        self._observer = observer
        self._quotas = quotas
        self._memory = memory
        self.causes: Counter[Cause] = Counter()  # of attempts, why they have no result
        self.platform_errors: Counter[Cause] = Counter()  # answers that say so
        self.spared: Counter[tuple[str, Verdict]] = Counter()  # by mode, what the checks would have refused with
        self.late_results = 0  # of attempts that were not current any more; nothing of them counts
        self._running: dict[str, tuple[Work, asyncio.Task[None]]] = {}
        self._live: Counter[tuple[str, str]] = Counter()  # of them, by tenant and caller
        self._kept_policies: set[str] = set()  # by their digests; as many as there are profiles
        self._letting_go = False

    def start(self, work: Work) -> asyncio.Task[None]:
        """Begin to drive an execution; the task ends when its answer is on disk, or with why it was not taken."""
        waited_before = max(0.0, (now() - work.submitted_at).total_seconds())
        work.began = time.monotonic() - waited_before
        self._observer.started(work)
        runner = asyncio.create_task(self._drive(work), name=work.id)
        self._running[work.id] = (work, runner)
        self._live[work.tenant, work.caller] += 1
        runner.add_done_callback(lambda _: self._ended(work))
        return runner

    def _ended(self, work: Work) -> None:
        del self._running[work.id]
        self._live[work.tenant, work.caller] -= 1
        if not self._live[work.tenant, work.caller]:
            del self._live[work.tenant, work.caller]
        self._observer.ended(work)
        self._quotas.ended(work)
        self._changes.notify(work.id)

    def running(self, execution: str) -> tuple[Work, asyncio.Task[None]] | None:
        """A live execution and its task."""
        return self._running.get(execution)

    def live_of(self, tenant: str, caller: str) -> int:
        """How many executions of one caller are live."""
        return self._live[tenant, caller]

    def live_attempts(self) -> frozenset[tuple[str, int]]:
        """The (execution, attempt) pairs that a box may belong to."""
        return frozenset((id_, len(work.execution.attempts)) for id_, (work, _) in self._running.items())

    @property
    def retries(self) -> int:
        """Attempts made again because the platform lost one."""
        return self._queue.pace.tries

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
            if work.answered and (found := work.memory_found) is not None:
                self._sizes.found(work.tenant, *found)
            del work.pending[: len(events)]
        self._observer.recorded(work, events)
        self._changes.notify(recorded.task.id)
        self._changes.notify(work.id)

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
            await asyncio.sleep(0)  # a task that is cancelled before its first step would end without an answer
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
        WORK.set(work)
        try:
            await self._advance_or_cancel(work)
        except GatewayError:
            raise
        except Exception as error:
            if isinstance(error, IllegalEvent) and await self._superseded(work):
                self.late_results += work.cancelled_by is None
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

    async def _superseded(self, work: Work) -> bool:
        """Whether the log went on without this run: by its answer, or its loss to a gateway that took ours for dead."""

        def find(reader: Reader) -> bool:
            row = reader.execution(work.id)
            stored = reader.task(row.task) if row else None
            live = stored.task.executions.get(work.id) if stored else None
            return row is not None and (live is None or live.losses > work.execution.losses)

        return await self._store.read(find)

    async def _advance(self, work: Work) -> None:
        while (step := next_step(work.execution, work.failures, work.rules)) is not None:
            await self._do(work, step)
        await self.record(work)
        self._shadow.saw(work)

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
        report = taken_back(work)
        if report is None:
            report = await self._checker.check(work.request, work.profile, ruled=work.execution.source == "reviewer")
        work.timings["checks"] = time.perf_counter() - began
        work.findings, work.imports = report.findings, report.imports
        found = self._sizes.of(work.tenant, report.imports)
        approval = await self._memory.recall(work, report.reason) if report.reason is not None else None
        if approval is not None:
            work.findings = (note(approval), *(one for one in report.findings if one.severity != "error"))
        work.happened(Checked(work.id, report.verdict, report.lane, found, report.reason, approval))
        runs = report.verdict is Verdict.ADMIT or approval is not None
        if runs and (sparing := report.sparing) is not None:
            work.happened(sparing.event(work.id, work.profile))
            self.spared[sparing.mode, sparing.verdict] += 1
        work.deterministic = report.deterministic
        self._observer.checked(work, work.timings["checks"])
        work.cache_key = key_of(work, report)
        if work.cache_key is not None and not work.fresh:
            await self._recall(work, work.cache_key)

    async def _recall(self, work: Work, key: str) -> None:
        """Answer what is certain to come to what is known already. Another tenant's execution stays unnamed."""
        try:
            known = await self._store.read(lambda reader: reader.result(key))
        except Unavailable:
            return
        answer = recalled(known) if known else None
        self._observer.counts.cache["miss" if answer is None else "hit"] += 1
        if known is None or answer is None:
            return
        work.answer = self._complete(work, answer)
        repeats = known.id if known.tenant == work.tenant else None
        work.happened(Answered(work.id, Status.SUCCEEDED, 0, source="record", repeats=repeats))

    async def _run(self, work: Work, step: Run) -> None:
        """An attempt. In Monty nothing can be seen outside before the answer, so its events wait for one commit."""
        if step.lane is Lane.CONTAINER:
            await self._run_in_turn(work, step)
        else:
            await self._attempt(work, step)

    async def _run_in_turn(self, work: Work, step: Run) -> None:
        """An attempt in a box, when it is its turn; no attempt, but an answer, where that does not come in time."""
        await self._pause(work)
        ticket = Ticket(work.id, work.tenant, work.request.priority, step.limits.memory_bytes, time.monotonic())
        ran: Outcome | None = None
        try:
            await self._wait(work, ticket)
            if (admitted := await self._reconsidered(work, step, ticket)) is not None:
                ran = await self._attempt(work, admitted)
        except TooLong:
            cause = Cause.EXPIRED if _start_in(work) <= 0 else Cause.QUEUE_TOO_LONG
            await self._not_started(work, cause)
        finally:
            self._queue.leave(ticket, ran=ran is not None, loss=ran.evidence.loss if ran else None)

    async def _wait(self, work: Work, ticket: Ticket) -> None:
        """Return when it is the turn of who drew the ticket; raises `TooLong`, and `QueueFull` at once."""
        began = time.perf_counter()
        if not self._queue.enter(ticket, must=work.recorded):
            work.placed.set()
            await self.record(work)
            try:
                await self._queue.turn(ticket, self._patience(work))
            finally:
                self._observer.waited(work, time.perf_counter() - began)
        else:
            self._observer.waited(work, 0.0)

    async def _pause(self, work: Work) -> None:
        """Wait before another try of what the platform lost: by chance, by what all retries may add, by what was asked for."""
        attempts = work.execution.attempts
        if not attempts:
            self._queue.pace.first()
        if not attempts or attempts[-1].ending is not Ending.LOST:
            return
        asked = work.outcome.evidence.retry_after_seconds if work.outcome else None
        backoff = backoff_seconds(work.execution.losses, work.profile.retries, self._chance())
        await asyncio.sleep(max(backoff, asked or 0.0, self._queue.pace.again_seconds(time.monotonic())))

    def _patience(self, work: Work) -> float:
        """How long it may wait for its turn, in seconds."""
        return min(self._queue.bounds.age_seconds, _start_in(work))

    async def _reconsidered(self, work: Work, step: Run, ticket: Ticket) -> Run | None:
        """The attempt as the policy in force by now has it; None where that refuses it, or has it elsewhere or larger.

        What was begun, or never had to wait, keeps the policy that took it.
        """
        if step.attempt > 1 or not work.recorded:
            return step
        profile = profile_now(self._policy.current, work)
        if profile is None:
            work.findings = (GONE,)
            await self._not_started(work, Cause.POLICY_CHANGED)
            return None
        if profile.digest == work.profile.digest:
            return step
        work.happened(anew(work, profile))
        work.profile, work.rules = profile, rules_of(profile, anonymous=work.anonymous)
        while isinstance(after := next_step(work.execution, work.failures, work.rules), Check | Admitted):
            await self._do(work, after)
        if not isinstance(after, Run) or after.lane is not Lane.CONTAINER:
            return None
        return after if after.limits.memory_bytes <= ticket.memory_bytes else None

    async def _not_started(self, work: Work, cause: Cause) -> None:
        ruling = not_started(work.execution, cause, work.rules)
        work.answer = await self._answer(work, ruling)
        work.happened(ruling)

    async def _attempt(self, work: Work, step: Run) -> Outcome:
        started = Started(work.id, step.attempt, step.lane)
        work.happened(started)
        self._observer.attempting(work, started)
        work.placed.set()
        if step.lane is Lane.CONTAINER:
            await self.record(work)
            work.live = Live(step.attempt, partial(self._changes.notify, work.id))
        began = time.monotonic()
        try:
            outcome = await self._lanes[step.lane].run(work.job(step.attempt, step.lane, step.limits))
        except asyncio.CancelledError:
            work.cpu_seconds = min(time.monotonic() - began, step.limits.wall_seconds) * step.limits.cpu_cores
            raise
        work.cpu_seconds = cpu_seconds(outcome, step.limits)
        work.outcome = outcome = await self._expectations.judged(work.tenant, work.request.expect, outcome)
        for phase, seconds in outcome.timings:
            work.timings[phase] = work.timings.get(phase, 0.0) + seconds
        finished = self._finished(work, step, outcome)
        self._observer.attempted(work, outcome, finished.cause)
        work.happened(finished)
        return outcome

    def _finished(self, work: Work, step: Run, outcome: Outcome) -> Finished:
        cause = cause_of(outcome, more_memory=more_memory_bytes(work.execution) is not None)
        fault = Fault.NONE if cause is None else KINDS[cause].fault
        detail = outcome.evidence.detail
        if cause is not None:
            self.causes[cause] += 1
        if fault is Fault.PLATFORM:
            log.warning("%s: attempt %d had no result (%s): %s", work.id, step.attempt, cause, detail)
        return Finished(
            work.id,
            step.attempt,
            outcome.ending,
            fault,
            fingerprint(outcome, work.request.code) if fault is Fault.CODE else None,
            detail[:500],
            replace(outcome.evidence, detail="") if detail else outcome.evidence,
            cause,
            outcome.usage.peak_memory_bytes,
        )

    async def _answer(self, work: Work, ruling: Answered) -> Answer:
        if ruling.repeats is not None:
            return await self._recorded_answer(ruling.repeats)
        if ruling.status is Status.PLATFORM_ERROR:
            answer = self._platform_error(work, ruling.cause or Cause.STEP_FAILED)
        elif ruling.status is Status.EXPIRED:
            answer = expired(work.execution.lane)
        elif work.outcome is None:
            answer = refused(work.findings, error_of(work.findings))
        else:
            answer = from_outcome(work.id, work.outcome, work.execution.limits)
        return self._complete(work, answer, ruling.cause)

    @staticmethod
    def _complete(work: Work, answer: Answer, cause: Cause | None = None) -> Answer:
        """The answer with what the gateway knows of the execution."""
        timings = {name: round(seconds, 6) for name, seconds in work.timings.items()}
        return answer.model_copy(
            update={
                "cause": cause,
                "findings": list(work.findings),
                "attempts": attempts_info(work.execution.attempts),
                "limits": effective(
                    work.profile, work.request, work.execution.limits, source=_limits_by(work.execution)
                ),
                "timings": {**timings, "total": round(time.monotonic() - work.began, 6)},
            }
        )

    async def _recorded_answer(self, execution: str) -> Answer:
        found = await self._store.read(lambda reader: reader.execution(execution))
        if found is None or found.answer is None:
            raise IllegalEvent(f"{execution} failed, but its answer is not recorded")
        return remembered(found).model_copy(update={"cause": Cause.REPEATED})

    async def _answer_cancelled(self, work: Work) -> None:
        """The program may have run; nothing of it counts."""
        work.answer = Answer(
            lane=work.execution.lane,
            cause=Cause.CANCELLED,
            findings=list(work.findings),
            attempts=attempts_info(work.execution.attempts),
        )
        work.happened(
            Answered(work.id, Status.CANCELLED, 0, by=work.cancelled_by or work.caller, cause=Cause.CANCELLED)
        )
        await self.record(work)

    async def _give_up(self, work: Work) -> None:
        """A fault of ours: the execution still gets its answer, and nobody is charged."""
        if work.answered:
            return
        attempts = work.execution.attempts
        if work.execution.state is State.RUNNING:
            detail, cause = "a step failed", Cause.STEP_FAILED
            work.happened(Finished(work.id, len(attempts), Ending.LOST, Fault.PLATFORM, detail=detail, cause=cause))
        work.answer = self._platform_error(work, Cause.STEP_FAILED)
        work.happened(Answered(work.id, Status.PLATFORM_ERROR, 0, cause=Cause.STEP_FAILED))
        await self.record(work)

    def _platform_error(self, work: Work, cause: Cause) -> Answer:
        """For an operator to look at: the gateway does not try again by itself."""
        self.platform_errors[cause] += 1
        log.error("%s: the platform could not run it (%s); nobody is charged", work.id, cause)
        return platform_error(work.execution.lane, cause)


def _limits_by(execution: Execution) -> Literal["agent", "reviewer"]:
    """Who had the last word on an execution's limits; of what is remembered, the person who said it."""
    return "reviewer" if execution.approval is not None else execution.source


def _start_in(work: Work) -> float:
    """Seconds until it has to have started; for ever where its caller does not mind."""
    within = work.request.start_within
    return math.inf if within is None or work.execution.attempts else work.began + within - time.monotonic()
