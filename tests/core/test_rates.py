"""A key may ask at its pace, with a burst above it, and is told how long to wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.rates import Pace


def test_a_burst_passes_at_once_and_the_next_has_to_wait() -> None:
    pace = Pace(per_minute=60, burst=5)
    assert [pace.ask(100.0) for _ in range(6)] == [None] * 6
    assert pace.ask(100.0) == 1
    assert pace.ask(100.9) == 1
    assert pace.ask(101.0) is None
    assert pace.ask(101.0) == 1


def test_what_may_not_pass_is_not_counted() -> None:
    pace = Pace(per_minute=60, burst=1)
    assert [pace.ask(0.0) for _ in range(50)].count(None) == 2
    assert pace.ask(1.0) is None


def test_a_slow_pace_tells_whole_seconds() -> None:
    pace = Pace(per_minute=1, burst=1)
    assert [pace.ask(0.0), pace.ask(0.0), pace.ask(0.5)] == [None, None, 60]


@given(
    st.integers(1, 10_000),
    st.integers(1, 500),
    st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=300),
)
def test_never_more_than_the_burst_and_the_pace(per_minute: int, burst: int, gaps: list[float]) -> None:
    pace, now, passed = Pace(per_minute, burst), 0.0, 0
    for gap in gaps:
        now += gap
        wait = pace.ask(now)
        passed += wait is None
        assert wait is None or wait >= 1
    assert passed <= burst + 1 + now * per_minute / 60 + 1e-6


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_after_the_told_wait_one_may_pass(per_minute: int, burst: int) -> None:
    pace = Pace(per_minute, burst)
    for _ in range(burst + 1):
        assert pace.ask(5.0) is None
    wait = pace.ask(5.0)
    assert wait is not None
    assert pace.ask(5.0 + wait) is None
