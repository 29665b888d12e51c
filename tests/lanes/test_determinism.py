"""Promise: a program that is called deterministic comes to the same each time in Monty; one with clock or chance is never called so."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.determinism import JUDGED, deterministic
from sandbox.exactness import inexact
from sandbox.exactness_tables import METHODS, MODULES
from sandbox.job import Job, Limits
from sandbox.monty import Monty, MontyDriver
from sandbox.outcome import Ending
from tests.data.programs import PROGRAMS

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=5, pids=64, disk_bytes=1 << 20, output_bytes=1 << 18)
CHANCE = "print([random.randint(1, 10 ** 9) for _ in range(5)])"
VARYING = {
    "no seed": f"import random\n{CHANCE}",
    "seed of nothing": f"import random\nrandom.seed()\n{CHANCE}",
    "seed None": f"import random\nrandom.seed(None)\n{CHANCE}",
    "seed of a name": f"import random\nx = None\nrandom.seed(x)\n{CHANCE}",
    "seed too late": f"import random\nx = random.random()\nrandom.seed(1)\nprint(x)\n{CHANCE}",
    "seed in a branch": f"import random\nif not random:\n    random.seed(1)\n{CHANCE}",
    "seed in a function": f"import random\ndef f():\n    random.seed(1)\n{CHANCE}",
    "seed of another": f"import random\nclass Other:\n    def seed(self, x):\n        return x\nrandom2 = Other()\nrandom2.seed(1)\n{CHANCE}",
    "seeded again": f"import random\nrandom.seed(1)\nrandom.seed(None)\n{CHANCE}",
    "seeded again under a name": f"import random\nfrom random import seed as s\nrandom.seed(1)\ns()\n{CHANCE}",
    "from": "from random import randint\nprint([randint(1, 10 ** 9) for _ in range(5)])",
    "as": "import random as r\nprint([r.randint(1, 10 ** 9) for _ in range(5)])",
    "handed on": f"import random\nf = random.seed\nrandom.seed(1)\nf()\n{CHANCE}",
    "now": "import datetime\nprint(datetime.datetime.now().isoformat())",
    "today": "from datetime import date\nprint(date.today().isoformat())",
    "now as a class": "from datetime import datetime as d\nprint(d.now().isoformat())",
    "now handed on": "from datetime import datetime\nf = datetime.now\nprint(f().isoformat())",
}
SEEDED = {
    "module": f"import random\nrandom.seed(7)\n{CHANCE}",
    "names": "from random import seed, randint\nseed(7)\nprint([randint(1, 10 ** 9) for _ in range(5)])",
    "again": f"import random\nrandom.seed(7)\nx = random.random()\nrandom.seed(8)\n{CHANCE}\nprint(x)",
    "shuffle": "import random\nrandom.seed(7)\nx = list(range(20))\nrandom.shuffle(x)\nprint(x, random.choice(x))",
}


@pytest_asyncio.fixture
async def lane() -> AsyncIterator[MontyDriver]:
    monty = Monty()
    yield MontyDriver(monty)
    await monty.close()


async def said(lane: MontyDriver, code: str) -> str:
    outcome = await lane.run(Job(execution="e", attempt=1, code=code, limits=LIMITS, image="none"))
    assert outcome.ending is Ending.SUCCEEDED, outcome.evidence.detail
    return f"{outcome.stdout.text}\n{outcome.result}"


@pytest.mark.parametrize("name", VARYING)
def test_clock_and_chance_are_seen(name: str) -> None:
    assert not deterministic(ast.parse(VARYING[name]))


async def test_what_is_seen_does_vary_where_monty_runs_it(lane: MontyDriver) -> None:
    varied = {}
    for name in ("no seed", "seed of nothing", "seed None", "from", "now", "seeded again"):
        assert not inexact(ast.parse(VARYING[name])), f"{name} is let into Monty, so that it has to be seen"
        varied[name] = len({await said(lane, VARYING[name]) for _ in range(3)})
    assert min(varied.values()) > 1, varied


@pytest.mark.parametrize("name", SEEDED)
async def test_a_seed_of_its_own_makes_chance_the_same(lane: MontyDriver, name: str) -> None:
    assert deterministic(ast.parse(SEEDED[name]))
    assert len({await said(lane, SEEDED[name]) for _ in range(3)}) == 1


async def test_programs_that_are_called_deterministic_come_to_the_same(lane: MontyDriver) -> None:
    compared = 0
    for name, code in PROGRAMS.items():
        tree = ast.parse(code)
        if inexact(tree) or not deterministic(tree):
            continue
        first = await lane.run(Job(execution="e", attempt=1, code=code, limits=LIMITS, image="none"))
        if first.ending is Ending.SUCCEEDED:
            compared += 1
            assert await said(lane, code) == f"{first.stdout.text}\n{first.result}", name
    assert compared > 20


def test_what_the_guard_lets_through_was_looked_at() -> None:
    assert set(MODULES) == JUDGED, "a new module: does it read a clock, or chance?"
    assert MODULES["random"] == frozenset({"choice", "randint", "random", "seed", "shuffle"})
    assert not {"utcnow", "fromtimestamp", "timestamp", "astimezone", "token_hex", "uuid4"} & METHODS
