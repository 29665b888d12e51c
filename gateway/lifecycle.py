"""The life of a task and of its executions: what can happen, as literal tables, and what it changes.

Rule 1: all that an event does to a task stands here. Rule 2: nothing here reads a clock, a
file, a socket, the environment or chance; ids and times are arguments. What the gateway should
do next is decided in `steps.py`, from what stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, TypedDict, TypeVar

from gateway.causes import Cause, cause_of_ending
from gateway.events import (
    BEFORE_THE_RUN,
    Admitted,
    Answered,
    Approval,
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
    Verdict,
)
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Fault


class TaskState(StrEnum):
    """Whether a task takes programs."""

    OPEN = "open"
    IN_REVIEW = "in_review"
    CLOSED = "closed"


class State(StrEnum):
    """Where an execution is; who has to move it on."""

    RECEIVED = "received"  # the gateway: check it
    CHECKED = "checked"  # the gateway: rule on the findings
    QUEUED = "queued"  # the gateway: run it in its lane
    RUNNING = "running"  # the lane: finish it
    FINISHED = "finished"  # the gateway: rule on the outcome
    ANSWERED = "answered"  # nobody


Turn: TypeAlias = Literal["agent", "gateway", "reviewer", "nobody"]

# state -> event -> state. What is not written here cannot happen.
EXECUTION_TRANSITIONS: Mapping[State, Mapping[type[Event], State]] = MappingProxyType(
    {
        State.RECEIVED: {Checked: State.CHECKED, Answered: State.ANSWERED},
        State.CHECKED: {Spared: State.CHECKED, Admitted: State.QUEUED, Answered: State.ANSWERED},
        State.QUEUED: {Started: State.RUNNING, Reconsidered: State.RECEIVED, Answered: State.ANSWERED},
        State.RUNNING: {Finished: State.FINISHED, Answered: State.ANSWERED},
        State.FINISHED: {Admitted: State.QUEUED, Answered: State.ANSWERED},
        State.ANSWERED: {},
    }
)
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
LIVE_STATUS: Mapping[State, Status] = MappingProxyType(
    {
        State.RECEIVED: Status.QUEUED,
        State.CHECKED: Status.QUEUED,
        State.QUEUED: Status.QUEUED,
        State.RUNNING: Status.RUNNING,
        State.FINISHED: Status.RUNNING,
    }
)


HELD: Final = "held"
"""The fingerprint of an answer that is no failure: a person decides about the program first."""


class IllegalEvent(Exception):
    """The event cannot happen in this state."""


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
class Attempt:
    """One try: its number is its fence; `ending` is None while it runs."""

    number: int
    lane: Lane
    limits: Limits
    ending: Ending | None = None
    cause: Cause | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)  # without slots: see `_with`
class Execution:
    """One submitted program on its way to its answer; for the bytes see `Submitted` and `Checked`."""

    id: str
    state: State
    digest: str
    limits: Limits
    by: str
    source: Literal["agent", "reviewer"]
    verdict: Verdict | None = None
    lane: Lane | None = None
    attempts: tuple[Attempt, ...] = ()
    fault: Fault | None = None
    fingerprint: str | None = None
    memory_max_bytes: int | None = None
    memory_found_bytes: int | None = None
    held_for: EscalationReason | None = None
    approval: Approval | None = None
    reconsidered: bool = False  # and nothing was begun since

    @property
    def losses(self) -> int:
        """Attempts that the platform lost."""
        return sum(attempt.ending is Ending.LOST for attempt in self.attempts)


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


_Kind = TypeVar("_Kind", Task, Execution)


def _with(old: _Kind, changes: Mapping[str, object], **more: object) -> _Kind:
    """`dataclasses.replace` in a tenth of its time, for what changes with every event: neither kind has an `__init__` of its own."""
    new = object.__new__(type(old))
    new.__dict__.update(old.__dict__)
    new.__dict__.update(changes, **more)
    return new


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
    return _with(task, changes, seq=task.seq + 1)


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
    try:
        state = TASK_TRANSITIONS[task.state][type(event)]
    except KeyError:
        raise IllegalEvent(f"{type(event).__name__} while {task.state}") from None
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


def received(event: Submitted) -> Execution:
    """The execution that a submission makes."""
    return Execution(
        id=event.execution,
        state=State.RECEIVED,
        digest=event.digest,
        limits=event.limits,
        by=event.by,
        source=event.source,
        memory_max_bytes=event.memory_max_bytes,
    )


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


def advance(execution: Execution, event: Event) -> Execution:
    """The execution after an event of its own; raises `IllegalEvent` as `apply` does."""
    try:
        state = EXECUTION_TRANSITIONS[execution.state][type(event)]
    except KeyError:
        raise IllegalEvent(f"{type(event).__name__} while {execution.state}") from None
    match event:
        case Checked(verdict=verdict, lane=lane, memory_bytes=found):
            said = {"memory_found_bytes": found, "held_for": event.reason, "approval": event.approval}
            most = _memory_max_bytes(execution, event.approval)
            return _with(
                execution, {"state": state, "verdict": verdict, "lane": lane, "memory_max_bytes": most, **said}
            )
        case Admitted(lane=lane, limits=limits):
            return _with(execution, {"state": state, "lane": lane, "limits": limits})
        case Reconsidered(limits=limits, memory_max_bytes=most):
            if execution.attempts:
                raise IllegalEvent("decided anew after an attempt")
            forgotten = dict.fromkeys(("verdict", "lane", "memory_found_bytes", "held_for", "approval"))
            now = {"state": state, "limits": limits, "memory_max_bytes": most, "reconsidered": True}
            return _with(execution, now, **forgotten)
        case Started(attempt=number, lane=lane):
            if number != len(execution.attempts) + 1:
                raise IllegalEvent(f"attempt {number} after {len(execution.attempts)}")
            attempts = (*execution.attempts, Attempt(number, lane, execution.limits))
            return _with(execution, {"state": state, "attempts": attempts, "reconsidered": False})
        case Finished(attempt=number, ending=ending):
            if number != len(execution.attempts):
                raise IllegalEvent(f"attempt {number} finished, but {len(execution.attempts)} is running")
            was, cause = execution.attempts[-1], event.cause or cause_of_ending(ending)
            ended = Attempt(number, was.lane, was.limits, ending, cause, event.peak_memory_bytes)
            attempts = (*execution.attempts[:-1], ended)
            return _with(
                execution,
                {"state": state, "attempts": attempts, "fault": event.fault, "fingerprint": event.fingerprint},
            )
        case _:
            return _with(execution, {"state": state})


def _memory_max_bytes(execution: Execution, approval: Approval | None) -> int | None:
    """How far the platform may raise the memory: not at all where a person gave another amount than was asked for."""
    given = approval is not None and approval.limits.memory_bytes != execution.limits.memory_bytes
    return None if given else execution.memory_max_bytes


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
