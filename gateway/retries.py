"""How long the platform waits before it tries again, and how much it may try again at all. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.policy_programs import Retries

RESERVE: Final = 10.0  # tries that are always there, so that a quiet gateway can mend one bad moment
LEAST_PER_SECOND: Final = 1.0  # and how fast they come back without any load


def backoff_seconds(losses: int, retries: Retries, chance: float) -> float:
    """Full jitter: a uniform share (`chance`, 0 to 1) of the doubling bound, so that lost attempts do not return together."""
    return chance * min(retries.cap, retries.base * 2.0 ** min(losses - 1, 30))


@dataclass(slots=True)
class RetryPace:
    """A token bucket: each first attempt earns `share` of a second one, so that retries never add more load than that.

    Times in seconds of a clock that never goes back.
    """

    share: float
    tries: int = 0
    _tokens: float = RESERVE
    _at: float = 0.0

    def first(self) -> None:
        """An execution's first attempt begins."""
        self._tokens = min(RESERVE, self._tokens + self.share)

    def again_seconds(self, now: float) -> float:
        """Take a try, and say after how long it may be made: at once, or when those before it have earned theirs."""
        self._tokens = min(RESERVE, self._tokens + (now - self._at) * LEAST_PER_SECOND)
        self._at = now
        self._tokens -= 1.0
        self.tries += 1
        return max(0.0, -self._tokens / LEAST_PER_SECOND)
