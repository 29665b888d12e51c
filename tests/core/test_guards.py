"""Who may rule and how many have to agree, without a gateway around it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from gateway.events import BEFORE_THE_RUN, EscalationReason, RulingKind
from gateway.guards import Guards, Person, Refusal, approved, barred
from gateway.lifecycle import OpenReview, Rules, Task, TaskState
from gateway.passing import due_at
from gateway.policy_reviews import Level
from sandbox.job import Limits

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=5, pids=64, disk_bytes=1 << 20, output_bytes=1 << 16)
RULES = Rules(failures_in_a_row=1, failures_total=9, same_failure=9, cost_denied=1, platform_attempts=1, grants=1)


def asked(reason: EscalationReason = EscalationReason.STUCK, **more: object) -> Task:
    review = OpenReview("r", "e", "d", LIMITS, "ada", reason)
    return Task("t", "task", "ada", anonymous=False, state=TaskState.IN_REVIEW, review=review, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", RulingKind)
def test_spent_grants_leave_what_lets_nothing_go_on_and_never_bind_what_was_held_before_its_run(
    kind: RulingKind,
) -> None:
    guards = Guards(levels=(frozenset({"bob"}),))
    spent = barred(asked(grants=1), kind, Person("ann"), RULES, guards)
    left = {RulingKind.REJECT, RulingKind.ANSWER, RulingKind.ESCALATE}
    assert spent == (None if kind in left else Refusal.GRANTS_SPENT)
    for reason in BEFORE_THE_RUN:
        held = barred(asked(reason, grants=1), kind, Person("ann"), RULES, guards)
        assert held == (Refusal.GRANTS_SPENT if kind is RulingKind.GRANT else None)


@pytest.mark.parametrize(
    ("word", "person"),
    [
        ("ann", Person("ann")),
        ("kim", Person("ann", owner="kim")),
        ("operator", Person("ann", roles=frozenset({"reviewer", "operator"}))),
    ],
)
def test_a_policy_names_people_by_key_by_owner_or_by_role(word: str, person: Person) -> None:
    stranger = Person("eve", owner="mallory", roles=frozenset({"reviewer"}))
    first, later = Guards(frozenset({word})), Guards(frozenset({"zoe"}), (frozenset({word}),))
    assert first.asks(person, 0)
    assert not first.asks(stranger, 0)
    assert not later.asks(person, 0)
    assert later.asks(person, 1)
    assert not later.asks(stranger, 1)
    assert Guards().asks(stranger, 0)


@pytest.mark.parametrize(
    ("approvals", "four_eyes", "people"), [(1, False, 1), (1, True, 2), (2, False, 2), (2, True, 3)]
)
def test_whoever_comes_first_as_many_people_have_to_agree(approvals: int, four_eyes: bool, people: int) -> None:  # noqa: FBT001  # a row
    kinds = frozenset({RulingKind.APPROVE_EDITED}) if four_eyes else frozenset()
    guards = Guards(approvals=approvals, four_eyes=kinds)
    for order in permutations(("ann", "bob", "zoe")):
        said: tuple[str, ...] = ()
        for name in order:
            review = OpenReview("r", "e", "d", LIMITS, "ada", EscalationReason.STUCK, subject="s", approvals=said)
            one = approved(review, RulingKind.APPROVE_EDITED, "s", name, guards)
            said = (*said, name)
            if one is None:
                break
            assert (one.number, one.needed) == (len(said), people)
        assert len(said) == people


def test_a_yes_to_something_else_counts_alone() -> None:
    review = OpenReview("r", "e", "d", LIMITS, "ada", EscalationReason.STUCK, subject="s", approvals=("ann",))
    other = approved(review, RulingKind.APPROVE_EDITED, "other", "bob", Guards(approvals=2))
    assert other is not None
    assert other.number == 1


def test_levels_are_due_one_after_the_other_counted_from_the_opening() -> None:
    opened = datetime(2026, 1, 1, tzinfo=UTC)
    levels = (Level(after=60.0, to=("ann",)), Level(after=300.0, to=("bob",)))
    assert due_at(opened, 0, levels) == opened + timedelta(minutes=1)
    assert due_at(opened, 1, levels) == opened + timedelta(minutes=5)
    assert due_at(opened, 2, levels) is None
    assert due_at(opened, 0, ()) is None
