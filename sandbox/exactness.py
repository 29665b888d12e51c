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
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Final

from sandbox.exactness_facts import Facts, text_of
from sandbox.exactness_tables import (
    BUILTINS,
    CASE_METHODS,
    CAUGHT,
    DUNDERS,
    LAZY,
    METHODS,
    MODULES,
    MUTATORS,
    PURE_FUNCTIONS,
)

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
_DOUBTFUL_REGEX: Final = re.compile(r"\(\?(?!P<|:|=|!)|[*+?}]\+|[*+}]\)[*+{]|\\[1-9pPXKRGuUxN0]")
_SPEC: Final = re.compile(r"(?:[^{}]?[<>^])?[+\- ]?#?0?\d{0,3}[,_]?(?:\.(?P<precision>\d+))?(?P<type>[bdeEfFgosxX%]?)")
_MOST_PRECISION: Final = 15  # digits that are equal in both
_REGEX_FUNCTIONS: Final = frozenset(
    f"re.{name}" for name in ("compile", "findall", "finditer", "match", "fullmatch", "search", "sub", "split")
)
_AS_CALLS: Final = frozenset({"map", "filter", "zip", "enumerate", "reversed", "set", "frozenset"})
_JSON_OPTIONS: Final = frozenset({"indent", "sort_keys", "separators"})
_PRINT_OPTIONS: Final = frozenset({"sep", "end", "flush"})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why Monty might print something else, and in which line."""

    line: int
    what: str


def inexact(tree: ast.Module, *, floats_come_in: bool = False) -> tuple[Reason, ...]:
    """The reasons against running the program in Monty, by line. `floats_come_in` tells of floats among its inputs."""
    facts = Facts(tree, floats_come_in=floats_come_in)
    reasons = {Reason(getattr(node, "lineno", 0), what) for node in ast.walk(tree) for what in _reasons_of(facts, node)}
    return tuple(sorted(reasons, key=lambda reason: (reason.line, reason.what)))


def _reasons_of(facts: Facts, node: ast.AST) -> Iterator[str]:
    yield from _rule(node, facts)
    if facts.has_floats and _keyed(facts, node):
        yield _EQUAL_KEYS
    if isinstance(node, ast.expr) and facts.is_set(node) and not facts.set_is_safe(node):
        yield "the order of a set may show"


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
            yield f"the module {alias.name} is not Monty's, or not compared"


@_rule.register
def _import_from(node: ast.ImportFrom, _: Facts) -> Iterator[str]:
    members = MODULES.get(node.module or "", frozenset())
    for alias in node.names:
        if node.level or alias.name not in members:
            yield f"{node.module}.{alias.name} is not Monty's, or not compared"


@_rule.register
def _name(node: ast.Name, facts: Facts) -> Iterator[str]:
    name = node.id
    if name == "__name__":
        return
    if isinstance(node.ctx, ast.Load) and name in _ALL_BUILTINS - BUILTINS and name not in facts.names:
        yield f"{name} is not compared"
    elif isinstance(node.ctx, ast.Store) and name in _ALL_BUILTINS:
        yield f"{name} is another thing than the builtin"
    elif name.startswith("__"):
        yield f"{name} is not compared"
    elif name in _AS_CALLS and isinstance(node.ctx, ast.Load) and not _is_called(facts, node):
        yield f"{name} handed on is not compared"
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
            yield f"{module}.{name} is not Monty's, or not compared"
    elif name.startswith("__") or (isinstance(node.ctx, ast.Load) and name not in METHODS and name not in facts.own):
        yield f"the attribute {name} is not compared"
    elif name in CASE_METHODS and not facts.ascii:
        yield f"{name}() may differ outside ASCII"


@_rule.register
def _call(node: ast.Call, facts: Facts) -> Iterator[str]:
    name = facts.called(node)
    if name in LAZY:
        yield from _lazy(facts, node, name)
    if name == "round" and len(node.args) + len(node.keywords) > 1:
        yield "round(x, n) rounds differently near ties"
    if name == "sum" and facts.has_floats:
        yield "sum() of floats rounds differently"
    if name == "isinstance" and not _plain_types(node):
        yield "isinstance() of these is not compared"
    if name in {"any", "all"} and node.args and isinstance(node.args[0], ast.GeneratorExp) and _has_call(node.args[0]):
        yield f"{name}() stops early in CPython"
    if name in _REGEX_FUNCTIONS and not (node.args and _plain_pattern(node.args[0]) and facts.ascii):
        yield "this regular expression may match differently"
    yield from _arguments(node, name)


def _arguments(node: ast.Call, name: str | None) -> Iterator[str]:
    if name == "json.dumps" and not {keyword.arg for keyword in node.keywords} <= _JSON_OPTIONS:
        yield "these options of json.dumps() are not compared"
    if name == "print" and not {keyword.arg for keyword in node.keywords} <= _PRINT_OPTIONS:
        yield "these options of print() are not compared"
    if name in {"str", "int"} and len(node.args) + len(node.keywords) > 2:  # noqa: PLR2004  # one more than they have
        yield f"{name}() with these arguments is not compared"
    if isinstance(node.func, ast.Attribute) and node.func.attr == "format" and not _plain_template(node.func.value):
        yield "this format is not compared"


def _plain_template(node: ast.expr) -> bool:
    text = text_of(node)
    if text is None:
        return False
    try:
        fields = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(_plain_spec(spec or "", typed=conversion is None) for _, _, spec, conversion in fields)


def _lazy(facts: Facts, node: ast.Call, name: str) -> Iterator[str]:
    parent = facts.parents.get(node)
    in_loop = isinstance(parent, (ast.For, ast.comprehension)) and parent.iter is node
    nested = isinstance(parent, ast.Call) and facts.called(parent) in LAZY
    if not (in_loop or nested or facts.consumed(node)):
        yield f"{name}() is lazy in CPython"
    if name in {"map", "filter"} and node.args and not _pure_function(node.args[0]):
        yield f"{name}() calls its function later in CPython"
    if isinstance(parent, ast.For) and _mutates(
        parent, {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    ):
        yield f"the loop changes what {name}() still reads in CPython"


def _pure_function(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name):
            return name in PURE_FUNCTIONS
        case ast.Lambda(body=body):
            return not _has_call(body)
        case _:
            return False


def _mutates(loop: ast.For, names: set[str]) -> bool:
    for node in (inner for part in loop.body for inner in ast.walk(part)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if name in names and attr in MUTATORS:
                return True
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name in names:
                return True
            case ast.AugAssign(target=ast.Name(id=name)) if name in names:
                return True
            case _:
                pass
    return False


def _has_call(node: ast.AST) -> bool:
    """Whether anything that could have an effect is called in it."""
    return any(
        isinstance(inner, (ast.Await, ast.NamedExpr))
        or (
            isinstance(inner, ast.Call)
            and not (isinstance(inner.func, ast.Name) and inner.func.id in PURE_FUNCTIONS)
            and not (isinstance(inner.func, ast.Attribute) and inner.func.attr in METHODS - MUTATORS)
        )
        for inner in ast.walk(node)
    )


def _plain_types(node: ast.Call) -> bool:
    if len(node.args) != 2:  # noqa: PLR2004  # an object and its type
        return False
    kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
    plain = {"int", "str", "float", "bool", "list", "dict", "tuple", "set"}
    return all(isinstance(kind, ast.Name) and kind.id in plain for kind in kinds)


def _plain_pattern(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.isascii()
        and not _DOUBTFUL_REGEX.search(node.value)
    )


@_rule.register
def _generator(node: ast.GeneratorExp, facts: Facts) -> Iterator[str]:
    if not facts.consumed(node):
        yield "a generator expression is lazy in CPython"


@_rule.register
def _mapping(node: ast.Dict, _: Facts) -> Iterator[str]:
    if any(isinstance(key, ast.Constant) and isinstance(key.value, bool) for key in node.keys):
        yield _EQUAL_KEYS


@_rule.register
def _subscript(node: ast.Subscript, _: Facts) -> Iterator[str]:
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, bool):
        yield _EQUAL_KEYS


@_rule.register
def _sequence(node: ast.List | ast.Tuple | ast.Set, _: Facts) -> Iterator[str]:
    """Numbers of several kinds side by side are how equal keys of different kinds come about."""
    kinds = {type(item.value) for item in ast.walk(node) if isinstance(item, ast.Constant)}
    if bool in kinds and kinds & {int, float}:
        yield _EQUAL_KEYS


def _keyed(facts: Facts, node: ast.AST) -> bool:
    """Whether a value that may be a float becomes a key here."""
    match node:
        case ast.Subscript(ctx=ast.Store(), slice=ast.Constant(value=str() | int())):
            return False
        case ast.Subscript(ctx=ast.Store()) | ast.DictComp() | ast.SetComp():
            return True
        case ast.Attribute(attr="setdefault" | "fromkeys" | "add"):
            return True
        case ast.Dict(keys=keys):
            return any(not (isinstance(key, ast.Constant) and isinstance(key.value, str)) for key in keys)
        case ast.Call():
            return facts.called(node) in {"set", "frozenset", "dict", "collections.Counter"} and bool(node.args)
        case _:
            return False


@_rule.register
def _class(node: ast.ClassDef, _: Facts) -> Iterator[str]:
    if node.bases or node.keywords:
        yield "Monty has no inheritance"
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name.startswith("__") and item.name not in DUNDERS:
            yield f"the method {item.name} is not compared"


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
def _compare(node: ast.Compare, _: Facts) -> Iterator[str]:
    sides = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
        if isinstance(operator, (ast.Is, ast.IsNot)) and not any(
            isinstance(side, ast.Constant) and side.value in (None, True, False) for side in (left, right)
        ):
            yield "identity is not compared"


@_rule.register
def _formatted(node: ast.FormattedValue, _: Facts) -> Iterator[str]:
    if node.format_spec is None:
        return
    parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
    texts = [text_of(part) for part in parts]
    plain = node.conversion != -1 or _plain_value(node.value)
    if not _plain_spec("".join(text or "{" for text in texts), typed=not plain):
        yield "this format is not compared"


def _plain_spec(spec: str, *, typed: bool) -> bool:
    """Whether a format means the same. Without a type at its end, Monty also formats what CPython refuses to."""
    match = _SPEC.fullmatch(spec)
    if match is None or int(match["precision"] or 0) > _MOST_PRECISION:
        return False
    return not typed or bool(match["type"]) or spec in {"", ",", "_"}


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
def _constant(node: ast.Constant, _: Facts) -> Iterator[str]:
    if isinstance(node.value, (complex, bytes)) and not (isinstance(node.value, bytes) and node.value.isascii()):
        yield "complex numbers and such bytes are not compared"


@_rule.register
def _unary(node: ast.UnaryOp, _: Facts) -> Iterator[str]:
    if isinstance(node.op, ast.Invert):
        yield "CPython warns of inverting a bool"
