"""What a reviewer reads: the queue, a review with its tries, what was proposed, and what the checks say of an edit."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import Field, JsonValue

from gateway.events import EscalationReason, RulingKind, Verdict
from gateway.requests import Expect
from gateway.wire import Wire
from gateway.wire_answers import ExecutionView, Finding, LimitsInfo
from sandbox.job import Lane


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
