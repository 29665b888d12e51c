"""Which programs are shown to a person before they run, and why. Pure."""

from __future__ import annotations

from gateway.events import EscalationReason
from gateway.limits import FORMATS, amounts_of
from gateway.policy import Profile
from gateway.requests import ExecutionRequest
from gateway.resources import limits_of
from gateway.wire_answers import Finding
from sandbox.job import Limits


def held(profile: Profile, request: ExecutionRequest) -> tuple[EscalationReason, list[Finding]] | None:
    """Why a person decides about a sound program first, where the policy wants that, and what its agent is told."""
    when = profile.review.when
    if EscalationReason.ABOVE_DEFAULT in when and (above := above_default(profile, request)):
        hint = "Wait for the ruling. Programs that ask for less than that run at once."
        return EscalationReason.ABOVE_DEFAULT, [_finding("limits.held", message, hint) for message in above]
    if EscalationReason.LOW_CONFIDENCE in when and (doubt := _doubt(profile, request)):
        hint = "Wait for the ruling. Programs of which you are surer run at once."
        return EscalationReason.LOW_CONFIDENCE, [_finding("confidence.held", doubt, hint)]
    if EscalationReason.ALWAYS in when:
        message = "the policy has a person look at every program before it runs"
        return EscalationReason.ALWAYS, [_finding("review.held", message, "Wait for the ruling.")]
    return None


def above_default(profile: Profile, request: ExecutionRequest) -> tuple[str, ...]:
    """What is asked for above the policy's defaults, by the request or by the code: one sentence each."""
    limits = limits_of(profile, request)
    asked = amounts_of(limits) if isinstance(limits, Limits) else {}
    return tuple(
        f"{limit}: {FORMATS[limit](asked[limit])} is above the default of {FORMATS[limit](span.default)}"
        for limit, span in profile.limits
        if asked.get(limit, 0) > span.default
    )


def _doubt(profile: Profile, request: ExecutionRequest) -> str | None:
    """Who says nothing of their confidence is not asked about it."""
    least = profile.review.confidence
    if request.confidence is None or request.confidence >= least:
        return None
    return f"its confidence of {request.confidence:g} is below {least:g}"


def _finding(rule: str, message: str, hint: str) -> Finding:
    return Finding(rule=rule, severity="error", message=message, hint=hint)
