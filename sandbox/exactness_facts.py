"""What the exactness guard knows of a program as a whole: what its names stand for, where sets and floats may be.

Pure: read off the syntax tree, without inference beyond names.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from sandbox.exactness_flow import Aliases, Nodes, functions_change, root_of, spread
from sandbox.exactness_kinds import Kinds
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
        self.parents = dict(_parents(tree))
        nodes = self.nodes = (tree, *self.parents)
        self.modules = dict(_imported_modules(nodes))
        self.imported = dict(_imported_members(nodes))
        self.own = frozenset(_own_attributes(nodes))
        self.names = frozenset(_bound_names(nodes))
        self.classes = frozenset(node.name for node in nodes if isinstance(node, ast.ClassDef))
        self.functions = frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))
        self.all_called = frozenset(self.called(node) for node in nodes)
        self.ascii = all(_ascii(text) for node in nodes if (text := text_of(node)) is not None)
        self.catches = any(isinstance(node, ast.ExceptHandler) for node in nodes)
        self.iterates = not self.functions.isdisjoint({"__iter__", "__next__"})
        self.functions_change = functions_change(nodes)
        self.has_floats = floats_come_in or any(_may_make_float(node) for node in nodes)
        self.sets = _set_names(nodes)
        self.aliases = Aliases(nodes)
        self.keys = Kinds(nodes, self.aliases, self.own)
        self.late = any(name == "annotations" for name in self.imported)
        self.bound_by = dict(_top_level(tree))
        self.annotations = frozenset(_annotated(nodes))

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

    def calls_own(self, node: ast.Call) -> bool:
        """Whether it may run a function of the program."""
        match node.func:
            case ast.Name(id=name):
                return self.imported.get(name) is None and (name in self.names or name in self.classes)
            case ast.Attribute(attr=name):
                return name in self.functions or name in self.own
            case _:
                return True

    @property
    def packages(self) -> frozenset[str]:
        """The modules that it imports, or imports from."""
        return frozenset([*self.modules.values(), *(name.split(".")[0] for name in self.imported.values())])

    def at_top(self, node: ast.AST) -> bool:
        """Whether it stands in no function or class."""
        outer = self.parents.get(node)
        while outer is not None and not isinstance(outer, (ast.FunctionDef, ast.ClassDef)):
            outer = self.parents.get(outer)
        return outer is None

    def is_evaluated(self, node: ast.AnnAssign) -> bool:
        """Whether the annotation of a variable is evaluated: not in functions."""
        inner: ast.AST | None = node
        while inner is not None and not isinstance(inner, (ast.FunctionDef, ast.Lambda)):
            inner = self.parents.get(inner)
        return inner is None

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
        if self.called(parent) in CONSUMERS:
            return True
        if not isinstance(parent.func, ast.Attribute) or parent.func.attr not in CONSUMING_METHODS:
            return False
        grown = root_of(parent.func.value)  # what grows by its own pieces never ends in CPython
        return not any(isinstance(inner, ast.Name) and inner.id == grown for inner in ast.walk(node))

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
                return node in parent.args and not parent.keywords and self.called(parent) in SET_FUNCTIONS
            case ast.Attribute(attr=name):
                return name in SET_METHODS
            case ast.Assign(targets=[ast.Name()]) | ast.AnnAssign(target=ast.Name()) | ast.AugAssign(target=ast.Name()):
                return True
            case ast.BinOp():
                return self.is_set(parent)
            case _:
                return False


def _parents(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node with what it stands in, from the outside in."""
    waiting: list[ast.AST] = [tree]
    for node in waiting:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.expr_context):
                waiting.append(child)
                yield child, node


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


def _annotated(nodes: Nodes) -> Iterator[ast.Name]:
    """The names in annotations."""
    for node in nodes:
        for field in ("annotation", "returns"):
            annotation = getattr(node, field, None)
            if isinstance(annotation, ast.expr):
                yield from (inner for inner in ast.walk(annotation) if isinstance(inner, ast.Name))


def text_of(node: ast.AST) -> str | None:
    """The text of a constant that is text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _ascii(text: str) -> bool:
    """Whether the text is in ASCII, and no JSON in it is of more."""
    return text.isascii() and "\\u" not in text


def _imported_modules(nodes: Nodes) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)


def _imported_members(nodes: Nodes) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _own_attributes(nodes: Nodes) -> Iterator[str]:
    """Names of methods, fields and attributes that the program itself gives to its objects."""
    for node in nodes:
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


def _bound_names(nodes: Nodes) -> Iterator[str]:
    """Names that the program binds itself, in any scope."""
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.ExceptHandler(name=str() as name):
                yield name
            case ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
                yield name
            case _:
                pass


def _set_names(nodes: Nodes) -> frozenset[str]:
    """Names that are ever bound to what may be a set."""
    first: list[str] = []
    onwards: dict[str, list[str]] = {}
    for node in nodes:
        if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) or node.value is None:
            continue
        names = [target.id for target in _targets(node) if isinstance(target, ast.Name)]
        for source in _set_sources(node.value):
            first.extend(names if source is None else [])
            onwards.setdefault(source or "", []).extend(names)
    return spread(first, onwards)


def _targets(node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _set_sources(node: ast.expr) -> Iterator[str | None]:
    """Where a value could be a set from: None for itself, else the name that it would have it from."""
    match node:
        case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
            yield None
        case ast.Call(func=ast.Attribute(attr=name)) if name in SET_MAKERS:
            yield None
        case ast.BinOp(left=left, right=right) | ast.IfExp(body=left, orelse=right):
            yield from _set_sources(left)
            yield from _set_sources(right)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _set_sources(value)
        case ast.Name(id=name):
            yield name
        case _:
            pass


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
