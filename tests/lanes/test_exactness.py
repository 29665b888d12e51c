"""The guard's promise: what it lets through prints in Monty exactly what the guest's CPython prints."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Mapping
from typing import Final

import pytest

from sandbox.exactness import inexact
from sandbox.job import Job, Limits
from sandbox.monty import Monty, MontyDriver
from sandbox.outcome import Ending
from tests.data.probes import programs
from tests.guest_python import IMAGE

LIMITS: Final = Limits(
    cpu_cores=1, memory_bytes=1 << 28, wall_seconds=1, pids=64, disk_bytes=1 << 20, output_bytes=1 << 16
)
# In one interpreter, one after the other: thousands of small programs, of which none leaves anything behind.
RUNNER: Final = """
import contextlib, io, json, sys
ran = []
for code in json.load(sys.stdin):
    printed, error = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, "main.py", "exec"), {"__name__": "__main__"})
        except BaseException as caught:
            error = type(caught).__name__
    ran.append([printed.getvalue(), error])
json.dump(ran, sys.stdout)
"""
LEAST_COMPARED: Final = 1800

# Each of these prints something else in Monty, or would: none may pass.
DIVERGING: Final = {
    "round near a tie": "print(round(2.675, 2))",
    "sum of floats": "print(sum([0.1] * 10))",
    "sum of floats from division": "xs = [1, 2]\nprint(sum(x / 3 for x in xs))",
    "a set's order": "print({'b', 'a'})",
    "a set's order in a loop": "for x in {3, 1}:\n    print(x)",
    "a set's order by name": "s = set('hello')\nprint(list(s))",
    "a set's order returned": "def f():\n    return {1, 2}\nprint(f())",
    "a set's order in a container": "print([{1, 2}])",
    "a set's order from a default": "from collections import defaultdict\nd = defaultdict(set)\nprint(d)",
    "a kept generator": "g = (x for x in [1])\nprint(g)",
    "a kept map": "m = map(str, [1])\nprint(list(m), list(m))",
    "a printed zip": "print(zip([1], [2]))",
    "effects in map": "for x in map(print, [1, 2]):\n    print('in', x)",
    "any stops early": "def f(x):\n    print(x)\n    return True\nprint(any(f(x) for x in [1, 2]))",
    "a list changed while enumerated": "xs = [1]\nfor i, x in enumerate(xs):\n    if i < 3:\n        xs.append(x)\nprint(xs)",
    "truth by __bool__": "class A:\n    def __bool__(self):\n        return False\nprint(bool(A()))",
    "truth by __len__": "class A:\n    def __len__(self):\n        return 0\nprint(1 if A() else 2)",
    "__del__": "class A:\n    def __del__(self):\n        print('gone')\nA()",
    "__setattr__": "class A:\n    def __setattr__(self, k, v):\n        print(k)\nA().x = 1",
    "an iterator of its own": "class A:\n    def __iter__(self):\n        return self\n    def __next__(self):\n        raise StopIteration\nprint(list(zip(A(), A())))",
    "identity": "a, b = 1000, 500 + 500\nprint(a is b)",
    "hash": "print(hash('a'))",
    "id": "print(id(1) == id(1))",
    "type's name": "print(type(map(str, [])).__name__)",
    "the words of an exception": "try:\n    1 // 0\nexcept ZeroDivisionError as e:\n    print(e)",
    "a broad except": "try:\n    print(vars())\nexcept Exception:\n    print('no')",
    "a private name": "class A:\n    def __init__(self):\n        self.__x = 1\nprint(A().__x)",
    "equal keys": "d = {1: 'a'}\nd[True] = 'b'\nprint(d)",
    "equal keys of floats": "d = {}\nfor x in [1, 2 / 2]:\n    d[x] = x\nprint(d)",
    "complex": "print(-0.0 * 1j)",
    "the clock": "import time\nprint(time.process_time() > 0)",
    "a file": "print(open('/etc/hostname').read())",
    "the environment": "import os\nprint(os.getcwd())",
    "the version": "import sys\nprint(sys.version_info)",
    "a regular expression's conditional": "import re\nprint(re.findall(r'(a)?(?(1)b|c)', 'abc'))",
    "a regular expression that is not constant": "import re\np = input\nprint(re.findall(str(p), 'a'))",
    "case outside ASCII": "print('ß'.upper())",
    "eval": "print(eval('1'))",
    "getattr": "print(getattr(1, 'real'))",
    "an unknown format": "x = 5\nw = 9\nprint(f'{x:{w}}')",
    "a wide precision": "print(f'{0.1:.20f}')",
    "a format that CPython refuses": "print(f'{None:>5}')",
    "a template that CPython refuses": "print('{:>5}'.format([1]))",
    "an annotation without its import": "x: List[int] = [1]\nprint(x)",
    "an annotation with its own class": "class N:\n    def m(self, o: N):\n        return 1\nprint(N().m(1))",
    "an exponential regular expression": "import re\nprint(re.match('(a+)+$', 'a' * 40 + 'b'))",
    "a warning of the compiler": "print(~True)",
    "inheritance": "class A(Exception):\n    pass",
    "yield": "def f():\n    yield 1\nprint(list(f()))",
    "async": "import asyncio\nasync def f():\n    return 1\nprint(asyncio.run(f()))",
}


def cpython(codes: list[str]) -> list[tuple[str, str | None]]:
    command = ["docker", "run", "--rm", "-i", "--network", "none", IMAGE, "python3", "-W", "ignore", "-I", "-c", RUNNER]
    done = subprocess.run(command, input=json.dumps(codes), capture_output=True, text=True, timeout=120, check=True)
    return [(stdout, error) for stdout, error in json.loads(done.stdout)]


def parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except SyntaxError:  # newer syntax than this process's own Python has
        return None


async def monty(codes: list[str]) -> Mapping[str, str]:
    """What Monty prints, of the programs that it runs to their end."""
    pool = Monty()
    driver = MontyDriver(pool)
    printed = {}
    for code in codes:
        outcome = await driver.run(Job(execution="e", attempt=1, code=code, limits=LIMITS, image=""))
        if outcome.ending is not Ending.UNSUPPORTED:
            printed[code] = outcome.stdout.text
    await pool.close()
    return printed


@pytest.mark.engine
async def test_what_passes_prints_the_same() -> None:
    codes = [code for code in programs() if (tree := parsed(code)) is not None and not inexact(tree)]
    printed = await monty(codes)
    expected = dict(zip(codes, cpython(codes), strict=True))
    different = {code: (text, expected[code]) for code, text in printed.items() if (text, None) != expected[code]}
    assert different == {}
    assert len(printed) >= LEAST_COMPARED


@pytest.mark.parametrize("name", DIVERGING)
def test_what_diverges_does_not_pass(name: str) -> None:
    assert inexact(ast.parse(DIVERGING[name])) != ()


def test_floats_among_the_inputs_are_floats_too() -> None:
    tree = ast.parse("print(sum(values))")
    assert inexact(tree) == ()
    assert inexact(tree, floats_come_in=True) != ()
