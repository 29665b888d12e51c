"""Reviews that nobody decides: they are passed on when their time comes, and are a no when it is over.

Times are rows and the clock is the store's, so that a restart forgets nothing and a reload of the policy counts at once.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from gateway.cases import close_task, end_review
from gateway.events import Ruled, RulingKind
from gateway.in_force import InForce
from gateway.passing import due_at
from gateway.policy import Policy, Profile
from gateway.reader import Reader
from gateway.recording import pass_on
from gateway.records import StoredReview, StoredTask
from gateway.reviews import Reviews
from gateway.rules import profile_named
from gateway.store import Store
from gateway.times import now, parse, stamp
from gateway.writer import Writer

log = logging.getLogger(__name__)

_PAGE: Final = 200  # reviews that are looked at in one part of a transaction


class Tending:
    """One gateway's care for reviews that wait."""

    def __init__(self, *, policy: InForce, store: Store, reviews: Reviews) -> None:
        self._policy = policy
        self._store = store
        self._reviews = reviews
        self._planned: Policy | None = None  # by which open reviews were planned last

    async def tend(self) -> int:
        """Pass on and end what is due; returns how many reviews moved."""
        if self._planned is not self._policy.current:
            await self.replan()
        return await self.expire() + await self.pass_on()

    async def expire(self) -> int:
        """Reject what nobody answered in time: it fails closed. Returns how many."""
        due = await self._store.read(lambda reader: reader.reviews_due(now()))
        for row in due:
            ended = await self._store.write(lambda writer, row=row: _expire(writer, row))  # type: ignore[misc]
            await self._reviews.let_go(row.task, ended, "policy")
        return len(due)

    async def pass_on(self) -> int:
        """Have the next level asked where nobody answered in time; returns how many reviews."""
        due = await self._store.read(lambda reader: reader.reviews_to_pass_on(now()))
        for row in due:
            level = await self._store.write(lambda writer, row=row: self._pass_on(writer, row))  # type: ignore[misc]
            await self._reviews.let_go(row.task, (), "policy")
            log.info("%s is at level %d: nobody decided it in time", row.id, level)
        return len(due)

    def _pass_on(self, writer: Writer, row: StoredReview) -> int:
        """Pass a review on as often as is due by now, which after a night without a gateway may be more than once."""
        at, found = now(), _open(writer, row)
        while found is not None and found[0].due_at is not None and found[0].due_at <= stamp(at):
            row, stored = found
            pass_on(writer, stored, row, self._profile(writer, row), "policy", at)
            found = _open(writer, row)
        return found[0].level if found else row.level

    async def replan(self) -> int:
        """Have every open review passed on when the policy of today says; returns how many times changed."""
        changed, after, policy = 0, "", self._policy.current
        while rows := await self._store.read(lambda reader, a=after: reader.reviews_waiting(a, _PAGE)):  # type: ignore[misc]
            late = await self._store.read(lambda reader, r=rows: self._late(reader, r))  # type: ignore[misc]
            if late:
                changed += await self._store.write(lambda writer, r=late: self._plan(writer, r))  # type: ignore[misc]
            after = rows[-1].id
        self._planned = policy
        return changed

    def _late(self, reader: Reader, rows: list[StoredReview]) -> list[StoredReview]:
        return [row for row in rows if self._due(reader, row) != row.due_at]

    def _plan(self, writer: Writer, rows: list[StoredReview]) -> int:
        there = [found[0] for row in rows if (found := _open(writer, row)) is not None]
        for row in there:
            writer.change_review(replace(row, due_at=self._due(writer, row)))
        return len(there)

    def _due(self, reader: Reader, row: StoredReview) -> str | None:
        due = due_at(parse(row.opened_at), row.level, self._profile(reader, row).review.escalate)
        return stamp(due) if due else None

    def _profile(self, reader: Reader, row: StoredReview) -> Profile:
        return profile_named(self._policy.current, reader.execution_profile(row.execution) or "")


def _open(reader: Reader, row: StoredReview) -> tuple[StoredReview, StoredTask] | None:
    """A review as it is now, with its task; None where somebody decided it meanwhile."""
    now_, stored = reader.review(row.id), reader.task(row.task)
    if now_ is None or stored is None or stored.task.review is None or stored.task.review.id != row.id:
        return None
    return now_, stored


def _expire(writer: Writer, row: StoredReview) -> tuple[str, ...]:
    found, message = _open(writer, row), "Nobody answered in time, so the answer is no."
    if found is None:
        return ()
    row, stored = found
    at, ruled = now(), Ruled(row.id, RulingKind.REJECT, "policy", message)
    end_review(writer, row, ruled, "expired", at)
    return close_task(writer, stored, ruled, "expired", at)
