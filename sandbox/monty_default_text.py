"""Objects without a text of their own: CPython's default text has an address and a full name, Monty's has neither.

Pure. Shown as it is, such a text is noticed in the output. Where a program that may have such objects makes text of
anything, what it makes text of is checked by a function of ours first, which ends the run at an object whose text is not
known to be the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from sandbox.monty_objects import annotation_of, may_have_objects

_KNOWN: Final = frozenset(
    {"date", "datetime", "timedelta", "Decimal", "range", "Counter", "deque"}
    | {"dict_keys", "dict_values", "dict_items", "Match", "Pattern"}
)
_FIELD_OF_ARGUMENT: Final = re.compile(r"\{\w*[.\[]")
_PLAIN_CALLS: Final = frozenset({"len", "int", "float", "str", "repr", "ord", "chr", "bool"})
_CONVERTERS: Final = frozenset({"str", "repr"})


def with_checked_texts(tree: ast.Module, prefix: str) -> str | None:
    """The program with all that it makes text of checked by `prefix`text; None where no object could need it.

    Raises ValueError where the program cannot be written down again as it is.
    """
    nodes = list(ast.walk(tree))
    if not any(_converts(node) for node in nodes) or not may_have_objects(tree):
        return None
    if not all(_can_be_checked(nodes)):
        raise ValueError("text may be made unseen")
    checks = _checks(nodes, prefix)
    if ast.dump(again := ast.parse(ast.unparse(tree))) != ast.dump(tree):
        raise ValueError("the program cannot be written down again")
    return checks + ast.unparse(ast.fix_missing_locations(_Checked(prefix).visit(again)))


def _can_be_checked(nodes: list[ast.AST]) -> Iterator[bool]:
    """Whether what makes text is called where it stands, or handed on as what can be replaced."""
    seen = set(_called_or_named(nodes))
    for node in nodes:
        match node:
            case ast.Name(id=name) if name in _CONVERTERS:
                yield node in seen
            case ast.Attribute(attr="format"):
                yield node in seen
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str() as template), attr="format")):
                yield _FIELD_OF_ARGUMENT.search(template) is None
            case ast.ClassDef(name=name):
                yield name not in _KNOWN
            case _:
                pass


def _called_or_named(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        match node:
            case ast.Call(func=function, args=arguments, keywords=keywords):
                handed_on = [*arguments, *(keyword.value for keyword in keywords)]
                yield function
                yield from (one for one in handed_on if isinstance(one, ast.Name))
                if isinstance(function, ast.Name) and function.id == "isinstance":
                    yield from (inner for one in arguments for inner in ast.walk(one))
            case ast.Attribute(value=value):
                yield value
            case _:
                yield from annotation_of(node)


def _converts(node: ast.AST) -> bool:
    match node:
        case ast.FormattedValue() | ast.BinOp(op=ast.Mod()) | ast.AugAssign(op=ast.Mod()):
            return True
        case ast.Name(id=name):
            return name in _CONVERTERS
        case ast.Attribute(attr=name):
            return name == "format"
        case _:
            return False


class _Checked(ast.NodeTransformer):
    """Puts the check around all that becomes text."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        self.generic_visit(node)
        node.value = self._check(node.value, by_repr=node.conversion in {ord("r"), ord("a")})
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Mod):
            node.right = self._check(node.right, by_repr=True)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Mod):
            node.value = self._check(node.value, by_repr=True)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node.func:
            case ast.Name(id=("str" | "repr") as name):
                node.args = [self._check(one, by_repr=name == "repr") for one in node.args]
                node.keywords = [self._keyword(one) for one in node.keywords]
            case ast.Attribute(attr="format"):
                node.args = [self._check(one, by_repr=True) for one in node.args]
                node.keywords = [self._keyword(one) for one in node.keywords]
            case ast.Name(id="isinstance"):
                pass
            case _:
                node.args = [self._handed_on(one) for one in node.args]
                for keyword in node.keywords:
                    keyword.value = self._handed_on(keyword.value)
        return node

    def _keyword(self, keyword: ast.keyword) -> ast.keyword:
        return ast.keyword(keyword.arg, self._check(keyword.value, by_repr=True))

    def _handed_on(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Name) and node.id in _CONVERTERS:
            return ast.Name(f"{self._prefix}{node.id}", ast.Load())
        return node

    def _check(self, node: ast.expr, *, by_repr: bool) -> ast.expr:
        match node:
            case ast.Constant() | ast.JoinedStr() | ast.Compare():
                return node
            case ast.Call(func=ast.Name(id=name)) if name in _PLAIN_CALLS:
                return node
            case ast.Starred(value=value):
                return ast.Starred(self._check(value, by_repr=True), ast.Load())
            case _:
                check = ast.Name(f"{self._prefix}text", ast.Load())
                return ast.Call(check, [node, ast.Constant(1)] if by_repr else [node], [])


def _checks(nodes: list[ast.AST], prefix: str) -> str:
    """The functions that check, which know the program's own classes by their names."""
    kinds = [node for node in nodes if isinstance(node, ast.ClassDef)]
    names = [kind.name for kind in kinds]
    kinds = [kind for kind in kinds if names.count(kind.name) == 1 and kind.name[:1].isupper()]
    data = not any(map(_makes_own_dataclass, nodes))
    shown = {kind.name: fields for kind in kinds if (fields := _shown(kind, data=data)) is not None}
    by_str = [kind.name for kind in kinds if "__str__" in _methods(kind)]
    return _CHECKS.replace("PREFIX", prefix).replace("SHOWN", repr(shown)).replace("BY_STR", repr(by_str))


def _makes_own_dataclass(node: ast.AST) -> bool:
    """Whether the decorator's name may mean something else here."""
    match node:
        case ast.FunctionDef(name="dataclass") | ast.ClassDef(name="dataclass") | ast.arg(arg="dataclass"):
            return True
        case ast.Name(id="dataclass", ctx=ast.Store()) | ast.alias(asname="dataclass"):
            return True
        case ast.Name(id="dataclasses", ctx=ast.Store()) | ast.alias(asname="dataclasses") | ast.arg(arg="dataclasses"):
            return True
        case _:
            return False


def _methods(kind: ast.ClassDef) -> set[str]:
    return {item.name for item in kind.body if isinstance(item, ast.FunctionDef)}


def _shown(kind: ast.ClassDef, *, data: bool) -> tuple[str, ...] | None:
    """The fields that the text of an instance shows by itself; None where it is the default text."""
    if "__repr__" in _methods(kind):
        return ()
    is_data = any(_is_dataclass(one) for one in kind.decorator_list)
    simple = all(isinstance(item, (ast.FunctionDef, ast.AnnAssign, ast.Expr, ast.Pass)) for item in kind.body)
    if not (data and is_data and simple):
        return None
    annotated = [item.target for item in kind.body if isinstance(item, ast.AnnAssign)]
    return tuple(target.id for target in annotated if isinstance(target, ast.Name))


def _is_dataclass(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=function):
            return _is_dataclass(function)
        case ast.Name(id="dataclass") | ast.Attribute(value=ast.Name(id="dataclasses"), attr="dataclass"):
            return True
        case _:
            return False


_CHECKS: Final = """
def PREFIXtext(value, depth=0):
    kind = type(value)
    if value is None or kind is str or kind is int or kind is float or kind is bool or kind is bytes:
        return value
    if depth > 50:
        PREFIXstop()
    if kind is list or kind is set or kind is frozenset or isinstance(value, tuple):
        for item in value:
            PREFIXtext(item, depth + 1)
        return value
    if kind is dict:
        for item in value:
            PREFIXtext(item, depth + 1)
            PREFIXtext(value[item], depth + 1)
        return value
    name = kind.__name__
    if depth == 0 and name in BY_STR:
        return value
    fields = SHOWN.get(name)
    if fields is not None:
        for field in fields:
            PREFIXtext(getattr(value, field), depth + 1)
        return value
    if name in ('date', 'datetime', 'timedelta', 'Decimal', 'range'):
        return value
    if name in ('Counter', 'deque', 'dict_keys', 'dict_values', 'dict_items'):
        for item in value:
            PREFIXtext(item, depth + 1)
        if name == 'Counter':
            for item in value.values():
                PREFIXtext(item, depth + 1)
        return value
    PREFIXstop()
def PREFIXstr(value=''):
    return str(PREFIXtext(value))
def PREFIXrepr(value):
    return repr(PREFIXtext(value, 1))
"""
