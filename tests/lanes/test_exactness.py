"""The guard's promise: what it lets through prints in Monty exactly what the guest's CPython prints."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Mapping
from typing import Final

import pytest

from sandbox.bundle import guest_text
from sandbox.exactness import inexact
from sandbox.job import Job, Limits
from sandbox.monty import Monty, MontyDriver
from sandbox.outcome import Ending, Outcome
from tests.data.adversaries import ADVERSARIES
from tests.data.probes import programs
from tests.data.programs import PROGRAMS
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
WHOLE_RUNNER: Final = """
import ast, contextlib, io, json, sys
asked = json.load(sys.stdin)
guest = {"__name__": "guest"}
exec(compile(asked["guest"], "guest.py", "exec"), guest)
guest["need"]("value")
answers = []
for code in asked["codes"]:
    printed, warned, value = io.StringIO(), io.StringIO(), None
    names = {"__name__": "__main__"}
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(warned):
        try:
            tree = ast.parse(code, "main.py")
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "main.py", "exec"), names)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), "main.py", "eval"), names)
                form, text = guest["encode_result"](value, 65536)
                value = [form, json.loads(text) if form == "json" else text]
        except BaseException as error:
            value = repr(error)
    answers.append([printed.getvalue(), warned.getvalue(), value])
json.dump(answers, sys.stdout)
"""
LEAST_COMPARED: Final = 1800
LEAST_ANSWERED: Final = 180

# Each of these prints something else in Monty, or would: none may pass.
DIVERGING: Final = {
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
    "a regular expression that may match nothing": "import re\nprint(re.findall(r'\\d*', 'a1b22'))",
    "splitting at what may be nothing": "import re\nprint(re.split(r'\\s*', 'a b'))",
    "an end before a last newline": "import re\nprint(bool(re.match(r'^\\d+$', '12\\n')))",
    "an escape in a replacement": "import re\nprint(re.sub('a', r'\\n', 'bab'))",
    "a pattern that is compiled first": "import re\np = re.compile('x*')\nprint(p.split('axb'))",
    "a positional option that CPython warns of": "import re\nprint(re.sub('a', 'b', 'aaa', 1))",
    "half a character": "print(len('\\ud800'))",
    "a letter of a later Unicode": "print(['\\u1c8a'])",
    "a letter of a later Unicode in JSON": "import json\nprint(json.loads('[\"\\\\u1c8a\"]'))",
    "a letter of a later Unicode in base64": "import base64\nprint([base64.b64decode('4KKX').decode()])",
    "nothing, found past the end": "print('abc'.find('', 5))",
    "a slice of a range": "print(range(5)[::2])",
    "a set sorted by a key": "s = {3, 1, 2}\nprint(sorted(s, key=lambda v: 0))",
    "the largest of a set by a key": "s = {'b', 'a'}\nprint(max(s, key=len))",
    "a set of two views": "a, b = {'x': 1, 'y': 2}, {'y': 1, 'x': 2}\nprint(a.keys() & b.keys())",
    "a view that is kept": "a = {'x': 1, 'y': 2}\nk = a.keys()\nprint(list(k & k))",
    "a list changed by another name": "xs = [1]\nys = xs\nfor i, x in enumerate(xs):\n    if i < 3:\n        ys.append(x)",
    "a list changed in a box": "xs = [1]\nbox = [xs]\nfor i, x in enumerate(xs):\n    if i < 3:\n        box[0].append(x)",
    "a list changed by a function": "xs = [1]\ndef f(v):\n    v.append(1)\nfor i, x in enumerate(xs):\n    if i < 3:\n        f(xs)",
    "a list changed by a method": "class A:\n    def __init__(self):\n        self.x = [1, 2, 3]\n    def f(self):\n        for i, x in enumerate(self.x):\n            self.x.remove(x)\n            print(x)\nA().f()",
    "a list changed in a comprehension": "xs = [1, 2, 3]\nprint([xs.pop() for i, x in enumerate(xs)])",
    "any stops before what fails": "try:\n    print(any(1 / x for x in [1, 0]))\nexcept ZeroDivisionError:\n    print('no')",
    "all stops before what fails": "try:\n    print(all(map(int, ['0', 'x'])))\nexcept ValueError:\n    print('no')",
    "map fails late": "try:\n    for x in map(int, ['1', 'x']):\n        print(x)\nexcept ValueError:\n    print('no')",
    "another exception of a format": "try:\n    print(f'{None:.2f}')\nexcept ValueError:\n    print('no')",
    "another exception of a template": "try:\n    print('{:d}'.format([1]))\nexcept ValueError:\n    print('no')",
    "a date that is read leniently": "from datetime import datetime\nprint(datetime.strptime(' 2024-01-15', '%Y-%m-%d'))",
    "a time without a date": "from datetime import datetime\nprint(datetime.strptime('08:30', '%H:%M'))",
    "an early year": "from datetime import date\nprint(date(677, 1, 2).strftime('%Y'))",
    "__exit__ that hides": "class A:\n    def __enter__(self):\n        return 1\n    def __exit__(self, *a):\n        return True\nwith A():\n    vars()",
    "a warning of the compiler for an assertion": "assert (1, 'x')",
    "an annotation with too many types": "from typing import Optional\nx: Optional[int, str] = 1",
    "an annotation of text and a type": "def f(x: int | 'str'):\n    return x",
    "an annotation with an effect": "def f(x: print('hi')):\n    return x",
    "equal keys of its own class": "class A:\n    def __eq__(self, o):\n        return True\n    def __hash__(self):\n        return 1\nprint({A(): 1})",
    "equal keys of a comparison": "d = {}\nflag = 2 > 1\nd[1] = 0\nd[flag] = 5\nprint(d)",
    "equal keys through a function": "d = {}\ndef put(k):\n    d[k] = k\nput(1)\nput(2 > 1)\nprint(d)",
    "bytes as text with options": "print(b'a b'.hex(None, 1))",
    "what is nested ever deeper": "x = []\nfor _ in range(300):\n    x = [x]\nprint(len(repr(x)))",
    "finally that hides": "def f():\n    x = 1\n    try:\n        x = round(2.5, -1)\n    finally:\n        return x\nprint(f())",
    "finally that goes on": "x = 1\nfor _ in [1]:\n    try:\n        x = round(25, -1)\n    finally:\n        break\nprint(x)",
    "where a data class was made": "from dataclasses import dataclass\ndef f():\n    @dataclass\n    class P:\n        a: int\n    return P(1)\nprint(f())",
    "a builtin as a parameter": "def f(len):\n    return len\nprint(f(1))",
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


def whole_answers(codes: list[str]) -> dict[str, list[object]]:
    """What the guest's CPython answers, with everything that shows: both streams, and the value as the guest encodes it."""
    command = ["docker", "run", "--rm", "-i", "--network", "none", IMAGE, "python3", "-I", "-c", WHOLE_RUNNER]
    asked = json.dumps({"guest": guest_text(cell=False), "codes": codes})
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=120, check=True)
    return dict(zip(codes, json.loads(done.stdout), strict=True))


async def outcomes(codes: list[str]) -> dict[str, Outcome]:
    pool = Monty()
    driver = MontyDriver(pool)
    ended = {
        code: await driver.run(Job(execution="e", attempt=1, code=code, limits=LIMITS, image="")) for code in codes
    }
    await pool.close()
    return ended


async def monty(codes: list[str]) -> Mapping[str, str]:
    """What Monty prints, of the programs that it runs to their end."""
    ended = await outcomes(codes)
    return {code: one.stdout.text for code, one in ended.items() if one.ending is not Ending.UNSUPPORTED}


@pytest.mark.engine
async def test_what_passes_prints_the_same() -> None:
    codes = [code for code in programs() if (tree := parsed(code)) is not None and not inexact(tree)]
    printed = await monty(codes)
    expected = dict(zip(codes, cpython(codes), strict=True))
    different = {code: (text, expected[code]) for code, text in printed.items() if (text, None) != expected[code]}
    assert different == {}
    assert len(printed) >= LEAST_COMPARED


@pytest.mark.engine
async def test_what_was_written_against_the_guard_is_answered_alike() -> None:
    codes = [code for code in (*ADVERSARIES, *PROGRAMS.values()) if (tree := parsed(code)) and not inexact(tree)]
    answers = {code: outcome for code, outcome in (await outcomes(codes)).items() if outcome.ending is Ending.SUCCEEDED}
    told = {
        code: [one.stdout.text, one.stderr.text, one.result and [one.result.form, one.result.value]]
        for code, one in answers.items()
    }
    assert told == whole_answers(list(answers))
    assert len(told) >= LEAST_ANSWERED


@pytest.mark.parametrize("name", DIVERGING)
def test_what_diverges_does_not_pass(name: str) -> None:
    assert inexact(ast.parse(DIVERGING[name])) != ()


def test_floats_among_the_inputs_are_floats_too() -> None:
    tree = ast.parse("seen = {}\nfor value in values:\n    seen[value] = 1\nprint(seen)")
    assert inexact(tree) == ()
    assert inexact(tree, floats_come_in=True) != ()
