"""The decisions: what the gateway does next about an execution, when a person is asked, which rulings are taken.

Pure, like the lifecycle whose states it reads. `next_step` gives an effect for the conductor, a
ruling to record, or None when it is somebody else's turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from gateway.events import Admitted, Answered, EscalationReason, RulingKind, Status, Verdict
from gateway.lifecycle import HELD, Execution, Failure, Rules, State, Task, TaskState
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Fault

STATUS_OF_ENDING: Mapping[Ending, Status] = MappingProxyType(
    {
        Ending.SUCCEEDED: Status.SUCCEEDED,
        Ending.FAILED: Status.FAILED,
        Ending.TIMED_OUT: Status.TIMED_OUT,
        Ending.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
        Ending.OUTPUT_LIMIT_EXCEEDED: Status.OUTPUT_LIMIT_EXCEEDED,
    }
)


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
    """A reviewer may run what failed before; an agent gets the record again, and is charged for asking."""
    known = failures.get(execution.digest)
    if known is None or execution.source == "reviewer":
        return None
    return Answered(
        execution.id, known.status, 1, fingerprint=known.fingerprint, source="record", repeats=known.execution
    )


def _rule_on_checks(execution: Execution, rules: Rules) -> Admitted | Answered:
    match execution.verdict:
        case Verdict.ADMIT:
            return Admitted(execution.id, execution.lane or Lane.CONTAINER, execution.limits)
        case Verdict.DENIED:
            return Answered(execution.id, Status.DENIED, rules.cost_denied, fingerprint="denied")
        case Verdict.HELD:
            return Answered(execution.id, Status.DENIED, 0, fingerprint=HELD)
        case verdict:
            return Answered(execution.id, Status.REJECTED, 1, fingerprint=f"rejected:{verdict}")


def _rule_on_outcome(execution: Execution, rules: Rules) -> Admitted | Answered:
    ending = execution.attempts[-1].ending
    if ending is Ending.UNSUPPORTED:
        return Admitted(execution.id, Lane.CONTAINER, execution.limits)
    if ending is None or execution.fault is Fault.PLATFORM:
        if execution.losses < rules.platform_attempts:
            return Admitted(execution.id, execution.lane or Lane.CONTAINER, execution.limits)
        return Answered(execution.id, Status.PLATFORM_ERROR, 0)
    charge = 1 if execution.fault is Fault.CODE else 0
    return Answered(execution.id, STATUS_OF_ENDING[ending], charge, fingerprint=execution.fingerprint)


def escalation(task: Task, rules: Rules) -> EscalationReason | None:
    """Why a person has to look at the task now, if so. Asked after every answer."""
    if task.state is not TaskState.OPEN or task.last_failure is None:
        return None
    if task.last_failure.reason is EscalationReason.ABOVE_DEFAULT_LIMITS:
        return EscalationReason.ABOVE_DEFAULT_LIMITS
    if not task.in_a_row:
        return None
    if max(task.fingerprints.values(), default=0) >= rules.same_failure:
        return EscalationReason.STUCK
    if not task.row_left(rules) or not task.total_left(rules):
        return EscalationReason.BUDGET_EXHAUSTED
    return None


class Refusal(StrEnum):
    """Why a ruling is not taken."""

    DECIDED = "decided"  # the review is not open any more
    STALE = "stale"  # the reviewer looked at something else
    SELF_REVIEW = "self_review"  # the reviewer wrote the program
    GRANTS_SPENT = "grants_spent"  # people have let this task go on often enough


def review_token(task: Task, policy_digest: str) -> str | None:
    """What a ruling must echo: it changes with anything that the reviewer saw. None without an open review."""
    if task.review is None:
        return None
    seen = (task.review.id, task.review.digest, repr(task.review.limits), policy_digest, str(task.seq))
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()


def refusal(  # noqa: PLR0913  # a ruling is judged on all of these together
    task: Task, *, review: str, token: str, policy_digest: str, kind: RulingKind, by: str, rules: Rules
) -> Refusal | None:
    """Why this ruling may not be taken, or None when it may."""
    if task.review is None or task.review.id != review:
        return Refusal.DECIDED
    if token != review_token(task, policy_digest):
        return Refusal.STALE
    if by == task.review.by:
        return Refusal.SELF_REVIEW
    if kind not in {RulingKind.REJECT, RulingKind.ANSWER} and task.grants >= rules.grants:
        return Refusal.GRANTS_SPENT
    return None
