"""What the exactness guard knows of a program as a whole: what its names stand for, where sets and floats may be.

Pure: read off the syntax tree, without inference beyond names.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from sandbox.exactness_tables import (
    CONSUMERS,
    CONSUMING_METHODS,
    FLOAT_FREE_MATH,
    SET_FUNCTIONS,
    SET_MAKERS,
    SET_METHODS,
)


class Facts:
    """One program's tree with what has to be known of it as a whole."""

    def __init__(self, tree: ast.Module, *, floats_come_in: bool) -> None:
        self.tree = tree
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.modules = dict(_imported_modules(tree))
        self.imported = dict(_imported_members(tree))
        self.own = frozenset(_own_attributes(tree))
        self.names = frozenset(_bound_names(tree))
        self.ascii = all(text.isascii() for node in ast.walk(tree) if (text := text_of(node)) is not None)
        self.has_floats = floats_come_in or any(_may_make_float(node) for node in ast.walk(tree))
        self.sets = _set_names(tree)
        self.late = any(name == "annotations" for name in self.imported)
        self.bound_by = dict(_top_level(tree))
        self.annotations = frozenset(_annotated(tree))

    def called(self, node: ast.AST) -> str | None:
        """The name that a call calls: of a builtin, or of a member of a module."""
        if not isinstance(node, ast.Call):
            return None
        match node.func:
            case ast.Name(id=name):
                return self.imported.get(name, name if name not in self.names else None)
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in self.modules:
                return f"{self.modules[module]}.{name}"
            case _:
                return None

    def evaluated_too_early(self, node: ast.Name) -> bool:
        """Whether it is a name in an annotation that is evaluated before the program has bound the name."""
        if self.late or node not in self.annotations or (hasattr(builtins, node.id) and node.id not in self.names):
            return False
        return self.bound_by.get(node.id, node.lineno) >= node.lineno

    def consumed(self, node: ast.expr) -> bool:
        """Whether an iterator is used up at once, in order, by what it is handed to."""
        parent = self.parents.get(node)
        if isinstance(parent, ast.Starred):
            return True
        if not isinstance(parent, ast.Call) or node not in parent.args:
            return False
        method = parent.func.attr if isinstance(parent.func, ast.Attribute) else None
        return self.called(parent) in CONSUMERS or method in CONSUMING_METHODS

    def is_set(self, node: ast.expr) -> bool:
        """Whether the expression may be a set."""
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Attribute(attr=name)):
                return name in SET_MAKERS
            case ast.Call():
                return self.called(node) in {"set", "frozenset"}
            case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() | ast.BitXor() | ast.Sub(), right=right):
                return self.is_set(left) or self.is_set(right)
            case ast.Name(id=name, ctx=ast.Load()):
                return name in self.sets
            case _:
                return False

    def set_is_safe(self, node: ast.expr) -> bool:
        """Whether nothing that depends on a set's order can come of it here."""
        parent = self.parents.get(node)
        match parent:
            case ast.Compare() | ast.Expr():
                return True
            case ast.Call():
                return node in parent.args and self.called(parent) in SET_FUNCTIONS
            case ast.Attribute(attr=name):
                return name in SET_METHODS
            case ast.Assign(targets=[ast.Name()]) | ast.AnnAssign(target=ast.Name()) | ast.AugAssign(target=ast.Name()):
                return True
            case ast.BinOp():
                return self.is_set(parent)
            case _:
                return False


def _top_level(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that the module's own statements bind, and the line after which they are."""
    for node in tree.body:
        line = node.end_lineno or node.lineno
        match node:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from ((alias.asname or alias.name, line) for alias in names)
            case ast.ClassDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name, line
            case _:
                pass


def _annotated(tree: ast.Module) -> Iterator[ast.Name]:
    """The names in annotations."""
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            annotation = getattr(node, field, None)
            if isinstance(annotation, ast.expr):
                yield from (inner for inner in ast.walk(annotation) if isinstance(inner, ast.Name))


def text_of(node: ast.AST) -> str | None:
    """The text of a constant that is text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _imported_modules(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)


def _imported_members(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _own_attributes(tree: ast.Module) -> Iterator[str]:
    """Names of methods, fields and attributes that the program itself gives to its objects."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(body=body):
                for item in body:
                    if isinstance(item, ast.FunctionDef):
                        yield item.name
                    elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        yield item.target.id
                    elif isinstance(item, ast.Assign):
                        yield from (target.id for target in item.targets if isinstance(target, ast.Name))
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.Call(func=ast.Name(id="namedtuple"), args=[_, ast.List(elts=fields)]):
                yield from (text for field in fields if (text := text_of(field)) is not None)
            case _:
                pass


def _bound_names(tree: ast.Module) -> Iterator[str]:
    """Names that the program binds itself, in any scope."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.ExceptHandler(name=str() as name):
                yield name
            case ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
                yield name
            case _:
                pass


def _set_names(tree: ast.Module) -> frozenset[str]:
    """Names that are ever bound to what may be a set."""
    found: set[str] = set()
    bindings = [
        (target.id, node.value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    before = -1
    while before != len(found):
        before = len(found)
        found |= {name for name, value in bindings if _looks_like_set(value, found)}
    return frozenset(found)


def _looks_like_set(node: ast.expr, known: set[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in {"set", "frozenset"}
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in SET_MAKERS
        case ast.BinOp(left=left, right=right) | ast.IfExp(body=left, orelse=right):
            return _looks_like_set(left, known) or _looks_like_set(right, known)
        case ast.BoolOp(values=values):
            return any(_looks_like_set(value, known) for value in values)
        case ast.Name(id=name):
            return name in known
        case _:
            return False


def _may_make_float(node: ast.AST) -> bool:
    """Whether a float can come into being here. `sum()` of floats differs, and of anything else it does not."""
    match node:
        case ast.Constant(value=float()) | ast.Div():
            return True
        case ast.Name(id="float" | "pow" | "Decimal" | "Fraction"):
            return True
        case ast.BinOp(op=ast.Pow(), right=right) | ast.AugAssign(op=ast.Pow(), value=right):
            return not (isinstance(right, ast.Constant) and isinstance(right.value, int))
        case ast.Attribute(value=ast.Name(id="math"), attr=name):
            return name not in FLOAT_FREE_MATH
        case ast.ImportFrom(module="math", names=names):
            return any(alias.name not in FLOAT_FREE_MATH for alias in names)
        case ast.Import(names=names):
            return any(alias.name in {"json", "random", "csv"} or alias.asname == "math" for alias in names)
        case ast.ImportFrom(module="json" | "random"):
            return True
        case ast.Attribute(attr="total_seconds"):
            return True
        case _:
            return False
