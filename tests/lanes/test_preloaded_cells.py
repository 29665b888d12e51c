"""Libraries with threads of their own, imported before any program: each program finds them in working order."""

from __future__ import annotations

import pytest

from sandbox.job import Cell
from sandbox.outcome import Ending
from tests.data.data_programs import CHART
from tests.engine_support import limited, make_job, open_lab

pytestmark = [pytest.mark.engine, pytest.mark.asyncio]

WIDE = limited(memory_bytes=512 << 20, wall_seconds=60.0, pids=256, disk_bytes=64 << 20, output_bytes=1 << 20)
MULTIPLY = """
import sys
assert "pandas" in sys.modules, "it was imported beforehand"
import numpy as np
a = np.arange(250_000.0).reshape(500, 500)
(a @ a).shape
"""


async def test_programs_use_what_their_cell_imported() -> None:
    cell = Cell("analyst", ("numpy", "pandas", "matplotlib.pyplot"))
    async with open_lab(cell=cell) as lab:
        for code, result in ((MULTIPLY, [500, 500]), (CHART, None), (MULTIPLY, [500, 500])):
            outcome = await lab.driver.run(make_job(code, WIDE, image="airlock-guest-data:latest", cell=cell))
            assert outcome.ending is Ending.SUCCEEDED, outcome
            assert outcome.result is not None
            if result is None:
                assert [file.path for file in outcome.files] == ["figure-1.png"]
                assert len(outcome.bundles) == 2
            else:
                assert (outcome.result.value, outcome.bundles) == (result, ())
