"""The exactness guard's rules for annotations: CPython 3.13 evaluates those of functions and classes, Monty none. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from sandbox.exactness_facts import Facts
from sandbox.exactness_tables import TYPE_ARGUMENTS


def wrong_with_annotations(node: ast.AST, facts: Facts) -> Iterator[str]:
    """Why evaluating the annotations of this node may do more than name a type."""
    if not all(map(_plain_annotation, _annotations(node, facts))):
        yield "CPython evaluates this annotation"


def _annotations(node: ast.AST, facts: Facts) -> Iterator[ast.expr]:
    """The annotations that CPython evaluates here, and Monty does not."""
    if facts.late:
        return
    match node:
        case ast.FunctionDef(returns=returns, args=arguments):
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            yield from (one.annotation for one in every if one is not None and one.annotation is not None)
            yield from [returns] if returns is not None else []
        case ast.AnnAssign(annotation=annotation) if facts.is_evaluated(node):
            yield annotation
        case _:
            pass


def _plain_annotation(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=None | str()) | ast.Name() | ast.Attribute(value=ast.Name()):
            return True
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            sides = (left, right)
            certain = not any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)
            return (
                certain
                and not all(isinstance(side, ast.Constant) for side in sides)
                and all(map(_plain_annotation, sides))
            )
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inside) if name in TYPE_ARGUMENTS:
            arguments = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            expected = TYPE_ARGUMENTS[name]
            return (expected is None or len(arguments) == expected) and all(map(_plain_argument, arguments))
        case _:
            return False


def _plain_argument(node: ast.expr) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.List(elts=elements):
            return all(map(_plain_annotation, elements))
        case _:
            return _plain_annotation(node)
