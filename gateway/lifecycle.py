"""The life of a task: what can happen, as a literal table, and what it changes; for its executions see `execution_life`.

Rule 1: all that an event does stands in these two modules. Rule 2: nothing there reads a clock, a
file, a socket, the environment or chance; ids and times are arguments. What the gateway should
do next is decided in `steps.py`, from what stands there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, TypedDict

from gateway.causes import Cause
from gateway.events import (
    BEFORE_THE_RUN,
    Admitted,
    Answered,
    Approved,
    Checked,
    Closed,
    Escalated,
    EscalationReason,
    Event,
    Finished,
    Opened,
    PassedOn,
    Reconsidered,
    Ruled,
    RulingKind,
    Spared,
    Started,
    Status,
    Submitted,
)
from gateway.execution_life import Execution, IllegalEvent, advance, changed, following, received
from sandbox.job import Limits


class TaskState(StrEnum):
    """Whether a task takes programs."""

    OPEN = "open"
    IN_REVIEW = "in_review"
    CLOSED = "closed"


Turn: TypeAlias = Literal["agent", "gateway", "reviewer", "nobody"]

# state -> event -> state. What is not written here cannot happen.
TASK_TRANSITIONS: Mapping[TaskState, Mapping[type[Event], TaskState]] = MappingProxyType(
    {
        TaskState.OPEN: {
            Submitted: TaskState.OPEN,
            Escalated: TaskState.IN_REVIEW,
            Closed: TaskState.CLOSED,
        },
        TaskState.IN_REVIEW: {
            Approved: TaskState.IN_REVIEW,
            PassedOn: TaskState.IN_REVIEW,
            Ruled: TaskState.OPEN,
            Closed: TaskState.CLOSED,
        },
        TaskState.CLOSED: {},
    }
)


HELD: Final = "held"
"""The fingerprint of an answer that is no failure: a person decides about the program first."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the policy that bound a task. `grants` bounds the people, `platform_attempts` the platform.

    `when` is when a person is asked. A budget that is spent without one ends the task.
    """

    failures_in_a_row: int
    failures_total: int
    same_failure: int
    cost_denied: int
    platform_attempts: int
    grants: int
    when: frozenset[EscalationReason] = frozenset({EscalationReason.BUDGET_EXHAUSTED, EscalationReason.STUCK})


@dataclass(frozen=True, slots=True)
class OpenReview:
    """The question that a person has not answered yet; `by` is the agent who may not answer it.

    `approvals` are those who said yes to `subject` so far, the author first; `level` is how often it was passed on.
    """

    id: str
    execution: str
    digest: str
    limits: Limits
    by: str
    reason: EscalationReason
    level: int = 0
    subject: str | None = None
    approvals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A program that failed by its own fault, kept to answer its repetition from the record."""

    execution: str
    status: Status
    fingerprint: str | None


@dataclass(frozen=True)
class Task:
    """What an agent is trying to do, and what it has left to try with.

    `executions` holds only those without an answer, so a task's size is bounded by its budget
    and not by its history.
    """

    tenant: str
    task_id: str
    by: str
    anonymous: bool
    state: TaskState = TaskState.OPEN
    seq: int = 1
    in_a_row: int = 0
    total: int = 0
    row_granted: int | None = None
    total_granted: int = 0
    grants: int = 0
    fingerprints: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    executions: Mapping[str, Execution] = field(default_factory=dict)
    latest: str | None = None
    last_failure: OpenReview | None = None
    review: OpenReview | None = None
    closed_reason: str | None = None
    message: str = ""

    @property
    def turn(self) -> Turn:
        """Who has to move."""
        match self.state:
            case TaskState.CLOSED:
                return "nobody"
            case TaskState.IN_REVIEW:
                return "reviewer"
            case TaskState.OPEN:
                return "gateway" if self.executions else "agent"

    def row_left(self, rules: Rules) -> int:
        """Failures in a row that are left before a person is asked."""
        limit = rules.failures_in_a_row if self.row_granted is None else self.row_granted
        return max(0, limit - self.in_a_row)

    def total_left(self, rules: Rules) -> int:
        """Failures that are left in all."""
        return max(0, rules.failures_total + self.total_granted - self.total)


def begin(event: Opened) -> Task:
    """The task that its first event makes."""
    return Task(tenant=event.tenant, task_id=event.task_id, by=event.by, anonymous=event.anonymous)


def fold(events: Iterable[Event]) -> Task:
    """The task that a whole log makes; raises `IllegalEvent` where the log cannot have happened."""
    first, *rest = events
    if not isinstance(first, Opened):
        raise IllegalEvent(f"{type(first).__name__} before the task was opened")
    task = begin(first)
    for event in rest:
        task = apply(task, event)
    return task


def apply(task: Task, event: Event) -> Task:
    """The task after `event`; raises `IllegalEvent`, and changes nothing, where the tables do not have it."""
    changes = _on_execution(task, event) if isinstance(event, _OF_EXECUTION) else _on_task(task, event)
    return changed(task, changes, seq=task.seq + 1)


_OF_EXECUTION = (Checked, Spared, Admitted, Reconsidered, Started, Finished, Answered)


class _Changes(TypedDict, total=False):
    """The fields that an event changes: each event makes one new task of the old one."""

    state: TaskState
    in_a_row: int
    total: int
    row_granted: int | None
    total_granted: int
    grants: int
    fingerprints: Mapping[str, int]
    failures: Mapping[str, Failure]
    executions: Mapping[str, Execution]
    latest: str
    last_failure: OpenReview
    review: OpenReview | None
    closed_reason: str
    message: str


def _on_task(task: Task, event: Event) -> _Changes:
    state = following(TASK_TRANSITIONS, task.state, event)
    match event:
        case Submitted():
            return {"state": state, **_submitted(task, event)}
        case Escalated(review=review, execution=execution, reason=reason):
            seen = task.last_failure
            if seen is None or seen.execution != execution:
                raise IllegalEvent("a review of what did not fail last")
            asked = replace(seen, reason=EscalationReason.BUDGET_EXHAUSTED)  # once about one
            return {"state": state, "review": replace(seen, id=review, reason=reason), "last_failure": asked}
        case Approved():
            reviewed = _reviewed(task, event.review)
            before = reviewed.approvals if reviewed.subject == event.subject else ()
            approved = replace(reviewed, subject=event.subject, approvals=(*before, event.by))
            return {"state": state, "review": approved}
        case PassedOn(level=level):
            reviewed = _reviewed(task, event.review)
            if level != reviewed.level + 1:
                raise IllegalEvent(f"level {level} after {reviewed.level}")
            return {"state": state, "review": replace(reviewed, level=level)}
        case Ruled():
            return {"state": state, **_ruled(task, event)}
        case Closed(reason=reason, message=message):
            return {"state": state, "review": None, "closed_reason": reason, "message": message, "executions": {}}
        case _:
            raise IllegalEvent(f"{type(event).__name__} while {task.state}")


def _submitted(task: Task, event: Submitted) -> _Changes:
    if event.execution in task.executions:
        raise IllegalEvent(f"{event.execution} was submitted already")
    return {"executions": {**task.executions, event.execution: received(event)}, "latest": event.execution}


def _reviewed(task: Task, review: str) -> OpenReview:
    if task.review is None or task.review.id != review:
        raise IllegalEvent("a ruling on what is not under review")
    return task.review


def _ruled(task: Task, event: Ruled) -> _Changes:
    ended: _Changes = {"review": None, "message": event.message}
    if _reviewed(task, event.review).reason in BEFORE_THE_RUN and event.ruling is not RulingKind.GRANT:
        return ended
    match event.ruling:
        case RulingKind.ESCALATE:
            raise IllegalEvent("passing a review on does not end it")
        case RulingKind.GRANT:
            allowed, grants = event.failures, 1
        case RulingKind.APPROVE | RulingKind.APPROVE_EDITED | RulingKind.RAISE_LIMITS:
            allowed, grants = 1, 1
        case RulingKind.REJECT | RulingKind.ANSWER:
            allowed, grants = 1, 0
    return {**ended, "grants": task.grants + grants, **_allow(task, allowed)}


def _allow(task: Task, failures: int) -> _Changes:
    """Let the task fail this often again; every grant also lifts the total, or it would be worth nothing."""
    return {
        "in_a_row": 0,
        "row_granted": failures,
        "total_granted": task.total_granted + failures,
        "fingerprints": {},
    }


def _on_execution(
    task: Task, event: Checked | Spared | Admitted | Reconsidered | Started | Finished | Answered
) -> _Changes:
    execution = task.executions.get(event.execution)
    if execution is None:
        raise IllegalEvent(f"{type(event).__name__} for {event.execution}, which is not live")
    execution = advance(execution, event)
    if isinstance(event, Answered):
        return _answered(task, execution, event)
    return {"executions": {**task.executions, execution.id: execution}}


def _answered(task: Task, execution: Execution, event: Answered) -> _Changes:
    rest: _Changes = {"executions": {key: value for key, value in task.executions.items() if key != execution.id}}
    if event.status is Status.SUCCEEDED:
        return {**rest, "in_a_row": 0, "row_granted": None, "fingerprints": {}}
    agent = execution.by if execution.source == "agent" else task.by
    if event.fingerprint == HELD and task.state is TaskState.OPEN:
        held_for = execution.held_for or EscalationReason.ABOVE_DEFAULT  # of which alone earlier logs know
        return {**rest, "last_failure": _seen(execution, agent, held_for)}
    if not event.charge:
        return rest
    fingerprint = event.fingerprint or event.status.value
    return {
        **rest,
        "in_a_row": task.in_a_row + event.charge,
        "total": task.total + event.charge,
        "fingerprints": {**task.fingerprints, fingerprint: task.fingerprints.get(fingerprint, 0) + 1},
        "failures": {**task.failures, execution.digest: Failure(execution.id, event.status, event.fingerprint)},
        "last_failure": _seen(execution, agent, _reason(event)),
    }


def _reason(event: Answered) -> EscalationReason:
    denied = event.cause is Cause.DENIED
    return EscalationReason.POLICY_DENIED if denied else EscalationReason.BUDGET_EXHAUSTED


def _seen(execution: Execution, agent: str, reason: EscalationReason) -> OpenReview:
    """What a person would look at, if one is asked."""
    return OpenReview("", execution.id, execution.digest, execution.limits, agent, reason)
