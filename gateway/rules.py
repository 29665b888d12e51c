"""The policy's numbers as the lifecycle wants them, and the name of a caller's rolling task. Pure."""

from __future__ import annotations

from datetime import datetime

from gateway.auth import KEYLESS
from gateway.callers import Role
from gateway.events import RulingKind
from gateway.guards import Guards
from gateway.lifecycle import Rules
from gateway.policy import DEFAULT_PROFILE, Policy, Profile

ANONYMOUS = "anonymous-"


def rules_of(profile: Profile, *, anonymous: bool) -> Rules:
    """What bounds a task. Programs of an anonymous task are unrelated, so three in a row say little there."""
    budget = profile.budget
    return Rules(
        failures_in_a_row=budget.anonymous_failures_in_a_row if anonymous else budget.failures_in_a_row,
        failures_total=budget.failures_total,
        same_failure=budget.same_failure,
        cost_denied=profile.costs.policy_denied,
        platform_attempts=profile.retries.attempts,
        grants=profile.review.grants_per_task,
        when=frozenset(profile.review.when),
    )


def guards_of(profile: Profile, policy: Policy) -> Guards:
    """Who may rule on programs of this profile, and how many have to agree."""
    review = profile.review
    return Guards(
        reviewers=frozenset(review.reviewers),
        levels=tuple(frozenset(level.to) for level in review.escalate),
        approvals=review.approvals,
        four_eyes=frozenset(RulingKind(kind) for kind in review.four_eyes),
        owners={key.name: key.owner for key in policy.keys if key.owner is not None},
    )


def may_rule(policy: Policy, tenant: str, name: str) -> bool:
    """Whether somebody who ruled in a tenant could still do so; the tokens of an entry are called `ENTRY.SUBJECT`."""
    if not policy.keys:
        return (name, tenant) in KEYLESS
    entry = name.partition(".")[0]
    mine = (key for key in policy.keys if key.name == entry and key.tenant in {tenant, None})
    return any(Role.REVIEWER in key.roles for key in mine)


def anonymous_task_id(caller: str, profile: Profile, at: datetime) -> str:
    """The caller's task for programs that name none; a new one each window."""
    return f"{ANONYMOUS}{caller}-{int(at.timestamp() // profile.budget.anonymous_window)}"


def profile_named(policy: Policy, name: str) -> Profile:
    """The profile that a recorded execution names; the default where the policy has it no more."""
    return policy.profiles.get(name) or policy.profiles[DEFAULT_PROFILE]
