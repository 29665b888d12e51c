"""What is recorded: facts that happened and rulings that were made, one log per task.

Pure. An event is small: it names what it is about by id and digest; bodies live beside the log.
Editing a policy never rewrites history, because rulings are recorded like facts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias, get_args

from pydantic import TypeAdapter

from gateway.causes import Cause
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Evidence, Fault


class Status(StrEnum):
    """What an execution says of itself over HTTP."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"  # by the checks
    DENIED = "denied"  # by the policy
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT_EXCEEDED = "output_limit_exceeded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # it did not start in time
    PLATFORM_ERROR = "platform_error"


class Verdict(StrEnum):
    """What the checks say of a program."""

    ADMIT = "admit"
    INVALID = "invalid"  # certainly not Python
    DENIED = "denied"  # the policy forbids something in it
    TOO_COMPLEX = "too_complex"  # cannot be checked within bounds
    FIX_FIRST = "fix_first"  # a name or member that certainly does not exist
    HELD = "held"  # asks for more than the policy gives without a person
    INEXACT = "inexact"  # asked for Monty alone, which cannot tell the truth about it


class RulingKind(StrEnum):
    """What a reviewer can decide."""

    APPROVE = "approve"  # run the reviewed program as it is, once
    APPROVE_EDITED = "approve_edited"  # run the reviewer's version of it
    RAISE_LIMITS = "raise_limits"  # run it once with these limits
    GRANT = "grant"  # back to the agent, with this many failures more
    REJECT = "reject"  # back to the agent, with a message; ends the task when final
    ANSWER = "answer"  # a person gives the result
    ESCALATE = "escalate"  # the next level is asked now; the review stays open


class EscalationReason(StrEnum):
    """Why a person is asked. The policy's `review.when` has the same words."""

    BUDGET_EXHAUSTED = "budget_exhausted"  # the task has failed as often as it may
    STUCK = "stuck"  # the same failure over and over
    ABOVE_DEFAULT = "above_default"  # it asks for more than a limit's default
    POLICY_DENIED = "policy_denied"  # it imports what the policy denies
    LOW_CONFIDENCE = "low_confidence"  # the agent itself is not sure of it
    ALWAYS = "always"  # every program

    @classmethod
    def _missing_(cls, value: object) -> EscalationReason | None:
        """Logs of earlier versions have a longer word for one of them."""
        return cls.ABOVE_DEFAULT if value == "above_default_limits" else None


BEFORE_THE_RUN: Final = frozenset(
    {EscalationReason.ABOVE_DEFAULT, EscalationReason.LOW_CONFIDENCE, EscalationReason.ALWAYS}
)
"""Reasons to ask before anything ran or failed. A yes to these lets one program run, and leaves the budgets alone."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A task began. `anonymous` is the caller's rolling task, used where no task was named."""

    tenant: str
    task_id: str
    by: str
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Submitted:
    """A program arrived. `digest` covers code, inputs, files and limits; `of` is the reviewed execution.

    `memory_max_bytes` is how far the platform may raise its memory by itself; None: `limits` are a hard wall.
    `record` binds what stands beside the log alone, see `bodies.record_digest`; logs of earlier versions have none.
    """

    execution: str
    digest: str
    limits: Limits
    by: str
    source: Literal["agent", "reviewer"] = "agent"
    of: str | None = None
    memory_max_bytes: int | None = None
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person ruled on the same question earlier: who, on which review, when, and within which limits it may run."""

    by: str
    review: str
    at: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class Checked:
    """The checks ended. `lane` is the lane that can tell the truth about the program.

    `memory_bytes` is what programs with the same imports were found to need, None where nothing was found. Of a program
    that is held, `reason` says why, and `approval` what a person said to the same question before.
    """

    execution: str
    verdict: Verdict
    lane: Lane
    memory_bytes: int | None = None
    reason: EscalationReason | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that a program broke; `subject` is what it broke it with: the module, else nothing."""

    rule: str
    subject: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Spared:
    """The checks would have refused it, and `checks.mode` had it run. `verdict` is what `enforce` would have said.

    `profile` is whose rules these are; `breaches` has each module once.
    """

    execution: str
    mode: Literal["warn", "audit"]
    verdict: Verdict
    profile: str
    breaches: tuple[Breach, ...] = ()


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may run, in this lane, within these limits. `review` is where a person said so, of whom it is remembered."""

    execution: str
    lane: Lane
    limits: Limits
    by: str = "policy"
    review: str | None = None


@dataclass(frozen=True, slots=True)
class Reconsidered:
    """Another policy came in force while it waited for its first attempt: all is decided anew, under `policy`.

    The limits are those of the new policy. `before` is the policy until then; `record` binds as that of `Submitted` does.
    """

    execution: str
    profile: str
    policy: str
    limits: Limits
    memory_max_bytes: int | None = None
    before: str | None = None
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt began. `attempt` is its fence: only its own `Finished` is believed."""

    execution: str
    attempt: int
    lane: Lane


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt ended. `detail` says why, for operators; `evidence` is what the ending was decided from.

    `cause` is None for a success, and in logs that are older than causes.
    """

    execution: str
    attempt: int
    ending: Ending
    fault: Fault
    fingerprint: str | None = None
    detail: str = ""
    evidence: Evidence | None = None  # none of a gateway that died under the attempt
    cause: Cause | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The execution has its one final answer. `charge` is what it costs the task's repair budget, `cause` why it failed.

    `repeats` names the execution whose record answered this one; `source` is who made the result.
    `remains` and `output` bind the two parts of the answer's body, see `bodies.sealed`; logs of earlier versions have none.
    """

    execution: str
    status: Status
    charge: int
    fingerprint: str | None = None
    by: str = "policy"
    source: Literal["program", "human", "record"] = "program"
    repeats: str | None = None
    cause: Cause | None = None
    remains: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Escalated:
    """A person is asked about the task; `execution` is what they look at."""

    review: str
    execution: str
    reason: EscalationReason
    by: str = "policy"


@dataclass(frozen=True, slots=True)
class Approved:
    """One of several people said yes: `number` of the `needed`. The review stays open.

    `subject` is a digest of what they said yes to; another one makes the count begin anew.
    """

    review: str
    ruling: RulingKind
    by: str
    subject: str
    number: int
    needed: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class PassedOn:
    """The open review went on to the next level: nobody had answered in time, or a reviewer wanted it so."""

    review: str
    level: int
    by: str = "policy"


@dataclass(frozen=True, slots=True)
class Ruled:
    """The open review was decided. `failures` belongs to `grant`; `execution` is what the ruling runs or answers."""

    review: str
    ruling: RulingKind
    by: str
    message: str = ""
    failures: int = 0
    execution: str | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The task is over: nothing more is accepted."""

    by: str
    reason: Literal["closed_by_agent", "rejected", "expired", "budget_exhausted"]
    message: str = ""


Event: TypeAlias = (
    Opened
    | Submitted
    | Checked
    | Spared
    | Admitted
    | Reconsidered
    | Started
    | Finished
    | Answered
    | Escalated
    | Approved
    | PassedOn
    | Ruled
    | Closed
)

_ADAPTERS: dict[str, TypeAdapter[Event]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Event)}
_TO_JSON = {name: adapter.serializer.to_json for name, adapter in _ADAPTERS.items()}


def encode(event: Event) -> tuple[str, str]:
    """The event as (type name, JSON). Fields stand in the order of their definition: equal events have equal text."""
    name = type(event).__name__
    return name, _TO_JSON[name](event).decode()


def decode(name: str, data: str) -> Event:
    """The event that `encode` gave; raises `KeyError` or `ValueError` for what it never gave."""
    return _ADAPTERS[name].validate_json(data)


def chain(previous: str, seq: int, at: str, name: str, data: str) -> str:
    """The hash that binds an event to all before it: SHA-256, hexadecimal."""
    return hashlib.sha256("\n".join((previous, str(seq), at, name, data)).encode()).hexdigest()
