from __future__ import annotations

import random

import pytest

from bench.plan import Plan
from bench.results import Described, Results
from bench.subject import Latency, Throughput, nothing


def described(kind: str = "ours") -> Described:
    return Described("a subject", "none", kind)


def make_plan(results: Results) -> Plan:
    return Plan(results, random.Random(1), lambda _: None, lambda: None)


async def test_everybody_has_a_turn_in_every_round_and_not_always_in_the_same_order() -> None:
    turns: list[str] = []

    def subject(name: str) -> Latency:
        async def once() -> float:
            turns.append(name)
            return 1.0

        return Latency(name, described(), 2, once)

    results = Results()
    names = ["a", "b", "c", "d"]
    await make_plan(results).latencies([subject(name) for name in names], 8)
    rounds = [turns[at : at + 8 : 2] for at in range(0, len(turns), 8)]
    assert all(sorted(one) == names for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert results.latencies["a"] == [[1.0, 1.0]] * 8


async def test_a_batch_is_settled_before_the_next_one_is_measured() -> None:
    steps: list[str] = []

    async def once() -> float:
        steps.append("once")
        return 1.0

    async def ready() -> None:
        steps.append("ready")

    async def settle() -> None:
        steps.append("settle")

    await make_plan(Results()).latencies([Latency("a", described(), 2, once, ready, settle)], 1)
    assert steps == ["ready", "once", "ready", "once", "settle"]


async def test_a_sample_that_is_not_what_it_should_be_is_taken_again_and_then_left_out() -> None:
    answers = iter([None, 1.0, None, None, None])

    async def once() -> float | None:
        return next(answers)

    results = Results()
    await make_plan(results).latencies([Latency("a", described(), 2, once)], 1)
    assert results.latencies["a"] == [[1.0]]


async def test_a_peer_that_fails_is_left_out_and_a_failure_of_ours_ends_the_run() -> None:
    calls = 0

    async def once() -> float:
        nonlocal calls
        calls += 1
        raise OSError("it is broken")

    results = Results()
    await make_plan(results).latencies([Latency("peer", described("peer"), 1, once)], 5)
    assert calls == 1
    assert "it is broken" in results.missing["peer"]
    with pytest.raises(OSError, match="it is broken"):
        await make_plan(results).latencies([Latency("ours", described(), 1, once)], 5)


async def test_each_level_of_a_load_has_its_rate_in_every_round() -> None:
    async def rate(level: int) -> float:
        return level * 10.0

    results = Results()
    await make_plan(results).rates([Throughput("a", described(), (1, 8), rate, nothing)], 3)
    assert results.rates["a"] == {1: [10.0] * 3, 8: [80.0] * 3}
    assert results.best_level("a") == 8
