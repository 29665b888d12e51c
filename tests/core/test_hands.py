"""Promise: works are begun in order, each caller is told what came of its own, and nothing of a cancelled one is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.hands import Hands


@pytest_asyncio.fixture
async def hands() -> AsyncIterator[Hands]:
    one = Hands(1, "hand")
    yield one
    await one.close()


async def test_works_are_begun_in_the_order_in_which_they_came(hands: Hands) -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number * 2

    assert await asyncio.gather(*(hands.do(lambda n=n: work(n)) for n in range(50))) == [n * 2 for n in range(50)]  # type: ignore[misc]
    assert begun == list(range(50))


@pytest.mark.parametrize(("raised", "told"), [(ValueError, ValueError), (KeyboardInterrupt, RuntimeError)])
async def test_what_a_work_raises_its_caller_is_told_and_the_next_is_done(
    hands: Hands, raised: type[BaseException], told: type[Exception]
) -> None:
    def fails() -> None:
        raise raised("so")

    with pytest.raises(told, match="so"):
        await hands.do(fails)
    assert await hands.do(lambda: 1) == 1


async def test_who_is_cancelled_waits_for_what_has_begun_and_what_has_not_is_not_begun(hands: Hands) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def long() -> None:
        begun.set()
        go_on.wait(30)
        ended.append("long")

    first = asyncio.create_task(hands.do(long))
    second = asyncio.create_task(hands.do(lambda: ended.append("second")))
    assert await asyncio.to_thread(begun.wait, 30)
    first.cancel()
    second.cancel()
    await asyncio.sleep(0.05)
    assert not first.done()
    go_on.set()
    assert [type(one) for one in await asyncio.gather(first, second, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 2
    assert ended == ["long"]


async def test_what_was_taken_is_done_before_the_end() -> None:
    hands, done = Hands(2, "hand"), []
    works = [asyncio.create_task(hands.do(lambda: done.append(1))) for _ in range(20)]
    await asyncio.sleep(0)
    await hands.close()
    await asyncio.gather(*works)
    assert len(done) == 20
