"""The sections about people: what a task may fail before one looks, who is asked, and how many have to agree.

Pure.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from gateway.events import EscalationReason, RulingKind
from gateway.policy_words import Closed, Name, Recipients, in_order
from gateway.quantities import Count, Seconds


def _somebody(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise PydanticCustomError("to", "a level needs at least one name")
    return in_order(names)


class Budget(Closed):
    """What a task may fail before a person looks.

    Programs without a task id share one task per caller. Being unrelated, three failures in a row say little of
    them; after `anonymous_window` seconds the next one starts a fresh task, unless a review is open.
    """

    failures_in_a_row: Count = 3
    failures_total: Count = 12
    same_failure: Count = 3
    anonymous_failures_in_a_row: Count = 12
    anonymous_window: Seconds = 3600.0


class Costs(Closed):
    """What one failure is charged; everything that is not named costs 1."""

    policy_denied: Annotated[int, Field(strict=True, ge=1, le=1000)] = 2


class Level(Closed):
    """Who is asked besides, where nobody decided within `after` seconds of the review's opening; and who is told then.

    `to` are keys, their owners or roles. `notify` None is who is told of the opening.
    """

    after: Seconds
    to: Annotated[tuple[Name, ...], AfterValidator(_somebody)]
    notify: Recipients | None = None


class ReviewRules(Closed):
    """When a person is asked, who, and how many have to agree; how long (seconds) it stays open, and who is told.

    `reviewers` empty is every reviewer of the tenant. A program whose agent says less than `confidence` of it is shown
    before it runs, where `when` says so. `remember` is how long a yes answers the same question; None: not at all.
    """

    when: Annotated[tuple[EscalationReason, ...], AfterValidator(in_order)] = (
        EscalationReason.BUDGET_EXHAUSTED,
        EscalationReason.STUCK,
    )
    confidence: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5
    reviewers: Annotated[tuple[Name, ...], AfterValidator(in_order)] = ()
    approvals: Annotated[int, Field(strict=True, ge=1, le=2)] = 1
    four_eyes: Annotated[
        tuple[Literal[RulingKind.APPROVE_EDITED, RulingKind.RAISE_LIMITS], ...], AfterValidator(in_order)
    ] = ()
    grants_per_task: Annotated[int, Field(strict=True, ge=0, le=1000)] = 2
    remember: Seconds | None = None
    expires: Seconds = 86400.0
    escalate: tuple[Level, ...] = ()
    notify: Recipients = ()
