"""Who asks too often, or has too much running, is told to wait. Knows the policy's rates and the clock, nothing of programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gateway.callers import Caller
from gateway.errors import RateLimited
from gateway.policy import Policy
from gateway.rates import Pace


_MOST_PACES: Final = 10_000  # one that is forgotten begins anew


class Limiter:
    """One gateway's rates. `clock` counts seconds and never goes back; each key has a pace of its own."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._paces: dict[tuple[str, str], Pace] = {}  # as many as there are keys, and subjects of tokens

    def admit(self, caller: Caller) -> None:
        """Count a request; raises `RateLimited` for one too many."""
        rates = self._policy.resolve(caller.profile).rates
        pace = self._paces.setdefault((caller.tenant, caller.name), Pace(rates.requests, rates.burst))
        if len(self._paces) > _MOST_PACES:
            del self._paces[next(iter(self._paces))]
        wait = pace.ask(self._clock())
        if wait is not None:
            raise RateLimited(
                f"This key may make {rates.requests} requests a minute, and {rates.burst} at once above that.",
                extra={"limit": "rates.requests"},
                retry_after_seconds=wait,
            )

    def admit_execution(self, caller: Caller, live: int) -> None:
        """Raise `RateLimited` where `live` executions of this key are as many as it may have."""
        most = self._policy.resolve(caller.profile).rates.executions
        if live >= most:
            raise RateLimited(
                f"This key may have {most} executions at the same time.",
                extra={"limit": "rates.executions"},
                retry_after_seconds=1,
            )

    def admit_stream(self, caller: Caller, open_: int) -> None:
        """Raise `RateLimited` where `open_` streams of events of this key are as many as it may have."""
        most = self._policy.resolve(caller.profile).rates.streams
        if open_ >= most:
            raise RateLimited(
                f"This key may follow {most} executions at the same time.",
                extra={"limit": "rates.streams"},
                retry_after_seconds=1,
            )
