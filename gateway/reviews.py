"""Reviews: the queue, what a reviewer sees, and their rulings turned into events."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from gateway.answers import from_person
from gateway.callers import Caller
from gateway.cases import (
    Case,
    case_of,
    close_task,
    end_review,
    kept_proposal,
    limits_of_ruling,
    message_of,
    proposal_of,
    require_allowed,
    work_of,
)
from gateway.changes import Changes
from gateway.checks import Checker
from gateway.conductor import Conductor
from gateway.errors import RefusedByChecks
from gateway.events import Answered, Ruled, RulingKind, Status, Verdict
from gateway.guards import approved
from gateway.in_force import InForce
from gateway.reader import Reader
from gateway.recording import pass_on, record_work
from gateway.records import StoredExecution, StoredReview, StoredSighting, StoredTask
from gateway.remembering import approval_of
from gateway.reports import Report
from gateway.requests import ReviewState, RulingRequest
from gateway.store import Store
from gateway.times import now, stamp
from gateway.views import review_summary, review_view
from gateway.wire_reviews import ChecksView, ReviewList, ReviewView
from gateway.work import Work
from gateway.writer import Writer

_SHOWN_TRIES: Final = 20  # of the reviewed task, the newest
_SHOWN_CHARACTERS: Final = 16 << 20  # of their requests and answers, together; the reviewed one is always shown
_SIGHTINGS: Final = 10_000  # that need not be looked for in the store
_MAKES_EXECUTION: Final = frozenset(
    {RulingKind.APPROVE, RulingKind.APPROVE_EDITED, RulingKind.RAISE_LIMITS, RulingKind.ANSWER}
)


@dataclass(frozen=True, slots=True)
class _Done:
    """What a ruling did to its task: the execution to run, and those that ended with the task."""

    task: str
    work: Work | None = None
    ended: tuple[str, ...] = ()


class Reviews:
    """One gateway's review queue."""

    def __init__(
        self, *, policy: InForce, store: Store, conductor: Conductor, changes: Changes, checker: Checker
    ) -> None:
        self._policy = policy
        self._store = store
        self._conductor = conductor
        self._changes = changes
        self._checker = checker
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    async def page(
        self,
        caller: Caller,
        state: ReviewState | None,
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
        """A review whole. That it was looked at while it was open is on record before it is shown."""

        def find(reader: Reader) -> ReviewView:
            case = case_of(reader, self._policy.current, caller, review)
            rows = _shown_tries(reader, case)
            return review_view(
                case.row,
                case.stored.task,
                rows,
                case.rules,
                token=case.token,
                profile=case.profile,
                rulings=case.open_to(caller),
                guards=case.guards,
                agreed=case.agreed(),
                spared=reader.spared_in(case.stored.id),
            )

        shown = await self._store.read(find)
        if shown.token is not None:
            await self._saw(StoredSighting(review, caller.name, shown.token, stamp(now())))
        return shown

    async def _saw(self, sighting: StoredSighting) -> None:
        name = (sighting.review, sighting.seen_by, sighting.token)
        if name in self._seen:
            return
        await self._store.write(lambda writer: writer.see(sighting))
        self._seen[name] = None
        if len(self._seen) > _SIGHTINGS:
            self._seen.popitem(last=False)

    async def check(self, caller: Caller, review: str, code: str) -> ChecksView:
        """What the checks would say of another version of the reviewed program; nothing is run, and nothing recorded."""
        case = await self._store.read(lambda reader: case_of(reader, self._policy.current, caller, review))
        report = await self._report(case, code)
        admitted = report.verdict is Verdict.ADMIT
        return ChecksView(admitted=admitted, lane=report.lane if admitted else None, findings=list(report.findings))

    async def _report(self, case: Case, code: str) -> Report:
        edited = case.request().model_copy(update={"code": code})
        return await self._checker.check(edited, case.profile, ruled=True)

    async def rule(self, caller: Caller, review: str, ruling: RulingRequest) -> ReviewView:
        """Take a ruling; what it runs begins at once."""
        if ruling.ruling is RulingKind.APPROVE_EDITED:
            await self._require_sound(caller, review, ruling)
        done = await self._store.write(lambda writer: self._rule(writer, caller, review, ruling))
        if done.work is not None:
            self._conductor.start(done.work)
        await self.let_go(done.task, done.ended, caller.name)
        return await self.view(caller, review)

    async def _require_sound(self, caller: Caller, review: str, ruling: RulingRequest) -> None:
        """Refuse an edit that the checks refuse, after all that the guards have against it. Nothing has changed then."""
        case = await self._store.read(lambda reader: case_of(reader, self._policy.current, caller, review))
        require_allowed(case, caller, ruling)
        report = await self._report(case, ruling.code or "")
        if report.verdict is not Verdict.ADMIT:
            findings: list[JsonValue] = [one.model_dump(mode="json") for one in report.findings]
            raise RefusedByChecks(extra={"review": review, "token": ruling.token, "findings": findings})

    async def let_go(self, task: str, ended: tuple[str, ...], by: str) -> None:
        """Stop what ran in a task that is over, and wake who waits for it."""
        for execution in ended:
            await self._conductor.cancel(execution, by)
        self._changes.notify(task)

    def _rule(self, writer: Writer, caller: Caller, review: str, ruling: RulingRequest) -> _Done:
        case, at = case_of(writer, self._policy.current, caller, review), now()
        require_allowed(case, caller, ruling)
        if ruling.ruling is RulingKind.ESCALATE:
            return _Done(pass_on(writer, case.stored, case.row, case.profile, caller.name, at).id)
        makes = ruling.ruling in _MAKES_EXECUTION
        work = work_of(case, caller, ruling, limits_of_ruling(case, ruling), at) if makes else None
        if work is not None:
            work.trace = writer.trace(case.reviewed.id)
        if self._agreed(writer, case, caller, ruling, at):
            return _Done(case.stored.id)
        message = _message(case, ruling)
        ruled = Ruled(review, ruling.ruling, caller.name, message, ruling.failures or 0, work.id if work else None)
        end_review(writer, case.row, ruled, "decided", at)
        if ruling.ruling is RulingKind.REJECT and ruling.final:
            return _Done(case.stored.id, ended=close_task(writer, case.stored, ruled, "rejected", at))
        stored = writer.append(case.stored, [ruled], at)
        if work is None:
            return _Done(stored.id)
        _remember(writer, case, ruled, work, at)
        self._begin(writer, stored, work, ruling, at)
        return _Done(stored.id, None if ruling.ruling is RulingKind.ANSWER else work)

    @staticmethod
    def _agreed(writer: Writer, case: Case, caller: Caller, ruling: RulingRequest, at: datetime) -> bool:
        """Record that one more person agrees, where others still have to; False where this one decides."""
        asked, proposal = case.asked(), proposal_of(ruling)
        one = approved(asked, ruling.ruling, case.subject(ruling), caller.name, case.guards) if asked else None
        if one is None:
            return False
        writer.append(case.stored, [replace(one, message=ruling.message)], at)
        writer.change_review(replace(case.row, proposal=kept_proposal(proposal, _message(case, ruling))))
        return True

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
            writer.change_review(replace(row, state="withdrawn", decided_by=by, decided_at=stamp(at), proposal=None))


def _message(case: Case, ruling: RulingRequest) -> str:
    asked = case.asked()
    agrees = asked is not None and asked.subject == case.subject(ruling) and bool(asked.approvals)
    return message_of(case.row, ruling, agrees=agrees)


def _remember(writer: Writer, case: Case, ruled: Ruled, work: Work, at: datetime) -> None:
    asked = case.stored.task.review
    if asked is None:
        return
    limits = work.execution.limits
    kept = approval_of(case.row.tenant, asked, ruled.ruling, case.profile, by=ruled.by, limits=limits, at=at)
    if kept is not None:
        writer.keep_approval(kept, at)


def _shown_tries(reader: Reader, case: Case) -> list[StoredExecution]:
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
