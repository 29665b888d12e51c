"""A driver on the real engine, of each test's own, and an engine that tests may kill."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from sandbox.job import Cell
from tests.engine_support import Lab, open_lab
from tests.private_engine import PrivateEngine, gvisor_runtime, open_private_engine


@pytest_asyncio.fixture
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with open_lab(cell=Cell("tenant") if getattr(request, "param", "box") == "cell" else None) as opened:
        yield opened


@pytest.fixture(scope="session")
def sole_private_engine() -> Iterator[PrivateEngine]:
    with open_private_engine(runtimes=gvisor_runtime()) as engine:
        yield engine


@pytest.fixture
def private_engine(sole_private_engine: PrivateEngine) -> PrivateEngine:
    """An engine that the test may kill; the one before may have left it so."""
    if not sole_private_engine.answers():
        sole_private_engine.kill()
        sole_private_engine.start()
    return sole_private_engine


@pytest_asyncio.fixture
async def private_lab(private_engine: PrivateEngine) -> AsyncIterator[Lab]:
    async with open_lab(private_engine.address, seen_from=private_engine.address) as opened:
        yield opened
    gc.collect()  # what the client library left of connections that failed, while the test still forgives it
