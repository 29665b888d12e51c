"""One execution on its way through the gateway: what is known of it in memory before and between commits.

Pure data and its bookkeeping. `pending` are the events that happened but are not on disk yet.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache

from gateway.causes import Cause
from gateway.events import Answered, Event, Status, Submitted
from gateway.execution_life import Execution, State, advance
from gateway.lifecycle import Failure, Rules
from gateway.policy import Profile
from gateway.records import Recorded
from gateway.requests import NOT_THE_PROGRAM, ExecutionRequest
from gateway.tracing import TraceContext
from gateway.wire_answers import Answer, Finding
from sandbox.job import InputFile, Job, Lane, Limits
from sandbox.live import Live
from sandbox.outcome import Ending, Outcome

_LIMITS = 64  # sets of limits, of which nearly all programs have the same one


@dataclass(frozen=True, slots=True)
class Written:
    """A request as it is kept.

    `digest` covers all that was asked: it is what an idempotency key stands for. `program` covers all that the
    program's behaviour depends on: it is what it means to send the same program again. Both are SHA-256.
    """

    text: str
    digest: str
    program: str


@dataclass(slots=True, kw_only=True)
class Work:
    """Mutable, and owned by one conductor task; `lock` guards its commits."""

    execution: Execution
    request: ExecutionRequest
    written: Written | None  # None once it is recorded
    profile: Profile
    rules: Rules
    tenant: str
    caller: str
    task_id: str
    anonymous: bool
    failures: Mapping[str, Failure]
    submitted_at: datetime
    began: float = 0.0  # on the monotonic clock, which nobody sets
    idempotency_key: str | None = None
    replaces: str | None = None  # the execution that had the key, and that the platform failed
    of: str | None = None
    task: str | None = None
    recorded: bool = False
    policy_kept: bool = False  # whether what decides about it is in the store for certain
    kept: Recorded | None = None  # by the latest commit; only of what this gateway took itself
    pending: list[Event] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    deterministic: bool = False  # whether it is certain to come to the same each time; False while it is unknown
    imports: str | None = None  # a digest of what the program imports; None while it is unknown
    timings: dict[str, float] = field(default_factory=dict)
    outcome: Outcome | None = None
    cpu_seconds: float = 0.0  # what its latest attempt is charged
    status: Status | None = None  # once it is answered
    answer: Answer | None = None
    fresh: bool = False  # it is run although its result is known
    cache_key: str | None = None  # of all that must come to the same
    live: Live | None = None  # the output of the latest attempt in a box
    cancelled_by: str | None = None
    trace: TraceContext | None = None  # where its caller's trace, or ours, says that it belongs
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    placed: asyncio.Event = field(default_factory=asyncio.Event)  # it has a place in a lane, or in the queue before it

    @property
    def id(self) -> str:
        """The execution's id."""
        return self.execution.id

    @property
    def answered(self) -> bool:
        """Whether the final answer is known (and on disk once `pending` is empty)."""
        return self.execution.state is State.ANSWERED

    @property
    def memory_found(self) -> tuple[str, int] | None:
        """The digest of its imports and the bytes that the program ended with, once they had been too few before."""
        attempts = self.execution.attempts
        if self.imports is None or not any(attempt.cause is Cause.MEMORY_SHORT for attempt in attempts):
            return None
        ended = attempts[-1].ending in {Ending.SUCCEEDED, Ending.FAILED}
        return (self.imports, attempts[-1].limits.memory_bytes) if ended else None

    def happened(self, event: Event) -> None:
        """Move on in memory; raises `IllegalEvent`, and remembers nothing, for what cannot happen."""
        if not isinstance(event, Submitted):
            self.execution = advance(self.execution, event)
        if isinstance(event, Answered):
            self.status = event.status
        self.pending.append(event)

    def job(self, attempt: int, lane: Lane, limits: Limits) -> Job:
        """What a lane is asked to do. Monty gets a slice of the time: what needs more is the container's."""
        request = self.request
        if lane is Lane.MONTY and limits.wall_seconds > self.profile.lanes.monty_time:
            limits = _within(limits, self.profile.lanes.monty_time)
        return Job(
            execution=self.id,
            attempt=attempt,
            code=request.code,
            limits=limits,
            image=self.profile.isolation.image,
            runtime=self.profile.isolation.runtime,
            cell=self.profile.isolation.cell(self.tenant) if lane is Lane.CONTAINER else None,
            inputs=request.inputs,
            stdin=request.stdin,
            args=tuple(request.args),
            env=request.env,
            files=tuple(InputFile(file.path, file.data()) for file in request.files),
            outputs=tuple(request.outputs),
            live=self.live,
        )


@lru_cache(_LIMITS)
def _within(limits: Limits, seconds: float) -> Limits:
    return replace(limits, wall_seconds=seconds)


def written(request: ExecutionRequest) -> Written:
    """The request as JSON, and what it stands for. The fields have one order; that of a mapping's keys is the caller's, and a program sees it."""
    data = request.model_dump(mode="json", exclude_defaults=True)
    text = _CANONICAL.encode(data)
    digest = hashlib.sha256(text.encode()).hexdigest()
    told = NOT_THE_PROGRAM.intersection(data)
    if not told:
        return Written(text, digest, digest)
    for name in told:
        del data[name]
    return Written(text, digest, hashlib.sha256(_CANONICAL.encode(data).encode()).hexdigest())


_CANONICAL = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
