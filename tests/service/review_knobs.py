"""The keys about reviews, who hears of them and whose keys are whose, with what they do. See `knobs.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.events import EscalationReason, RulingKind
from gateway.guards import Guards, Person
from gateway.letters import wait_seconds
from gateway.lifecycle import OpenReview
from gateway.mails import mail_of
from gateway.passing import due_at, told
from gateway.policy import Policy
from gateway.policy_notices import NoticeKind
from gateway.remembering import approval_of
from gateway.rules import guards_of
from gateway.webhooks import mail_targets
from tests.service.knob_effects import LIMITS, Bench, Json, Seen, default, expires, failing, grants, verdict
from tests.service.knobs import Knob

_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_HELD: Final = OpenReview("r", "e", "d", LIMITS, "ada", EscalationReason.ALWAYS)
MAIL: Final[dict[str, Json]] = {"host": "mail.example", "from": "airlock@gateway.example"}
TOLD: Final[dict[str, Json]] = {"defaults": {"review": {"notify": ["ann@team.example"]}}}
_LOGIN: Final[dict[str, Json]] = {**TOLD, "mail": {**MAIL, "user": "ann", "password_env": "AIRLOCK_SECRET_ONE"}}
_SENT: Final[dict[str, Json]] = {**TOLD, "mail": MAIL}


def guarding(see: Callable[[Guards], object]) -> Callable[[Bench, Policy], Seen]:
    return lambda _, policy: see(guards_of(default(policy), policy))


def remembered_until(_: Bench, policy: Policy) -> Seen:
    """How long a yes holds."""
    profile = default(policy)
    kept = approval_of("t", _HELD, RulingKind.APPROVE, profile, by="ann", limits=LIMITS, at=_AT)
    return kept.until if kept else None


def passed(_: Bench, policy: Policy) -> Seen:
    """When a review goes to the first level."""
    return due_at(_AT, 0, default(policy).review.escalate)


def hears(level: int) -> Callable[[Bench, Policy], Seen]:
    return lambda _, policy: told(level, default(policy))


def mailed(_: Bench, policy: Policy) -> Seen:
    """What is sent, over which server, and when it is sent again."""
    body = json.dumps({"timestamp": "then", "data": {"review": "r", "tenant": "t", "task": "x", "reason": "stuck"}})
    return [
        (
            target,
            [wait_seconds(target, tries, 1.0) for tries in range(1, target.attempts)],
            mail_of(target, "m", NoticeKind.REVIEW_OPENED, body, _AT + timedelta(0)).as_string(),
        )
        for target in mail_targets(policy)
    ]


_LEVELS: Final[Mapping[str, Json]] = {"defaults": {"review": {"reviewers": ["zoe"]}}}

REVIEW_KNOBS: Final[dict[str, Knob]] = {
    "review.when": Knob(failing(), ["budget_exhausted"], ["stuck"]),
    "review.confidence": Knob(
        verdict("1", confidence=0.6), 0.5, 0.7, {"defaults": {"review": {"when": ["low_confidence"]}}}
    ),
    "review.reviewers": Knob(guarding(lambda guards: guards.asks(Person("bob"), 0)), [], ["ann"]),
    "review.approvals": Knob(guarding(lambda guards: guards.needed(RulingKind.APPROVE)), 1, 2),
    "review.four_eyes": Knob(
        guarding(lambda guards: guards.needed(RulingKind.APPROVE_EDITED)), ["raise_limits"], ["approve_edited"]
    ),
    "review.grants_per_task": Knob(grants, 1, 2),
    "review.remember": Knob(remembered_until, "1h", "2h"),
    "review.expires": Knob(expires, "1h", "2h"),
    "review.escalate[].after": Knob(passed, "1h", "2h"),
    "review.escalate[].to": Knob(guarding(lambda guards: guards.asks(Person("bob"), 1)), ["ann"], ["bob"], _LEVELS),
    "review.escalate[].notify": Knob(hears(1), ["ann@team.example"], ["bob@team.example"], {"mail": MAIL}),
    "review.notify": Knob(hears(0), ["ann@team.example"], ["bob@team.example"], {"mail": MAIL}),
    "mail.host": Knob(mailed, "mail.example", "other.example", _SENT),
    "mail.port": Knob(mailed, 25, 26, _SENT),
    "mail.tls": Knob(mailed, "starttls", "tls", _SENT),
    "mail.user": Knob(mailed, "ann", "bob", _LOGIN),
    "mail.password_env": Knob(mailed, "AIRLOCK_SECRET_ONE", "AIRLOCK_SECRET_TWO", _LOGIN),
    "mail.password_file": Knob(mailed, "ONE", "TWO", {**TOLD, "mail": {**MAIL, "user": "ann"}}),
    "mail.from": Knob(mailed, "a@gateway.example", "b@gateway.example", _SENT),
    "mail.attempts": Knob(mailed, 2, 3, _SENT),
    "mail.base": Knob(mailed, "1s", "2s", _SENT),
    "mail.cap": Knob(mailed, "1h", "2h", _SENT),
    "mail.timeout": Knob(mailed, "1s", "2s", _SENT),
    "public_url": Knob(mailed, "https://one.example", "https://two.example", _SENT),
    "keys[].owner": Knob(guarding(lambda guards: guards.same("ada", "kim")), "kim", "lee"),
}
