"""What callers read. Units stand in the names; `views.py` alone turns the core's nouns into these.

Knows no store and no lane.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.breaker import BreakerState
from gateway.causes import Cause
from gateway.events import EscalationReason, RulingKind, Status, Verdict
from gateway.lifecycle import TaskState, Turn
from gateway.policy_shape import NoticeKind
from gateway.requests import Expect, Wire
from sandbox.bundles import MimeType
from sandbox.job import Lane
from sandbox.outcome import Ending, LimitName


class Finding(Wire):
    """What a check says about the code."""

    rule: str
    severity: Literal["error", "warning", "info"]
    message: str
    line: int | None = None
    column: int | None = None
    hint: str | None = None


class Error(Wire):
    """An uncaught exception, or why the program was not run."""

    type: str
    message: str
    line: int | None = None
    traceback: str | None = None
    hint: str | None = None


class Left(Wire):
    """What is left of a limit."""

    left: int
    limit: int


class Budget(Wire):
    """The task's repair budget. `same_failure.left` is for the failure seen most often."""

    failures_in_a_row: Left
    failures_total: Left
    same_failure: Left
    grants: Left


class TaskInfo(Wire):
    """The task as every answer shows it."""

    id: str
    state: TaskState
    turn: Turn
    budget: Budget
    review: str | None = Field(default=None, description="The open review's id.")
    newest: str | None = Field(
        default=None, description="The task's newest execution: a reviewer's, after a ruling that ran one."
    )
    closed_reason: str | None = None
    message: str | None = Field(default=None, description="What a reviewer last said.")


class FileOut(Wire):
    """A file that the program left. `content` is null where it is larger than 256 KiB; `href` always has it."""

    path: str
    size_bytes: int
    sha256: str
    encoding: Literal["utf8", "base64"] | None = None
    content: str | None = None
    href: str


class ShownRows(Wire):
    """How many of a table's rows are shown, and how many there are."""

    shown: int
    total: int


class BundleMetadata(Wire):
    """What belongs to a bundle: the output file with a figure's PNG, and what of it was left out for its size."""

    file: str | None = Field(default=None, description="A path in `files`.")
    rows: ShownRows | None = Field(default=None, description="null: all rows are there.")
    omitted: list[MimeType] = Field(default_factory=list, description="Forms for which there was no room.")


class BundleOut(Wire):
    """What a notebook would show of one thing, by MIME type: texts, base64 of images, a JSON value. The program's words."""

    data: dict[MimeType, JsonValue]
    metadata: BundleMetadata = BundleMetadata()


class SkippedFile(Wire):
    """A match of `outputs` that was not brought back."""

    path: str
    reason: str


class UsageInfo(Wire):
    """What the run used; null where it could not be read. `limits_reached` also tells what the program coped with."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    stdout_bytes: int | None = None
    stderr_bytes: int | None = None
    limits_reached: list[LimitName] = Field(default_factory=list)


class LimitsInfo(Wire):
    """What an attempt was allowed to use."""

    cpu_cores: float
    memory_bytes: int
    wall_seconds: float
    pids: int
    disk_bytes: int
    output_bytes: int


LimitSource: TypeAlias = Literal["default", "request", "code", "reviewer", "platform"]


class EffectiveLimits(LimitsInfo):
    """What an execution may use, and who said so."""

    sources: dict[Literal["cpu", "memory", "time", "pids", "disk", "output"], LimitSource]


class AttemptInfo(Wire):
    """One try by the gateway; `ending` is null while it runs."""

    number: int
    lane: Lane
    ending: Ending | None
    cause: Cause | None = None
    limits: LimitsInfo


NextAction: TypeAlias = Literal[
    "wait", "fix_and_resubmit", "resubmit_unchanged", "use_force", "close_task", "start_new_task", "continue"
]


class Answer(Wire):
    """What came of a program: all that is kept of its run, or of what was decided in its stead."""

    lane: Lane | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_omitted_bytes: int | None = Field(default=0, description="null: nobody could count.")
    stderr_omitted_bytes: int | None = 0
    result: JsonValue = None
    result_form: Literal["json", "repr"] | None = Field(
        default=None, description="null: the program ended without a value."
    )
    results: list[BundleOut] = Field(
        default_factory=list,
        description="What a notebook would show of the last value and of open figures. HTML in it is not safe to render as it is.",
    )
    error: Error | None = None
    cause: Cause | None = Field(default=None, description="Why there is no result; docs/failures.md has them all.")
    exit_code: int | None = None
    signal: str | None = None
    files: list[FileOut] = Field(default_factory=list)
    skipped_files: list[SkippedFile] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)
    usage: UsageInfo | None = None
    timings: dict[str, float] = Field(default_factory=dict, description="Seconds by phase.")
    attempts: list[AttemptInfo] = Field(default_factory=list)
    limits: EffectiveLimits | None = Field(
        default=None, description="What it may use, and where each limit comes from. null: it is not answered yet."
    )
    cached: bool = Field(
        default=False,
        description="It was not run: one of its kind was, and comes to the same each time. Costs nothing.",
    )
    python: str | None = None
    posture: str | None = Field(
        default=None, description="Digest of all that isolated the program; `/v1/isolation/{digest}` has it whole."
    )


class _Named(Wire):
    """What every answer begins with."""

    id: str
    status: Status


_Bodies: TypeAlias = dict[Literal["code", "output", "files"], datetime]


class ExecutionView(Answer, _Named):
    """An execution as its caller sees it."""

    source: Literal["program", "human", "record"] | None = None
    of: str | None = Field(default=None, description="The reviewed execution that this one was made from.")
    repeats: str | None = Field(
        default=None,
        description="The earlier execution whose record answered this one: one that failed, or with `cached` one that succeeded.",
    )
    retryable: bool = False
    submitted_at: datetime
    answered_at: datetime | None = None
    retained_until: _Bodies = Field(
        default_factory=dict, description="When retention may delete what is still there; what is not named stays."
    )
    deleted_at: _Bodies = Field(default_factory=dict, description="When retention deleted what is not there any more.")
    policy: str = Field(description="Digest of the resolved policy that decided.")
    policy_name: str = Field(default="", description="What its operators call it; empty where that was not recorded.")
    profile: str = Field(default="", description="The policy's profile that decided.")
    task: TaskInfo
    next_actions: list[NextAction]


class ExecutionSummary(Wire):
    """An execution in a task's list."""

    id: str
    status: Status
    submitted_at: datetime
    answered_at: datetime | None = None


class TaskView(TaskInfo):
    """A task, its newest executions first, and the newest one whole."""

    executions: list[ExecutionSummary]
    latest: ExecutionView | None = None
    next_actions: list[NextAction]


class ReviewSummary(Wire):
    """A review in the queue."""

    id: str
    task: str
    execution: str
    reason: EscalationReason
    state: Literal["open", "decided", "withdrawn", "expired"]
    opened_at: datetime
    expires_at: datetime
    ruling: RulingKind | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    message: str | None = None
    level: int = Field(default=0, description="How often it was passed on.")
    escalates_at: datetime | None = Field(default=None, description="When it is passed on next. null: nobody is above.")


DIFFED_LINES: Final = 1000


class BreachView(Wire):
    """A rule that a program broke."""

    rule: str
    subject: str = Field(default="", description="The module, of an import that is denied.")
    line: int | None = None


class SparedView(Wire):
    """A program that ran although it broke rules, since `checks.mode` did not refuse it."""

    mode: Literal["warn", "audit"]
    verdict: Verdict = Field(description="What `enforce` would have said.")
    breaches: list[BreachView]


class TryView(Wire):
    """One execution of the reviewed task, as a reviewer sees it. All of it is an agent's words."""

    execution: ExecutionView
    code: str = Field(description="Empty where `execution.deleted_at` has it.")
    expect: Expect | None = Field(default=None, description="What the run has to come to besides its success.")
    diff: str = Field(
        description=f"Unified diff to the try before; empty for the first, and with {DIFFED_LINES} lines or more."
    )
    spared: SparedView | None = Field(default=None, description="What the checks would have refused it for.")


class Proposal(Wire):
    """A ruling that still needs others: whoever agrees sends the same; another one begins anew."""

    ruling: RulingKind
    code: str | None = None
    limits: dict[str, JsonValue] | None = Field(default=None, description="Cores, bytes and seconds.")
    failures: int | None = None
    result: JsonValue = None
    message: str | None = Field(default=None, description="What was said to it; the agent reads it once it counts.")
    approved_by: list[str] = Field(description="Its author first.")
    needed: int = Field(description="People in all.")


class ChecksView(Wire):
    """What the checks say of a reviewer's version, which was not run."""

    admitted: bool
    lane: Lane | None = Field(description="Where it would begin. null: nowhere.")
    findings: list[Finding]


class ReviewView(ReviewSummary):
    """A review whole: its newest tries (20 and 16 MiB at most), oldest first, and the token that a ruling must echo."""

    token: str | None = Field(default=None, description="null once the review is decided.")
    submitted_by: str
    ceilings: LimitsInfo
    grants_left: int
    tries: list[TryView]
    rulings: list[RulingKind] = Field(description="The rulings that whoever asks can take now.")
    people_needed: dict[RulingKind, int] = Field(
        default_factory=dict, description="How many people have to agree, the author of an edit included."
    )
    proposal: Proposal | None = Field(default=None, description="What some have approved, and others have to.")
    ruled_execution: str | None = Field(default=None, description="The execution that the ruling made.")


class ReviewList(Wire):
    """A page of the queue, oldest first; `next` is the cursor of the page after it."""

    reviews: list[ReviewSummary]
    next: str | None = None


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


class UseToday(Wire):
    """What a key used of its share of this day of UTC; what is left is null where there is no bound."""

    executions: int
    executions_left: int | None
    cpu_seconds: float = Field(description="Of the programs that ended.")
    cpu_seconds_left: float | None
    resets_at: datetime


class PolicyProblem(Wire):
    """One thing wrong with a policy file or with its tests. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str | None = None


class ReloadView(Wire):
    """What became of reading the policy file again. Where it is not `loaded`, the policy before is in force."""

    at: datetime
    why: Literal["file", "signal", "request"]
    loaded: bool
    name: str | None = Field(default=None, description="What is in force now; null where it was not loaded.")
    sha256: str | None = Field(description="Of the file that was read; null where it could not be read.")
    problems: list[PolicyProblem] = Field(default_factory=list)
    restart_needed: list[str] = Field(
        default_factory=list, description="Keys that the file changes, and that only a restart puts in force."
    )


class PolicyFileView(Wire):
    """The policy file, for operators."""

    sha256: str = Field(description="Of the file in force.")
    since: datetime | None = Field(description="When it came in force by a reload; null since the start.")
    last_reload: ReloadView | None


class PolicyView(Wire):
    """The profile that binds the caller's programs, with nothing left open."""

    name: str = Field(description="The policy's name.")
    profile: str
    digest: str = Field(description="SHA-256 of the document as canonical JSON; every answer carries it as `policy`.")
    document: dict[str, JsonValue] = Field(description="Cores, bytes and seconds.")
    today: UseToday | None = Field(
        default=None, description="What the key used of its `quotas`; null where it has none, and of past policies."
    )
    file: PolicyFileView | None = Field(default=None, description="What operators alone are told.")


class Made(Wire):
    """What took part in a decision: a value, and where it stands."""

    key: str = Field(description="The key of the policy, or of the request, that has the value.")
    value: str
    place: str = Field(description="`file:line`, `built in`, `the request` or a line of the program.")


class Decision(Wire):
    """One thing that the policy decides."""

    decision: str
    value: str
    why: str
    made: list[Made]


class ExplanationView(Wire):
    """What the policy decides about a request, or about any of a caller's."""

    policy: str = Field(description="The policy's name.")
    profile: str
    digest: str = Field(description="Of the resolved profile, as answers have it.")
    decisions: list[Decision]


class KeptPolicyView(Wire):
    """A resolved profile that decided something once, whole."""

    digest: str
    document: dict[str, JsonValue] = Field(description="Cores, bytes and seconds.")


class FieldProblem(Wire):
    """One wrong field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error answer (RFC 9457, `application/problem+json`)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
