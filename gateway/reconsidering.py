"""Executions that wait for a box while the policy changes: by which profile they are decided anew, and within which limits.

Pure. The checks and the lifecycle decide, as they do about a program that comes in.
"""

from __future__ import annotations

from typing import Final

from gateway.auth import KEYLESS
from gateway.callers import Role
from gateway.events import Reconsidered, Verdict
from gateway.policy import DEFAULT_PROFILE, LimitsRequest, Policy, Profile, Violation, raised_limits
from gateway.reports import Report
from gateway.resources import lacks_room, limits_of, memory_max_bytes
from gateway.rules import profile_named
from gateway.wire_answers import Finding
from gateway.work import Work
from sandbox.job import Lane, Limits

_RUNS: Final = frozenset({Role.AGENT, Role.OPERATOR})  # operators in the playground
_RULES: Final = frozenset({Role.REVIEWER})
_HINT: Final = "The policy changed while the program waited for a box. Ask for less, and send it again."
GONE: Final = Finding(
    rule="key.gone",
    severity="error",
    message="the key that it was sent with is in the policy no more",
    hint="The policy changed while the program waited for a box. Send it with a key that is known.",
)
"""Why nothing runs of a key that is gone."""


def profile_now(policy: Policy, work: Work) -> Profile | None:
    """The profile that binds an execution whose caller was let in earlier; None where their key is gone, or is for something else.

    What a reviewer's ruling runs stays in the profile of the reviewed program.
    """
    if not policy.keys:
        named = DEFAULT_PROFILE if (work.caller, work.tenant) in KEYLESS else None
    else:
        entry = work.caller.partition(".")[0]  # the tokens of an entry are called `ENTRY.SUBJECT`
        roles = _RULES if work.execution.source == "reviewer" else _RUNS
        mine = (key for key in policy.keys if key.name == entry and key.tenant in {work.tenant, None})
        named = next((key.profile for key in mine if not roles.isdisjoint(key.roles)), None)
    if named is not None and work.execution.source == "reviewer":
        named = work.profile.name
    return None if named is None else profile_named(policy, named)


def anew(work: Work, profile: Profile) -> Reconsidered:
    """What happens to an execution that another profile binds from now on. What a reviewer said that it may use stays."""
    execution, most = work.execution, memory_max_bytes(profile, work.request)
    if execution.source == "reviewer" and execution.memory_max_bytes is None:
        most = None
    limits = _within(work, profile)
    known = limits if isinstance(limits, Limits) else execution.limits  # with which it does not run, see `taken_back`
    return Reconsidered(work.id, profile.name, profile.digest, known, most)


def taken_back(work: Work) -> Report | None:
    """Why an execution that is decided anew cannot have its limits any more; None where it can."""
    if not work.execution.reconsidered:
        return None
    limits = _within(work, work.profile)
    if isinstance(limits, Limits):
        short = lacks_room(work.request, limits)
        told = [short] if short else []
    else:
        told = [one.message for one in limits]
    findings = tuple(Finding(rule="limits.changed", severity="error", message=one, hint=_HINT) for one in told)
    return Report(Verdict.DENIED, Lane.CONTAINER, findings) if findings else None


def _within(work: Work, profile: Profile) -> Limits | tuple[Violation, ...]:
    """The limits by this profile: those of the request up to its `max`, or those that a reviewer gave up to the ceilings."""
    if work.execution.source == "reviewer":
        return raised_limits(profile, LimitsRequest(), current=work.execution.limits)
    return limits_of(profile, work.request)
