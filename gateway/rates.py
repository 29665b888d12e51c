"""How fast one key may ask: a steady pace with a burst above it, as arithmetic. Time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SECONDS_PER_MINUTE = 60.0
_ROUNDING = 1e-6  # seconds: sums of fractions are not exact


@dataclass(slots=True)
class Pace:
    """One caller's requests: `per_minute` steadily, and `burst` at once above that.

    The generic cell rate algorithm: one number, the time at which the steady pace will have caught up, is all it keeps.
    """

    per_minute: int
    burst: int
    _caught_up: float = field(default=0.0, repr=False)

    def ask(self, now: float) -> int | None:
        """Count one request at `now` (seconds); None if it may pass, else the whole seconds after which one may.

        What may not pass is not counted.
        """
        interval = SECONDS_PER_MINUTE / self.per_minute
        behind = max(self._caught_up, now)
        early = behind - now - interval * self.burst
        if early > _ROUNDING:
            return math.ceil(early)
        self._caught_up = behind + interval
        return None
