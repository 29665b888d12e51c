"""The HTTP shapes: what callers send and what they read. Units stand in the names.

Knows no store and no lane; `views.py` is the only room that turns the core's nouns into these.
"""

from __future__ import annotations

import base64
import binascii
import keyword
import re
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from gateway.events import EscalationReason, RulingKind, Status
from gateway.lifecycle import TaskState, Turn
from gateway.policy import LimitsRequest
from sandbox.job import Lane
from sandbox.outcome import Ending

TASK_ID = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")
_PATH_PART = re.compile(r"^(?!\.{1,2}$)[^/\0]{1,255}$")
_KEYWORDS = frozenset(keyword.kwlist)


def _clean_path(path: str) -> str:
    """A relative path without a way out: `data/in.csv`, never `/x`, `../x`, `a//b`."""
    if len(path) > 512 or not all(_PATH_PART.match(part) for part in path.split("/")):  # noqa: PLR2004
        raise ValueError("must be a relative path without '..', '.' or empty parts, 512 characters at most")
    return path


def _clean_glob(pattern: str) -> str:
    """A glob below the working directory; `/tmp/` in front of it is what programs call that directory."""
    _clean_path(pattern.removeprefix("/tmp/"))  # noqa: S108  # the box's own /tmp
    return pattern


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


def _no_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that has a UTF-8 form (it holds half of a surrogate pair)") from None
    return text


Text: TypeAlias = Annotated[str, AfterValidator(_no_surrogates)]
Argument: TypeAlias = Annotated[str, AfterValidator(_no_surrogates), AfterValidator(_no_nul), Field(max_length=8192)]
Path: TypeAlias = Annotated[str, AfterValidator(_no_surrogates), AfterValidator(_clean_path)]
Glob: TypeAlias = Annotated[str, AfterValidator(_no_surrogates), AfterValidator(_clean_glob)]
TaskId: TypeAlias = Annotated[str, Field(pattern=TASK_ID)]


class Wire(BaseModel):
    """Closed and immutable: an unknown field is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileIn(Wire):
    """A file that the program finds in its working directory."""

    path: Path
    content: Text
    encoding: Literal["utf8", "base64"] = "utf8"

    @model_validator(mode="after")
    def _decodes(self) -> FileIn:
        self.data()
        return self

    def data(self) -> bytes:
        """The file's bytes; raises `ValueError` for what is not base64."""
        if self.encoding == "utf8":
            return self.content.encode()
        try:
            return base64.b64decode(self.content, validate=True)
        except binascii.Error as error:
            raise ValueError(f"content is not base64: {error}") from None


class ExecutionRequest(Wire):
    """A program and what it is given."""

    code: Text = Field(min_length=1, description="The Python program, as the text of one file.")
    task_id: TaskId | None = Field(
        default=None,
        description="What this program belongs to; the retry budget is the task's. Without it, the caller's rolling anonymous task.",
    )
    inputs: dict[str, JsonValue] = Field(
        default_factory=dict, description="JSON values, bound to variables of these names."
    )
    stdin: Text = ""
    args: list[Argument] = Field(default_factory=list, max_length=256, description="sys.argv[1:]")
    env: dict[str, Argument] = Field(default_factory=dict, max_length=128)
    files: list[FileIn] = Field(default_factory=list, max_length=256)
    outputs: list[Glob] = Field(default_factory=list, max_length=64, description="Globs of the files to bring back.")
    limits: LimitsRequest | None = None
    lane: Literal["auto", "monty", "container"] = Field(
        default="auto",
        description="`container` skips Monty; `monty` refuses what Monty cannot run exactly like CPython.",
    )
    force: bool = Field(
        default=False, strict=True, description="Run it although a check is certain that a name does not exist."
    )

    @field_validator("inputs")
    @classmethod
    def _names(cls, inputs: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in inputs:
            if not _IDENTIFIER.match(name) or name in _KEYWORDS or (name.startswith("__") and name.endswith("__")):
                raise ValueError(f"{name!r} cannot be a variable's name")
        return inputs

    @field_validator("env")
    @classmethod
    def _env_names(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if not _IDENTIFIER.match(name):
                raise ValueError(f"{name!r} cannot be an environment variable's name")
        return env

    @field_validator("files")
    @classmethod
    def _distinct(cls, files: list[FileIn]) -> list[FileIn]:
        paths = [file.path for file in files]
        if len(set(paths)) < len(paths):
            raise ValueError("two files have the same path")
        return files


class RulingRequest(Wire):
    """A reviewer's decision. `token` is the one that the review showed."""

    token: str = Field(min_length=1, max_length=128)
    ruling: RulingKind
    message: Text = Field(default="", max_length=10_000)
    code: Text | None = Field(default=None, min_length=1, description="approve_edited: the reviewer's version.")
    limits: LimitsRequest | None = Field(default=None, description="raise_limits: what to run it with.")
    failures: int | None = Field(default=None, strict=True, ge=1, le=1000, description="grant: how many failures more.")
    result: JsonValue = Field(default=None, description="answer: the result that a person gives.")
    final: bool = Field(default=True, strict=True, description="reject: whether the task is over.")

    @model_validator(mode="after")
    def _complete(self) -> RulingRequest:
        needs = {RulingKind.APPROVE_EDITED: "code", RulingKind.RAISE_LIMITS: "limits", RulingKind.GRANT: "failures"}
        owner = {field: kind for kind, field in needs.items()}
        for field in self.model_fields_set & set(owner):
            if owner[field] is not self.ruling:
                raise ValueError(f"`{field}` belongs to the ruling `{owner[field]}`")
        needed = needs.get(self.ruling)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"the ruling `{self.ruling}` needs `{needed}`")
        if self.ruling is RulingKind.ANSWER and "result" not in self.model_fields_set:
            raise ValueError("the ruling `answer` needs `result`")
        if self.ruling is RulingKind.REJECT and not self.message.strip():
            raise ValueError("the ruling `reject` needs a `message`: the agent reads it")
        return self


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


class SkippedFile(Wire):
    """A match of `outputs` that was not brought back."""

    path: str
    reason: str


class UsageInfo(Wire):
    """What the run used; null where it could not be read."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    stdout_bytes: int | None = None
    stderr_bytes: int | None = None


class LimitsInfo(Wire):
    """What an attempt was allowed to use."""

    cpu_cores: float
    memory_bytes: int
    wall_seconds: float
    pids: int
    disk_bytes: int
    output_bytes: int


class AttemptInfo(Wire):
    """One try by the gateway; `ending` is null while it runs."""

    number: int
    lane: Lane
    ending: Ending | None
    limits: LimitsInfo


NextAction: TypeAlias = Literal[
    "wait", "fix_and_resubmit", "resubmit_unchanged", "use_force", "close_task", "start_new_task", "continue"
]


class Answer(Wire):
    """What came of a program: all that is kept of its run, or of what was decided in its stead."""

    lane: Lane | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_omitted_bytes: int = 0
    stderr_omitted_bytes: int = 0
    result: JsonValue = None
    result_form: Literal["json", "repr"] | None = Field(
        default=None, description="null: the program ended without a value."
    )
    error: Error | None = None
    exit_code: int | None = None
    signal: str | None = None
    files: list[FileOut] = Field(default_factory=list)
    skipped_files: list[SkippedFile] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)
    usage: UsageInfo | None = None
    timings: dict[str, float] = Field(default_factory=dict, description="Seconds by phase.")
    attempts: list[AttemptInfo] = Field(default_factory=list)
    python: str | None = None


class _Named(Wire):
    """What every answer begins with."""

    id: str
    status: Status


class ExecutionView(Answer, _Named):
    """An execution as its caller sees it."""

    source: Literal["program", "human", "record"] | None = None
    of: str | None = Field(default=None, description="The reviewed execution that this one was made from.")
    repeats: str | None = Field(default=None, description="The failed execution whose record answered this one.")
    retryable: bool = False
    submitted_at: datetime
    answered_at: datetime | None = None
    policy: str = Field(description="Digest of the resolved policy that decided.")
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


class TryView(Wire):
    """One execution of the reviewed task, as a reviewer sees it. All of it is an agent's words."""

    execution: ExecutionView
    code: str
    diff: str = Field(description="Unified diff to the try before; empty for the first.")


class ReviewView(ReviewSummary):
    """A review whole: the tries, oldest first, and the token that a ruling must echo."""

    token: str | None = Field(default=None, description="null once the review is decided.")
    submitted_by: str
    ceilings: LimitsInfo
    grants_left: int
    tries: list[TryView]
    rulings: list[RulingKind] = Field(description="The rulings that can be taken now.")
    ruled_execution: str | None = Field(default=None, description="The execution that the ruling made.")


class ReviewList(Wire):
    """A page of the queue, oldest first; `next` is the cursor of the page after it."""

    reviews: list[ReviewSummary]
    next: str | None = None


class LaneInfo(Wire):
    """Whether a lane can run programs."""

    available: bool
    detail: str
    python: str | None = None


class ReadyView(Wire):
    """What the gateway can do now."""

    ready: bool
    lanes: dict[Lane, LaneInfo]
    live_executions: int
    open_reviews: int | None = Field(description="null where the store cannot be read.")
    policy: str
    version: str


class PolicyView(Wire):
    """The profile that binds the caller's programs, with nothing left open."""

    name: str = Field(description="The policy's name.")
    profile: str
    digest: str = Field(description="SHA-256 of the document as canonical JSON; every answer carries it as `policy`.")
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
