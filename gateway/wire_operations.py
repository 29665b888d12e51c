"""What an operator reads of a gateway at work: readiness, isolation, lanes, dead letters, retention, what was spared."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from gateway.breaker import BreakerState
from gateway.events import Verdict
from gateway.policy_notices import NoticeKind
from gateway.wire import Wire
from sandbox.job import Lane


class DeadLetter(Wire):
    """A letter to a webhook or a mail address that nobody tries to deliver any more, or that is in the outbox again."""

    id: str = Field(description="The `webhook-id` of every try, past and to come.")
    webhook: str | None = Field(default=None, description="Its name in the policy. null: it is a mail.")
    mail: str | None = Field(default=None, description="The address. null: it is for a webhook.")
    type: NoticeKind
    state: Literal["dead", "waiting"]
    written_at: datetime
    tried_at: datetime | None = None
    attempts: int
    error: str | None = Field(default=None, description="Of the latest try.")
    body: dict[str, JsonValue] = Field(description="What is sent.")


class DeadLetterList(Wire):
    """A page of dead letters, oldest first; `next` is the cursor of the page after it."""

    letters: list[DeadLetter]
    next: str | None = None


class LaneInfo(Wire):
    """Whether a lane can run programs."""

    available: bool
    detail: str
    python: str | None = None


class TrialView(Wire):
    """One forbidden thing that was tried from inside a box."""

    name: str
    held: bool | None = Field(description="null: it could not be tried, so nothing is known; that counts as not held.")
    detail: str


class ProofView(Wire):
    """The latest self-test of a profile's kind of box; `held` is null before the first."""

    image: str
    runtime: str | None = Field(description="null: the engine's default.")
    held: bool | None
    posture: str | None
    tested_at: datetime | None
    findings: list[str] = Field(description="What did not hold, by name. One is enough to run nothing there.")
    trials: list[TrialView]


class IsolationView(Wire):
    """What isolates programs, and the proof of it, by profile."""

    held: bool = Field(description="Whether every profile's kind of box has proven itself.")
    profiles: dict[str, ProofView]


class PostureView(Wire):
    """What was in force around programs, now or at some time before."""

    digest: str = Field(description="SHA-256 of the document as canonical JSON; every answer carries it as `posture`.")
    document: dict[str, JsonValue]
    tested_at: datetime | None = Field(description="null: it is no box, there is nothing to test.")
    trials: list[TrialView] | None


class StoreInfo(Wire):
    """Whether what happens can be recorded."""

    writable: bool
    reason: Literal["disk_full", "read_only", "io_error", "damaged", "other"] | None = None


class ReadyView(Wire):
    """What the gateway can do now."""

    ready: bool
    findings: list[str] = Field(
        default_factory=list, description="What the self-test found. While there is one, the gateway is not ready."
    )
    store: StoreInfo = StoreInfo(writable=True)
    lanes: dict[Lane, LaneInfo]
    live_executions: int
    breaker: BreakerState = Field(description="Of the engine: programs for a box wait unless it is `closed`.")
    queued: int = Field(description="Programs that wait for a box.")
    open_reviews: int | None = Field(description="null where the store cannot be read.")
    policy: str
    version: str


class MontyLaneView(Wire):
    """The Monty lane's switch, and what its shadow runs came to since the start."""

    on: bool
    moved_at: datetime | None = Field(description="null: it was never moved.")
    execution: str | None = Field(description="The one that came to something else in a container.")
    differs: list[str] = Field(description="In what it did.")
    by: str | None = Field(description="Who switched it on again.")
    shadow_runs: dict[str, int] = Field(description="By what they showed; docs/operations.md says what that means.")
    shadow_waiting: int


class SparedCount(Wire):
    """How often programs of a profile broke a rule with the same module, and when first and last."""

    profile: str
    mode: Literal["warn", "audit"]
    verdict: Verdict
    rule: str
    subject: str = Field(description="The module, of an import that is denied; else empty.")
    executions: int
    tenants: list[str]
    first_at: datetime
    last_at: datetime
    example: str = Field(description="The newest of them.")


class SparedList(Wire):
    """What ran although the checks would have refused it, most often first."""

    since: datetime
    executions: int
    whole: bool = Field(description="false: there are more executions than are looked at; the newest count.")
    findings: list[SparedCount]


class BodyCounts(Wire):
    """How many executions, by what of them."""

    code: int = 0
    output: int = 0
    files: int = 0
    keys: int = 0


class RetentionRules(Wire):
    """How many seconds after an answer it is kept; null: for ever."""

    code: float | None
    output: float | None
    files: float | None
    keys: float | None


class RetentionView(Wire):
    """What retention would delete now, and what it deleted since the gateway started."""

    profiles: dict[str, RetentionRules]
    due: BodyCounts
    held: int = Field(description="Executions of which something is due, but whose task is in review or running.")
    deleted: BodyCounts
    freed_bytes: int
    running: bool
    ended_at: datetime | None = Field(description="When the latest pass was over; null before the first.")
