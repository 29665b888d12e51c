"""A review with all that a ruling on it is judged by, and what a ruling then writes.

What may be ruled is for the guards and the lifecycle to say; what may be granted is the policy's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from pydantic import JsonValue

from gateway.callers import Caller
from gateway.errors import Conflict, Forbidden, GatewayError, InvalidRequest, NotFound, ReviewDecided, StaleReview
from gateway.events import Closed, Ruled, RulingKind, Submitted
from gateway.execution_life import received
from gateway.guards import Guards, Person, Refusal, barred, refusal, review_token
from gateway.lifecycle import OpenReview, Rules
from gateway.policy import LimitsRequest, Policy, Profile, raised_limits
from gateway.reader import Reader
from gateway.recording import cancel_live
from gateway.records import StoredExecution, StoredReview, StoredTask
from gateway.requests import ExecutionRequest, RulingRequest
from gateway.resources import memory_max_bytes
from gateway.rules import guards_of, may_rule, profile_named, rules_of
from gateway.times import new_id, now, stamp
from gateway.work import Work, written
from gateway.writer import Writer
from sandbox.job import Limits

_REFUSALS: Final[dict[Refusal, tuple[type[GatewayError], str]]] = {
    Refusal.DECIDED: (ReviewDecided, "The review is decided already; the first ruling counts."),
    Refusal.STALE: (
        StaleReview,
        "The review changed since its token was shown: look again, and rule on what is there now.",
    ),
    Refusal.SELF_REVIEW: (Forbidden, "Nobody rules on their own program, or on that of another key of theirs."),
    Refusal.NOT_ASKED: (Forbidden, "The policy has others rule on this review."),
    Refusal.APPROVED_ALREADY: (Conflict, "You have said so already; it needs somebody else."),
    Refusal.NO_NEXT_LEVEL: (Conflict, "There is nobody above: the policy has no further level."),
    Refusal.GRANTS_SPENT: (
        Forbidden,
        "People have let this task go on as often as the policy allows: reject it or answer it.",
    ),
}
_SUBJECT: Final = {"ruling", "code", "limits", "failures", "result"}
"""What of a ruling several people have to agree on; each has words of their own."""


@dataclass(frozen=True, slots=True)
class Case:
    """A review with all that a ruling on it is judged by.

    `author` is the agent who sent the reviewed program, also where a reviewer had it run since. `standing` are those who
    said yes so far and may still rule. `over`: its time is, although nobody may have ended it yet.
    """

    row: StoredReview
    stored: StoredTask
    reviewed: StoredExecution
    profile: Profile
    rules: Rules
    guards: Guards
    author: str | None = None
    standing: tuple[str, ...] = ()
    over: bool = False

    @property
    def open(self) -> bool:
        """Whether it can be ruled on."""
        return self.row.state == "open" and not self.over

    @property
    def token(self) -> str | None:
        """What a ruling must echo; None once the review is over."""
        if not self.open:
            return None
        return review_token(self.stored.task, self.profile.digest)

    def open_to(self, caller: Caller) -> list[RulingKind]:
        """The rulings that this caller can take now."""
        if not self.open:
            return []
        task, by, author = self.stored.task, self.person(caller), self.author
        return [kind for kind in RulingKind if barred(task, kind, by, self.rules, self.guards, author=author) is None]

    def subject(self, ruling: RulingRequest) -> str:
        """What the log has of what several people agree on."""
        return subject_of(proposal_of(ruling), self.profile.digest)

    def asked(self) -> OpenReview | None:
        """The open review, of which only that counts which was said by people who may still rule."""
        review = self.stored.task.review
        return replace(review, approvals=self.standing) if review is not None else None

    def agreed(self) -> tuple[str, ...]:
        """Who said yes to the proposal that is at hand, under this policy; nobody where it counts no more."""
        review, proposal = self.stored.task.review, self.row.proposal
        if review is None or proposal is None:
            return ()
        said = {name: value for name, value in json.loads(proposal).items() if name in _SUBJECT}
        return self.standing if review.subject == subject_of(_canonical(said), self.profile.digest) else ()

    def person(self, caller: Caller) -> Person:
        """The caller as the guards know people."""
        return Person(caller.name, self.guards.owner(caller.name), frozenset(role.value for role in caller.roles))

    def request(self) -> ExecutionRequest:
        """The reviewed program as it was sent; raises `Conflict` where it is gone."""
        if not self.reviewed.request:
            raise Conflict("The reviewed program was deleted by retention: grant or reject.")
        return ExecutionRequest.model_validate_json(self.reviewed.request)


def case_of(reader: Reader, policy: Policy, caller: Caller, review: str) -> Case:
    """A review of the caller's tenant; another tenant's is as if it did not exist."""
    row = reader.review(review)
    if row is None or row.tenant != caller.tenant:
        raise NotFound("There is no such review.")
    stored, reviewed = reader.task(row.task), reader.execution(row.execution)
    if stored is None or reviewed is None:
        raise NotFound("There is no such review.")
    profile = profile_named(policy, reviewed.profile)
    rules = rules_of(profile, anonymous=stored.task.anonymous)
    said = stored.task.review.approvals if stored.task.review is not None else ()
    return Case(
        row,
        stored,
        reviewed,
        profile,
        rules,
        guards_of(profile, policy),
        author=_author(reader, reviewed),
        standing=tuple(one for one in said if may_rule(policy, row.tenant, one)),
        over=row.expires_at <= stamp(now()),
    )


def _author(reader: Reader, row: StoredExecution) -> str:
    """Who sent a program first, or that of which a reviewer had another version run."""
    while row.source == "reviewer" and row.of is not None and (before := reader.execution(row.of)) is not None:
        row = before
    return row.caller


def require_allowed(case: Case, caller: Caller, ruling: RulingRequest) -> None:
    """Raise what the time, the guards, and the ceiling of a grant have against a ruling."""
    if case.row.state == "open" and case.over:
        extra: dict[str, JsonValue] = {"review": case.row.id, "state": "expired", "refusal": Refusal.DECIDED.value}
        raise ReviewDecided("Nobody answered in time, so the answer is no.", extra=extra)
    refused = refusal(
        case.stored.task,
        review=case.row.id,
        token=ruling.token,
        policy_digest=case.profile.digest,
        kind=ruling.ruling,
        by=case.person(caller),
        rules=case.rules,
        guards=case.guards,
        subject=case.subject(ruling),
        author=case.author,
    )
    if refused is not None:
        kind, message = _REFUSALS[refused]
        raise kind(message, extra={"review": case.row.id, "state": case.row.state, "refusal": refused.value})
    require_grantable(case.profile, ruling)


def require_grantable(profile: Profile, ruling: RulingRequest) -> None:
    """Refuse to give an agent more failures than the ceiling has; raises `InvalidRequest`."""
    if ruling.failures is not None and ruling.failures > profile.ceilings.failures:
        message = f"{ruling.failures} is above the policy's ceiling of {profile.ceilings.failures}"
        raise InvalidRequest(fields=(("failures", message),))


def proposal_of(ruling: RulingRequest) -> str:
    """What several people agree on, as one text for one meaning."""
    return _canonical(ruling.model_dump(mode="json", include=_SUBJECT, exclude_none=True))


def _canonical(said: Mapping[str, JsonValue]) -> str:
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def kept_proposal(proposal: str, message: str) -> str:
    """What is kept of it beside the log until the review is over, with what its latest supporter said to it."""
    return json.dumps({**json.loads(proposal), "message": message})


def message_of(row: StoredReview, ruling: RulingRequest, *, agrees: bool) -> str:
    """What the agent reads: what the last one said, or else, where they agreed, those before."""
    if ruling.message or row.proposal is None or not agrees:
        return ruling.message
    return str(json.loads(row.proposal).get("message", ""))


def subject_of(proposal: str, policy: str) -> str:
    """What the log has of it: what was said, and under which policy (its digest), for a yes is none to what another allows."""
    return hashlib.sha256(f"{policy}\n{proposal}".encode()).hexdigest()


def limits_of_ruling(case: Case, ruling: RulingRequest) -> Limits:
    """What the ruling runs with; raised limits may pass the profile's maximum, never the ceilings."""
    before = case.stored.task.review.limits if case.stored.task.review else None
    if before is None:
        raise ReviewDecided(_REFUSALS[Refusal.DECIDED][1])
    if ruling.ruling is RulingKind.ANSWER:
        return before
    limits = raised_limits(case.profile, ruling.limits or LimitsRequest(), current=before)
    if isinstance(limits, Limits):
        return limits
    raise InvalidRequest(fields=tuple((f"limits.{one.field}", one.message) for one in limits))


def work_of(case: Case, caller: Caller, ruling: RulingRequest, limits: Limits, at: datetime) -> Work:
    """The execution that a ruling makes: the reviewed program, as the reviewer wants it."""
    request = case.request()
    if ruling.code is not None:
        request = request.model_copy(update={"code": ruling.code})
    execution = new_id("exe")
    kept = written(request)
    most = memory_max_bytes(case.profile, request, ruling.limits)
    event = Submitted(execution, kept.program, limits, caller.name, "reviewer", case.reviewed.id, most)
    work = Work(
        execution=received(event),
        request=request,
        written=kept,
        profile=case.profile,
        rules=case.rules,
        tenant=case.reviewed.tenant,
        caller=caller.name,
        task_id=case.stored.task.task_id,
        anonymous=case.stored.task.anonymous,
        failures=case.stored.task.failures,
        submitted_at=at,
        of=case.reviewed.id,
        task=case.stored.id,
    )
    work.happened(event)
    return work


def end_review(
    writer: Writer, row: StoredReview, ruled: Ruled, state: Literal["decided", "expired"], at: datetime
) -> None:
    """Keep how a review ended."""
    writer.change_review(
        replace(
            row,
            state=state,
            ruling=ruled.ruling.value,
            ruled_execution=ruled.execution,
            message=ruled.message or None,
            decided_by=ruled.by,
            decided_at=stamp(at),
            proposal=None,
        )
    )


def close_task(
    writer: Writer, stored: StoredTask, ruled: Ruled, reason: Literal["rejected", "expired"], at: datetime
) -> tuple[str, ...]:
    """End a task with a no. What it still runs ends with it, and is returned for the conductor to let go of."""
    events = cancel_live(writer, stored, ruled.by, at)
    writer.append(stored, [ruled, *events, Closed(ruled.by, reason, ruled.message)], at)
    return tuple(stored.task.executions)
