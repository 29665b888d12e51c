"""The guest and the probe as they are sent into boxes: one text each, without what only people and type checkers read.

Every box compiles its guest, and engines write it down several times: what is not there costs nothing. Pure, but that
it reads sources.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from types import ModuleType
from typing import Final

from sandbox import (
    guest,
    guest_cell,
    guest_channel,
    guest_counters,
    guest_display,
    guest_failure,
    guest_files,
    guest_fork,
    guest_program,
    guest_protection,
    guest_protocol,
    guest_supervisor,
    guest_tools,
    guest_value,
    probe,
    probe_files,
    probe_kernel,
    probe_limits,
    probe_neighbour,
    probe_network,
    probe_order,
    probe_processes,
)

JOINED: Final = (
    guest_protocol,
    guest_tools,
    guest_protection,
    guest_counters,
    guest_channel,
    guest_program,
    guest_fork,
    guest_supervisor,
)
"""What every box needs; `guest` itself, which begins at its end, comes after them."""
PARTS: Final = {"value": guest_value, "failure": guest_failure, "files": guest_files, "display": guest_display}
"""What only some programs need, by the names by which the guest asks for it."""
PROBE: Final = (
    probe_order,
    probe_network,
    probe_files,
    probe_kernel,
    probe_processes,
    probe_limits,
    probe_neighbour,
    probe,
)


@cache
def guest_text(*, cell: bool) -> str:
    """The guest of a box or a cell, with the parts that it may need as texts inside; a cell's own part is always needed.

    It stands, as it is, in a program that runs it: an interpreter keeps the tree of its main program while this runs.
    """
    parts = {name: ast.unparse(bare(module)) for name, module in PARTS.items()}
    tree = joined(*JOINED, guest_cell, guest) if cell else joined(*JOINED, guest)
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "PARTS":
            statement.value = ast.Dict(
                [ast.Constant(name) for name in parts], [ast.Constant(text) for text in parts.values()]
            )
    text = ast.unparse(tree)
    if "'''" in text:
        raise ValueError  # it would end the text around it
    return f"exec(compile(r'''{text}\n''', '<string>', 'exec'))"


@cache
def probe_text() -> str:
    """The probe, as a program."""
    return ast.unparse(joined(*PROBE))


def joined(*modules: ModuleType) -> ast.Module:
    """The modules as one, in which each import stands once, sorted: `_ast` has to be the first that is imported."""
    statements = [statement for module in modules for statement in bare(module).body]
    imports = {ast.unparse(one): one for one in statements if isinstance(one, ast.Import)}
    others = [one for one in statements if not isinstance(one, ast.Import)]
    return ast.Module([*(imports[words] for words in sorted(imports)), *others], [])


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

    def visit_If(self, node: ast.If) -> ast.If | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        self.generic_visit(node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        module = node.module or ""
        return None if module in {"__future__", "typing"} or module.startswith("sandbox.") else node


def _speechless(body: list[ast.stmt]) -> list[ast.stmt]:
    return body[1:] if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) else body
