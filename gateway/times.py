"""Times and ids: the only room that asks the clock and chance for the gateway. Everything else is handed theirs."""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime
from typing import Final

_AT_ONCE: Final = 32


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """ISO 8601 in UTC with microseconds: equal lengths, so that text order is time order."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def parse(text: str) -> datetime:
    """The time that `stamp` wrote."""
    return datetime.fromisoformat(text)


class _Ids:
    """Milliseconds and chance.

    The milliseconds are the clock's, but each time more than the last time, whoever sets the clock back. Chance is asked
    for many ids at once: it is a call of the system, which takes longer than all the rest.
    """

    def __init__(self) -> None:
        self._last = 0
        self._random = ""
        self._lock = threading.Lock()

    def next(self) -> str:
        """Milliseconds since 1970, ahead of the clock after it was set back or with more than a thousand a second; 80 random bits."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1_000_000)
            self._random = self._random or secrets.token_hex(10 * _AT_ONCE)
            random, self._random = self._random[:20], self._random[20:]
            return f"{self._last:011x}{random}"

    def not_before(self, milliseconds: int) -> None:
        """Go on after this."""
        with self._lock:
            self._last = max(self._last, milliseconds)


_ids = _Ids()


def new_id(prefix: str) -> str:
    """An id that sorts after every earlier one and cannot be guessed: milliseconds, then 80 random bits."""
    return f"{prefix}_{_ids.next()}"


def ids_follow(newest: str) -> None:
    """Have new ids sort after this one, which an earlier process made, perhaps by a clock that was ahead."""
    stamped = newest.partition("_")[2][:11]
    if stamped:
        _ids.not_before(int(stamped, 16))
