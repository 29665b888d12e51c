from __future__ import annotations

import pytest

from bench.stats import median, percentile, ratio, steady_rate, summary


def test_percentiles_lie_between_their_neighbours() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert (percentile(values, 0), percentile(values, 50), percentile(values, 100)) == (1.0, 2.5, 4.0)
    assert percentile([7.0], 99) == 7.0
    assert median([1.0, 100.0, 2.0]) == 2.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_summary_is_of_all_rounds_together() -> None:
    figures = summary([[1.0, 2.0], [], [3.0]])
    assert (figures.count, figures.p50) == (3, 2.0)
    assert figures.p99 == pytest.approx(2.98)


def test_a_machine_that_is_slow_for_a_round_changes_no_ratio() -> None:
    quiet = ratio([[2.0, 2.0], [2.0], [2.0]], [[1.0], [1.0], [1.0]])
    noisy = ratio([[2.0, 2.0], [20.0], [2.0]], [[1.0], [10.0], [1.0]])
    assert quiet == noisy
    assert (quiet.value, quiet.low, quiet.high) == (2.0, 2.0, 2.0)


def test_one_outlier_in_a_round_changes_no_ratio() -> None:
    assert ratio([[2.0, 2.0, 500.0]], [[1.0, 1.0, 1.0]]).value == 2.0


def test_rounds_that_lack_a_side_do_not_count() -> None:
    assert ratio([[9.0], [], [3.0]], [[], [1.0], [1.0]]).value == 3.0
    with pytest.raises(ValueError, match="no values"):
        ratio([[1.0]], [[]])


def test_a_rate_leaves_out_the_stock_before_and_the_run_out_after() -> None:
    stock, steady, run_out = [0.0, 0.1, 0.2, 1.0], [2.0, 3.0, 4.0, 5.0], [20.0, 30.0]
    assert steady_rate([*run_out, *stock, *steady], warm_up=4, count=4) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="do not hold"):
        steady_rate(steady, warm_up=2, count=3)
