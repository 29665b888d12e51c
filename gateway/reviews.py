"""Reviews: the queue, what a reviewer sees, and their rulings turned into events.

What may be ruled is the lifecycle's to say; what may be granted is the policy's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from gateway.answers import from_person
from gateway.callers import Caller
from gateway.changes import Changes
from gateway.conductor import Conductor
from gateway.connection import Reader, Writer
from gateway.errors import Conflict, Forbidden, GatewayError, InvalidRequest, NotFound, ReviewDecided, StaleReview
from gateway.events import Answered, Closed, Ruled, RulingKind, Status, Submitted
from gateway.lifecycle import Rules, received
from gateway.policy import LimitsRequest, Policy, Profile, raised_limits
from gateway.recording import cancel_live, record_work
from gateway.records import StoredExecution, StoredReview, StoredTask
from gateway.requests import ExecutionRequest, RulingRequest
from gateway.resources import memory_max_bytes
from gateway.rules import profile_named, rules_of
from gateway.steps import Refusal, refusal, review_token
from gateway.store import Store
from gateway.times import new_id, now, stamp
from gateway.views import review_summary, review_view
from gateway.wire import ReviewList, ReviewView
from gateway.work import Work, written
from sandbox.job import Limits

_SHOWN_TRIES = 20  # of the reviewed task, the newest
_SHOWN_CHARACTERS = 16 << 20  # of their requests and answers, together; the reviewed one is always shown
_MAKES_EXECUTION = frozenset(
    {RulingKind.APPROVE, RulingKind.APPROVE_EDITED, RulingKind.RAISE_LIMITS, RulingKind.ANSWER}
)
_REFUSALS: dict[Refusal, tuple[type[GatewayError], str]] = {
    Refusal.DECIDED: (ReviewDecided, "The review is decided already; the first ruling counts."),
    Refusal.STALE: (
        StaleReview,
        "The review changed since its token was shown: look again, and rule on what is there now.",
    ),
    Refusal.SELF_REVIEW: (Forbidden, "Nobody rules on their own program."),
    Refusal.GRANTS_SPENT: (
        Forbidden,
        "People have let this task go on as often as the policy allows: reject it or answer it.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Case:
    """A review with all that a ruling on it is judged by."""

    row: StoredReview
    stored: StoredTask
    reviewed: StoredExecution
    profile: Profile
    rules: Rules

    @property
    def token(self) -> str | None:
        if self.row.state != "open":
            return None
        return review_token(self.stored.task, self.profile.digest)


@dataclass(frozen=True, slots=True)
class _Done:
    """What a ruling did to its task: the execution to run, and those that ended with the task."""

    task: str
    work: Work | None = None
    ended: tuple[str, ...] = ()


class Reviews:
    """One gateway's review queue."""

    def __init__(self, *, policy: Policy, store: Store, conductor: Conductor, changes: Changes) -> None:
        self._policy = policy
        self._store = store
        self._conductor = conductor
        self._changes = changes

    async def page(
        self,
        caller: Caller,
        state: Literal["open", "decided", "withdrawn", "expired"] | None,
        limit: int,
        after: str | None,
    ) -> ReviewList:
        """A page of the tenant's reviews, oldest first."""

        def find(reader: Reader) -> ReviewList:
            rows = reader.reviews(caller.tenant, state, limit + 1, after)
            shown = [review_summary(row, _task_id(reader, row)) for row in rows[:limit]]
            return ReviewList(reviews=shown, next=shown[-1].id if len(rows) > limit else None)

        return await self._store.read(find)

    async def view(self, caller: Caller, review: str) -> ReviewView:
        """A review whole."""

        def find(reader: Reader) -> ReviewView:
            case = self._case(reader, caller, review)
            rows = _shown_tries(reader, case)
            spared = reader.spared_in(case.stored.id)
            return review_view(
                case.row, case.stored.task, rows, case.rules, token=case.token, profile=case.profile, spared=spared
            )

        return await self._store.read(find)

    async def rule(self, caller: Caller, review: str, ruling: RulingRequest) -> ReviewView:
        """Decide a review; what the ruling runs begins at once."""
        done = await self._store.write(lambda writer: self._rule(writer, caller, review, ruling))
        if done.work is not None:
            self._conductor.start(done.work)
        await self._let_go(done, caller.name)
        return await self.view(caller, review)

    async def _let_go(self, done: _Done, by: str) -> None:
        """Stop what ran in a task that is over, and wake who waits for it."""
        for execution in done.ended:
            await self._conductor.cancel(execution, by)
        self._changes.notify(done.task)

    def _rule(self, writer: Writer, caller: Caller, review: str, ruling: RulingRequest) -> _Done:
        case = self._case(writer, caller, review)
        _require_allowed(case, caller, ruling)
        if ruling.failures is not None and ruling.failures > case.profile.ceilings.failures:
            message = f"{ruling.failures} is above the policy's ceiling of {case.profile.ceilings.failures}"
            raise InvalidRequest(fields=(("failures", message),))
        at = now()
        work = _work(case, caller, ruling, _limits(case, ruling), at) if ruling.ruling in _MAKES_EXECUTION else None
        if work is not None:
            work.trace = writer.trace(case.reviewed.id)
        ruled = Ruled(
            review, ruling.ruling, caller.name, ruling.message, ruling.failures or 0, work.id if work else None
        )
        self._end(writer, case.row, ruled, "decided", at)
        if ruling.ruling is RulingKind.REJECT and ruling.final:
            return _close(writer, case.stored, ruled, "rejected", at)
        stored = writer.append(case.stored, [ruled], at)
        if work is None:
            return _Done(stored.id)
        self._begin(writer, stored, work, ruling, at)
        return _Done(stored.id, None if ruling.ruling is RulingKind.ANSWER else work)

    def _begin(self, writer: Writer, stored: StoredTask, work: Work, ruling: RulingRequest, at: datetime) -> None:
        """Record the execution that the ruling makes; a person's answer is its answer."""
        if ruling.ruling is RulingKind.ANSWER:
            work.answer = from_person(ruling.result)
            work.happened(Answered(work.id, Status.SUCCEEDED, 0, by=work.caller, source="human"))
        record_work(writer, work, tuple(work.pending), at)
        work.task, work.recorded, work.written = stored.id, True, None
        work.pending.clear()

    def withdraw(self, writer: Writer, stored: StoredTask, by: str, at: datetime) -> None:
        """End a task's open review because the task ends."""
        if stored.task.review is None:
            return
        row = writer.review(stored.task.review.id)
        if row is not None:
            writer.end_review(replace(row, state="withdrawn", decided_by=by, decided_at=stamp(at)))

    async def expire(self) -> int:
        """Reject what nobody answered in time: it fails closed. Returns how many."""
        due = await self._store.read(lambda reader: reader.reviews_due(now()))
        for row in due:
            done = await self._store.write(lambda writer, row=row: self._expire(writer, row))  # type: ignore[misc]
            await self._let_go(done, "policy")
        return len(due)

    def _expire(self, writer: Writer, row: StoredReview) -> _Done:
        at, message = now(), "Nobody answered in time, so the answer is no."
        stored = writer.task(row.task)
        if stored is None or stored.task.review is None or stored.task.review.id != row.id:
            return _Done(row.task)
        ruled = Ruled(row.id, RulingKind.REJECT, "policy", message)
        self._end(writer, row, ruled, "expired", at)
        return _close(writer, stored, ruled, "expired", at)

    @staticmethod
    def _end(
        writer: Writer, row: StoredReview, ruled: Ruled, state: Literal["decided", "expired"], at: datetime
    ) -> None:
        writer.end_review(
            replace(
                row,
                state=state,
                ruling=ruled.ruling.value,
                ruled_execution=ruled.execution,
                message=ruled.message or None,
                decided_by=ruled.by,
                decided_at=stamp(at),
            )
        )

    def _case(self, reader: Reader, caller: Caller, review: str) -> _Case:
        row = reader.review(review)
        if row is None or row.tenant != caller.tenant:
            raise NotFound("There is no such review.")
        stored, reviewed = reader.task(row.task), reader.execution(row.execution)
        if stored is None or reviewed is None:
            raise NotFound("There is no such review.")
        profile = profile_named(self._policy, reviewed.profile)
        return _Case(row, stored, reviewed, profile, rules_of(profile, anonymous=stored.task.anonymous))


def _shown_tries(reader: Reader, case: _Case) -> list[StoredExecution]:
    """The reviewed execution and the newest others, newest first, as many as a page can bear."""
    rows, characters = [case.reviewed], _characters(case.reviewed)
    for head in reader.execution_heads(case.stored.id, _SHOWN_TRIES):
        row = reader.execution(head.id)
        if row is None or row.id == case.reviewed.id:
            continue
        characters += _characters(row)
        if characters > _SHOWN_CHARACTERS:
            break
        rows.append(row)
    return sorted(rows, key=lambda row: row.id, reverse=True)


def _characters(row: StoredExecution) -> int:
    return len(row.request) + len(row.answer or "")


def _task_id(reader: Reader, row: StoredReview) -> str:
    stored = reader.task(row.task)
    return stored.task.task_id if stored else row.task


def _require_allowed(case: _Case, caller: Caller, ruling: RulingRequest) -> None:
    refused = refusal(
        case.stored.task,
        review=case.row.id,
        token=ruling.token,
        policy_digest=case.profile.digest,
        kind=ruling.ruling,
        by=caller.name,
        rules=case.rules,
    )
    if refused is not None:
        kind, message = _REFUSALS[refused]
        raise kind(message, extra={"review": case.row.id, "state": case.row.state})


def _close(
    writer: Writer, stored: StoredTask, ruled: Ruled, reason: Literal["rejected", "expired"], at: datetime
) -> _Done:
    """End a task with a no. What it still runs ends with it."""
    events = cancel_live(writer, stored, ruled.by, at)
    writer.append(stored, [ruled, *events, Closed(ruled.by, reason, ruled.message)], at)
    return _Done(stored.id, ended=tuple(stored.task.executions))


def _limits(case: _Case, ruling: RulingRequest) -> Limits:
    """What the ruling runs with; raised limits may pass the profile's maximum, never the ceilings."""
    before = case.stored.task.review.limits if case.stored.task.review else None
    if before is None:
        raise ReviewDecided(_REFUSALS[Refusal.DECIDED][1])
    if ruling.ruling is RulingKind.ANSWER:
        return before
    limits = raised_limits(case.profile, ruling.limits or LimitsRequest(), current=before)
    if isinstance(limits, Limits):
        return limits
    raise InvalidRequest(fields=tuple((f"limits.{one.field}", one.message) for one in limits))


def _work(case: _Case, caller: Caller, ruling: RulingRequest, limits: Limits, at: datetime) -> Work:
    """The execution that a ruling makes: the reviewed program, as the reviewer wants it."""
    if not case.reviewed.request:
        raise Conflict("The reviewed program was deleted by retention: grant or reject.")
    request = ExecutionRequest.model_validate_json(case.reviewed.request)
    if ruling.code is not None:
        request = request.model_copy(update={"code": ruling.code})
    execution = new_id("exe")
    kept = written(request)
    most = memory_max_bytes(case.profile, request, ruling.limits)
    event = Submitted(execution, kept.program, limits, caller.name, "reviewer", case.reviewed.id, most)
    work = Work(
        execution=received(event),
        request=request,
        written=kept,
        profile=case.profile,
        rules=case.rules,
        tenant=case.reviewed.tenant,
        caller=caller.name,
        task_id=case.stored.task.task_id,
        anonymous=case.stored.task.anonymous,
        failures=case.stored.task.failures,
        submitted_at=at,
        of=case.reviewed.id,
        task=case.stored.id,
    )
    work.happened(event)
    return work
