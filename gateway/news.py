"""What a commit brought about that is counted and drawn, whoever brought it about. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gateway.records import StoredReview
from gateway.tracing import TraceContext


@dataclass(frozen=True, slots=True)
class ExecutionEnded:
    """An execution has its answer."""

    profile: str
    status: str


@dataclass(frozen=True, slots=True)
class ReviewOpened:
    """A person is asked; `profile` is that of the program that they look at."""

    review: StoredReview
    profile: str


@dataclass(frozen=True, slots=True)
class ReviewPassedOn:
    """The next level is asked too, as the review says; `by` is `policy`, or who passed it on. `trace` is as below."""

    review: StoredReview
    by: str
    trace: TraceContext | None


@dataclass(frozen=True, slots=True)
class ReviewEnded:
    """It is decided, expired or withdrawn; `trace` is where the program that was looked at belongs."""

    review: StoredReview
    trace: TraceContext | None


News: TypeAlias = ExecutionEnded | ReviewOpened | ReviewPassedOn | ReviewEnded
