"""The decisions: what the gateway does next about an execution, and when a person is asked.

Pure, like the lifecycle whose states it reads. `next_step` gives an effect for the conductor, a
ruling to record, or None when it is somebody else's turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

from gateway.causes import KINDS, Cause
from gateway.events import BEFORE_THE_RUN, Admitted, Answered, EscalationReason, Status, Verdict
from gateway.execution_life import Execution, State
from gateway.lifecycle import HELD, Failure, Rules, Task, TaskState
from sandbox.job import Lane, Limits

STATUS_OF: Mapping[Cause, Status] = MappingProxyType(
    {
        Cause.INVALID: Status.REJECTED,
        Cause.TOO_COMPLEX: Status.REJECTED,
        Cause.FIX_FIRST: Status.REJECTED,
        Cause.INEXACT: Status.REJECTED,
        Cause.DENIED: Status.DENIED,
        Cause.HELD: Status.DENIED,
        Cause.POLICY_CHANGED: Status.DENIED,
        Cause.BAD_RESULT: Status.FAILED,
        Cause.EXCEPTION: Status.FAILED,
        Cause.EXIT_CODE: Status.FAILED,
        Cause.SIGNAL: Status.FAILED,
        Cause.TIMED_OUT: Status.TIMED_OUT,
        Cause.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
        Cause.OUTPUT_LIMIT_EXCEEDED: Status.OUTPUT_LIMIT_EXCEEDED,
        Cause.CANCELLED: Status.CANCELLED,
        Cause.EXPIRED: Status.EXPIRED,
    }
)
"""What an answer says; what is not here is the platform's error, and a repetition is what it repeats."""

_MORE_MEMORY = 2  # times what it had
_PEAK_AND_MORE = 1.25  # times what it was seen to use


# Effects: what the conductor does for the core.
@dataclass(frozen=True, slots=True)
class Check:
    """Run the checks on the program."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run attempt `attempt` in `lane`."""

    attempt: int
    lane: Lane
    limits: Limits


Step: TypeAlias = Check | Run | Admitted | Answered


def next_step(execution: Execution, failures: Mapping[str, Failure], rules: Rules) -> Step | None:
    """What the gateway should do about an execution: an effect, a ruling, or None on another's turn.

    `failures` are the task's failed programs by digest.
    """
    match execution.state:
        case State.RECEIVED:
            return _repeated(execution, failures) or Check()
        case State.CHECKED:
            return _rule_on_checks(execution, rules)
        case State.QUEUED if execution.lane is not None:
            return Run(len(execution.attempts) + 1, execution.lane, execution.limits)
        case State.FINISHED:
            return _rule_on_outcome(execution, rules)
        case _:
            return None


def _repeated(execution: Execution, failures: Mapping[str, Failure]) -> Answered | None:
    """A reviewer may run what failed before; an agent gets the record again, and is charged for asking, which it does once."""
    known = failures.get(execution.digest)
    if known is None or execution.source == "reviewer" or execution.reconsidered:
        return None
    return Answered(
        execution.id,
        known.status,
        1,
        fingerprint=known.fingerprint,
        source="record",
        repeats=known.execution,
        cause=Cause.REPEATED,
    )


def _rule_on_checks(execution: Execution, rules: Rules) -> Admitted | Answered:
    match execution.verdict:
        case Verdict.ADMIT:
            return _admitted(execution, execution.lane or Lane.CONTAINER)
        case None:
            raise ValueError(f"{execution.id} was checked without a verdict")
        case Verdict.HELD if (said := execution.approval) is not None:
            admitted = _admitted(replace(execution, limits=said.limits), execution.lane or Lane.CONTAINER)
            return replace(admitted, by=said.by, review=said.review)
        case Verdict.HELD:
            return _failed(execution, Cause.HELD, rules, HELD)
        case _ if execution.reconsidered:  # it was admitted when it was sent: the change is not its agent's fault
            return _failed(execution, Cause.POLICY_CHANGED, rules, None)
        case verdict:
            fingerprint = "denied" if verdict is Verdict.DENIED else f"rejected:{verdict}"
            return _failed(execution, Cause(verdict.value), rules, fingerprint)


def _admitted(execution: Execution, lane: Lane) -> Admitted:
    """A first run in this lane; a box begins with the memory that such programs were found to need."""
    limits, found, most = execution.limits, execution.memory_found_bytes, execution.memory_max_bytes
    if lane is Lane.CONTAINER and found is not None and most is not None:
        limits = replace(limits, memory_bytes=max(limits.memory_bytes, min(found, most)))
    return Admitted(execution.id, lane, limits)


def _rule_on_outcome(execution: Execution, rules: Rules) -> Admitted | Answered:
    cause = execution.attempts[-1].cause
    match cause:
        case None:
            return Answered(execution.id, Status.SUCCEEDED, 0)
        case Cause.LANE:
            return _admitted(execution, Lane.CONTAINER)
        case Cause.MEMORY_SHORT if (more := more_memory_bytes(execution)) is not None:
            return Admitted(execution.id, Lane.CONTAINER, replace(execution.limits, memory_bytes=more))
        case _ if KINDS[cause].again == "gateway" and execution.losses < rules.platform_attempts:
            return Admitted(execution.id, execution.lane or Lane.CONTAINER, execution.limits)
        case _:
            return _failed(execution, cause, rules, execution.fingerprint)


def more_memory_bytes(execution: Execution) -> int | None:
    """What the platform gives a program that ran out of memory just now; None where it had all that it may have."""
    had, most = execution.attempts[-1].limits.memory_bytes, execution.memory_max_bytes
    if most is None or had >= most:
        return None
    peak = execution.attempts[-1].peak_memory_bytes or 0
    return min(most, max(_MORE_MEMORY * had, int(_PEAK_AND_MORE * peak)))


def not_started(execution: Execution, cause: Cause, rules: Rules) -> Answered:
    """The answer of an execution whose turn did not come in time."""
    return _failed(execution, cause, rules, None)


def _failed(execution: Execution, cause: Cause, rules: Rules, fingerprint: str | None) -> Answered:
    charges = {"nothing": 0, "1": 1, "costs.policy_denied": rules.cost_denied}
    status = STATUS_OF.get(cause, Status.PLATFORM_ERROR)
    return Answered(execution.id, status, charges[KINDS[cause].charge], fingerprint=fingerprint, cause=cause)


def escalation(task: Task, rules: Rules) -> EscalationReason | None:
    """Why a person has to look at the task now, if so. Asked after every answer."""
    if task.state is not TaskState.OPEN or task.last_failure is None:
        return None
    if task.last_failure.reason in BEFORE_THE_RUN:
        return task.last_failure.reason
    if not task.in_a_row:
        return None
    if task.last_failure.reason is EscalationReason.POLICY_DENIED and EscalationReason.POLICY_DENIED in rules.when:
        return EscalationReason.POLICY_DENIED
    stuck = max(task.fingerprints.values(), default=0) >= rules.same_failure
    if stuck and EscalationReason.STUCK in rules.when:
        return EscalationReason.STUCK
    if _spent(task, rules) and EscalationReason.BUDGET_EXHAUSTED in rules.when:
        return EscalationReason.BUDGET_EXHAUSTED
    return None


def is_over(task: Task, rules: Rules) -> bool:
    """Whether the task has spent its budget, and nobody is asked because of it: then it ends. Asked after every answer."""
    unasked = EscalationReason.BUDGET_EXHAUSTED not in rules.when and escalation(task, rules) is None
    return unasked and task.state is TaskState.OPEN and bool(task.in_a_row) and _spent(task, rules)


def _spent(task: Task, rules: Rules) -> bool:
    return not task.row_left(rules) or not task.total_left(rules)
