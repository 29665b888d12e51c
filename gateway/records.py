"""What the store keeps, as the gateway handles it: rows with names. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, fields

from gateway.events import Event, Spared
from gateway.lifecycle import Task


@dataclass(frozen=True, slots=True)
class _Row:
    """What is written as it is, a column for each field."""

    def row(self) -> dict[str, str | int | None]:
        """The columns."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task and where its log stands: `head` is the hash of its last event."""

    id: str
    head: str
    task: Task


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One line of a log."""

    seq: int
    at: str
    event: Event
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class StoredPosture:
    """What was in force around programs; `trials` (JSON) and `tested_at` are None for what has no self-test."""

    digest: str
    document: str
    trials: str | None
    tested_at: str | None


@dataclass(frozen=True, slots=True)
class StoredSize:
    """The memory that a tenant's programs with these imports (a SHA-256) were found to need."""

    tenant: str
    imports: str
    memory_bytes: int
    found_at: str


@dataclass(frozen=True, slots=True)
class StoredUse:
    """What a key used on a day (of UTC, as `2026-01-31`): programs taken, and their CPU time."""

    tenant: str
    caller: str
    day: str
    executions: int
    cpu_milliseconds: int


@dataclass(frozen=True, slots=True)
class StoredExecution(_Row):
    """A submitted program. `request` and `answer` are JSON; the fields from `status` on are None until it is answered.

    `kept` has a bit for each body that retention may still delete (`bodies.BIT`), none before the answer.
    """

    id: str
    task: str
    tenant: str
    caller: str
    profile: str
    policy: str
    source: str
    of: str | None
    idempotency_key: str | None
    request_digest: str
    request: str
    submitted_at: str
    status: str | None = None
    answer_source: str | None = None
    repeats: str | None = None
    answer: str | None = None
    answered_at: str | None = None
    kept: int = 0
    code_deleted_at: str | None = None
    output_deleted_at: str | None = None
    files_deleted_at: str | None = None
    policy_name: str = ""


@dataclass(frozen=True, slots=True)
class StoredAsked:
    """What an execution was asked for. `answer` is there where the program was refused; `request` empty where retention deleted it."""

    id: str
    task: str
    tenant: str
    caller: str
    profile: str
    policy: str
    source: str
    request: str
    status: str | None
    answer: str | None
    anonymous: bool


@dataclass(frozen=True, slots=True)
class StoredSpared:
    """A program of a tenant's that ran although it broke rules, and when."""

    at: str
    tenant: str
    event: Spared


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a commit left of an execution and its task."""

    task: StoredTask
    execution: StoredExecution


@dataclass(frozen=True, slots=True)
class ExecutionHead:
    """An execution without its bodies, which can weigh megabytes each."""

    id: str
    status: str | None
    submitted_at: str
    answered_at: str | None


@dataclass(frozen=True, slots=True)
class Keeping:
    """An answered execution of which something is kept, without its bodies."""

    id: str
    task: str
    answered_at: str
    kept: int


@dataclass(frozen=True, slots=True)
class StoredReview(_Row):
    """A question to a person; the fields from `ruling` to `decided_at` are None until it is decided.

    `level` is how often it was passed on, `due_at` when it is next; `proposal` (JSON) what some have approved and others
    have to.
    """

    id: str
    task: str
    tenant: str
    execution: str
    reason: str
    state: str
    opened_at: str
    expires_at: str
    ruling: str | None = None
    ruled_execution: str | None = None
    message: str | None = None
    decided_by: str | None = None
    decided_at: str | None = None
    level: int = 0
    due_at: str | None = None
    proposal: str | None = None


@dataclass(frozen=True, slots=True)
class OpenReviews:
    """How many reviews of a profile and level are open, and since when the oldest one is."""

    profile: str
    level: str | int
    count: int
    oldest: str


@dataclass(frozen=True, slots=True)
class StoredApproval(_Row):
    """What a person said yes to: `limits` (JSON) are those that it may run with, `until` how long that holds."""

    question: str
    review: str
    decided_by: str
    decided_at: str
    limits: str
    until: str


@dataclass(frozen=True, slots=True)
class StoredSighting(_Row):
    """Somebody looked at an open review in the state that the token stands for."""

    review: str
    seen_by: str
    token: str
    seen_at: str


@dataclass(frozen=True, slots=True)
class StoredLetter(_Row):
    """A letter to a webhook or, where `webhook` is one, to a mail address; `state` is `waiting` or `dead`, `tried_at` and `error` are of the latest try."""

    id: str
    webhook: str
    type: str
    body: str
    state: str
    attempts: int
    written_at: str
    due_at: str
    tried_at: str | None = None
    error: str | None = None


EXECUTION_COLUMNS = tuple(field.name for field in fields(StoredExecution))
REVIEW_COLUMNS = tuple(field.name for field in fields(StoredReview))
APPROVAL_COLUMNS = tuple(field.name for field in fields(StoredApproval))
SIGHTING_COLUMNS = tuple(field.name for field in fields(StoredSighting))
SIZE_COLUMNS = tuple(field.name for field in fields(StoredSize))
USE_COLUMNS = tuple(field.name for field in fields(StoredUse))
POSTURE_COLUMNS = tuple(field.name for field in fields(StoredPosture))
LETTER_COLUMNS = tuple(field.name for field in fields(StoredLetter))
