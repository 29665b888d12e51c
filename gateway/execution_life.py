"""The life of one execution: what can happen to it, as a literal table, and what that changes. Pure, as `lifecycle` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeVar

from gateway.causes import Cause, cause_of_ending
from gateway.events import (
    Admitted,
    Answered,
    Approval,
    Checked,
    EscalationReason,
    Event,
    Finished,
    Reconsidered,
    Spared,
    Started,
    Status,
    Submitted,
    Verdict,
)
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Fault


class State(StrEnum):
    """Where an execution is; who has to move it on."""

    RECEIVED = "received"  # the gateway: check it
    CHECKED = "checked"  # the gateway: rule on the findings
    QUEUED = "queued"  # the gateway: run it in its lane
    RUNNING = "running"  # the lane: finish it
    FINISHED = "finished"  # the gateway: rule on the outcome
    ANSWERED = "answered"  # nobody


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
LIVE_STATUS: Mapping[State, Status] = MappingProxyType(
    {
        State.RECEIVED: Status.QUEUED,
        State.CHECKED: Status.QUEUED,
        State.QUEUED: Status.QUEUED,
        State.RUNNING: Status.RUNNING,
        State.FINISHED: Status.RUNNING,
    }
)


class IllegalEvent(Exception):
    """The event cannot happen in this state."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: its number is its fence; `ending` is None while it runs."""

    number: int
    lane: Lane
    limits: Limits
    ending: Ending | None = None
    cause: Cause | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)  # without slots: see `changed`
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


_Kind = TypeVar("_Kind")
_State = TypeVar("_State", bound=StrEnum)


def changed(old: _Kind, changes: Mapping[str, object], **more: object) -> _Kind:
    """`dataclasses.replace` in a tenth of its time, for what changes with every event: a data class without slots and without an `__init__` of its own."""
    new = object.__new__(type(old))
    new.__dict__.update(old.__dict__)
    new.__dict__.update(changes, **more)
    return new


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


def following(table: Mapping[_State, Mapping[type[Event], _State]], state: _State, event: Event) -> _State:
    """The state after `event`; raises `IllegalEvent` where the table does not have it."""
    try:
        return table[state][type(event)]
    except KeyError:
        raise IllegalEvent(f"{type(event).__name__} while {state}") from None


def advance(execution: Execution, event: Event) -> Execution:
    """The execution after an event of its own; raises `IllegalEvent`, and changes nothing, where the table does not have it."""
    state = following(EXECUTION_TRANSITIONS, execution.state, event)
    match event:
        case Checked(verdict=verdict, lane=lane, memory_bytes=found):
            said = {"memory_found_bytes": found, "held_for": event.reason, "approval": event.approval}
            most = _memory_max_bytes(execution, event.approval)
            return changed(
                execution, {"state": state, "verdict": verdict, "lane": lane, "memory_max_bytes": most, **said}
            )
        case Admitted(lane=lane, limits=limits):
            return changed(execution, {"state": state, "lane": lane, "limits": limits})
        case Reconsidered(limits=limits, memory_max_bytes=most):
            if execution.attempts:
                raise IllegalEvent("decided anew after an attempt")
            forgotten = dict.fromkeys(("verdict", "lane", "memory_found_bytes", "held_for", "approval"))
            now = {"state": state, "limits": limits, "memory_max_bytes": most, "reconsidered": True}
            return changed(execution, now, **forgotten)
        case Started(attempt=number, lane=lane):
            if number != len(execution.attempts) + 1:
                raise IllegalEvent(f"attempt {number} after {len(execution.attempts)}")
            attempts = (*execution.attempts, Attempt(number, lane, execution.limits))
            return changed(execution, {"state": state, "attempts": attempts, "reconsidered": False})
        case Finished(attempt=number, ending=ending):
            if number != len(execution.attempts):
                raise IllegalEvent(f"attempt {number} finished, but {len(execution.attempts)} is running")
            was, cause = execution.attempts[-1], event.cause or cause_of_ending(ending)
            ended = Attempt(number, was.lane, was.limits, ending, cause, event.peak_memory_bytes)
            attempts = (*execution.attempts[:-1], ended)
            return changed(
                execution,
                {"state": state, "attempts": attempts, "fault": event.fault, "fingerprint": event.fingerprint},
            )
        case _:
            return changed(execution, {"state": state})


def _memory_max_bytes(execution: Execution, approval: Approval | None) -> int | None:
    """How far the platform may raise the memory: not at all where a person gave another amount than was asked for."""
    given = approval is not None and approval.limits.memory_bytes != execution.limits.memory_bytes
    return None if given else execution.memory_max_bytes
