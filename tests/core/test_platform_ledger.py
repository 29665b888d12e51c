"""What the platform may try again by itself: how often, how fast, and not at all where an engine is away."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, REFUSALS, Breaker
from gateway.policy_programs import Retries
from gateway.retries import LEAST_PER_SECOND, RESERVE, RetryPace, backoff_seconds
from sandbox.outcome import Loss


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0, 1))
def test_a_wait_is_a_random_share_of_a_doubling_bound(losses: int, chance: float) -> None:
    wait = backoff_seconds(losses, Retries(), chance)
    assert 0 <= wait <= min(30.0, 0.5 * 2 ** (losses - 1))


def test_the_bounds_of_the_wait_are_reached() -> None:
    assert [backoff_seconds(losses, Retries(), 1.0) for losses in (1, 2, 3, 7, 40)] == [0.5, 1.0, 2.0, 30.0, 30.0]
    assert backoff_seconds(5, Retries(), 0.0) == 0.0


def test_a_few_retries_are_made_at_once_however_little_runs() -> None:
    pace = RetryPace(share=0.2)
    assert [pace.again_seconds(0.0) for _ in range(int(RESERVE))] == [0.0] * int(RESERVE)
    assert pace.again_seconds(0.0) == 1 / LEAST_PER_SECOND


@settings(deadline=None)
@given(st.lists(st.sampled_from(("first", "again")), max_size=400))
def test_retries_add_no_more_than_their_share_to_the_load(calls: list[str]) -> None:
    """All at one moment: what may start at once is the reserve, and the share of the first attempts."""
    pace, firsts, at_once = RetryPace(share=0.2), 0, 0
    for call in calls:
        if call == "first":
            pace.first()
            firsts += 1
        else:
            at_once += pace.again_seconds(0.0) == 0.0
    assert at_once <= RESERVE + 0.2 * firsts


def test_retries_that_wait_come_back_one_by_one() -> None:
    pace = RetryPace(share=0.0)
    waits = [pace.again_seconds(100.0) for _ in range(50)]
    assert waits[:10] == [0.0] * 10
    assert waits[10:] == [float(number) for number in range(1, 41)]


def test_one_unreachable_engine_is_enough_to_wait() -> None:
    breaker = Breaker()
    breaker.saw(Loss.ENGINE, now=10.0)
    assert (breaker.state, breaker.probe_at) == ("open", 10.0 + FIRST_PAUSE_SECONDS)


def test_an_engine_that_answers_counts_as_away_after_some_refusals_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(REFUSALS - 1):
        breaker.saw(Loss.REFUSED, now=0.0)
    breaker.saw(None, now=0.0)
    for _ in range(REFUSALS - 1):
        breaker.saw(Loss.REFUSED, now=0.0)
    assert breaker.opened == 0
    breaker.saw(Loss.REFUSED, now=0.0)
    assert breaker.opened == 1


@settings(deadline=None)
@given(st.lists(st.sampled_from((None, Loss.BOX, Loss.UNFIT, Loss.STOPPED)), max_size=50))
def test_nothing_that_a_program_can_bring_about_opens_it(losses: list[Loss | None]) -> None:
    breaker = Breaker()
    for loss in losses:
        breaker.saw(loss, now=0.0)
    assert breaker.state == "closed"


def test_one_probe_decides_and_each_that_fails_doubles_the_pause() -> None:
    breaker, now, pauses = Breaker(), 0.0, []
    breaker.saw(Loss.ENGINE, now)
    for _ in range(7):
        pauses.append(breaker.probe_at - now)
        now = breaker.probe_at
        breaker.begin_probe()
        assert breaker.state == "half_open"
        breaker.probed(well=False, now=now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    breaker.begin_probe()
    breaker.probed(well=True, now=now)
    assert breaker.state == "closed"


def test_what_ends_while_it_is_open_does_not_open_it_twice() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.saw(Loss.ENGINE, now=0.0)
    assert breaker.opened == 1
    assert breaker.probe_at == FIRST_PAUSE_SECONDS
