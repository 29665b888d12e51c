"""The exactness guard's rules for calls: lazy iterators, early ends, regular expressions, arguments.

Pure. Monty makes a list of what CPython evaluates piece by piece: that shows where pieces have
effects or can fail, where not all are taken, and where what is read changes meanwhile.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from sandbox.exactness_facts import Facts, text_of
from sandbox.exactness_flow import changed_root
from sandbox.exactness_tables import (
    ANY_OPTIONS,
    CALLING_BACK,
    FUNCTION_OPTIONS,
    LAZY,
    METHODS,
    MUTATORS,
    OPTIONS,
    PURE_FUNCTIONS,
    TYPES,
)
from sandbox.exactness_text import plain_date, plain_pattern, plain_replacement, plain_template

_Loop: TypeAlias = "ast.For | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp"

_REPEATING: Final = frozenset({"re.compile", "re.findall", "re.finditer", "re.split", "re.sub"})
_MATCHING: Final = frozenset({"re.match", "re.search", "re.fullmatch"})
_SEARCHES: Final = frozenset({"find", "rfind", "index", "rindex", "count", "startswith", "endswith"})
_FIRST_FOUR_DIGIT_YEAR: Final = 1000


def wrong_with_call(node: ast.Call, facts: Facts) -> Iterator[str]:
    """Why a call may differ."""
    name = facts.called(node)
    if name in LAZY:
        yield from _lazy(facts, node, name)
    if name == "range" and not _taken_at_once(facts, node):
        yield "a range that is kept may be shown differently"
    if name == "isinstance" and not _plain_types(node, facts):
        yield "isinstance() of these is not known to be the same in Monty"
    if name in {"any", "all"} and node.args and not _may_run_on(node.args[0], facts):
        yield f"{name}() stops early in CPython"
    if name in _REPEATING | _MATCHING:
        yield from _regex(node, name or "", facts)
    if name in {"datetime.date", "datetime.datetime"} and _early(node.args[:1]):
        yield "the first thousand years are written differently"
    yield from _options(node, name)
    if name is None and isinstance(node.func, ast.Attribute):
        yield from _method(node, node.func, facts)


def _options(node: ast.Call, name: str | None) -> Iterator[str]:
    given = {keyword.arg for keyword in node.keywords}
    if name is not None and name not in ANY_OPTIONS and not given <= FUNCTION_OPTIONS.get(name, OPTIONS):
        yield f"these options of {name}() are not known to be the same in Monty"
    if name in {"str", "int"} and len(node.args) + len(node.keywords) > 2:  # noqa: PLR2004  # one more than they have
        yield f"{name}() with these arguments is not known to be the same in Monty"


def _method(node: ast.Call, method: ast.Attribute, facts: Facts) -> Iterator[str]:
    name = method.attr
    if name in {"keys", "items"} and not _view_is_read(facts.parents.get(node)):
        yield "a view that is kept may become a set"
    if name == "decode" and "base64.b64decode" in facts.all_called:
        yield "decoded text may have characters of a later Unicode"
    if not (name in facts.own | ANY_OPTIONS or {keyword.arg for keyword in node.keywords} <= OPTIONS):
        yield f"these options of {name}() are not known to be the same in Monty"
    if not _plain_arguments(node, method, facts):
        yield f"{name}() with these arguments is not known to be the same in Monty"


def _plain_arguments(node: ast.Call, method: ast.Attribute, facts: Facts) -> bool:
    text = text_of(method.value)
    match method.attr, node.args:
        case "format", _:
            return text is not None and plain_template(text, caught=facts.catches)
        case name, [first, _, *_] if name in _SEARCHES:
            return bool(text_of(first))  # at a place past its end, Monty still finds the empty text
        case "splitlines" | "hex", [_, *_]:
            return False
        case "sub", [_, *_]:
            return _plain_replacement(node, facts)
        case "strptime", [first, second]:
            return plain_date(text_of(first) or "", text_of(second) or "")
        case "strptime", _:
            return False
        case "replace", _:
            return not _early([keyword.value for keyword in node.keywords if keyword.arg == "year"])
        case _:
            return True


def _view_is_read(parent: ast.AST | None) -> bool:
    return isinstance(
        parent, (ast.For, ast.comprehension, ast.Call, ast.Compare, ast.Starred, ast.FormattedValue, ast.Expr)
    )


def _early(years: Sequence[ast.expr]) -> bool:
    return any(
        isinstance(year, ast.Constant) and isinstance(year.value, int) and year.value < _FIRST_FOUR_DIGIT_YEAR
        for year in years
    )


# --- regular expressions ----------------------------------------------------------------------------


def _regex(node: ast.Call, name: str, facts: Facts) -> Iterator[str]:
    flags = [node.args[2:], node.args[3:]][name in {"re.sub", "re.split"}] if name != "re.compile" else node.args[1:]
    flags = [*flags, *(keyword.value for keyword in node.keywords if keyword.arg == "flags")]
    names = {getattr(part, "attr", None) or getattr(part, "id", None) for flag in flags for part in ast.walk(flag)}
    pattern = text_of(node.args[0]) if node.args else None
    if pattern is None or not facts.ascii:
        yield "a regular expression that is not constant, or outside ASCII, may match differently"
    elif not plain_pattern(pattern, multiline=bool(names & {"M", "MULTILINE"}), may_be_empty=name in _MATCHING):
        yield "this regular expression may match differently"
    if len(node.args) > {"re.sub": 3, "re.split": 2}.get(name, 3):
        yield "CPython warns of positional options"
    if name == "re.sub" and not _plain_replacement(node, facts):
        yield "this replacement is not known to be the same in Monty"


def _plain_replacement(node: ast.Call, facts: Facts) -> bool:
    at = 1 if facts.called(node) == "re.sub" else 0
    text = text_of(node.args[at]) if len(node.args) > at else None
    return text is not None and plain_replacement(text)


# --- what CPython evaluates piece by piece ----------------------------------------------------------


def _lazy(facts: Facts, node: ast.Call, name: str) -> Iterator[str]:
    parent = facts.parents.get(node)
    in_loop = isinstance(parent, (ast.For, ast.comprehension)) and parent.iter is node
    nested = isinstance(parent, ast.Call) and facts.called(parent) in LAZY
    if facts.iterates:
        yield f"{name}() takes all of the program's own iterator at once"
    if not (in_loop or nested or facts.consumed(node) or _unpacked(parent)):
        yield f"{name}() is lazy in CPython"
    if name in CALLING_BACK and node.args and not _pure_function(node.args[CALLING_BACK[name] :][:1]):
        yield f"{name}() calls its function later in CPython"
    if in_loop:
        if name in CALLING_BACK and facts.catches:
            yield f"{name}() may fail later in CPython"
        loop = facts.parents.get(parent) if isinstance(parent, ast.comprehension) else parent
        if isinstance(loop, _LOOPS) and _changes(loop, node, facts):
            yield f"the loop may change what {name}() still reads in CPython"


_LOOPS: Final = (ast.For, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _unpacked(parent: ast.AST | None) -> bool:
    return isinstance(parent, ast.Assign) and all(isinstance(target, ast.Tuple) for target in parent.targets)


def _taken_at_once(facts: Facts, node: ast.Call) -> bool:
    parent = facts.parents.get(node)
    if isinstance(parent, (ast.For, ast.comprehension, ast.Compare)):
        return True
    called = facts.called(parent) if isinstance(parent, ast.Call) else None
    return facts.consumed(node) or called in LAZY or called == "len" or (called or "").startswith("random.")


def _pure_function(functions: Sequence[ast.expr]) -> bool:
    match functions:
        case []:
            return True
        case [ast.Name(id=name)]:
            return name in PURE_FUNCTIONS
        case [ast.Lambda(body=body)]:
            return not has_effects(body)
        case [ast.Constant(value=None)]:
            return True
        case _:
            return False


def _may_run_on(node: ast.expr, facts: Facts) -> bool:
    """Whether nothing shows if all pieces are evaluated where CPython stops at one of the first."""
    if facts.iterates:
        return False
    if not isinstance(node, ast.GeneratorExp):
        return not (facts.catches and isinstance(node, ast.Call))
    if has_effects(node):
        return False
    fails = (ast.Call, ast.Subscript, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
    return not facts.catches or not any(
        isinstance(inner, fails) for part in _own_parts(node) for inner in ast.walk(part)
    )


def _own_parts(node: _Loop) -> list[ast.AST]:
    """What is evaluated again for every piece."""
    match node:
        case ast.For(body=body):
            return list(body)
        case ast.DictComp(key=key, value=value, generators=generators):
            return [key, value, *(part for one in generators for part in one.ifs), *(g.iter for g in generators[1:])]
        case _:
            conditions = [part for one in node.generators for part in one.ifs]
            return [node.elt, *conditions, *(one.iter for one in node.generators[1:])]


def has_effects(node: ast.AST) -> bool:
    """Whether anything that could have an effect is called in it."""
    return any(
        isinstance(inner, (ast.Await, ast.NamedExpr))
        or (
            isinstance(inner, ast.Call)
            and not (isinstance(inner.func, ast.Name) and inner.func.id in PURE_FUNCTIONS)
            and not (isinstance(inner.func, ast.Attribute) and inner.func.attr in METHODS - MUTATORS)
        )
        for inner in ast.walk(node)
    )


def _changes(loop: _Loop, read: ast.Call, facts: Facts) -> bool:
    """Whether the loop may change what it reads: by a name that may mean the same, or in a function of the program."""
    names = {inner.id for inner in ast.walk(read) if isinstance(inner, ast.Name)}
    own = (
        {inner.id for inner in ast.walk(loop.target) if isinstance(inner, ast.Name)}
        if isinstance(loop, ast.For)
        else set()
    )
    for node in (inner for part in _own_parts(loop) for inner in ast.walk(part)):
        root = changed_root(node)
        if root is not None and root not in own and any(facts.aliases.alike(root, name) for name in names):
            return True
        if isinstance(node, ast.Call) and facts.calls_own(node) and facts.functions_change:
            return True
    return False


def _plain_types(node: ast.Call, facts: Facts) -> bool:
    if len(node.args) != 2:  # noqa: PLR2004  # an object and its type
        return False
    kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
    plain = {"int", "str", "float", "bool", "list", "dict", "tuple", "set"} | facts.classes
    return all(
        isinstance(kind, ast.Name) and (kind.id in plain or facts.imported.get(kind.id) in TYPES) for kind in kinds
    )
