"""Times and ids: the only room that asks the clock and chance for the gateway. Everything else is handed theirs."""

from __future__ import annotations

import secrets
import threading
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


class _Milliseconds:
    """The milliseconds of the clock, but each time more than the last time, whoever sets the clock back."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        """Milliseconds since 1970; ahead of the clock after it was set back, or with more than a thousand a second."""
        with self._lock:
            self._last = max(self._last + 1, int(now().timestamp() * 1000))
            return self._last

    def not_before(self, milliseconds: int) -> None:
        """Go on after this."""
        with self._lock:
            self._last = max(self._last, milliseconds)


_milliseconds = _Milliseconds()


def new_id(prefix: str) -> str:
    """An id that sorts after every earlier one and cannot be guessed: milliseconds, then 80 random bits."""
    return f"{prefix}_{_milliseconds.next():011x}{secrets.token_hex(10)}"


def ids_follow(newest: str) -> None:
    """Have new ids sort after this one, which an earlier process made, perhaps by a clock that was ahead."""
    stamped = newest.partition("_")[2][:11]
    if stamped:
        _milliseconds.not_before(int(stamped, 16))
