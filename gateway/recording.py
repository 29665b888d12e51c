"""How an execution's events and bodies go into one part of a transaction, and what they bring about there.

Effects on the store only; the decisions it carries out are the lifecycle's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.bodies import Sealed, bound, kept, sealed
from gateway.cache import worth_keeping
from gateway.causes import Cause
from gateway.errors import NotYourTurn, TaskClosed
from gateway.events import Answered, Closed, Escalated, Event, Opened, PassedOn, Reconsidered, Status, Submitted
from gateway.lifecycle import Rules, Task, TaskState, begin
from gateway.news import ReviewPassedOn
from gateway.passing import due_at, told
from gateway.policy import Profile
from gateway.quotas import use_of
from gateway.records import Recorded, StoredExecution, StoredReview, StoredSize, StoredTask
from gateway.steps import escalation, is_over
from gateway.times import new_id, parse, stamp
from gateway.views import task_info
from gateway.wire_answers import Answer
from gateway.work import Work, Written
from gateway.writer import Writer

_KEPT_CHARACTERS = 8 << 10  # of a request, beside the execution as long as it is live: what answers it needs none


def require_open(task: Task, rules: Rules) -> None:
    """Refuse a submission to a task that waits for somebody else, saying for whom, and what the task has left."""
    if task.state is TaskState.IN_REVIEW and task.review is not None:
        raise NotYourTurn(
            f"The task {task.task_id} is in review ({task.review.reason}): it is a reviewer's turn.",
            extra={
                "task": task.task_id,
                "turn": "reviewer",
                "review": task.review.id,
                "budget": task_info(task, rules).budget.model_dump(mode="json"),
                "next_actions": ["wait", "close_task"],
            },
        )
    if task.state is TaskState.CLOSED:
        raise TaskClosed(
            f"The task {task.task_id} is over ({task.closed_reason}).",
            extra={
                "task": task.task_id,
                "turn": "nobody",
                "reason": task.closed_reason,
                "message": task.message or None,
                "budget": task_info(task, rules).budget.model_dump(mode="json"),
                "next_actions": ["start_new_task"],
            },
        )


def record_work(writer: Writer, work: Work, events: Sequence[Event], at: datetime) -> Recorded:
    """Append `events` of `work`, keep its bodies, and ask a person if its failure was one too many.

    Raises `NotYourTurn` or `TaskClosed` when the task stopped taking programs before this one
    was recorded.
    """
    stored = _task_of(writer, work, at)
    if isinstance(events[0], Submitted):
        require_open(stored.task, work.rules)
    final = next((event for event in events if isinstance(event, Answered)), None)
    if final is not None and (found := work.memory_found) is not None:
        writer.keep_size(StoredSize(work.tenant, *found, stamp(at)))
    answer = sealed(work.answer) if final and work.answer else None
    row = stored_execution(work, stored.id, final, answer, at)
    before = None
    if work.recorded and any(isinstance(event, Reconsidered) for event in events):
        row, before = _reconsidered(writer, work, row, at)
    stored = writer.append(stored, [bound(event, row, answer, before) for event in events], at)
    _keep_bodies(writer, work, row)
    if (use := use_of(work, events)) is not None:
        writer.add_use(use)
    if final is not None:
        if work.cache_key is not None and worth_keeping(work):
            writer.keep_result(work.cache_key, work.id)
        stored = escalate(writer, stored, work.rules, work.profile, at)
    return Recorded(stored, row if len(row.request) <= _KEPT_CHARACTERS else replace(row, request=""))


def cancel_live(writer: Writer, stored: StoredTask, by: str, at: datetime) -> list[Event]:
    """Answer what a task that ends still runs, and return the events: nobody else could after the end.

    The conductor has to be told afterwards, so that it lets go of the programs.
    """
    answer = sealed(Answer(cause=Cause.CANCELLED))
    for execution in stored.task.executions:
        row = writer.execution(execution)
        if row is not None:
            writer.answer_execution(
                replace(
                    row,
                    status=Status.CANCELLED.value,
                    answer_source="program",
                    answer=answer.text,
                    answered_at=stamp(at),
                    kept=kept(answered=True, files=False, key=row.idempotency_key is not None),
                )
            )
    return [
        Answered(
            execution,
            Status.CANCELLED,
            0,
            by=by,
            cause=Cause.CANCELLED,
            remains=answer.remains,
            output=answer.output,
        )
        for execution in stored.task.executions
    ]


def _task_of(writer: Writer, work: Work, at: datetime) -> StoredTask:
    found = writer.task(work.task) if work.task is not None else writer.task_named(work.tenant, work.task_id)
    if found is not None:
        return found
    opened = Opened(work.tenant, work.task_id, work.caller, work.anonymous)
    return writer.open_task(new_id("tsk"), begin(opened), opened, at)


def _keep_bodies(writer: Writer, work: Work, row: StoredExecution) -> None:
    if not work.recorded:
        if not work.policy_kept:
            writer.keep_policy(work.profile.digest, work.profile.document, work.submitted_at)
        if work.replaces is not None:
            writer.release_key(work.replaces)
        writer.add_execution(row)
        if work.trace is not None:
            writer.keep_trace(work.id, work.trace)
    elif row.answered_at is not None:
        writer.answer_execution(row)
    if row.answered_at is not None and work.answer is not None and work.answer.files and work.outcome is not None:
        writer.add_files(work.id, [(file.path, file.content) for file in work.outcome.files])


def _reconsidered(writer: Writer, work: Work, row: StoredExecution, at: datetime) -> tuple[StoredExecution, str | None]:
    """Keep the policy that decides now; returns the row with all that is bound of it, and the policy that decided before."""
    known = writer.execution(work.id)
    if not work.policy_kept:
        writer.keep_policy(work.profile.digest, work.profile.document, at)
    writer.reconsider_execution(row)
    return (replace(row, request_digest=known.request_digest), known.policy) if known else (row, None)


def stored_execution(
    work: Work, task: str, final: Answered | None, answer: Sealed | None, at: datetime
) -> StoredExecution:
    """The row of an execution; `final` is its answer's event, if it has one. What is recorded of its request is left out."""
    request = work.written or Written("", "", "")
    return StoredExecution(
        id=work.id,
        task=task,
        tenant=work.tenant,
        caller=work.caller,
        profile=work.profile.name,
        policy=work.profile.digest,
        policy_name=work.profile.policy,
        source=work.execution.source,
        of=work.of,
        idempotency_key=work.idempotency_key,
        request_digest=request.digest,
        request=request.text,
        submitted_at=stamp(work.submitted_at),
        status=final.status.value if final else None,
        answer_source=final.source if final else None,
        repeats=final.repeats if final else None,
        answer=answer.text if answer else None,
        answered_at=stamp(at) if final else None,
        kept=kept(
            final is not None, files=bool(work.answer and work.answer.files), key=work.idempotency_key is not None
        ),
    )


def escalate(writer: Writer, stored: StoredTask, rules: Rules, profile: Profile, at: datetime) -> StoredTask:
    """Open a review where the lifecycle asks for one, and end the task where it is over without."""
    reason, failure = escalation(stored.task, rules), stored.task.last_failure
    if reason is None or failure is None:
        return _end(writer, stored, at) if is_over(stored.task, rules) else stored
    review, due = new_id("rev"), due_at(at, 0, profile.review.escalate)
    writer.add_review(
        StoredReview(
            id=review,
            task=stored.id,
            tenant=stored.task.tenant,
            execution=failure.execution,
            reason=reason.value,
            state="open",
            opened_at=stamp(at),
            expires_at=stamp(at + timedelta(seconds=profile.review.expires)),
            due_at=stamp(due) if due else None,
        )
    )
    return writer.append(stored, [Escalated(review, failure.execution, reason)], at, told(0, profile))


def _end(writer: Writer, stored: StoredTask, at: datetime) -> StoredTask:
    """The budget is spent, and the policy has nobody look. What still runs finds its task closed, and ends."""
    message = "The task has failed as often as it may, and the policy has no person look at it."
    events = cancel_live(writer, stored, "policy", at)
    return writer.append(stored, [*events, Closed("policy", "budget_exhausted", message)], at)


def pass_on(  # noqa: PLR0913, PLR0917  # a review with its task, and who passes it on
    writer: Writer, stored: StoredTask, row: StoredReview, profile: Profile, by: str, at: datetime
) -> StoredTask:
    """Have the next level asked too."""
    level = row.level + 1
    due = due_at(parse(row.opened_at), level, profile.review.escalate)
    passed = replace(row, level=level, due_at=stamp(due) if due else None)
    writer.change_review(passed)
    writer.news.append(ReviewPassedOn(passed, by, writer.trace(row.execution)))
    return writer.append(stored, [PassedOn(row.id, level, by)], at, told(level, profile))
