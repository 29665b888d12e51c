"""Why an execution has no result: one closed table of causes, with the evidence, whose fault it is, who pays, who tries again.

Pure. What the gateway decides after a failure it reads here; `docs/failures.md` shows the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

from sandbox.outcome import Ending, Fault, Loss, Outcome


class Cause(StrEnum):
    """Why."""

    INVALID = "invalid"
    TOO_COMPLEX = "too_complex"
    FIX_FIRST = "fix_first"
    INEXACT = "inexact"
    HELD = "held"
    EXCEPTION = "exception"
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    BAD_RESULT = "bad_result"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT_EXCEEDED = "output_limit_exceeded"
    REPEATED = "repeated"
    DENIED = "denied"
    MEMORY_SHORT = "memory_short"
    ENGINE_LOST = "engine_lost"
    ENGINE_REFUSED = "engine_refused"
    UNFIT = "unfit"
    BOX_LOST = "box_lost"
    GATEWAY_LOST = "gateway_lost"
    STEP_FAILED = "step_failed"
    QUEUE_TOO_LONG = "queue_too_long"
    LANE = "lane"
    POLICY_CHANGED = "policy_changed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


Family: TypeAlias = Literal["semantic", "policy", "infrastructure", "lane", "caller"]
Charge: TypeAlias = Literal["1", "costs.policy_denied", "nothing"]
Again: TypeAlias = Literal["agent", "gateway", "reviewer", "nobody"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a cause means. `charge` is what it costs the task's repair budget; `again` is who tries again."""

    family: Family
    fault: Fault
    charge: Charge
    again: Again
    evidence: str


def _code(evidence: str) -> Kind:
    return Kind("semantic", Fault.CODE, "1", "agent", evidence)


def _platform(evidence: str, again: Again = "gateway") -> Kind:
    return Kind("infrastructure", Fault.PLATFORM, "nothing", again, evidence)


KINDS: Mapping[Cause, Kind] = MappingProxyType(
    {
        Cause.INVALID: _code("the compiler of the guest's Python, or of this one where Monty agrees"),
        Cause.TOO_COMPLEX: _code("a bound of the checks: size, nesting, or Monty's watchdog"),
        Cause.FIX_FIRST: _code("a check is certain: a name or member that does not exist"),
        Cause.INEXACT: _code("the request asks for Monty alone, and the exactness guard names what differs"),
        Cause.HELD: Kind("policy", Fault.NONE, "nothing", "reviewer", "the policy has a person look at it before it runs"),
        Cause.EXCEPTION: _code("an uncaught exception, as the guest reports it; also one of laying out what the request sends"),
        Cause.EXIT_CODE: _code("an exit code other than 0, from the kernel's status of the process"),
        Cause.SIGNAL: _code("a signal ended the process, from the kernel's status; neither we nor the kernel's memory limit sent it"),
        Cause.BAD_RESULT: _code("it ended well, and what came of it is not what the request expects"),
        Cause.TIMED_OUT: _code("the kill for the wall-clock limit, which is noted before it is sent"),
        Cause.OUT_OF_MEMORY: _code("the cgroup's counter of kills, or the engine's flag, at the most memory that it may have"),
        Cause.OUTPUT_LIMIT_EXCEEDED: _code("the guest's count of bytes, or its kill for them"),
        Cause.REPEATED: _code("the digest of the program is that of one that failed in this task; it is not run"),
        Cause.DENIED: Kind("policy", Fault.CODE, "costs.policy_denied", "agent", "an import that the policy denies"),
        Cause.MEMORY_SHORT: _platform("as out_of_memory, below the most memory that it may have"),
        Cause.ENGINE_LOST: _platform("the engine cannot be reached, or does not answer in time"),
        Cause.ENGINE_REFUSED: _platform("the engine answers, and does not make or start the box"),
        Cause.UNFIT: _platform("the image is missing, or a self-test found that the box would not hold"),
        Cause.BOX_LOST: _platform("the box ended or fell silent before its guest told the end of the program"),
        Cause.GATEWAY_LOST: _platform("the attempt is begun in the log, and nobody is there who runs it"),
        Cause.STEP_FAILED: _platform("an error of the gateway's own", "agent"),
        Cause.QUEUE_TOO_LONG: _platform("it waited for a box longer than engine.queue_age", "agent"),
        Cause.LANE: Kind("lane", Fault.NONE, "nothing", "gateway", "Monty says that it cannot run this like CPython"),
        Cause.POLICY_CHANGED: Kind("policy", Fault.NONE, "nothing", "agent", "it waited for a box, and the policy in force by then does not admit it"),
        Cause.CANCELLED: Kind("caller", Fault.NONE, "nothing", "nobody", "the caller cancels it, or ends its task"),
        Cause.EXPIRED: Kind("caller", Fault.NONE, "nothing", "agent", "it did not start within the request's start_within"),
    }
)  # fmt: skip

_OF_ENDING: Mapping[Ending, Cause] = MappingProxyType(
    {
        Ending.TIMED_OUT: Cause.TIMED_OUT,
        Ending.OUTPUT_LIMIT_EXCEEDED: Cause.OUTPUT_LIMIT_EXCEEDED,
        Ending.OUT_OF_MEMORY: Cause.OUT_OF_MEMORY,
        Ending.UNSUPPORTED: Cause.LANE,
        Ending.LOST: Cause.BOX_LOST,
        Ending.FAILED: Cause.EXCEPTION,
    }
)
_OF_LOSS: Mapping[Loss, Cause] = MappingProxyType(
    {
        Loss.ENGINE: Cause.ENGINE_LOST,
        Loss.REFUSED: Cause.ENGINE_REFUSED,
        Loss.UNFIT: Cause.UNFIT,
        Loss.BOX: Cause.BOX_LOST,
        Loss.STOPPED: Cause.GATEWAY_LOST,
    }
)


def cause_of(outcome: Outcome, *, more_memory: bool) -> Cause | None:
    """Why a run has no result, None where it has; `more_memory`: it may get more than it had."""
    ending, loss = outcome.ending, outcome.evidence.loss
    if ending is Ending.SUCCEEDED:
        return None
    if ending is Ending.OUT_OF_MEMORY and more_memory:
        return Cause.MEMORY_SHORT
    if ending is Ending.LOST and loss is not None:
        return _OF_LOSS[loss]
    if ending is Ending.FAILED and outcome.exit_code == 0:
        return Cause.BAD_RESULT
    if ending is Ending.FAILED and outcome.error is None:
        return Cause.EXIT_CODE if outcome.signal is None else Cause.SIGNAL
    return _OF_ENDING[ending]


def cause_of_ending(ending: Ending) -> Cause | None:
    """The cause where a log has nothing but the ending."""
    return _OF_ENDING.get(ending)


def markdown() -> str:
    """The table as the documentation has it."""
    rows = [
        f"| `{cause}` | {kind.family} | {kind.fault} | {kind.charge} | {kind.again} | {kind.evidence} |"
        for cause, kind in KINDS.items()
    ]
    head = (
        "| cause | family | whose fault | charged | who tries again | evidence |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    return "\n".join((*head, *rows)) + "\n"
