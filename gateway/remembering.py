"""Nobody is asked twice: what a person said yes to answers the same question until the policy's `review.remember` is over.

The same question is the same program, inputs and limits, held for the same reason under the same policy in the same tenant.
Only a yes to a program before its run is remembered. What was said about a failure belongs to its task; a no costs the
agent a question, and never the team an answer that somebody has changed their mind about.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter

from gateway.errors import Unavailable
from gateway.events import BEFORE_THE_RUN, Approval, EscalationReason, RulingKind
from gateway.in_force import InForce
from gateway.lifecycle import OpenReview
from gateway.policy import Profile
from gateway.reader import Reader
from gateway.records import StoredApproval
from gateway.rules import guards_of, may_rule
from gateway.store import Store
from gateway.times import now, stamp
from gateway.wire_answers import Finding
from gateway.work import Work
from sandbox.job import Limits

_REMEMBERED: Final = frozenset({RulingKind.APPROVE, RulingKind.RAISE_LIMITS})
_LIMITS: Final = TypeAdapter(Limits)


def question(tenant: str, reason: EscalationReason, digest: str, limits: Limits, policy: str) -> str:
    """What has to be the same for the same answer: SHA-256, hexadecimal."""
    parts = (tenant, reason.value, digest, json.dumps(asdict(limits), sort_keys=True), policy)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def approval_of(  # noqa: PLR0913  # all that it depends on
    tenant: str, review: OpenReview, kind: RulingKind, profile: Profile, *, by: str, limits: Limits, at: datetime
) -> StoredApproval | None:
    """What is remembered of a ruling, if anything; `limits` are those that it runs with."""
    remember = profile.review.remember
    if remember is None or kind not in _REMEMBERED or review.reason not in BEFORE_THE_RUN:
        return None
    return StoredApproval(
        question=question(tenant, review.reason, review.digest, review.limits, profile.digest),
        review=review.id,
        decided_by=by,
        decided_at=stamp(at),
        limits=_LIMITS.dump_json(limits).decode(),
        until=stamp(at + timedelta(seconds=remember)),
    )


def note(approval: Approval) -> Finding:
    """What the agent is told of it."""
    message = f"{approval.by} said yes to the same program under the same policy at {approval.at} ({approval.review})"
    return Finding(rule="review.remembered", severity="info", message=message)


class Memory:
    """What people said yes to."""

    def __init__(self, policy: InForce, store: Store) -> None:
        self._policy = policy
        self._store = store

    async def recall(self, work: Work, reason: EscalationReason) -> Approval | None:
        """What answers the question that a held program is, if anything does.

        Nobody's yes is for a program of their own, and it holds no longer than they may rule.
        """
        if work.profile.review.remember is None:
            return None
        execution = work.execution
        asked = question(work.tenant, reason, execution.digest, execution.limits, work.profile.digest)
        try:
            found, people = await self._store.read(lambda reader: _known(reader, asked))
        except Unavailable:
            return None
        if found is None or not all(self._counts(work, one) for one in people):
            return None
        return Approval(found.decided_by, found.review, found.decided_at, _LIMITS.validate_json(found.limits))

    def _counts(self, work: Work, person: str) -> bool:
        policy = self._policy.current
        own = guards_of(work.profile, policy).same(person, work.caller)
        return not own and may_rule(policy, work.tenant, person)


def _known(reader: Reader, asked: str) -> tuple[StoredApproval | None, tuple[str, ...]]:
    """What answers the question, and all who had to say yes for it."""
    found = reader.approval(asked, now())
    return found, (found.decided_by, *reader.approvers(found.review)) if found is not None else ()
