"""Says whether a program that Monty runs exactly (see `exactness.py`) also comes to the same each time it runs.

Pure. Of what the exactness guard lets through only two things vary: `datetime`'s clock and `random` without a seed.
A new module there has to be looked at here; the tests hold both lists against each other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

CLOCK: Final = frozenset({"now", "today"})
"""Attributes that read the clock, of whatever object: the guard lets no others through that do."""

_WORDS: Final = "__future__ base64 bisect collections csv dataclasses datetime decimal functools hashlib itertools json math random re typing"
JUDGED: Final = frozenset(_WORDS.split())
"""The modules that were looked at; a program that imports another one is not vouched for."""

_SEED: Final = "seed"


def deterministic(tree: ast.Module) -> bool:
    """Whether the program reads no clock, and no chance but what a seed of its own text determines."""
    nodes = list(ast.walk(tree))
    if any(isinstance(node, ast.Attribute) and node.attr in CLOCK for node in nodes):
        return False
    if not {module for node in nodes for module in _modules(node)} <= JUDGED:
        return False
    names = {name for node in nodes for name in _names_of_random(node)}
    return not names or _seeded(tree, nodes, names)


def _modules(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module):
            yield module or ""


def _names_of_random(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.asname or alias.name for alias in names if alias.name == "random")
        case ast.ImportFrom(module="random", names=names):
            yield from (alias.asname or alias.name for alias in names)


def _seeded(tree: ast.Module, nodes: list[ast.AST], names: set[str]) -> bool:
    """Whether the first thing that is done with the module is to seed it with a number that stands there, and no other way."""
    seeds = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "random"
        for alias in node.names
        if alias.name == _SEED
    }
    calls = [node for node in nodes if isinstance(node, ast.Call) and _root(node.func) in names]
    uses = [node for node in nodes if isinstance(node, ast.Name) and node.id in names]
    if len(uses) != len(calls) or any(name in names for node in nodes for name in _bound(node)):
        return False  # it is handed on, or a name of it is another thing's too
    if not all(_by_a_number(call) for call in calls if _is_seed(call, seeds)):
        return False
    first = next((one for one in tree.body if any(node in uses for node in ast.walk(one))), None)
    return first is None or (isinstance(first, ast.Expr) and first.value in calls and _is_seed(first.value, seeds))


def _root(function: ast.expr) -> str | None:
    """`random` of `random.seed`, `seed` of `seed`."""
    match function:
        case ast.Attribute(value=ast.Name(id=name)) | ast.Name(id=name):
            return name
    return None


def _is_seed(call: ast.expr, seeds: set[str]) -> bool:
    match call:
        case ast.Call(func=ast.Attribute(attr=name)):
            return name == _SEED
        case ast.Call(func=ast.Name(id=name)):
            return name in seeds
    return False


def _by_a_number(call: ast.Call) -> bool:
    match call:
        case ast.Call(args=[ast.Constant(value=int() as value)], keywords=[]):
            return not isinstance(value, bool)
    return False


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a node binds, but for imports of `random`."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            yield name
        case (
            ast.ExceptHandler(name=str() as name) | ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name)
        ):
            yield name
        case ast.MatchMapping(rest=str() as name):
            yield name
        case ast.ImportFrom(module=module, names=names) if module != "random":
            yield from (alias.asname or alias.name for alias in names)
        case ast.Import(names=names):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in names if alias.name != "random")
