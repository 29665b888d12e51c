from __future__ import annotations

import pytest

from bench.bars import BARS, KNOWN, Bar, Judged, Verdict, failed, judge, subjects
from bench.results import Results
from bench.run import NAMES


def judged(results: Results, *, short: bool = False) -> dict[str, Judged]:
    return {one.bar.name: one for one in judge(results, short=short)}


def with_latencies(**milliseconds: float) -> Results:
    return Results(latencies={name.replace("_", "-"): [[value]] for name, value in milliseconds.items()})


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(1.5, Verdict.MOONSHOT), (1.6, Verdict.HOLDS), (2.5, Verdict.HOLDS), (2.6, Verdict.FAILS)],
)
def test_a_latency_is_judged_by_how_often_the_floor_fits_into_it(ours: float, verdict: Verdict) -> None:
    results = with_latencies(monty_cached=ours, bare=1.0)
    assert judged(results)["monty-p50"].verdict is verdict
    assert (judged(results)["monty-p50"] in failed(judge(results))) == (verdict is Verdict.FAILS)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(80.0, Verdict.MOONSHOT), (79.0, Verdict.HOLDS), (50.0, Verdict.HOLDS), (49.0, Verdict.FAILS)],
)
def test_a_rate_is_judged_by_its_share_of_the_floors(ours: float, verdict: Verdict) -> None:
    results = Results(rates={"monty-cached": {32: [ours]}, "bare": {1: [900.0], 32: [100.0]}})
    assert judged(results)["monty-rate"].verdict is verdict


def test_boxes_are_held_against_the_best_that_raw_calls_can_do() -> None:
    results = Results(rates={"box-warm": {1: [2.0, 2.0], 8: [9.0, 9.0]}, "raw": {1: [5.0, 5.0], 2: [10.0, 10.0]}})
    found = judged(results)["box-rate"].found
    assert found is not None
    assert found.value == pytest.approx(0.9)


def test_what_was_not_measured_is_said_and_is_no_failure() -> None:
    nothing = judge(Results())
    assert {one.verdict for one in nothing} == {Verdict.UNKNOWN}
    assert failed(nothing) == []


def test_a_short_run_widens_only_the_bars_that_noise_can_bend() -> None:
    wide = with_latencies(monty_cached=3.4, bare=1.0)
    assert judged(wide)["monty-p50"].verdict is Verdict.FAILS
    assert judged(wide, short=True)["monty-p50"].verdict is Verdict.HOLDS
    heavy = Results(sizes={"gateway-all": 201_000_000})
    assert judged(heavy, short=True)["gateway-memory"].verdict is Verdict.FAILS


def test_the_slower_lane_decides_what_a_history_costs() -> None:
    results = with_latencies(monty_full=1.0, monty_empty=1.0, box_full=1.3, box_empty=1.0)
    assert judged(results)["history"].verdict is Verdict.FAILS


def test_sizes_are_judged_in_megabytes() -> None:
    results = Results(sizes={"warm-box": 9_000_000, "gateway-all": 150_000_000})
    assert judged(results)["box-memory"].verdict is Verdict.MOONSHOT
    assert judged(results)["gateway-memory"].verdict is Verdict.HOLDS


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.name)
def test_every_moonshot_is_beyond_its_bar(bar: Bar) -> None:
    assert (bar.moonshot < bar.bar) == bar.most
    assert bar.slack >= 1


def test_a_bar_that_is_known_not_to_hold_fails_no_run_until_it_holds() -> None:
    slow, fast = with_latencies(box_warm=4.0, fork=1.0), with_latencies(box_warm=2.4, fork=1.0)
    assert judged(slow)["box-p50"].verdict is Verdict.FAILS
    assert failed(judge(slow)) == []
    assert [one.bar.name for one in failed(judge(fast))] == ["box-p50"]


def test_in_a_short_run_noise_takes_no_bar_off_the_list() -> None:
    lucky, fast = with_latencies(box_warm=2.4, fork=1.0), with_latencies(box_warm=1.9, fork=1.0)
    assert failed(judge(lucky, short=True)) == []
    assert [one.bar.name for one in failed(judge(fast, short=True))] == ["box-p50"]


def test_what_came_out_otherwise_can_be_measured_again_and_all_rounds_decide() -> None:
    results = Results(latencies={"monty-cached": [[4.0], [4.0]], "bare": [[1.0], [1.0]]})
    assert subjects(failed(judge(results))) == {"monty-cached", "bare"}
    results.add(Results(latencies={"monty-cached": [[2.0]] * 3, "bare": [[1.0]] * 3}))
    assert failed(judge(results)) == []


def test_one_lucky_round_hides_nothing() -> None:
    results = Results(rates={"monty-cached": {32: [30.0, 30.0]}, "bare": {32: [100.0, 100.0]}})
    results.add(Results(rates={"monty-cached": {32: [60.0]}, "bare": {32: [100.0]}}))
    assert [one.bar.name for one in failed(judge(results))] == ["monty-rate"]


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.name)
def test_every_bar_says_what_has_to_be_measured_for_it(bar: Bar) -> None:
    assert bar.measure.subjects
    assert set(bar.measure.subjects) <= set(NAMES)


def test_what_is_known_not_to_hold_is_a_bar_and_has_a_reason() -> None:
    assert set(KNOWN) < {bar.name for bar in BARS}
    assert all(KNOWN.values())
