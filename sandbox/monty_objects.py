"""Which programs may have objects at hand that are no values: instances, functions, methods, classes, modules. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from sandbox.exactness_tables import BUILTINS, METHODS

_OWN_CONSTANTS: Final = frozenset({"True", "False", "None", "pi", "e", "inf", "nan", "tau"})
_CALLING: Final = frozenset({"map", "filter", "reduce", "accumulate"})
_SORTING: Final = frozenset({"sorted", "min", "max", "sort"})
_DATA: Final = frozenset({"year", "month", "day", "hour", "minute", "second", "days", "seconds", "_fields"})
_MAKING_OBJECTS: Final = frozenset(
    {"compile", "match", "search", "fullmatch", "finditer", "namedtuple"}
    | {"md5", "sha1", "sha256", "sha512", "cache", "lru_cache"}
)


def may_have_objects(tree: ast.Module) -> bool:
    """Whether anything but values could be at hand: instances, functions, methods, classes, modules."""
    nodes = list(ast.walk(tree))
    if any(isinstance(node, ast.ClassDef) or getattr(node, "decorator_list", None) for node in nodes):
        return True
    harmless = set(_harmless(nodes))
    named = set(_names_of_objects(nodes))
    return any(node not in harmless and _is_object(node, named) for node in nodes)


def _names_of_objects(nodes: list[ast.AST]) -> Iterator[str]:
    yield from BUILTINS - _OWN_CONSTANTS
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name):
                yield name
            case ast.Import(names=names):
                yield from (alias.asname or alias.name for alias in names)
            case ast.ImportFrom(names=names):
                objects = (one for one in names if one.name not in _OWN_CONSTANTS and not one.name.isupper())
                yield from (one.asname or one.name for one in objects)
            case _:
                pass


def _is_object(node: ast.AST, named: set[str]) -> bool:
    match node:
        case ast.Lambda():
            return True
        case ast.Name(id=name, ctx=ast.Load()):
            return name in named
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in named - BUILTINS:
            return name not in _OWN_CONSTANTS and not name.isupper()
        case ast.Attribute(attr=name, ctx=ast.Load()):
            return name in METHODS - _DATA
        case _:
            return False


def _harmless(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """The places in which objects are only called, or named as types."""
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    for node in nodes:
        match node:
            case ast.Call():
                yield from _called(node, own)
            case ast.Attribute(value=value):
                yield value
            case ast.ExceptHandler(type=ast.expr() as kind):
                yield from ast.walk(kind)
            case ast.Raise(exc=ast.expr() as kind):
                yield kind
            case _:
                yield from annotation_of(node)


def _called(node: ast.Call, own: set[str]) -> Iterator[ast.AST]:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            pass
        case _:
            name = ""
    if name not in _MAKING_OBJECTS:
        yield node.func
    if name in _CALLING - own:
        yield from node.args
    if name == "defaultdict":
        yield from (one for one in node.args if isinstance(one, ast.Name) and one.id in BUILTINS)
    if name == "isinstance":
        yield from (inner for one in node.args[1:] for inner in ast.walk(one))
    if name in _SORTING - own:
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "key")


def annotation_of(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of what a parameter, a variable or a function is annotated with."""
    annotation = getattr(node, "returns", None) or getattr(node, "annotation", None)
    yield from ast.walk(annotation) if isinstance(annotation, ast.expr) else ()
