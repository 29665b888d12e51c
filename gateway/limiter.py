"""Who asks too often, or has too much running, is told to wait. Knows the policy's rates and the clock, nothing of programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from gateway.callers import Caller
from gateway.errors import RateLimited
from gateway.in_force import InForce
from gateway.quotas import Quotas, next_day
from gateway.rates import Pace
from gateway.wire_policy import UseToday

_MOST_PACES: Final = 10_000  # one that is forgotten begins anew


class Limiter:
    """One gateway's rates. `clock` counts seconds and never goes back; each key has a pace of its own."""

    def __init__(self, policy: InForce, quotas: Quotas, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._quotas = quotas
        self._clock = clock
        self._paces: dict[tuple[str, str], Pace] = {}  # as many as there are keys, and subjects of tokens

    def admit(self, caller: Caller) -> None:
        """Count a request; raises `RateLimited` for one too many."""
        rates = self._policy.profile(caller).rates
        pace = self._paces.setdefault((caller.tenant, caller.name), Pace(rates.requests, rates.burst))
        if len(self._paces) > _MOST_PACES:
            del self._paces[next(iter(self._paces))]
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

    def admit_execution(self, caller: Caller, live: int, at: datetime) -> None:
        """Count one more execution; raises `RateLimited` where `live` ones of this key are as many as it may have.

        Raises `QuotaSpent` where it had its share of the day.
        """
        profile = self._policy.profile(caller)
        most = profile.rates.executions
        if live >= most:
            raise RateLimited(
                f"This key may have {most} executions at the same time.",
                extra={"limit": "rates.executions"},
                retry_after_seconds=1,
            )
        self._quotas.admit(caller, profile, at)

    def today(self, caller: Caller, at: datetime) -> UseToday | None:
        """What this key used of its share of the day; None where it has no quotas."""
        quotas = self._policy.profile(caller).quotas
        if quotas.executions is None and quotas.cpu is None:
            return None
        used = self._quotas.today(caller.tenant, caller.name, at)
        cpu_seconds = used.cpu_milliseconds / 1000
        return UseToday(
            executions=used.executions,
            executions_left=None if quotas.executions is None else max(quotas.executions - used.executions, 0),
            cpu_seconds=cpu_seconds,
            cpu_seconds_left=None if quotas.cpu is None else round(max(quotas.cpu - cpu_seconds, 0.0), 3),
            resets_at=next_day(at),
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
