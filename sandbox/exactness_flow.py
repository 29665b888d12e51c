"""Which names of a program may mean the same container, and what changes one. Pure.

By names alone, for the whole program at once: two names that are ever bound to each other may mean
the same for ever. What is put into a container, or taken out by a loop, is not followed.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from sandbox.exactness_tables import MUTATORS, NEW_VALUES

Nodes: TypeAlias = "Sequence[ast.AST]"  # all of a program's, from the outside in
Function: TypeAlias = "ast.FunctionDef | ast.Lambda"


def root_of(node: ast.expr | None) -> str | None:
    """The name at the root of `a.b[c].d`, or of what a call gives: that of its object, or of its function."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def changed_root(node: ast.AST) -> str | None:
    """The name through which the node changes a container; None if it changes none."""
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in MUTATORS:
            return root_of(value)
        case ast.Subscript(value=value, ctx=ast.Store()) | ast.Attribute(value=value, ctx=ast.Store()):
            return root_of(value)
        case ast.AugAssign(target=target):
            return root_of(target)
        case _:
            return None


class Aliases:
    """Groups of names that may mean the same."""

    def __init__(self, nodes: Nodes) -> None:
        self._leader: dict[str, str] = {}
        for one, other in _bindings(nodes):
            self._leader[self._find(one)] = self._find(other)

    def _find(self, name: str) -> str:
        while (above := self._leader.get(name, name)) != name:
            self._leader[name] = self._leader.get(above, above)  # halves the way for the next one
            name = above
        return name

    def alike(self, one: str, other: str) -> bool:
        """Whether the two may mean the same."""
        return self._find(one) == self._find(other)

    def group(self, names: Iterable[str]) -> frozenset[str]:
        """One name for each of the things that the names may mean; see `among`."""
        return frozenset(map(self._find, names))

    def among(self, name: str, group: frozenset[str]) -> bool:
        """Whether the name may mean one of the things of a `group`."""
        return self._find(name) in group


def spread(first: Iterable[str], onwards: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """All that is reached from the first names by steps onwards."""
    reached: set[str] = set()
    waiting = list(first)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(onwards.get(name, ()))
    return frozenset(reached)


def _bindings(nodes: Nodes) -> Iterator[tuple[str, str]]:
    parameters = parameters_by_function(nodes)
    for node in nodes:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _pairs(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                yield from _pairs(target, value)
            case ast.FunctionDef(name=name):
                returned = [
                    one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None
                ]
                yield from ((name, root) for one in returned for root in _roots(one))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments, keywords=keywords):
                given = [*arguments, *(keyword.value for keyword in keywords)]
                roots = [root for one in given for root in _roots(one)]
                yield from ((root, parameter) for root in roots for parameter in parameters.get(name, ()))
            case _:
                pass


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
        for one, other in zip(target.elts, value.elts, strict=False):
            yield from _pairs(one, other)
        return
    name = root_of(target)
    yield from ((name, root) for root in _roots(value) if name is not None)


def _roots(value: ast.expr) -> Iterator[str]:
    """The names of all that a value may be, or directly hold. What builtins and methods of text make is new."""
    match value:
        case ast.IfExp(body=body, orelse=orelse):
            parts = [body, orelse]
        case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            pass
        case ast.Dict(values=parts):
            pass
        case ast.Call(func=ast.Name(id=name)) if hasattr(builtins, name):
            return
        case ast.Call(func=ast.Attribute(attr=name)) if name in NEW_VALUES:
            return
        case _:
            root = root_of(value)
            yield from [root] if root is not None else []
            return
    for part in parts:
        yield from _roots(part)


def parameters_by_function(nodes: Nodes) -> dict[str, tuple[str, ...]]:
    """The names that what is handed to a function of the program may have there, by its name, or that of its class."""
    return dict(_parameters(nodes))


def _parameters(nodes: Nodes) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in nodes:
        match node:
            case ast.ClassDef(name=name, body=body):
                inits = [item for item in body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
                yield from ((name, names_of(init)) for init in inits)
            case ast.FunctionDef(name=name):
                yield name, names_of(node)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as function):
                yield name, names_of(function)
            case _:
                pass


def names_of(function: Function) -> tuple[str, ...]:
    """The names of its parameters."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return tuple(one.arg for one in every if one is not None)


def functions_change(nodes: Nodes) -> bool:
    """Whether any function of the program changes a container that it did not make."""
    return any(
        root not in _made_in(function)
        for function in nodes
        if isinstance(function, (ast.FunctionDef, ast.Lambda))
        for node in ast.walk(function)
        if (root := changed_root(node)) is not None
    )


def _made_in(function: Function) -> frozenset[str]:
    return frozenset(
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and not list(_roots(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    )
