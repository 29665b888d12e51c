"""What kinds of keys a program uses: of two equal keys (1, 1.0, True) Monty keeps the later, CPython the first. Pure.

Read off what names are bound to, anywhere in the program. Values that come from outside, or through
more than one hand, are of no certain kind.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from sandbox.exactness_flow import Aliases, Nodes, changed_root, parameters_by_function, spread
from sandbox.exactness_tables import TEXT_METHODS


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a loop takes out of `source`: each piece of it, or of each piece the part at `index`."""

    source: ast.expr
    index: int | None = None


_Bound: TypeAlias = "ast.expr | _Piece | None"  # None for what cannot be told


class Kinds:
    """The kinds of one program's keys."""

    def __init__(self, nodes: Nodes, aliases: Aliases, own_methods: frozenset[str]) -> None:
        self._own_methods = own_methods
        self._bound: dict[str, list[_Bound]] = {}
        for name, value in _bindings(nodes):
            self._bound.setdefault(name, []).append(value)
        changed = aliases.group(root for node in nodes if (root := changed_root(node)) is not None)
        self._constant = {name for name in self._bound if not aliases.among(name, changed)}
        self._stored = {
            node.slice.value
            for node in nodes
            if isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.slice, ast.Constant)
        }
        self._lists = {name for name, values in self._bound.items() if all(map(_makes_list, values))}
        self._defaulting = {name for name, values in self._bound.items() if any(map(_makes_default, values))}
        self._flags = self._bools(_handed_on(nodes))
        self._known: dict[str, bool] = {}

    def is_list(self, node: ast.expr) -> bool:
        """Whether it is certainly a list."""
        return isinstance(node, ast.Name) and node.id in self._lists

    def is_default(self, name: str) -> bool:
        """Whether reading a key of it may make the key."""
        return name in self._defaulting

    def certain(self, node: ast.expr) -> bool:
        """Whether a key is certainly text, or a whole number: equal ones of these look the same."""
        match node:
            case ast.Constant(value=value):
                return isinstance(value, (str, int)) and not isinstance(value, bool)
            case ast.JoinedStr() | ast.Call(func=ast.Name(id="str" | "len" | "int" | "repr" | "ord" | "chr")):
                return True
            case ast.Call(func=ast.Attribute(attr=name)):
                return name in TEXT_METHODS - self._own_methods
            case ast.Tuple(elts=elements):
                return all(map(self.certain, elements))
            case ast.Name(id=name):
                return self._certain_name(name, None)
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str() as key)):
                return key not in self._stored and self._certain_name(name, key)
            case _:
                return False

    def _certain_name(self, name: str, key: str | None) -> bool:
        """Whether all that the name means, or all that is under `key` in it, is certain."""
        known = f"{name}[{key}]"
        if known not in self._known:
            values = self._bound.get(name, [None])
            self._known[known] = (
                all(map(self._certain_binding, values))
                if key is None
                else all(self._certain_field(value, key) for value in values)
            )
        return self._known[known]

    def _certain_binding(self, value: _Bound) -> bool:
        match value:
            case ast.Constant() | ast.JoinedStr() | ast.Call():
                return self.certain(value)
            case _Piece(source=ast.Call(func=ast.Name(id="range")), index=None):
                return True
            case _Piece(source=ast.Call(func=ast.Name(id="enumerate"), keywords=[], args=[_]), index=0):
                return True
            case _Piece(source=ast.Call(func=ast.Attribute(attr="split" | "splitlines")), index=None):
                return True
            case _Piece(source=source, index=index):
                rows = self._rows(source)
                parts = rows if index is None or rows is None else _column(rows, index)
                return parts is not None and all(map(_written_key, parts))
            case _:
                return False

    def _rows(self, node: ast.expr) -> list[ast.expr] | None:
        """The elements of a list that is written down, and never changed."""
        match node:
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return elements
            case ast.Name(id=name) if name in self._constant:
                values = self._bound[name]
                return values[0].elts if len(values) == 1 and isinstance(values[0], (ast.List, ast.Tuple)) else None
            case _:
                return None

    def _certain_field(self, value: _Bound, key: str) -> bool:
        """Whether what is under `key` in the rows that a loop goes through is certain."""
        rows = self._rows(value.source) if isinstance(value, _Piece) and value.index is None else None
        return rows is not None and all(_certain_in(row, key) for row in rows)

    def may_be_bool(self, node: ast.expr) -> bool:
        """Whether a key may be a bool, by its looks or by its name."""
        return _looks_like_bool(node, self._flags)

    def _bools(self, handed_on: list[tuple[str, ast.expr]]) -> frozenset[str]:
        """The names that bools may be bound to, or found in."""
        bindings = [
            (name, value.source if isinstance(value, _Piece) else value)
            for name, values in self._bound.items()
            for value in values
            if value is not None
        ]
        first: list[str] = []
        onwards: dict[str, list[str]] = {}
        for name, value in [*bindings, *handed_on]:
            if _looks_like_bool(value, frozenset()):
                first.append(name)
            for inner in ast.walk(value):
                if isinstance(inner, ast.Name):
                    onwards.setdefault(inner.id, []).append(name)
        return spread(first, onwards)


def _looks_like_bool(node: ast.expr, flags: frozenset[str]) -> bool:
    return any(
        isinstance(inner, (ast.Compare, ast.Not))
        or (isinstance(inner, ast.Constant) and isinstance(inner.value, bool))
        or (isinstance(inner, ast.Name) and (inner.id in flags or inner.id in {"bool", "isinstance", "any", "all"}))
        for inner in ast.walk(node)
    )


def _written_key(node: ast.expr) -> bool:
    """Whether it is a key of a certain kind that stands there itself."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, (str, int)) and not isinstance(value, bool)
        case ast.Tuple(elts=elements):
            return all(map(_written_key, elements))
        case _:
            return False


def _certain_in(row: ast.expr, key: str) -> bool:
    if not isinstance(row, ast.Dict) or not all(isinstance(name, ast.Constant) for name in row.keys):
        return False
    pairs = zip(row.keys, row.values, strict=True)
    return all(_written_key(value) for name, value in pairs if isinstance(name, ast.Constant) and name.value == key)


def _makes_default(node: _Bound) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name == "defaultdict"
        case _:
            return False


def _column(rows: list[ast.expr], index: int) -> list[ast.expr] | None:
    columns = [row.elts[index] for row in rows if isinstance(row, (ast.Tuple, ast.List)) and len(row.elts) > index]
    return columns if len(columns) == len(rows) else None


def _makes_list(node: _Bound) -> bool:
    match node:
        case ast.List() | ast.ListComp() | ast.Call(func=ast.Name(id="list" | "sorted")):
            return True
        case ast.BinOp(left=left, op=ast.Mult() | ast.Add(), right=right):
            return _makes_list(left) or _makes_list(right)
        case _:
            return False


def _handed_on(nodes: Nodes) -> list[tuple[str, ast.expr]]:
    """What is handed to functions of the program, with each of the names that it may have there."""
    parameters = parameters_by_function(nodes)
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return [
        (parameter, argument)
        for call in calls
        if isinstance(call.func, (ast.Name, ast.Attribute))
        for parameter in parameters.get(call.func.id if isinstance(call.func, ast.Name) else call.func.attr, ())
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]
    ]


def _bindings(nodes: Nodes) -> Iterator[tuple[str, _Bound]]:
    """What each name is bound to, in any scope."""
    told: set[ast.AST] = set()
    for node in nodes:
        for target, value in _targets(node):
            told.add(target)
            yield target.id, value
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if node not in told:
                yield name, None
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, None
            case _:
                pass


def _targets(node: ast.AST) -> Iterator[tuple[ast.Name, _Bound]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((target, value) for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name() as name, value=value):
            yield name, value
        case (
            ast.For(target=ast.Name() as name, iter=source) | ast.comprehension(target=ast.Name() as name, iter=source)
        ):
            yield name, _Piece(source)
        case (
            ast.For(target=ast.Tuple(elts=names), iter=source)
            | ast.comprehension(target=ast.Tuple(elts=names), iter=source)
        ):
            yield from ((name, _Piece(source, at)) for at, name in enumerate(names) if isinstance(name, ast.Name))
        case _:
            pass
