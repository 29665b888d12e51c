"""What operators look after between the policy and the lanes: rules that are tried out, and the switch of the Monty lane."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from gateway.errors import Unavailable
from gateway.events import Breach
from gateway.records import StoredSpared
from gateway.shadow import Shadow
from gateway.store import Store
from gateway.times import now, parse
from gateway.wire_operations import MontyLaneView, SparedCount, SparedList

log = logging.getLogger(__name__)

_MOST: Final = 10_000  # executions that one question looks at, of some hundred bytes each
_SHOWN: Final = 1_000  # findings that it answers with
_TENANTS: Final = 20  # of one finding


class Oversight:
    """One gateway's."""

    def __init__(self, *, store: Store, shadow: Shadow) -> None:
        self._store = store
        self._shadow = shadow

    async def spared(self, days: int) -> SparedList:
        """What ran in the last days although the checks would have refused it, most often first."""
        since = now() - timedelta(days=days)
        rows = await self._store.read(lambda reader: reader.spared(since, _MOST))
        return spared_list(rows, since)

    def monty_lane(self) -> MontyLaneView:
        """Where the switch of the Monty lane stands, and why."""
        moved = self._shadow.switch.moved
        return MontyLaneView(
            on=self._shadow.switch.off is None,
            moved_at=parse(moved.at) if moved else None,
            execution=moved.execution if moved else None,
            differs=list(moved.differs) if moved else [],
            by=moved.by if moved else None,
            shadow_runs={shown.value: count for shown, count in self._shadow.counts.items()},
            shadow_waiting=self._shadow.pending,
        )

    async def restore_monty(self, by: str) -> MontyLaneView:
        """Trust the Monty lane again, but nothing that it said before: results that were kept are forgotten."""
        if self._shadow.switch.off is not None:
            await self._store.write(lambda writer: writer.forget_results())
            try:
                self._shadow.switch.switch_on(by)
            except OSError as error:
                raise Unavailable("The switch cannot be written down, so it stays off.") from error
            log.warning("%s switched the Monty lane on again", by)
        return self.monty_lane()


def spared_list(rows: Sequence[StoredSpared], since: datetime) -> SparedList:
    """The rows, newest first, counted by what they broke."""
    found: dict[tuple[str, str, str, str, str], list[StoredSpared]] = {}
    for row in rows:
        spared = row.event
        for one in {Breach(breach.rule, breach.subject) for breach in spared.breaches}:
            key = (spared.profile, spared.mode, spared.verdict.value, one.rule, one.subject)
            found.setdefault(key, []).append(row)
    counts = [_count(key, some) for key, some in found.items()]
    counts.sort(key=lambda one: (-one.executions, one.profile, one.rule, one.subject))
    whole = len(rows) < _MOST and len(counts) <= _SHOWN
    return SparedList(since=since, executions=len(rows), whole=whole, findings=counts[:_SHOWN])


def _count(key: tuple[str, str, str, str, str], rows: Sequence[StoredSpared]) -> SparedCount:
    return SparedCount.model_validate(
        {
            **dict(zip(("profile", "mode", "verdict", "rule", "subject"), key, strict=True)),
            "executions": len(rows),
            "tenants": sorted({row.tenant for row in rows})[:_TENANTS],
            "first_at": parse(rows[-1].at),
            "last_at": parse(rows[0].at),
            "example": rows[0].event.execution,
        }
    )
