"""Promise: after many executions of every kind, everything is as it was. `script/soak` runs the same for thousands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Server
from tests.soak import POLICY, soak

# In a run this short, caches still fill; `script/soak` holds the ten percent.
GROWTH = 1.35


@pytest.mark.engine
async def test_nothing_leaks_and_every_answer_is_right(make_server: Callable[..., Server]) -> None:
    report = await soak(make_server(POLICY), executions=180, concurrency=6, seed=7, advance=lambda: None)
    assert report.problems(growth=GROWTH) == []
