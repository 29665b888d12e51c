"""Promise: every hostile program of the corpus is held, and the next program is answered as usual.

In a box of its own, and in a cell, where the next program comes into the same box.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from sandbox.job import Cell
from sandbox.outcome import Ending
from tests.engine_support import IMAGE, SESSION, Lab, open_lab
from tests.hostile.case import Hostile
from tests.hostile.corpus import ALL

pytestmark = [pytest.mark.engine, pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

TRIES = 6  # of the program after an attack: a machine that others use too may be slow for a moment
_numbers = itertools.count(1)


@dataclass
class Field:
    """Where the attacks run, and how long an ordinary program usually takes there, in seconds."""

    lab: Lab
    usual: float

    async def ordinary(self) -> float:
        began = time.monotonic()
        outcome = await self.lab.run("import os\nprint(6 * 7, os.getpid() > 1)")
        assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "42 True\n"), outcome
        return time.monotonic() - began


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[None, Cell("corpus")], ids=["box", "cell"])
async def field(request: pytest.FixtureRequest) -> AsyncIterator[Field]:
    async with open_lab(cell=request.param) as lab:
        opened = Field(lab, 0.0)
        opened.usual = statistics.median([await opened.ordinary() for _ in range(7)])
        yield opened
        await lab.settle()


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.group}-{case.name}".replace(" ", "-"))
async def test_it_is_held_and_the_next_program_is_answered_as_usual(field: Field, case: Hostile) -> None:
    job = case.job(f"{SESSION}-hostile-{next(_numbers)}", IMAGE)
    outcome = await field.lab.driver.run(replace(job, cell=field.lab.cell))
    problem = case.problem(outcome)
    assert problem is None, f"{case.promise}: {problem}"
    times = []
    for _ in range(TRIES):
        times.append(await field.ordinary())
        if times[-1] <= 2 * field.usual:
            return
    raise AssertionError(f"after it an ordinary program took {times} s, usually {field.usual} s")


async def test_the_corpus_is_large_and_says_what_each_program_is_for() -> None:
    groups = Counter(case.group for case in ALL)
    assert len(ALL) >= 120
    assert min(groups.values()) >= 5, groups
    assert len({(case.group, case.name) for case in ALL}) == len(ALL)
    assert len({case.code for case in ALL}) == len(ALL)
    assert all(case.promise for case in ALL)
