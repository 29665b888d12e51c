"""What is remembered of the latest commits: never what was before, and never more than is certain."""

from __future__ import annotations

from dataclasses import replace

from gateway.lifecycle import Task, TaskState
from gateway.recent import Recent
from gateway.records import StoredTask

OPEN = StoredTask("tsk_1", "h1", Task("t", "anonymous-a-1", "a", anonymous=True))
LATER = replace(OPEN, head="h2", task=replace(OPEN.task, seq=2))
IN_REVIEW = replace(LATER, head="h3", task=replace(OPEN.task, seq=3, state=TaskState.IN_REVIEW))


def test_a_task_is_as_its_latest_commit_left_it_and_its_tenants_alone() -> None:
    recent = Recent()
    recent.committed([OPEN, LATER])
    assert recent.task("t", "anonymous-a-1") == LATER
    assert recent.task("other", "anonymous-a-1") is None


def test_who_is_free_is_known_until_a_review_begins() -> None:
    recent = Recent()
    assert not recent.is_free("t", "a")
    recent.found_free("t", "a", recent.age)
    recent.committed([LATER])
    assert recent.is_free("t", "a")
    recent.committed([IN_REVIEW])
    assert not recent.is_free("t", "a")


def test_a_look_that_began_before_a_review_says_nothing() -> None:
    recent = Recent()
    age = recent.age
    recent.committed([IN_REVIEW])
    recent.found_free("t", "a", age)
    assert not recent.is_free("t", "a")


def test_after_a_failure_nothing_is_known() -> None:
    recent = Recent()
    age = recent.age
    recent.found_free("t", "a", age)
    recent.committed([OPEN])
    recent.forget()
    recent.found_free("t", "a", age)
    assert recent.task("t", "anonymous-a-1") is None
    assert not recent.is_free("t", "a")


def test_it_holds_a_bounded_number() -> None:
    recent = Recent()
    for number in range(3_000):
        task = replace(OPEN.task, task_id=f"n{number}")
        recent.committed([replace(OPEN, id=f"tsk_{number}", task=task)])
        recent.found_free("t", f"c{number}", recent.age)
    held = [number for number in range(3_000) if recent.task("t", f"n{number}")]
    assert held == list(range(2_000, 3_000))
    assert sum(recent.is_free("t", f"c{number}") for number in range(3_000)) <= 1_000
