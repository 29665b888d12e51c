"""The Monty lane and Monty's checks, with real Monty: bounded, alive after every bomb, and never guessing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Final

import pytest
import pytest_asyncio

from sandbox.diagnostics import DiagnosticKind
from sandbox.job import InputFile, Job, JsonValue, Limits
from sandbox.monty import Gate, Monty, MontyDriver
from sandbox.outcome import Ending, Outcome

LIMITS: Final = Limits(
    cpu_cores=1, memory_bytes=1 << 28, wall_seconds=1, pids=64, disk_bytes=1 << 20, output_bytes=1 << 16
)
BOMBS: Final = {
    "endless loop": "while True:\n    pass",
    "endless loop in finally": "try:\n    pass\nfinally:\n    while True:\n        pass",
    "a growing list": "x = []\nwhile True:\n    x.append('y' * 1000)",
    "a huge text": "x = 'y' * 10 ** 12",
    "a huge number": "x = 10 ** 10 ** 8",
    "a flood of output": "while True:\n    print('x' * 1000)",
    "endless recursion": "def f():\n    return f()\nf()",
    "sleep": "import time\ntime.sleep(60)",
    "a deep value": "x = []\nfor _ in range(10 ** 5):\n    x = [x]\nx",
}
COMPILE_BOMBS: Final = {
    "nested functions": "\n".join(f"{' ' * depth}def f{depth}():" for depth in range(18)) + "\n" + " " * 18 + "pass",
    "nested parentheses": "(" * 100_000 + ")" * 100_000,
    "a long chain": "+".join("1" for _ in range(20_000)),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def monty() -> AsyncIterator[Monty]:
    pool = Monty(workers=2)
    yield pool
    await pool.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


def job(code: str, inputs: Mapping[str, JsonValue] | None = None) -> Job:
    return Job(execution="e", attempt=1, code=code, limits=LIMITS, image="", inputs=inputs or {})


async def run(monty: Monty, code: str, inputs: Mapping[str, JsonValue] | None = None) -> Outcome:
    return await MontyDriver(monty).run(job(code, inputs))


async def test_it_prints_and_returns_the_last_value(monty: Monty) -> None:
    outcome = await run(monty, "print('a', end='')\n{'n': [1, (2, None)]}")
    assert (outcome.ending, outcome.stdout.text, outcome.exit_code) == (Ending.SUCCEEDED, "a", 0)
    assert outcome.result is not None
    assert outcome.result.value == {"n": [1, [2, None]]}


async def test_a_program_that_ends_with_a_statement_has_no_value(monty: Monty) -> None:
    assert (await run(monty, "x = 1")).result is None
    none = (await run(monty, "None")).result
    assert none is not None
    assert none.value is None


async def test_inputs_are_variables(monty: Monty) -> None:
    outcome = await run(monty, "[x, y['k']]", {"x": 1, "y": {"k": [None]}})
    assert outcome.result is not None
    assert outcome.result.value == [1, [None]]


async def test_nothing_stays_for_the_next_program(monty: Monty) -> None:
    await run(monty, "left_over = 1")
    assert (await run(monty, "print(left_over)")).ending is Ending.UNSUPPORTED


@pytest.mark.parametrize(
    "code",
    [
        "1 / 0",
        "{1, 2}",
        "float('nan')",
        "open('x')",
        "import numpy",
        "1e15 + 0.25\nprint(1e15 + 0.25)",
        "print(print)",
        "raise ValueError('x')",
        "from collections import deque\ndeque([1])",
        "range(3)",
        "lambda: 1",
        "[1, [len]]",
        "print('\\d')",
        "print(1if True else 2)",
        "x = 1[0] if None else 2",
        "return",
        "x = []\nfor _ in range(250):\n    x = [x]\nprint(x)",
        "print(chr(233))",
        "print(round(1e300, -7))",
        "print(sum([2 ** 63, 0.5]))",
        "\ufb01 = fi = 1",
        "airlock_sum = 1",
        "x = (",
        # a print that is another function has a value, which is to be looked at
        "from collections import deque\ndef print(x):\n    return deque(x)\nprint([2])",
        "from collections import deque\nprint = deque\nprint([2])",
        "from collections import deque\nfor print in [deque]:\n    pass\nprint([2])",
        "from collections import deque\nif print := deque:\n    pass\nprint([2])",
        "from collections import deque as print\nprint([2])",
    ],
)
async def test_what_only_cpython_can_tell_is_left_to_it(monty: Monty, code: str) -> None:
    assert (await run(monty, code)).ending is Ending.UNSUPPORTED


async def test_what_ends_with_print_has_no_value(monty: Monty) -> None:
    for code in ("print(1)", "if 1:\n    print(2)\nprint('print', print(3))"):
        outcome = await run(monty, code)
        assert outcome.ending is Ending.SUCCEEDED
        assert outcome.result is not None
        assert outcome.result.value is None


async def test_sums_and_roundings_are_cpythons(monty: Monty) -> None:
    code = "[sum([0.1] * 10), round(2.675, 2), round(192.95, 1), round(2.5), sum([1, 0.1, 2]), sum([1, True], 2)]"
    outcome = await run(monty, code)
    assert outcome.result is not None
    assert outcome.result.value == [1.0, 2.67, 192.9, 2, 3.1, 4]


async def test_the_last_value_may_stand_anywhere_in_its_line(monty: Monty) -> None:
    for code in (
        "x = 'é'; (x,\n 1)  # end",
        "from __future__ import annotations\n['é', 1];",
        "'é',\\\n1",
        "\ufeff'é', 1\r\n",
    ):
        outcome = await run(monty, code)
        assert outcome.result is not None, code
        assert outcome.result.value == ["é", 1]


async def test_what_needs_more_than_a_program_and_its_inputs_is_not_its_affair(monty: Monty) -> None:
    driver, base = MontyDriver(monty), job("1")
    for other in (
        replace(base, stdin="x"),
        replace(base, args=("x",)),
        replace(base, env={"A": "b"}),
        replace(base, files=(InputFile("a", b""),)),
        replace(base, outputs=("*",)),
        replace(base, inputs={"x": "é"}),
        replace(base, inputs={"x": '"\\u00e9"'}),
        replace(base, inputs={"sum": 1}),
        replace(base, inputs={"x": [1, 1.0]}),
    ):
        assert (await driver.run(other)).ending is Ending.UNSUPPORTED


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_ends_in_time_and_the_next_program_runs(monty: Monty, name: str) -> None:
    async with asyncio.timeout(8):
        assert (await run(monty, BOMBS[name])).ending is Ending.UNSUPPORTED
        assert (await run(monty, "1 + 1")).ending is Ending.SUCCEEDED


@pytest.mark.parametrize("name", COMPILE_BOMBS)
async def test_a_bomb_for_the_compiler_is_not_admitted(monty: Monty, name: str) -> None:
    async with asyncio.timeout(10):
        assert (await monty.compile_gate(COMPILE_BOMBS[name])).gate is not Gate.OK
        assert (await monty.compile_gate("x = 1")).gate is Gate.OK


async def test_the_gate_never_runs_the_program(monty: Monty) -> None:
    async with asyncio.timeout(2):
        assert (await monty.compile_gate("while True:\n    pass")).gate is Gate.OK


async def test_the_gate_tells_syntax_from_what_monty_lacks(monty: Monty) -> None:
    syntax = await monty.compile_gate("x = 1\ndef f(:\n")
    assert (syntax.gate, syntax.line) == (Gate.SYNTAX, 2)
    lacks = await monty.compile_gate("class A(B):\n    pass")
    assert (lacks.gate, lacks.line) == (Gate.UNSUPPORTED, 1)


async def test_the_type_check_tells_wrong_names_from_gaps(monty: Monty) -> None:
    code = "import numpy\nimport statistics\nimport math\nmath.nope\nmissing\nopen('x')\nx: int = 'a'\n"
    found = {(one.kind, one.line) for one in await monty.type_check(code) or ()}
    assert found == {
        (DiagnosticKind.THIRD_PARTY, 1),
        (DiagnosticKind.MONTY_GAP, 2),
        (DiagnosticKind.BAD_NAME, 4),
        (DiagnosticKind.BAD_NAME, 5),
        (DiagnosticKind.MONTY_GAP, 6),
        (DiagnosticKind.TYPE, 7),
    }


async def test_the_type_check_never_runs_the_program_and_forgets_it(monty: Monty) -> None:
    async with asyncio.timeout(5):
        assert await monty.type_check("kept = 1\nwhile True:\n    pass") == ()
        after = await monty.type_check("kept")
        assert after is not None
        assert [one.kind for one in after] == [DiagnosticKind.BAD_NAME]


async def test_a_bomb_for_the_type_check_is_inconclusive_and_the_next_check_works(monty: Monty) -> None:
    bomb = "x = " + "abs(" * 30 + "1" + ")" * 30
    async with asyncio.timeout(10):
        assert await monty.type_check(bomb) is None
        assert await monty.type_check("x = 1") == ()


async def test_many_at_once_are_all_answered(monty: Monty) -> None:
    outcomes = await asyncio.gather(*(run(monty, f"{number} * 2") for number in range(64)))
    assert [one.result.value for one in outcomes if one.result] == [number * 2 for number in range(64)]


async def test_a_crowd_waits_for_its_turn_and_is_not_sent_away(monty: Monty) -> None:
    """Together they take longer than a wait for a worker may; what is not run here costs a container each."""
    crowd = [f"total = {number}\nfor i in range(2_500_000): total += i\ntotal" for number in range(14)]
    patient = replace(LIMITS, wall_seconds=4)  # what is shown is the wait, also on a machine where each takes a second
    driver = MontyDriver(monty)
    outcomes = await asyncio.gather(*(driver.run(replace(job(code), limits=patient)) for code in crowd))
    assert [outcome.ending for outcome in outcomes] == [Ending.SUCCEEDED] * len(crowd)


async def test_a_cancelled_run_leaves_the_pool_in_order(monty: Monty) -> None:
    running = asyncio.create_task(run(monty, "while True:\n    pass"))
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await run(monty, "1 + 1")).ending is Ending.SUCCEEDED


async def test_a_program_that_is_cancelled_in_the_queue_is_never_begun(monty: Monty) -> None:
    """Else each would still take its second of a worker from those behind it."""
    crowd = [asyncio.create_task(run(monty, "while True:\n    pass")) for _ in range(40)]
    await asyncio.sleep(0.2)
    for one in crowd:
        one.cancel()
    async with asyncio.timeout(10):
        assert (await run(monty, "1 + 1")).ending is Ending.SUCCEEDED
    ended = await asyncio.gather(*crowd, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
