"""Realistic programs as agents write them, by name. What each prints is CPython's to say, not this file's."""

from __future__ import annotations

from typing import Final

PROGRAMS: Final[dict[str, str]] = {
    "01_sum_even": """\
numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
total = sum(n for n in numbers if n % 2 == 0)
print(f"Sum of even numbers: {total}")
""",
    "02_fib_memo": """\
from functools import lru_cache

@lru_cache(maxsize=None)
def fib(n: int) -> int:
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)

print([fib(i) for i in range(20)])
print(fib(90))
""",
    "03_primes_sieve": """\
def sieve(limit):
    is_prime = [True] * (limit + 1)
    is_prime[0] = is_prime[1] = False
    for i in range(2, int(limit ** 0.5) + 1):
        if is_prime[i]:
            for j in range(i * i, limit + 1, i):
                is_prime[j] = False
    return [i for i, p in enumerate(is_prime) if p]

primes = sieve(200)
print(len(primes), primes[:10], primes[-3:])
""",
    "04_word_count": '''\
from collections import Counter
import re

text = """The quick brown fox jumps over the lazy dog. The dog barks; the fox runs away!"""
words = re.findall(r"[a-z]+", text.lower())
counts = Counter(words)
for word, n in counts.most_common(3):
    print(f"{word:<10}{n:>3}")
print(dict(counts))
''',
    "05_json_munge": """\
import json

data = json.loads('{"users": [{"name": "Ann", "age": 31, "tags": ["a", "b"]}, {"name": "Bob", "age": 25, "tags": []}]}')
adults = [u for u in data["users"] if u["age"] > 30]
avg = sum(u["age"] for u in data["users"]) / len(data["users"])
print(json.dumps({"adults": adults, "avg": avg}, indent=2, sort_keys=True))
""",
    "06_csv_parse": '''\
import csv
import io

raw = """date,product,qty,price
2024-01-01,widget,3,9.99
2024-01-02,gadget,1,24.50
2024-01-02,widget,2,9.99
"""
reader = csv.DictReader(io.StringIO(raw))
totals = {}
for row in reader:
    totals[row["product"]] = totals.get(row["product"], 0) + int(row["qty"]) * float(row["price"])
for k, v in sorted(totals.items()):
    print(k, round(v, 2))
''',
    "07_csv_lines": """\
import csv
lines = ["a,b,c", "1,2,3", '"x,y",5,6']
for row in csv.reader(lines):
    print(row)
""",
    "08_datetime_diff": """\
from datetime import datetime, timedelta

start = datetime(2024, 1, 15, 8, 30)
end = datetime(2024, 3, 1, 17, 45)
delta = end - start
print(delta.days, delta.seconds, delta.total_seconds())
print((start + timedelta(weeks=2)).strftime("%Y-%m-%d %H:%M"))
print(start.isoformat(), end.weekday(), end > start)
d = datetime.strptime("2024-02-29", "%Y-%m-%d")
print(d.date(), d.strftime("%A %d %B %Y"))
""",
    "09_statistics": """\
import statistics

data = [2.5, 3.1, 4.7, 5.0, 3.9, 4.4]
print("mean", statistics.mean(data))
print("median", statistics.median(data))
print("stdev", round(statistics.stdev(data), 4))
""",
    "10_manual_stats": """\
import math
data = [2.5, 3.1, 4.7, 5.0, 3.9, 4.4]
n = len(data)
mean = sum(data) / n
var = sum((x - mean) ** 2 for x in data) / (n - 1)
print(f"mean={mean:.4f} std={math.sqrt(var):.4f}")
print(sorted(data)[n // 2], max(data), min(data))
print(mean, var, 0.1 + 0.2, 1e16, 1e-7, 123456789.123456789, float("inf"))
""",
    "11_dataclass": """\
from dataclasses import dataclass, field
from typing import List

@dataclass
class Item:
    name: str
    price: float
    quantity: int = 1

    def total(self) -> float:
        return self.price * self.quantity

@dataclass
class Cart:
    items: List[Item] = field(default_factory=list)

    def add(self, item: Item) -> None:
        self.items.append(item)

    def total(self) -> float:
        return sum(i.total() for i in self.items)

cart = Cart()
cart.add(Item("apple", 0.5, 4))
cart.add(Item("bread", 2.25))
print(cart)
print(f"Total: ${cart.total():.2f}")
""",
    "12_class_inheritance": """\
class Animal:
    def __init__(self, name):
        self.name = name
    def speak(self):
        raise NotImplementedError

class Dog(Animal):
    def speak(self):
        return f"{self.name} says woof"

class Cat(Animal):
    def speak(self):
        return f"{self.name} says meow"

for a in [Dog("Rex"), Cat("Tom")]:
    print(a.speak())
""",
    "13_class_property": """\
class Circle:
    def __init__(self, r):
        self._r = r

    @property
    def area(self):
        return 3.14159 * self._r ** 2

    @classmethod
    def unit(cls):
        return cls(1)

print(Circle(2).area, Circle.unit().area)
""",
    "14_stack_class": """\
class Stack:
    def __init__(self):
        self._items = []

    def push(self, x):
        self._items.append(x)

    def pop(self):
        if not self._items:
            raise IndexError("pop from empty stack")
        return self._items.pop()

    def __len__(self):
        return len(self._items)

    def __repr__(self):
        return f"Stack({self._items!r})"

s = Stack()
for i in range(3):
    s.push(i)
print(s, len(s))
print(s.pop())
try:
    Stack().pop()
except IndexError as e:
    print("error:", e)
""",
    "15_bool_dunder": """\
class Box:
    def __init__(self, items):
        self.items = items
    def __bool__(self):
        return len(self.items) > 0

for b in (Box([]), Box([1])):
    print("non-empty" if b else "empty")
""",
    "16_generator": """\
def fibonacci():
    a, b = 0, 1
    while True:
        yield a
        a, b = b, a + b

gen = fibonacci()
print([next(gen) for _ in range(10)])
""",
    "17_itertools": """\
import itertools

print(list(itertools.permutations([1, 2, 3], 2)))
print(list(itertools.combinations("abcd", 2)))
print(list(itertools.accumulate([1, 2, 3, 4])))
for key, group in itertools.groupby(sorted(["apple", "avocado", "banana", "blueberry", "cherry"]), key=lambda s: s[0]):
    print(key, list(group))
print(list(itertools.islice(itertools.count(10, 5), 4)))
print(list(itertools.product([0, 1], repeat=2)), list(itertools.zip_longest([1, 2], [3])))
""",
    "18_custom_exception": '''\
class InsufficientFunds(Exception):
    """Raised when a withdrawal exceeds the balance."""

def withdraw(balance, amount):
    if amount > balance:
        raise InsufficientFunds(f"need {amount - balance} more")
    return balance - amount

try:
    withdraw(10, 25)
except InsufficientFunds as exc:
    print("Failed:", exc)
''',
    "19_context_manager_cls": """\
class Timer:
    def __enter__(self):
        print("start")
        return self
    def __exit__(self, exc_type, exc, tb):
        print("stop", exc_type is None)
        return False

with Timer() as t:
    print("working")
""",
    "20_contextlib": """\
from contextlib import contextmanager

@contextmanager
def section(name):
    print(f"<{name}>")
    yield
    print(f"</{name}>")

with section("body"):
    print("hello")
""",
    "21_regex_log": '''\
import re
from collections import defaultdict

log = """2024-05-01 12:00:01 ERROR db: connection refused
2024-05-01 12:00:05 INFO web: started
2024-05-01 12:01:00 ERROR web: timeout after 30s
"""
pattern = re.compile(r"^(?P<date>\\S+) (?P<time>\\S+) (?P<level>[A-Z]+) (?P<svc>\\w+): (?P<msg>.*)$", re.MULTILINE)
by_level = defaultdict(list)
for m in pattern.finditer(log):
    by_level[m.group("level")].append((m["svc"], m["msg"]))
print(dict(by_level))
print(re.sub(r"(\\d+)s", r"\\1 seconds", log.splitlines()[2]))
''',
    "22_recursion_flatten": """\
def flatten(xs):
    out = []
    for x in xs:
        if isinstance(x, (list, tuple)):
            out.extend(flatten(x))
        else:
            out.append(x)
    return out

def hanoi(n, a="A", b="B", c="C"):
    if n == 0:
        return 0
    return hanoi(n - 1, a, c, b) + 1 + hanoi(n - 1, c, b, a)

print(flatten([1, [2, (3, [4, [5]])], 6]))
print(hanoi(10))
""",
    "23_matrix": """\
def matmul(a, b):
    return [[sum(x * y for x, y in zip(row, col)) for col in zip(*b)] for row in a]

A = [[1, 2], [3, 4]]
B = [[5, 6], [7, 8]]
print(matmul(A, B))
print([list(r) for r in zip(*A)])
""",
    "24_binary_search": """\
from bisect import bisect_left
arr = sorted([5, 2, 9, 1, 7])
i = bisect_left(arr, 7)
print(arr, i, i < len(arr) and arr[i] == 7)
""",
    "25_heap_dijkstra": """\
import heapq

graph = {"A": {"B": 1, "C": 4}, "B": {"C": 2, "D": 5}, "C": {"D": 1}, "D": {}}

def dijkstra(start):
    dist = {n: float("inf") for n in graph}
    dist[start] = 0
    heap = [(0, start)]
    while heap:
        d, node = heapq.heappop(heap)
        if d > dist[node]:
            continue
        for nxt, w in graph[node].items():
            nd = d + w
            if nd < dist[nxt]:
                dist[nxt] = nd
                heapq.heappush(heap, (nd, nxt))
    return dist

print(dijkstra("A"))
""",
    "26_bfs_deque": """\
from collections import deque

grid = ["S.#.", "..#E", "...."]
rows, cols = len(grid), len(grid[0])
q = deque([(0, 0, 0)])
seen = {(0, 0)}
while q:
    r, c, d = q.popleft()
    if grid[r][c] == "E":
        print("distance", d)
        break
    for dr, dc in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        nr, nc = r + dr, c + dc
        if 0 <= nr < rows and 0 <= nc < cols and grid[nr][nc] != "#" and (nr, nc) not in seen:
            seen.add((nr, nc))
            q.append((nr, nc, d + 1))
""",
    "27_numpy": """\
import numpy as np

a = np.arange(12).reshape(3, 4)
print(a.mean(axis=0), a.sum())
""",
    "28_pandas": """\
import pandas as pd

df = pd.DataFrame({"city": ["A", "B", "A"], "sales": [10, 20, 30]})
print(df.groupby("city")["sales"].sum())
""",
    "29_requests": """\
import requests

resp = requests.get("https://api.github.com/repos/python/cpython", timeout=10)
resp.raise_for_status()
print(resp.json()["stargazers_count"])
""",
    "30_file_write_read": """\
with open("/tmp/monty_demo.txt", "w") as f:
    f.write("line one\\nline two\\n")

with open("/tmp/monty_demo.txt") as f:
    for i, line in enumerate(f, 1):
        print(i, line.strip())
""",
    "31_string_ops": """\
s = "  Hello, World!  "
print(s.strip().lower().replace("world", "monty").title())
print(s.strip()[::-1], "l" in s, s.count("l"), s.strip().split(", "))
def is_palindrome(t):
    t = "".join(ch for ch in t.lower() if ch.isalnum())
    return t == t[::-1]
print(is_palindrome("A man, a plan, a canal: Panama"))
print("-".join(sorted(set("banana"))), "abc".center(9, "*"), "7".zfill(3), "%05.2f|%-6s|" % (3.14159, "ab"))
print("{:>8,.2f} {!r}".format(1234567.891, "q"))
""",
    "32_caesar": """\
import string

def caesar(text, shift):
    alphabet = string.ascii_lowercase
    table = str.maketrans(alphabet, alphabet[shift:] + alphabet[:shift])
    return text.translate(table)

enc = caesar("hello world", 3)
print(enc, caesar(enc, -3))
""",
    "33_sort_key": """\
people = [{"name": "Zed", "age": 30}, {"name": "Amy", "age": 25}, {"name": "Bob", "age": 30}]
people.sort(key=lambda p: (-p["age"], p["name"]))
print(people)
from operator import itemgetter
print(sorted(people, key=itemgetter("name"))[0])
""",
    "34_dict_group": """\
orders = [("alice", 30), ("bob", 12), ("alice", 5), ("carol", 8)]
grouped = {}
for name, amount in orders:
    grouped.setdefault(name, []).append(amount)
summary = {name: {"count": len(v), "total": sum(v)} for name, v in grouped.items()}
print(summary)
top = max(summary.items(), key=lambda kv: kv[1]["total"])
print(f"Top: {top[0]} with {top[1]['total']}")
""",
    "35_del_items": """\
inventory = {"apple": 3, "pear": 0, "fig": 7}
for key in list(inventory):
    if inventory[key] == 0:
        del inventory[key]
print(inventory)
""",
    "36_enum": """\
from enum import Enum

class Status(Enum):
    OPEN = "open"
    CLOSED = "closed"

print(Status.OPEN, Status("closed").name, [s.value for s in Status])
""",
    "37_namedtuple": """\
from collections import namedtuple
Point = namedtuple("Point", ["x", "y"])
p = Point(1, 2)
print(p, p.x + p.y, p._replace(x=5), p._asdict())
""",
    "38_asyncio": """\
import asyncio

async def fetch(i):
    await asyncio.sleep(0.01)
    return i * i

async def main():
    results = await asyncio.gather(*(fetch(i) for i in range(5)))
    print(results)

asyncio.run(main())
""",
    "39_asyncio_task": """\
import asyncio

async def worker(n):
    await asyncio.sleep(0.01 * n)
    return n

async def main():
    tasks = [asyncio.create_task(worker(i)) for i in range(3)]
    for t in tasks:
        print(await t)

asyncio.run(main())
""",
    "40_decorator_wraps": """\
import functools
import time

def timed(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        t0 = time.perf_counter()
        result = fn(*args, **kwargs)
        elapsed = time.perf_counter() - t0
        print(f"{fn.__name__} ok={elapsed >= 0}")
        return result
    return wrapper

@timed
def add(a, b):
    return a + b

print(add(2, 3))
""",
    "41_decimal": """\
from decimal import Decimal, ROUND_HALF_UP
price = Decimal("19.99")
tax = (price * Decimal("0.0825")).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
print(price + tax, tax)
""",
    "42_random_seed": """\
import random
random.seed(42)
print([random.randint(1, 100) for _ in range(5)])
print(random.choice(["a", "b", "c"]), round(random.random(), 6))
xs = list(range(10)); random.shuffle(xs); print(xs)
""",
    "43_hash_base64": """\
import hashlib, base64
msg = b"hello"
print(hashlib.sha256(msg).hexdigest())
print(base64.b64encode(msg).decode())
""",
    "44_main_guard": '''\
"""Compute compound interest."""
import sys

def compound(principal: float, rate: float, years: int) -> float:
    return principal * (1 + rate) ** years

def main() -> int:
    for y in range(1, 4):
        print(f"Year {y}: {compound(1000, 0.05, y):.2f}")
    return 0

if __name__ == "__main__":
    sys.exit(main())
''',
    "45_try_import": """\
try:
    import numpy as np
    have = True
except ImportError:
    np = None
    have = False
print(sum([1, 2, 3]))
""",
    "46_set_ops": """\
a = {"x", "y", "z"}
b = {"y", "z", "w"}
print(sorted(a & b), sorted(a | b), sorted(a - b), sorted(a ^ b))
print(a <= (a | b), len(a))
""",
    "47_set_print": """\
tags = {"red", "green", "blue"}
print(tags)
print({3, 1, 2})
""",
    "48_match": """\
def handle(cmd):
    match cmd.split():
        case ["go", direction]:
            return f"going {direction}"
        case ["quit"]:
            return "bye"
        case _:
            return "unknown"
print(handle("go north"), handle("quit"), handle("x y z"))
""",
    "49_typed_typeddict": """\
from typing import TypedDict, Optional

class User(TypedDict):
    name: str
    age: Optional[int]

u: User = {"name": "Ann", "age": None}
print(u["name"], u["age"])
""",
    "50_bigint": """\
import math
print(math.factorial(50))
print(2 ** 200, pow(3, 100, 7), math.gcd(84, 36), math.comb(10, 3))
print(divmod(-7, 2), -7 // 2, -7 % 3, round(2.5), round(3.5), int("ff", 16), bin(10), hex(255))
""",
    "51_text_wrap": """\
import textwrap
print(textwrap.fill("The quick brown fox jumps over the lazy dog near the river bank", width=30))
""",
    "52_urlparse": """\
from urllib.parse import urlparse, parse_qs
u = urlparse("https://example.com/path?a=1&b=2")
print(u.netloc, u.path, parse_qs(u.query))
""",
    "53_subprocess": """\
import subprocess
print(subprocess.run(["ls", "-la"], capture_output=True, text=True).stdout)
""",
    "54_threads": """\
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as ex:
    print(list(ex.map(lambda x: x * x, range(5))))
""",
    "55_pathlib_tmp": """\
from pathlib import Path
p = Path("/tmp/monty_demo2.json")
p.write_text('{"a": 1}')
print(p.exists(), p.suffix, p.stem, p.read_text())
p.unlink()
""",
    "56_abc": """\
from abc import ABC, abstractmethod

class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...

class Square(Shape):
    def __init__(self, s):
        self.s = s
    def area(self):
        return self.s ** 2

print(Square(3).area())
""",
    "57_operator_overload": """\
class Vec:
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __add__(self, o):
        return Vec(self.x + o.x, self.y + o.y)
    def __mul__(self, k):
        return Vec(self.x * k, self.y * k)
    def __eq__(self, o):
        return (self.x, self.y) == (o.x, o.y)
    def __lt__(self, o):
        return self.x < o.x
    def __repr__(self):
        return f"Vec({self.x}, {self.y})"
print(Vec(1, 2) + Vec(3, 4) * 2, Vec(1, 1) == Vec(1, 1), sorted([Vec(3, 0), Vec(1, 0)]))
""",
    "58_uncaught_error": """\
def parse(rows):
    return [int(r) for r in rows]
print("before")
print(parse(["1", "two"]))
""",
    "59_zip_lazy": """\
names = ["a", "b", "c"]
it = iter([1, 2, 3, 4])
pairs = list(zip(names, it))
print(pairs, next(it))
squares = map(lambda x: x * x, range(4))
print(next(squares), list(squares))
print(any(x > 2 for x in [1, 2, 3]), all(isinstance(x, int) for x in [1, 2]))
""",
    "60_future_annotations": """\
from __future__ import annotations

def merge(a: list[int], b: list[int] | None = None) -> list[int]:
    return sorted(a + (b or []))

print(merge([3, 1], [2]))
""",
    "61_luhn": """\
def luhn(num: str) -> bool:
    digits = [int(d) for d in num if d.isdigit()]
    odd = digits[-1::-2]
    even = [sum(divmod(d * 2, 10)) for d in digits[-2::-2]]
    return (sum(odd) + sum(even)) % 10 == 0
for n in ("4539 1488 0343 6467", "8273 1232 7352 0569"):
    print(n, luhn(n))
""",
    "62_input": """\
name = input("Your name: ")
print("Hello", name)
""",
    "63_traceback_logging": """\
import logging
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
logger = logging.getLogger(__name__)
logger.info("starting")
print("done")
""",
    "64_time_today": """\
from datetime import datetime, date
now = datetime.now()
print(now.year >= 2024, isinstance(date.today(), date))
""",
    "65_dict_comp_counter_ops": """\
from collections import Counter, OrderedDict
c1 = Counter("mississippi"); c2 = Counter("miss")
print(c1 - c2, c1 + c2, sum(c1.values()))
od = OrderedDict(sorted(c1.items()))
print(list(od.items()))
""",
    "66_lines_to_table": """\
rows = [("Name", "Qty", "Price"), ("Widget", 3, 9.99), ("Gadget", 12, 24.5)]
widths = [max(len(str(r[i])) for r in rows) for i in range(3)]
for r in rows:
    print(" | ".join(str(c).ljust(w) for c, w in zip(r, widths)))
print("=" * (sum(widths) + 6))
""",
    "67_roman": """\
def to_roman(n):
    vals = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    out = []
    for v, sym in vals:
        while n >= v:
            out.append(sym)
            n -= v
    return "".join(out)
print(to_roman(1994), to_roman(2024))
assert to_roman(4) == "IV"
""",
    "68_linked_list": """\
from typing import Optional, Iterator

class Node:
    def __init__(self, value, next: "Optional[Node]" = None):
        self.value = value
        self.next = next

class LinkedList:
    def __init__(self):
        self.head: Optional[Node] = None

    def prepend(self, v):
        self.head = Node(v, self.head)

    def to_list(self):
        out, n = [], self.head
        while n is not None:
            out.append(n.value)
            n = n.next
        return out

    def reverse(self):
        prev, cur = None, self.head
        while cur:
            cur.next, prev, cur = prev, cur, cur.next
        self.head = prev

ll = LinkedList()
for i in range(4):
    ll.prepend(i)
print(ll.to_list())
ll.reverse()
print(ll.to_list())
""",
    "69_iter_class": """\
class Countdown:
    def __init__(self, n):
        self.n = n
    def __iter__(self):
        return self
    def __next__(self):
        if self.n <= 0:
            raise StopIteration
        self.n -= 1
        return self.n + 1
print(list(Countdown(3)))
for i in Countdown(2):
    print(i)
""",
    "70_sqrt_newton_fmt": """\
x = 2.0
guess = x
for i in range(6):
    guess = (guess + x / guess) / 2
    print(f"{i}: {guess:.12f} err={abs(guess * guess - x):.2e}")
print(f"{1234567:,} {0.256:.1%} {255:#x} {5:03d} {'hi':^7}|")
""",
}
