"""The exactness guard: says whether a clean run in Monty would print exactly what the guest's CPython prints.

Pure: a syntax tree in, the reasons against it out; none means exact. Only what was compared
with CPython 3.13 is let through, by tables of names; what is not in them is refused. Known
divergences of Monty 1.4 behind the rules: lazy iterators are lists there, sets keep their order
of insertion, `round(x, n)` and float `sum()` round differently, several special methods are
ignored, messages of exceptions have other words.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from itertools import islice
from typing import Final

from sandbox.exactness_annotations import wrong_with_annotations
from sandbox.exactness_calls import wrong_with_call
from sandbox.exactness_facts import Facts, text_of
from sandbox.exactness_tables import BUILTINS, CASE_METHODS, CAUGHT, DUNDERS, METHODS, MODULES
from sandbox.exactness_text import plain_characters, plain_spec

MOST_NODES: Final = 3_000  # of a tree that is judged: at 12 to 16 µs for each, about 40 ms
_EQUAL_KEYS: Final = "of two equal keys (1, 1.0, True) another one stays"
_UNLIKE: Final = (
    ast.AsyncFunctionDef,
    ast.Await,
    ast.AsyncFor,
    ast.AsyncWith,
    ast.Yield,
    ast.YieldFrom,
    ast.Delete,
    ast.MatchClass,
    ast.TryStar,
)
_ALL_BUILTINS: Final = frozenset(dir(builtins))
_AS_CALLS: Final = frozenset({"map", "filter", "zip", "enumerate", "reversed", "set", "frozenset"})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why Monty might print something else, and in which line."""

    line: int
    what: str


def inexact(tree: ast.Module, *, floats_come_in: bool = False) -> tuple[Reason, ...]:
    """The reasons against running the program in Monty, by line. `floats_come_in` tells of floats among its inputs."""
    if sum(1 for _ in islice(ast.walk(tree), MOST_NODES + 1)) > MOST_NODES:
        return (Reason(0, "the program is too large to be sure that Monty runs it exactly"),)
    try:
        facts = Facts(tree, floats_come_in=floats_come_in)
        found = {Reason(getattr(node, "lineno", 0), what) for node in facts.nodes for what in _reasons_of(facts, node)}
    except RecursionError:
        return (Reason(0, "the program is nested too deeply to be sure that Monty runs it exactly"),)
    return tuple(sorted(found, key=lambda reason: (reason.line, reason.what)))


def _reasons_of(facts: Facts, node: ast.AST) -> Iterator[str]:
    yield from _rule(node, facts)
    yield from _name_bound(node)
    yield from wrong_with_annotations(node, facts)
    if (keys := _keys(facts, node)) and (facts.has_floats or any(map(facts.keys.may_be_bool, keys))):
        yield _EQUAL_KEYS
    if isinstance(node, ast.expr) and facts.is_set(node) and not facts.set_is_safe(node):
        yield "the order of a set may show"


def _name_bound(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name) | ast.alias(asname=str() as name):
            pass
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str() as name) if not name.isascii():
            pass
        case _:
            return
    if name in BUILTINS:
        yield f"{name} is another thing than the builtin"
    if not name.isascii():
        yield "a name outside ASCII may be another name"


@singledispatch
def _rule(node: ast.AST, facts: Facts) -> Iterator[str]:
    """What is wrong with one kind of node; most kinds are the same in both."""
    del facts
    if isinstance(node, _UNLIKE):
        yield f"Monty has no {type(node).__name__}, or another one"


@_rule.register
def _import(node: ast.Import, _: Facts) -> Iterator[str]:
    for alias in node.names:
        if alias.name not in MODULES:
            yield f"the module {alias.name} is not known to be the same in Monty"


@_rule.register
def _import_from(node: ast.ImportFrom, _: Facts) -> Iterator[str]:
    members = MODULES.get(node.module or "", frozenset())
    for alias in node.names:
        if node.level or alias.name not in members:
            yield f"{node.module}.{alias.name} is not known to be the same in Monty"


@_rule.register
def _name(node: ast.Name, facts: Facts) -> Iterator[str]:
    name = node.id
    if name == "__name__":
        return
    if isinstance(node.ctx, ast.Load) and name in _ALL_BUILTINS - BUILTINS and name not in facts.names:
        yield f"{name} is not known to be the same in Monty"
    elif isinstance(node.ctx, ast.Store) and name in _ALL_BUILTINS:
        yield f"{name} is another thing than the builtin"
    elif name.startswith("__"):
        yield f"{name} is not known to be the same in Monty"
    elif name in _AS_CALLS and isinstance(node.ctx, ast.Load) and not _is_called(facts, node):
        yield f"{name} handed on is not known to be the same in Monty"
    elif facts.evaluated_too_early(node):
        yield f"{name} may not be there yet when CPython evaluates the annotation"


def _is_called(facts: Facts, node: ast.Name) -> bool:
    parent = facts.parents.get(node)
    if not isinstance(parent, ast.Call):
        return False
    return parent.func is node or facts.called(parent) == "isinstance"


@_rule.register
def _attribute(node: ast.Attribute, facts: Facts) -> Iterator[str]:
    name = node.attr
    if isinstance(node.value, ast.Name) and node.value.id in facts.modules:
        module = facts.modules[node.value.id]
        if name not in MODULES.get(module, frozenset()):
            yield f"{module}.{name} is not known to be the same in Monty"
    elif name.startswith("__") or (isinstance(node.ctx, ast.Load) and name not in METHODS and name not in facts.own):
        yield f"the attribute {name} is not known to be the same in Monty"
    elif name in CASE_METHODS and not facts.ascii:
        yield f"{name}() may differ outside ASCII"


@_rule.register
def _call(node: ast.Call, facts: Facts) -> Iterator[str]:
    yield from wrong_with_call(node, facts)


@_rule.register
def _generator(node: ast.GeneratorExp, facts: Facts) -> Iterator[str]:
    if not facts.consumed(node):
        yield "a generator expression is lazy in CPython"


def _keys(facts: Facts, node: ast.AST) -> list[ast.expr]:
    """What becomes a key here, of which it is not certain that all equal keys look the same."""
    match node:
        case ast.Subscript(value=value, ctx=ast.Store(), slice=key) if not facts.keys.is_list(value):
            keys = [key]
        case ast.Subscript(value=ast.Name(id=name), slice=key) if facts.keys.is_default(name):
            keys = [key]
        case ast.DictComp(key=key):
            keys = [key]
        case ast.Call(func=ast.Attribute(attr="setdefault" | "fromkeys"), args=[key, *_]):
            keys = [key]
        case ast.Dict(keys=given):
            keys = [key for key in given if key is not None]
        case ast.Call(args=args) if facts.called(node) in {"dict", "collections.Counter"}:
            keys = args
        case _:
            keys = []
    return [key for key in keys if not facts.keys.certain(key)]


@_rule.register
def _class(node: ast.ClassDef, facts: Facts) -> Iterator[str]:
    if node.decorator_list and not facts.at_top(node):
        yield "CPython shows where a data class was made"
    if node.bases or node.keywords:
        yield "Monty has no inheritance"
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name.startswith("__") and item.name not in DUNDERS:
            yield f"the method {item.name} is not known to be the same in Monty"
        if isinstance(item, ast.FunctionDef) and item.name == "__exit__" and _may_be_true(item):
            yield "it may hide an exception that is Monty's own"


def _may_be_true(function: ast.FunctionDef) -> bool:
    values = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]
    return not all(isinstance(value, ast.Constant) and not value.value for value in values)


@_rule.register
def _handler(node: ast.ExceptHandler, _: Facts) -> Iterator[str]:
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    if not all(isinstance(kind, ast.Name) and kind.id in CAUGHT for kind in kinds):
        yield "this exception may also be Monty's own"
    if node.name is not None and any(
        isinstance(inner, ast.Name) and inner.id == node.name for part in node.body for inner in ast.walk(part)
    ):
        yield "the words of an exception may differ"


@_rule.register
def _try(node: ast.Try, _: Facts) -> Iterator[str]:
    inner = (inner for part in node.finalbody for inner in ast.walk(part))
    if any(isinstance(one, (ast.Return, ast.Break, ast.Continue)) for one in inner):
        yield "it may hide an exception that is Monty's own"


@_rule.register
def _compare(node: ast.Compare, _: Facts) -> Iterator[str]:
    sides = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
        if isinstance(operator, (ast.Is, ast.IsNot)) and not any(
            isinstance(side, ast.Constant) and side.value in (None, True, False) for side in (left, right)
        ):
            yield "identity is not known to be the same in Monty"


@_rule.register
def _formatted(node: ast.FormattedValue, facts: Facts) -> Iterator[str]:
    if node.format_spec is None:
        return
    parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
    texts = [text_of(part) for part in parts]
    plain = node.conversion != -1 or _plain_value(node.value)
    if not plain_spec("".join(text or "{" for text in texts), typed=not plain) or (facts.catches and not plain):
        yield "this format is not known to be the same in Monty"


def _plain_value(node: ast.expr) -> bool:
    """Whether a value is certainly text or a number."""
    match node:
        case ast.Constant(value=str() | int() | float()) | ast.JoinedStr():
            return True
        case ast.Call(func=ast.Name(id="str" | "len" | "int" | "float" | "repr" | "ord" | "chr")):
            return True
        case _:
            return False


@_rule.register
def _constant(node: ast.Constant, facts: Facts) -> Iterator[str]:
    text = text_of(node)
    if text is not None and not plain_characters(text):
        yield "a character of this text is not known to both"
    if text is not None and "\\u" in text and "json" in facts.packages:
        yield "JSON's escapes may make characters that are not known to both"
    if isinstance(node.value, (complex, bytes)) and not (isinstance(node.value, bytes) and node.value.isascii()):
        yield "complex numbers and such bytes are not known to be the same in Monty"


@_rule.register
def _binary(node: ast.BinOp, _: Facts) -> Iterator[str]:
    if any(
        isinstance(side, ast.Call) and isinstance(side.func, ast.Attribute) and side.func.attr in {"keys", "items"}
        for side in (node.left, node.right)
    ):
        yield "the order of a set may show"


@_rule.register
def _unary(node: ast.UnaryOp, _: Facts) -> Iterator[str]:
    if isinstance(node.op, ast.Invert):
        yield "CPython warns of inverting a bool"


@_rule.register
def _assert(node: ast.Assert, _: Facts) -> Iterator[str]:
    if isinstance(node.test, ast.Tuple):
        yield "CPython warns of it"


@_rule.register
def _assign(node: ast.Assign, _: Facts) -> Iterator[str]:
    names = {target.id for target in node.targets if isinstance(target, ast.Name)}
    inside = node.value.elts if isinstance(node.value, (ast.List, ast.Tuple)) else []
    if any(isinstance(part, ast.Name) and part.id in names for part in inside):
        yield "what is nested deeply is shown differently"
