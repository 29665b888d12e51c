"""What can be read off a program's text without running it. Pure: syntax, imports, nesting.

A guardrail for mistakes, not a wall: Python can import what no reader of its text can see.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SOURCE = "main.py"
"""What a program's text is called. Warnings about it are its sender's affair: `ignore_warnings` is for the process."""

_IMPORTERS = frozenset({"__import__", "import_module"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why this Python could not compile the text. `certain` is False where the text is only too deep for it."""

    message: str
    line: int | None
    column: int | None
    kind: str = "SyntaxError"
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Import:
    """A module that the text names, dotted, and where."""

    module: str
    line: int


def parse(code: str) -> ast.Module | Unreadable:
    """Compile the text as this process's Python does, without running it; the tree where that works."""
    try:
        tree = ast.parse(code, SOURCE)
        compile(tree, SOURCE, "exec", dont_inherit=True)
    except SyntaxError as error:
        return Unreadable(error.msg, error.lineno, error.offset, type(error).__name__)
    except (RecursionError, MemoryError):
        return Unreadable("the program is nested too deeply", None, None, certain=False)
    except ValueError as error:
        return Unreadable(str(error), None, None)
    return tree


def ignore_warnings() -> None:
    """Say nothing of what compilers warn of in programs; once for the process, since filters are the process's."""
    warnings.filterwarnings("ignore", module=re.escape(SOURCE.removesuffix(".py")) + r"\Z")


def imports(tree: ast.Module) -> Iterator[Import]:
    """Every module that the program names in an import, or as a constant handed to an importer."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, node.lineno) for alias in names)
            case ast.ImportFrom(module=str() as module, level=0, names=names):
                yield from (Import(f"{module}.{alias.name}", node.lineno) for alias in names if alias.name != "*")
                yield from (Import(module, node.lineno) for alias in names if alias.name == "*")
            case ast.Call(
                func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str() as module), *_]
            ):
                if name in _IMPORTERS:
                    yield Import(module, node.lineno)
            case _:
                pass


def nesting(tree: ast.Module) -> int:
    """How many functions stand within each other at the deepest place."""
    deepest, waiting = 0, [(node, 0) for node in ast.iter_child_nodes(tree)]
    while waiting:
        node, depth = waiting.pop()
        depth += isinstance(node, _FUNCTIONS)
        deepest = max(deepest, depth)
        waiting.extend((child, depth) for child in ast.iter_child_nodes(node))
    return deepest
