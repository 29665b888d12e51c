"""What a policy makes of a request, without running it: for a policy's own tests, and for requests of the past.

It decides nothing itself: each answer is that of the functions which decide when the request comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gateway.checks import Checker
from gateway.events import Verdict
from gateway.policy import Profile
from gateway.requests import ExecutionRequest
from gateway.resources import lacks_room, limits_of
from gateway.wire_answers import Finding
from sandbox.job import Lane, Limits


class Decision(StrEnum):
    """What becomes of a request."""

    ADMITTED = "admitted"  # it runs
    HELD = "held"  # a person decides first
    DENIED = "denied"  # the policy forbids something in the program
    REJECTED = "rejected"  # the checks found that it cannot run, or cannot be checked
    REFUSED = "refused"  # the request asks for what nobody gets, and nothing is recorded of it


_DECISIONS: Final[Mapping[Verdict, Decision]] = MappingProxyType(
    {
        Verdict.ADMIT: Decision.ADMITTED,
        Verdict.HELD: Decision.HELD,
        Verdict.DENIED: Decision.DENIED,
        Verdict.INVALID: Decision.REJECTED,
        Verdict.TOO_COMPLEX: Decision.REJECTED,
        Verdict.FIX_FIRST: Decision.REJECTED,
        Verdict.INEXACT: Decision.REJECTED,
    }
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, why, and what an admitted program would get. `lane` is where it would run first."""

    decision: Decision
    findings: tuple[Finding, ...]
    lane: Lane | None = None
    limits: Limits | None = None

    @property
    def why(self) -> str:
        """The first finding that is no mere note, in words; empty where there is none."""
        told = [one for one in self.findings if one.severity == "error"] or [
            one for one in self.findings if one.severity == "warning"
        ]
        return f"{told[0].rule}: {told[0].message}" if told else ""


async def judge(checker: Checker, profile: Profile, request: ExecutionRequest) -> Judged:
    """Decide about a request by one profile."""
    limits = limits_of(profile, request)
    if not isinstance(limits, Limits):
        findings = tuple(_refusal(f"limits.{one.field}", one.message) for one in limits)
        return Judged(Decision.REFUSED, findings)
    if short := lacks_room(request, limits):
        return Judged(Decision.REFUSED, (_refusal("files", short),))
    report = await checker.check(request, profile)
    decision = _DECISIONS[report.verdict]
    if decision is Decision.ADMITTED:
        return Judged(decision, report.findings, report.lane, limits)
    return Judged(decision, report.findings)


def _refusal(rule: str, message: str) -> Finding:
    return Finding(rule=rule, severity="error", message=message)
