"""When a review goes to the next level, and who is told then. Pure: times and the policy are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.policy import Profile
from gateway.policy_reviews import Level


def due_at(opened_at: datetime, level: int, levels: Sequence[Level]) -> datetime | None:
    """When a review that was opened then, and passed on `level` times, is passed on again; None where nobody is above."""
    return opened_at + timedelta(seconds=levels[level].after) if level < len(levels) else None


def told(level: int, profile: Profile) -> tuple[str, ...]:
    """Who hears that the review came to this level; 0 is its opening. Above the policy's last level, who heard of that."""
    levels = profile.review.escalate[:level]
    own = levels[-1].notify if levels else None
    return profile.review.notify if own is None else own
