"""The conductor: takes the next step, has it done, records it. Here decisions meet effects.

It owns one asyncio task per execution, and hands each step to the room that does it: `admission`, `waiting`, `attempts`,
`answering`. What is not recorded did not happen: what somebody was told of has an effect only after its `Started` is
on disk, and nobody is told an answer that is not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

from gateway.admission import Admission
from gateway.answering import Answering, cancelled
from gateway.attempts import Attempts
from gateway.causes import Cause
from gateway.changes import Changes
from gateway.circumstances import WORK
from gateway.commits import Commits
from gateway.errors import GatewayError
from gateway.events import Admitted, Answered, Finished, Status
from gateway.execution_life import IllegalEvent, State
from gateway.in_force import InForce
from gateway.observer import Observer
from gateway.quotas import Quotas
from gateway.reader import Reader
from gateway.reconsidering import GONE, anew, profile_now
from gateway.rules import rules_of
from gateway.shadow import Shadow
from gateway.steps import Check, Run, Step, next_step, not_started
from gateway.store import Store
from gateway.times import now
from gateway.turns import Ticket
from gateway.waiting import Waiting, ticket_of
from gateway.work import Work
from sandbox.job import Lane
from sandbox.outcome import Ending, Fault, Outcome

log = logging.getLogger(__name__)


class Conductor:
    """Runs executions to their answers."""

    def __init__(  # noqa: PLR0913  # the parts that it stands on
        self,
        *,
        policy: InForce,
        store: Store,
        commits: Commits,
        admission: Admission,
        waiting: Waiting,
        attempts: Attempts,
        answering: Answering,
        changes: Changes,
        shadow: Shadow,
        observer: Observer,
        quotas: Quotas,
    ) -> None:
        self._policy = policy
        self._store = store
        self._commits = commits
        self._admission = admission
        self._waiting = waiting
        self._attempts = attempts
        self._answering = answering
        self._changes = changes
        self._shadow = shadow
        self._observer = observer
        self._quotas = quotas
        self._running: dict[str, tuple[Work, asyncio.Task[None]]] = {}
        self._live: Counter[tuple[str, str]] = Counter()  # of them, by tenant and caller

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
            self._commits.let_go()
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
                self._observer.counts.late_results += work.cancelled_by is None
                return
            log.exception("%s: a step failed", work.id)
            if work.answered and not work.recorded:
                raise  # nobody was promised anything, and whoever waits is told that it was not taken
            await self._give_up(work)

    async def _advance_or_cancel(self, work: Work) -> None:
        try:
            await self._advance(work)
        except asyncio.CancelledError:
            if work.cancelled_by is None:
                raise
            if work.answered:  # too late to cancel
                await self._commits.record(work)
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
        await self._commits.record(work)
        self._shadow.saw(work)

    async def _do(self, work: Work, step: Step) -> None:
        match step:
            case Check():
                await self._admission.check(work)
            case Run(lane=Lane.CONTAINER):
                await self._run_in_turn(work, step)
            case Run():
                await self._attempts.make(work, step)
            case Admitted():
                work.happened(step)
            case Answered():
                work.answer = await self._answering.answer(work, step)
                work.happened(step)

    async def _run_in_turn(self, work: Work, step: Run) -> None:
        """An attempt in a box, when it is its turn; no attempt, but an answer, where that does not come in time."""
        await self._waiting.pause(work)
        ticket = ticket_of(work, step.limits)
        ran: Outcome | None = None
        try:
            if (late := await self._waiting.turn(work, ticket)) is not None:
                await self._not_started(work, late)
            elif (admitted := await self._reconsidered(work, step, ticket)) is not None:
                ran = await self._attempts.make(work, admitted)
        finally:
            self._waiting.leave(ticket, ran)

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
        work.answer = await self._answering.answer(work, ruling)
        work.happened(ruling)

    async def _answer_cancelled(self, work: Work) -> None:
        work.answer = cancelled(work)
        work.happened(
            Answered(work.id, Status.CANCELLED, 0, by=work.cancelled_by or work.caller, cause=Cause.CANCELLED)
        )
        await self._commits.record(work)

    async def _give_up(self, work: Work) -> None:
        """A fault of ours: the execution still gets its answer, and nobody is charged."""
        if work.answered:
            return
        attempts = work.execution.attempts
        if work.execution.state is State.RUNNING:
            detail, cause = "a step failed", Cause.STEP_FAILED
            work.happened(Finished(work.id, len(attempts), Ending.LOST, Fault.PLATFORM, detail=detail, cause=cause))
        work.answer = self._answering.platform_error(work, Cause.STEP_FAILED)
        work.happened(Answered(work.id, Status.PLATFORM_ERROR, 0, cause=Cause.STEP_FAILED))
        await self._commits.record(work)
