"""Text that CPython and Monty make differently, where a program looks at it: such a program is never answered by Monty."""

from __future__ import annotations

import ast
from typing import Final

import pytest

from sandbox.exactness import inexact
from sandbox.outcome import Ending
from tests.data.programs import PROGRAMS
from tests.lanes.test_exactness import outcomes, parsed, whole_answers

LOOKING: Final = {
    "len str": "class A: pass\nprint(len(str(A())))",
    "slice": "class A: pass\nprint(str(A())[-7:-1])",
    "repr fn": "def f(): pass\nprint(repr(f)[5:9])",
    "in": "def f(): pass\nprint('z' in str(f))",
    "fstr": "class A: pass\nx=f'{A()}'\nprint(len(x))",
    "conv": "class A: pass\nx=f'{A()!r}'\nprint(len(x))",
    "format": "class A: pass\nprint(len('{}'.format(A())))",
    "format kw": "class A: pass\nprint(len('{a}'.format(a=A())))",
    "pct": "class A: pass\nprint(len('%s' % A()))",
    "pct tuple": "class A: pass\nprint(len('%s %s' % (1,A())))",
    "pct name": "class A: pass\ns='%s'\nprint(len(s % A()))",
    "pct aug": "class A: pass\ns='%s'\ns %= A()\nprint(len(s))",
    "list": "class A: pass\nprint(len(str([A()])))",
    "dict": "class A: pass\nprint(len(str({'a': A()})))",
    "tuple key": "def f(): pass\nprint(len(repr((f,))))",
    "map str": "class A: pass\nprint([len(t) for t in list(map(str, [A()]))])",
    "key=str": "class A:\n    def __init__(self, n):\n        self.n = n\nprint([a.n for a in sorted([A(2), A(1)], key=str)])",
    "fns by str": "def b(): return 1\ndef a(): return 2\nprint([g() for g in sorted([b, a], key=str)])",
    "lambda": "g = lambda: 1\nprint(len(str(g)))",
    "lambda direct": "print(len(str(lambda: 1)))",
    "own bound": "class A:\n    def m(self): return 1\nprint(len(str(A().m)))",
    "class": "class A: pass\nprint(len(str(A)))",
    "builtin": "print(len(str(len)))",
    "type": "print(len(str(int)))",
    "module": "import math\nprint(len(str(math)))",
    "modfn": "import math\nprint(len(str(math.sqrt)))",
    "from fn": "from math import sqrt\nprint(len(str(sqrt)))",
    "match": "import re\nprint(len(str(re.match('a', 'a'))))",
    "pattern": "import re\np = re.compile('a')\nprint(len(str(p)))",
    "hash obj": "import hashlib\nprint(len(str(hashlib.md5(b'a'))))",
    "defaultdict": "from collections import defaultdict\nd = defaultdict(lambda: 0)\nprint(len(str(d)))",
    "defaultdict f": "from collections import defaultdict\ndef f(): return 0\nd = defaultdict(f)\nprint(len(str(d)))",
    "self": "class A:\n    def m(self):\n        return len(str(self))\nprint(A().m())",
    "attr": "class A:\n    pass\nclass B:\n    def __init__(self, a):\n        self.a = a\nprint(len(f'{B(A()).a}'))",
    "only str": "class A:\n    def __str__(self):\n        return 'a'\nprint(len(repr(A())))",
    "only str in list": "class A:\n    def __str__(self):\n        return 'a'\nprint(len(str([A()])))",
    "dc field": "from dataclasses import dataclass\nclass A: pass\n@dataclass\nclass P:\n    a: A\nprint(len(str(P(A()))))",
    "dc fn": "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\ndef f(): pass\nprint(len(str(P(f))))",
    "own repr uses default": "class A: pass\nclass B:\n    def __repr__(self):\n        return 'B' + str(A())\nprint(len(str(B())))",
    "nested dc": "from dataclasses import dataclass\ndef f():\n    @dataclass\n    class P:\n        a: int\n    return P(1)\nprint(str(f()))",
    "handed fn": "def show(x):\n    return len(str(x))\ndef f(): pass\nprint(show(f))",
    "via dict": "ops = {'a': len}\nprint(len(str(ops)))",
    "reduce": "from functools import reduce\nprint(len(reduce(lambda a, b: a + str(b), [len], '')))",
    "namedtuple": "from collections import namedtuple\nP = namedtuple('P', ['a'])\nprint(len(str(P(len))))",
    "nt class": "from collections import namedtuple\nP = namedtuple('P', ['a'])\nprint(len(str(P)))",
    "cache": "from functools import cache\n@cache\ndef f(): return 1\nprint(len(str(f)))",
    "str.format handed": "class A: pass\nf = '{}'.format\nprint(len(f(A())))",
    "str stored": "class A: pass\ng = str\nprint(len(g(A())))",
    "str in dict": "class A: pass\nops = {'s': str}\nprint(len(ops['s'](A())))",
    "str ternary": "class A: pass\nprint(len((str if A else repr)(A())))",
    "str default": "class A: pass\ndef f(x, g=str):\n    return len(g(x))\nprint(f(A()))",
    "star": "class A: pass\nprint(len(str(*[A()])))",
    "star2": "class A: pass\nprint(len('{}'.format(*[A()])))",
    "kw star": "class A: pass\nprint(len('{a}'.format(**{'a': A()})))",
    "spec": "class A: pass\nprint(f'{str(A()):.5}')",
    "deque": "from collections import deque\nprint(len(str(deque([len]))))",
    "join": "class A: pass\nprint(len(','.join(str(x) for x in [A(), A()])))",
    "mod name": "class A: pass\nprint(str(A()).count('m'))",
    "partial slot": "class A: pass\nt=(str,)\nprint(len(t[0](A())))",
    "return str": "class A: pass\ndef f():\n    return str\nprint(len(f()(A())))",
    "list str": "class A: pass\nfs=[str]\nprint([len(g(A())) for g in fs])",
    "map fn default": "def f(): pass\nprint(sorted(map(str, [f]))[0][1:4])",
    "shown": "class A: pass\nprint(A())",
    "walrus": "class A: pass\nprint(len((y := f'{A()}')))",
    "sum": "class A:\n    def __add__(self, o):\n        return self\nprint(len(str(A() + 1)))",
    "call": "class A:\n    def __call__(self):\n        return self\nprint(len(str(A()())))",
    "counter": "class A: x = 1\nfrom collections import Counter\nprint(len(str(Counter(a=1, b=2))), len(str([A()])))",
    "deco": "def deco(g):\n    print(len(str(g)))\n    return g\n@deco\ndef f(): pass",
    "own reduce": "def reduce(f):\n    return len(str(f))\ndef g(): pass\nprint(reduce(g))",
    "own key": "def show(key):\n    return len(str(key))\ndef g(): pass\nprint(show(key=g))",
    "fmt attr": "class A:\n    def __init__(self):\n        self.f = len\n    def __repr__(self):\n        return 'A'\nprint(len('{0.f}'.format(A())))",
    "named Decimal": "class Decimal: pass\nprint(len(str(Decimal())))",
    "own dc": "def dataclass(c):\n    return c\n@dataclass\nclass P:\n    a: int = 1\nprint(len(str(P())))",
    "two names": "class A: pass\ndef f():\n    class A:\n        def __repr__(self):\n            return 'x'\n    return A()\nprint(len(str(A())))",
    "nt Decimal": "from collections import namedtuple\nDecimal = namedtuple('Decimal', ['a'])\nprint(len(str(Decimal(len))))",
    "eq str": "class A: pass\ndef f(t):\n    return t == str\nprint(f(str))",
    "print nested dc": "from dataclasses import dataclass\ndef f():\n    @dataclass\n    class P:\n        a: int\n    print(P(1))\nf()",
    "class dc": "from dataclasses import dataclass\nclass O:\n    @dataclass\n    class P:\n        a: int\nprint(O.P(1))",
    "imported as a constant": "from math import sqrt as pi\nprint(len(str(pi)))",
    "imported in capitals": "import math as M\nprint(len(str(M)))",
}
ANSWERED: Final = {
    "s": "class A: pass\nx = 5\nprint(len(str(x)), f'{x}', str([1, 'a', None, 2.5]))",
    "repr": "class A:\n    def __repr__(self):\n        return 'A!'\nprint(len(str(A())), len(str([A()])), f'{A()!r}')",
    "str": "class A:\n    def __str__(self):\n        return 'A!'\nprint(len(str(A())), f'{A()} x')",
    "dc": "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n    b: str = 'x'\nprint(len(str(P(1))), f'{P(2)}')",
    "counter": "class A: pass\nfrom collections import Counter, deque\nprint(len(str(Counter('abb'))), str(deque([1])), f\"{ {'a': 1}.keys()}\")",
    "date": "class A: pass\nfrom datetime import date\nfrom decimal import Decimal\nprint(len(str(date(2024,1,2))), f'{Decimal(\"1.5\")}')",
    "nt": "from collections import namedtuple\nP = namedtuple('P', ['a'])\nprint(len(str(P(1))))",
    "map": "class A: pass\nprint(','.join(map(str, [1, 2])), sorted([3, 20], key=str))",
    "range": "class A: pass\nprint(len(f'{[1,2][0]!r:>4}'), '%s-%d' % ('a', 3), '{} {}'.format(1, 'b'))",
    "ddint": "from collections import defaultdict\nd = defaultdict(int)\nd['a'] += 1\nprint(len(str(d)))",
    "isinstance": "class A: pass\ndef f(x: str) -> str:\n    return 'y' if isinstance(x, (str, int)) else f'{x}'\nprint(f('a'), f(2.5), 7 % 3)",
    "quotes": "class A: pass\nd = {'a': 1}\nprint(len(f\"{d['a']} {'x'!r} it's\"))\nf'{d}'",
    "dd len": "from collections import defaultdict\nprint(len(str({'a': defaultdict(len)})))",
    "attr": "class A:\n    def __init__(self, n):\n        self.n = n\n    def text(self):\n        return f'{self.n}|{self.n % 3}'\nprint(A(4).text())",
}
LEAST_STAYING: Final = 31


async def test_a_program_that_looks_at_the_default_text_of_objects_is_not_answered() -> None:
    codes = [code for code in LOOKING.values() if not inexact(ast.parse(code))]
    ended = await outcomes(codes)
    answered = [name for name, code in LOOKING.items() if code in ended and ended[code].ending is Ending.SUCCEEDED]
    assert answered == []


@pytest.mark.engine
async def test_text_of_values_and_of_what_has_a_text_of_its_own_is_answered_alike() -> None:
    codes = list(ANSWERED.values())
    assert [name for name, code in ANSWERED.items() if inexact(ast.parse(code))] == []
    ended = await outcomes(codes)
    assert [name for name, code in ANSWERED.items() if ended[code].ending is not Ending.SUCCEEDED] == []
    told = {
        code: [one.stdout.text, one.stderr.text, one.result and [one.result.form, one.result.value]]
        for code, one in ended.items()
    }
    assert told == whole_answers(codes)


async def test_realistic_programs_stay_in_monty() -> None:
    codes = [code for code in PROGRAMS.values() if (tree := parsed(code)) and not inexact(tree)]
    ended = await outcomes(codes)
    assert sum(one.ending is Ending.SUCCEEDED for one in ended.values()) >= LEAST_STAYING
