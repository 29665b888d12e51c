"""Times and ids: the only room that asks the clock and chance for the gateway. Everything else is handed theirs."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """ISO 8601 in UTC with microseconds: equal lengths, so that text order is time order."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def parse(text: str) -> datetime:
    """The time that `stamp` wrote."""
    return datetime.fromisoformat(text)


def new_id(prefix: str) -> str:
    """An id that sorts by time and cannot be guessed: milliseconds, then 80 random bits."""
    return f"{prefix}_{int(now().timestamp() * 1000):011x}{secrets.token_hex(10)}"
