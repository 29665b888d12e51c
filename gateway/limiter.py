"""Who asks too often, or has too much running, is told to wait. Knows the policy's rates and the clock, nothing of programs."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.callers import Caller
from gateway.errors import RateLimited
from gateway.in_force import InForce
from gateway.rates import Pace


class Limiter:
    """One gateway's rates. `clock` counts seconds and never goes back; each key has a pace of its own."""

    def __init__(self, policy: InForce, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._paces: dict[tuple[str, str], Pace] = {}  # as many as there are keys

    def admit(self, caller: Caller) -> None:
        """Count a request; raises `RateLimited` for one too many."""
        rates = self._policy.profile(caller).rates
        pace = self._paces.setdefault((caller.tenant, caller.name), Pace(rates.requests, rates.burst))
        pace.per_minute, pace.burst = (
            rates.requests,
            rates.burst,
        )  # a reload may have changed them; what was asked counts on
        wait = pace.ask(self._clock())
        if wait is not None:
            raise RateLimited(
                f"This key may make {rates.requests} requests a minute, and {rates.burst} at once above that.",
                extra={"limit": "rates.requests"},
                retry_after_seconds=wait,
            )

    def admit_execution(self, caller: Caller, live: int) -> None:
        """Raise `RateLimited` where `live` executions of this key are as many as it may have."""
        most = self._policy.profile(caller).rates.executions
        if live >= most:
            raise RateLimited(
                f"This key may have {most} executions at the same time.",
                extra={"limit": "rates.executions"},
                retry_after_seconds=1,
            )

    def admit_stream(self, caller: Caller, open_: int) -> None:
        """Raise `RateLimited` where `open_` streams of events of this key are as many as it may have."""
        most = self._policy.profile(caller).rates.streams
        if open_ >= most:
            raise RateLimited(
                f"This key may follow {most} executions at the same time.",
                extra={"limit": "rates.streams"},
                retry_after_seconds=1,
            )
