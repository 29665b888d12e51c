"""A driver on the real engine, of each test's own, and an engine that tests may kill."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.engine_support import Lab, open_lab
from tests.private_engine import PrivateEngine, open_private_engine


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with open_lab() as opened:
        yield opened


@pytest.fixture(scope="session")
def killable_engine() -> Iterator[PrivateEngine]:
    with open_private_engine() as engine:
        yield engine
