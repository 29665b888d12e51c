"""What one key may use in a day: programs taken, and the CPU time that they used. Pure: time is an argument.

A day is one of UTC. What counts is decided here; it is kept in memory, written with each execution's own transaction, and
read again at the start. What the platform failed, and tried again by itself, counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from gateway.callers import Caller
from gateway.errors import QuotaSpent
from gateway.events import Answered, Event, Status, Submitted
from gateway.policy_shape import Profile
from gateway.quantities import format_seconds
from gateway.records import StoredUse
from gateway.work import Work
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Outcome


@dataclass(slots=True)
class Use:
    """One key's day so far: programs taken, and the CPU time of those that ended."""

    day: str
    executions: int = 0
    cpu_milliseconds: int = 0


class Quotas:
    """Every key's use of today."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], Use] = {}  # as many as there are keys with quotas

    def load(self, rows: Iterable[StoredUse]) -> None:
        """Go on from what an earlier gateway wrote."""
        for row in rows:
            self._used[row.tenant, row.caller] = Use(row.day, row.executions, row.cpu_milliseconds)

    def today(self, tenant: str, caller: str, at: datetime) -> Use:
        """The use of this day. A day is over for good once a later one began, also where the clock was set back."""
        used, day = self._used.get((tenant, caller)), day_of(at)
        if used is None or used.day < day:
            used = self._used[tenant, caller] = Use(day)
        return used

    def admit(self, caller: Caller, profile: Profile, at: datetime) -> None:
        """Count one more program; raises `QuotaSpent` where today's share is used up. One that was taken is never stopped."""
        if not _binds(profile):
            return
        used = self.today(caller.tenant, caller.name, at)
        spent = _spent(used, profile)
        if spent:
            reset = next_day(at)
            raise QuotaSpent(
                f"This key may have {' and '.join(spent.values())} in a day, and had them today.",
                extra={"limit": next(iter(spent)), "limits": list(spent), "resets_at": reset.isoformat()},
                retry_after_seconds=math.ceil((reset - at).total_seconds()),
            )
        used.executions += 1

    def ended(self, work: Work) -> None:
        """Count what a program used that has ended; one that could not be recorded, or that the platform failed, for nothing."""
        used = self._used.get((work.tenant, work.caller))
        if used is None or used.day != day_of(work.submitted_at) or not counts(work):
            return  # what began on another day is that day's, for whose share nobody asks any more
        if not work.recorded or work.status is Status.PLATFORM_ERROR:
            used.executions -= 1
        else:
            used.cpu_milliseconds += _milliseconds(work)


def _spent(used: Use, profile: Profile) -> dict[str, str]:
    """What is used up, by the key of the policy, in words."""
    quotas, spent = profile.quotas, {}
    if quotas.executions is not None and used.executions >= quotas.executions:
        spent["quotas.executions"] = f"{quotas.executions} programs"
    if quotas.cpu is not None and used.cpu_milliseconds >= quotas.cpu * 1000:
        spent["quotas.cpu"] = f"{format_seconds(quotas.cpu)} of CPU time"
    return spent


def _binds(profile: Profile) -> bool:
    return profile.quotas.executions is not None or profile.quotas.cpu is not None


def counts(work: Work) -> bool:
    """Whether an execution counts against its key: an agent's, where the key has a share."""
    return work.execution.source == "agent" and _binds(work.profile)


def use_of(work: Work, events: Iterable[Event]) -> StoredUse | None:
    """What these events add to the use that is written down; None where that is nothing."""
    if not counts(work):
        return None
    executions = milliseconds = 0
    for event in events:
        if isinstance(event, Submitted):
            executions += 1
        elif isinstance(event, Answered) and event.status is Status.PLATFORM_ERROR:
            executions -= 1
        elif isinstance(event, Answered):
            milliseconds += _milliseconds(work)
    if executions == 0 and milliseconds == 0:
        return None
    return StoredUse(work.tenant, work.caller, day_of(work.submitted_at), executions, milliseconds)


def cpu_seconds(outcome: Outcome, limits: Limits) -> float:
    """What a run is charged: its CPU time; where that could not be read, the most that it can have been. A lost one is free."""
    if outcome.ending in {Ending.LOST, Ending.UNSUPPORTED}:
        return 0.0
    usage = outcome.usage
    if usage.cpu_seconds is not None:
        return usage.cpu_seconds
    if outcome.lane is Lane.MONTY and usage.wall_seconds is not None:
        return usage.wall_seconds  # Monty has one thread, and waits for nothing
    return (limits.wall_seconds if usage.wall_seconds is None else usage.wall_seconds) * limits.cpu_cores


def day_of(at: datetime) -> str:
    """The day of UTC, as text that sorts."""
    return at.astimezone(UTC).date().isoformat()


def next_day(at: datetime) -> datetime:
    """When the day is over."""
    return datetime.combine(at.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


def _milliseconds(work: Work) -> int:
    return round(work.cpu_seconds * 1000)
