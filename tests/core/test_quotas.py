"""What counts against a key's share of the day, and when the share is used up; time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.callers import Caller, Role
from gateway.errors import QuotaSpent
from gateway.policy import Profile
from gateway.policy_file import parse_policy
from gateway.quotas import Quotas, cpu_seconds
from gateway.records import StoredUse
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Outcome, Usage

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LIMITS = Limits(cpu_cores=2.0, memory_bytes=1, wall_seconds=10.0, pids=1, disk_bytes=1, output_bytes=1)


def profile(quotas: str) -> Profile:
    return parse_policy(f"version: 1\ndefaults: {{quotas: {quotas}}}\n", file="policy.yaml").resolve("default")


def caller(name: str) -> Caller:
    return Caller(tenant="acme", name=name, profile="default", roles=frozenset({Role.AGENT}))


def refusal(quotas: Quotas, whose: Caller, what: Profile, at: datetime) -> QuotaSpent:
    with pytest.raises(QuotaSpent) as refused:
        quotas.admit(whose, what, at)
    return refused.value


def test_two_keys_of_a_tenant_do_not_share() -> None:
    quotas, two = Quotas(), profile("{executions: 2}")
    for _ in range(2):
        quotas.admit(caller("one"), two, NOON)
    assert refusal(quotas, caller("one"), two, NOON).extra["limits"] == ["quotas.executions"]
    quotas.admit(caller("two"), two, NOON)


def test_the_next_day_is_a_new_one_and_a_clock_set_back_gives_nothing_twice() -> None:
    quotas, one, late = Quotas(), profile("{executions: 1}"), datetime(2026, 1, 31, 23, 59, 58, 500_000, tzinfo=UTC)
    quotas.admit(caller("a"), one, late)
    assert refusal(quotas, caller("a"), one, late).retry_after_seconds == 2
    quotas.admit(caller("a"), one, late + timedelta(seconds=2))
    refusal(quotas, caller("a"), one, late + timedelta(seconds=2))
    refusal(quotas, caller("a"), one, late)


def test_a_day_ends_where_it_ends_in_utc() -> None:
    quotas, one = Quotas(), profile("{executions: 1}")
    before = datetime.fromisoformat("2026-02-01T01:59:59+02:00")
    quotas.admit(caller("a"), one, before)
    assert refusal(quotas, caller("a"), one, before).extra["resets_at"] == "2026-02-01T00:00:00+00:00"
    quotas.admit(caller("a"), one, before + timedelta(seconds=1))


def test_all_that_is_used_up_is_named_and_what_was_written_down_counts() -> None:
    quotas, both = Quotas(), profile("{executions: 3, cpu: 1m}")
    quotas.load([StoredUse("acme", "a", "2026-01-31", 3, 60_000), StoredUse("acme", "b", "2026-01-31", 2, 59_999)])
    refused = refusal(quotas, caller("a"), both, NOON)
    assert refused.extra["limits"] == ["quotas.executions", "quotas.cpu"]
    assert refused.extra["limit"] == "quotas.executions"
    assert refused.retry_after_seconds == 12 * 3600
    quotas.admit(caller("b"), both, NOON)
    assert refusal(quotas, caller("b"), both, NOON).extra["limits"] == ["quotas.executions"]


def test_without_quotas_nothing_is_counted() -> None:
    quotas, free = Quotas(), profile("{}")
    for _ in range(3):
        quotas.admit(caller("a"), free, NOON)
    assert quotas.today("acme", "a", NOON).executions == 0


@pytest.mark.parametrize(
    ("outcome", "charged"),
    [
        (Outcome(ending=Ending.FAILED, lane=Lane.CONTAINER, usage=Usage(wall_seconds=9.0, cpu_seconds=1.5)), 1.5),
        (Outcome(ending=Ending.LOST, lane=Lane.CONTAINER, usage=Usage(wall_seconds=9.0, cpu_seconds=1.5)), 0.0),
        (Outcome(ending=Ending.UNSUPPORTED, lane=Lane.MONTY), 0.0),
        (Outcome(ending=Ending.SUCCEEDED, lane=Lane.MONTY, usage=Usage(wall_seconds=0.5)), 0.5),
        (Outcome(ending=Ending.OUT_OF_MEMORY, lane=Lane.CONTAINER, usage=Usage(wall_seconds=3.0)), 6.0),
        (Outcome(ending=Ending.TIMED_OUT, lane=Lane.CONTAINER), 20.0),
    ],
)
def test_a_run_is_charged_what_it_used_or_can_have_used(outcome: Outcome, charged: float) -> None:
    assert cpu_seconds(outcome, LIMITS) == charged
