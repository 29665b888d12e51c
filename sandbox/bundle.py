"""The guest as it is sent into boxes: the same code without what only people and type checkers read.

Every box compiles its guest, and engines write it down several times: what is not there costs nothing. Pure, but that
it reads sources.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from types import ModuleType
from typing import Final

from sandbox import guest, guest_cell, guest_display, guest_failure, guest_files, guest_value

PARTS: Final = {"value": guest_value, "failure": guest_failure, "files": guest_files, "display": guest_display}


@cache
def guest_text(*, cell: bool) -> str:
    """The guest of a box or a cell, with the parts that it may need as texts inside; a cell's own part is always needed."""
    parts = {name: ast.unparse(bare(module)) for name, module in PARTS.items()}
    tree = bare(guest)
    if cell:
        tree.body[-1:-1] = bare(guest_cell).body
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "PARTS":
            statement.value = ast.Dict(
                [ast.Constant(name) for name in parts], [ast.Constant(text) for text in parts.values()]
            )
    return ast.unparse(tree)


def bare(module: ModuleType) -> ast.Module:
    """A module's code without words for readers: comments, docstrings, annotations, imports for type checkers.

    Nor does it import what is in the same text when it runs.
    """
    tree = _Bare().visit(ast.parse(inspect.getsource(module)))
    if not isinstance(tree, ast.Module):
        raise TypeError
    return ast.fix_missing_locations(tree)


class _Bare(ast.NodeTransformer):
    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        node.body = _speechless(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.body = _speechless(node.body) or [ast.Pass()]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.body = _speechless(node.body) or [ast.Pass()]
        node.returns = None
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.Assign | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_Assign(self, node: ast.Assign) -> ast.Assign | None:
        return None if ast.unparse(node.targets[0]) == "TYPE_CHECKING" else node

    def visit_If(self, node: ast.If) -> ast.If | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        self.generic_visit(node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if node.module in {"__future__", "typing", guest.__name__, guest_value.__name__} else node


def _speechless(body: list[ast.stmt]) -> list[ast.stmt]:
    return body[1:] if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) else body
