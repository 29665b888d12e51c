"""What must not be told by how long an answer takes, or by what a log quotes."""

from __future__ import annotations

import hashlib
import inspect
import logging
import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert

from gateway import callers
from gateway.callers import Caller, KnownKey, Role, digest_of, identify
from gateway.errors import Unavailable
from gateway.store import Store, migrate
from gateway.tables import tasks
from gateway.writer import Writer

ROUNDS = 10_000
REPEATS = 5
"""What a key tells, it tells each time; where two strings happen to lie in memory differs from pair to pair."""
KEY = "k" * 16 + secrets.token_hex(24)


def advantage(first: Callable[[], object], second: Callable[[], object]) -> float:
    """How far from a coin's toss it is which of two calls takes longer, in standard deviations.

    They are timed in turn, in random order, so that whatever else the machine does hits both alike.
    """
    longer = ties = 0
    for _ in range(ROUNDS):
        swapped = random.random() < 0.5
        one, other = (second, first) if swapped else (first, second)
        began = time.perf_counter_ns()
        one()
        between = time.perf_counter_ns()
        other()
        ended = time.perf_counter_ns()
        difference = (between - began) - (ended - between)
        difference = -difference if swapped else difference
        longer += difference > 0
        ties += difference == 0
    tosses = ROUNDS - ties
    return abs(longer - tosses / 2) / (tosses**0.5 / 2) if tosses else 0.0


def wrong_keys() -> tuple[str, str]:
    """One key that shares all but its end with the right one, and one that shares all but its beginning."""
    salt = secrets.token_hex(1) + "?"
    return KEY[:-3] + salt, salt + KEY[3:]


def test_how_long_a_wrong_key_takes_tells_nothing_of_the_right_one() -> None:
    """A key that shares a long beginning with a real one takes as long as one that shares nothing."""
    known = [KnownKey(digest_of(KEY), Caller("a", "t", "default", frozenset({Role.AGENT})))]
    assert identify(KEY, known) is not None

    def told() -> float:
        near, far = wrong_keys()
        assert identify(near, known) is identify(far, known) is None
        return advantage(lambda: identify(near, known), lambda: identify(far, known))

    assert min(told() for _ in range(REPEATS)) < 5, "five standard deviations of ten thousand tosses"


def test_the_measure_sees_a_comparison_that_stops_at_the_first_difference() -> None:
    def careless(key: str) -> bool:
        return all(one == other for one, other in zip(key, KEY, strict=True))

    def told() -> float:
        near, far = wrong_keys()
        return advantage(lambda: careless(near), lambda: careless(far))

    assert min(told() for _ in range(REPEATS)) > 20


def test_keys_are_known_by_their_digests_which_are_compared_in_constant_time() -> None:
    source = inspect.getsource(callers)
    assert source.count("hmac.compare_digest(candidate.sha256, presented)") == 1
    assert digest_of(KEY) == hashlib.sha256(KEY.encode()).hexdigest()
    assert set(KnownKey.__dataclass_fields__) == {"sha256", "caller"}, "nothing keeps the key itself"


async def test_the_log_does_not_quote_what_the_database_refuses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path / 'airlock.db'}"
    migrate(url)
    store = Store(url)
    await store.open()

    def breaks(writer: Writer) -> None:
        writer._session.change(insert(tasks).values(id=KEY), {})  # noqa: SLF001

    with caplog.at_level(logging.DEBUG, logger="gateway"), pytest.raises(Unavailable) as refused:
        await store.write(breaks)
    await store.close()
    assert "NOT NULL" in caplog.text, "operators learn what is wrong"
    assert KEY not in caplog.text
    assert KEY not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)
