"""What an agent reads of its programs and of its tasks. Units stand in the names; `views.py` makes these from the core's nouns."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import Field, JsonValue

from gateway.causes import Cause
from gateway.events import Status
from gateway.lifecycle import TaskState, Turn
from gateway.wire import Wire
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
