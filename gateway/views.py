"""What may be seen: the core's nouns become HTTP shapes here and nowhere else. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType

from gateway.answers import attempts_info
from gateway.bodies import BIT, Body
from gateway.events import EscalationReason, RulingKind, Spared, Status
from gateway.execution_life import LIVE_STATUS
from gateway.guards import Guards
from gateway.lifecycle import Rules, Task, TaskState
from gateway.policy import Ceilings, Profile, Retention
from gateway.records import ExecutionHead, StoredExecution, StoredReview
from gateway.requests import ExecutionRequest
from gateway.times import parse
from gateway.wire_answers import (
    Answer,
    Budget,
    ExecutionSummary,
    ExecutionView,
    Left,
    LimitsInfo,
    NextAction,
    TaskInfo,
    TaskView,
)
from gateway.wire_reviews import DIFFED_LINES, BreachView, Proposal, ReviewSummary, ReviewView, SparedView, TryView

_DIFFED_CHARACTERS = 256 * 1024
_NUMBERS = 256  # pairs of what is left and its limit

_AFTER: Mapping[Status, tuple[NextAction, ...]] = MappingProxyType(
    {
        Status.QUEUED: ("wait",),
        Status.RUNNING: ("wait",),
        Status.SUCCEEDED: ("continue",),
        Status.CANCELLED: ("resubmit_unchanged", "continue"),
        Status.PLATFORM_ERROR: ("resubmit_unchanged",),
        Status.EXPIRED: ("resubmit_unchanged",),
    }
)


def task_info(task: Task, rules: Rules) -> TaskInfo:
    """The task with what it has left."""
    seen = max(task.fingerprints.values(), default=0)
    row_limit = rules.failures_in_a_row if task.row_granted is None else task.row_granted
    return TaskInfo(
        id=task.task_id,
        state=task.state,
        turn=task.turn,
        budget=Budget(
            failures_in_a_row=_left(task.row_left(rules), row_limit),
            failures_total=_left(task.total_left(rules), rules.failures_total + task.total_granted),
            same_failure=_left(max(0, rules.same_failure - seen), rules.same_failure),
            grants=_left(max(0, rules.grants - task.grants), rules.grants),
        ),
        review=task.review.id if task.review else None,
        newest=task.latest,
        closed_reason=task.closed_reason,
        message=task.message or None,
    )


@lru_cache(_NUMBERS)
def _left(left: int, limit: int) -> Left:
    """Made once for each pair of numbers, of which there are few."""
    return Left(left=left, limit=limit)


def next_actions(task: Task, status: Status, answer: Answer) -> list[NextAction]:
    """What the agent can do now, best first."""
    match task.state:
        case TaskState.CLOSED:
            return ["start_new_task"]
        case TaskState.IN_REVIEW:
            return ["wait", "close_task"]
        case TaskState.OPEN:
            actions = list(_AFTER.get(status, ("fix_and_resubmit",)))
            if any(finding.rule.startswith("name.") for finding in answer.findings) and status is Status.REJECTED:
                actions.append("use_force")
            return actions


def _status(row: StoredExecution | ExecutionHead, task: Task) -> Status:
    if row.status is not None:
        return Status(row.status)
    live = task.executions.get(row.id)
    return LIVE_STATUS.get(live.state, Status.QUEUED) if live else Status.QUEUED


def execution_view(
    row: StoredExecution, task: Task, rules: Rules, retention: Retention, answer: Answer | None = None
) -> ExecutionView:
    """An execution, live or answered; `answer` is the row's, where it is at hand."""
    status = _status(row, task)
    if answer is None:
        answer = Answer.model_validate_json(row.answer) if row.answer else _live_answer(row, task)
    return ExecutionView.model_validate(
        {
            **vars(answer),
            "id": row.id,
            "status": status,
            "source": row.answer_source,
            "of": row.of,
            "repeats": row.repeats,
            "retryable": status is Status.PLATFORM_ERROR,
            "submitted_at": parse(row.submitted_at),
            "answered_at": parse(row.answered_at) if row.answered_at else None,
            "retained_until": _retained_until(row, retention),
            "deleted_at": _deleted_at(row),
            "policy": row.policy,
            "policy_name": row.policy_name,
            "profile": row.profile,
            "task": task_info(task, rules),
            "next_actions": next_actions(task, status, answer),
        }
    )


_TOLD: tuple[Body, ...] = (Body.CODE, Body.OUTPUT, Body.FILES)


def _retained_until(row: StoredExecution, retention: Retention) -> dict[str, datetime]:
    """When what is still there may be deleted; without what stays for ever."""
    if row.answered_at is None:
        return {}
    answered, times = parse(row.answered_at), (retention.code, retention.output, retention.files)
    return {
        body.value: answered + timedelta(seconds=seconds)
        for body, seconds in zip(_TOLD, times, strict=True)
        if seconds is not None and row.kept & BIT[body]
    }


def _deleted_at(row: StoredExecution) -> dict[str, datetime]:
    times = (row.code_deleted_at, row.output_deleted_at, row.files_deleted_at)
    return {body.value: parse(at) for body, at in zip(_TOLD, times, strict=True) if at is not None}


def _live_answer(row: StoredExecution, task: Task) -> Answer:
    live = task.executions.get(row.id)
    return Answer(lane=live.lane, attempts=attempts_info(live.attempts)) if live else Answer()


def task_view(
    task: Task, heads: Sequence[ExecutionHead], newest: StoredExecution, rules: Rules, retention: Retention
) -> TaskView:
    """A task with its newest executions, newest first, and the first of them whole."""
    latest = execution_view(newest, task, rules, retention)
    return TaskView(
        **task_info(task, rules).model_dump(),
        executions=[
            ExecutionSummary(
                id=row.id,
                status=_status(row, task),
                submitted_at=parse(row.submitted_at),
                answered_at=parse(row.answered_at) if row.answered_at else None,
            )
            for row in heads
        ],
        latest=latest,
        next_actions=latest.next_actions,
    )


def review_summary(row: StoredReview, task_id: str) -> ReviewSummary:
    """A review as the queue shows it."""
    return ReviewSummary.model_validate(_review_fields(row, task_id))


def _review_fields(row: StoredReview, task_id: str) -> dict[str, object]:
    return {
        "id": row.id,
        "task": task_id,
        "execution": row.execution,
        "reason": EscalationReason(row.reason),
        "state": row.state,
        "opened_at": parse(row.opened_at),
        "expires_at": parse(row.expires_at),
        "ruling": RulingKind(row.ruling) if row.ruling else None,
        "decided_by": row.decided_by,
        "decided_at": parse(row.decided_at) if row.decided_at else None,
        "message": row.message,
        "level": row.level,
        "escalates_at": parse(row.due_at) if row.due_at and row.state == "open" else None,
    }


def review_view(  # noqa: PLR0913  # a reviewer sees all of these together
    row: StoredReview,
    task: Task,
    rows: Sequence[StoredExecution],
    rules: Rules,
    *,
    token: str | None,
    profile: Profile,
    rulings: Sequence[RulingKind],
    guards: Guards,
    agreed: Sequence[str] = (),
    spared: Sequence[Spared] = (),
) -> ReviewView:
    """A review whole; `rows` are the task's executions, newest first, `rulings` those that its reader can take.

    `agreed` are those who said yes to the proposal at hand, as far as that counts; `spared` is what of them ran although it broke rules.
    """
    grants_left = max(0, rules.grants - task.grants)
    reviewed = next((one for one in rows if one.id == row.execution), None)
    return ReviewView.model_validate(
        {
            **_review_fields(row, task.task_id),
            "token": token,
            "submitted_by": reviewed.caller if reviewed else task.by,
            "ceilings": _ceilings(profile.ceilings),
            "grants_left": grants_left,
            "tries": _with_spared(_tries(list(reversed(rows)), task, rules, profile.retention), spared),
            "rulings": list(rulings),
            "people_needed": {kind: guards.needed(kind) for kind in rulings},
            "proposal": _proposal(row, agreed, guards),
            "ruled_execution": row.ruled_execution,
        }
    )


def _with_spared(tries: Sequence[TryView], spared: Sequence[Spared]) -> list[TryView]:
    known = {one.execution: one for one in spared}
    return [
        one.model_copy(update={"spared": spared_view(known[one.execution.id])}) if one.execution.id in known else one
        for one in tries
    ]


def spared_view(spared: Spared) -> SparedView:
    """What a program broke that ran all the same."""
    breaches = [BreachView(rule=one.rule, subject=one.subject, line=one.line) for one in spared.breaches]
    return SparedView(mode=spared.mode, verdict=spared.verdict, breaches=breaches)


def _ceilings(ceilings: Ceilings) -> LimitsInfo:
    return LimitsInfo(
        cpu_cores=ceilings.cpu,
        memory_bytes=ceilings.memory,
        wall_seconds=ceilings.time,
        pids=ceilings.pids,
        disk_bytes=ceilings.disk,
        output_bytes=ceilings.output,
    )


def _proposal(row: StoredReview, agreed: Sequence[str], guards: Guards) -> Proposal | None:
    if row.proposal is None or not agreed or row.state != "open":
        return None
    said = json.loads(row.proposal)
    told = {name: said.get(name) for name in ("ruling", "code", "limits", "failures", "result")}
    told["message"] = said.get("message") or None
    needed = guards.needed(RulingKind(said["ruling"]))
    return Proposal.model_validate({**told, "approved_by": list(agreed), "needed": needed})


def _tries(rows: Sequence[StoredExecution], task: Task, rules: Rules, retention: Retention) -> list[TryView]:
    tries: list[TryView] = []
    before = None
    for row in rows:
        request = ExecutionRequest.model_validate_json(row.request) if row.request else None
        code = request.code if request else None
        diff = _diff(before, code, row.id) if before is not None and code is not None else ""
        shown = execution_view(row, task, rules, retention)
        expect = request.expect if request else None
        tries.append(TryView(execution=shown, code=code or "", expect=expect, diff=diff))
        before = code
    return tries


def _diff(before: str, after: str, name: str) -> str:
    """The time that a comparison takes can grow with the square of the lines, and an agent chooses them."""
    if max(before.count("\n"), after.count("\n")) >= DIFFED_LINES or max(len(before), len(after)) > _DIFFED_CHARACTERS:
        return ""
    lines = difflib.unified_diff(_lines(before), _lines(after), "before", name, lineterm="", n=3)
    return "\n".join(lines)


def _lines(code: str) -> list[str]:
    return code.split("\n")
