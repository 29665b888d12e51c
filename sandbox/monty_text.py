"""The texts on both sides of a run in Monty: what it is fed for a program, and whether what it printed can be trusted.

Pure. Monty differs from CPython in the last digits of `sum` and `round`, has the letters of a later
Unicode, and turns values that have no JSON form (a deque, a function) into others that have.
Functions of ours, run by Monty in front of the program, do the first as CPython 3.13 does and end
the run where they cannot. Line numbers move by that: nobody is shown Monty's.
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import re
import tokenize
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sandbox.job import JsonValue
from sandbox.monty_default_text import with_checked_texts

RESERVED: Final = "airlock_"  # no program that has it is run: these names are ours

# A name that nothing defines ends the run; the guard lets no program through that would catch that.
_STOP: Final = f"{RESERVED}stop()"

# Elements as they come: ints add up exactly; a float turns to Neumaier's compensated sum, as CPython's
# builtin does since 3.12, in which the first float and every later int are added without compensation.
_SUM: Final = f"""
{RESERVED}sum = sum
def sum(values, /, start=0):
    items = list(values)
    floats = type(start) is float
    for item in items:
        if type(item) is float:
            floats = True
            break
    if not floats:
        return {RESERVED}sum(items, start)
    if type(start) is not int:
        return {_STOP}
    total, low, floats = start, 0.0, False
    for item in items:
        kind = type(item)
        if kind is float and floats:
            larger = total + item
            if abs(total) >= abs(item):
                low += (total - larger) + item
            else:
                low += (item - larger) + total
            total = larger
        elif kind is float:
            total, floats = total + item, True
        elif (kind is int or kind is bool) and -0x8000000000000000 <= item <= 0x7fffffffffffffff:
            total += float(item) if floats else item
        else:
            return {_STOP}
        if not floats and not -0x8000000000000000 <= total <= 0x7fffffffffffffff:
            return {_STOP}
    if low and low - low == 0.0:
        return total + low
    return total
"""

# CPython rounds the exact binary value, as formatting does; Monty scales it first, and is off on near-ties.
_ROUND: Final = f"""
{RESERVED}round = round
def round(number, ndigits=None):
    if ndigits is None:
        return {RESERVED}round(number)
    if type(ndigits) is int and 0 <= ndigits <= 15:
        if type(number) is float:
            return float(f"{{number:.{{ndigits}}f}}")
        if type(number) is int:
            return number
    return {_STOP}
"""

# Monty has the letters of a later Unicode, and no surrogates.
_CHR: Final = f"""
{RESERVED}chr = chr
def chr(code, /):
    if type(code) is int and (32 <= code < 127 or 9 <= code <= 13):
        return {RESERVED}chr(code)
    return {_STOP}
"""

_PLAIN: Final = f"""
def {RESERVED}plain(value, depth=0):
    kind = type(value)
    if value is None or kind is str or kind is int or kind is float or kind is bool:
        return value
    if depth > 50 or kind is not list and kind is not tuple and kind is not dict:
        return {_STOP}
    for item in value:
        {RESERVED}plain(item, depth + 1)
        if kind is dict:
            if type(item) is tuple:
                return {_STOP}
            {RESERVED}plain(value[item], depth + 1)
    return value
"""

_MENDED: Final = (("sum", _SUM), ("round", _ROUND), ("chr", _CHR))


# What Monty prints of a value that has no text of its own, or none so deep: CPython prints another address or name.
_DOUBTFUL: Final = re.compile(
    r" at 0x|<(?:class|function|built-in|bound|module|method|generator|coroutine)\b|<\w+ object>"
    r"|[\[({=:,] ?\.\.\.[\])},]|\ufffd|[Ll]iteral for int\(\) with base \d+: .{150}"
)
_FLOAT: Final = re.compile(r"(?<![\w.])\d+\.\d+(?:e[+-]?\d+)?(?![\w.])")
_PRINT: Final = re.compile(r"\bprint\b")
_SURE_DIGITS: Final = 15  # a float's shortest text is unique up to this many; of two of 16, Monty may take the other


class UnfitError(Exception):
    """The program is not for Monty; the message says why."""


@dataclass(frozen=True, slots=True)
class MontySource:
    """What Monty runs for a program, and whether the program has a value: that of its last expression."""

    text: str
    has_value: bool


def monty_source(code: str) -> MontySource:
    """What Monty runs for `code`.

    Raises UnfitError for what cannot be read here, and for what CPython's compiler warns of (on stderr).
    """
    code = code.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if RESERVED in code:
        raise UnfitError("it uses a reserved name")
    tree = _parse(code)
    try:
        checked = with_checked_texts(tree, RESERVED)
    except (ValueError, RecursionError) as error:
        raise UnfitError("what it makes text of cannot be checked") from error
    if checked is not None:
        code, tree = checked, ast.parse(checked)
    lines = code.encode().split(b"\n")
    parts = [text for name, text in _MENDED if re.search(rf"\b{name}\b", code)]
    last = tree.body[-1] if tree.body else None
    has_value = isinstance(last, ast.Expr)
    if isinstance(last, ast.Expr) and not _prints(last, tree, code):
        parts.append(_PLAIN)
        _splice(lines, last, f"{RESERVED}plain((".encode() + _text(lines, last) + b"\n))")
    for node in reversed(tree.body):
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            _splice(lines, node, b"pass")  # Monty wants it to be first, and does without
    return MontySource("".join(parts) + b"\n".join(lines).decode(), has_value)


def unfit_inputs(inputs: Mapping[str, JsonValue]) -> str | None:
    """Why a program cannot be run in Monty with these inputs; None if it can."""
    if not inputs:
        return None
    if any(name in _BUILTINS or name.startswith(RESERVED) for name in inputs):
        return "an input has the name of a builtin"
    text = json.dumps(dict(inputs), ensure_ascii=False)
    if not text.isascii() or "\\u" in text:
        return "text outside ASCII may be treated differently"
    kinds: dict[JsonValue, type] = {}
    if any(kinds.setdefault(one, type(one)) is not type(one) for one in _scalars(list(inputs.values()))):
        return "of two equal keys (1, 1.0, True) another one may stay"
    return None


_BUILTINS: Final = frozenset(dir(builtins))


def _scalars(value: JsonValue) -> Iterator[int | float]:
    match value:
        case bool() | int() | float():
            yield value
        case list():
            for item in value:
                yield from _scalars(item)
        case dict():
            for item in value.values():
                yield from _scalars(item)
        case _:
            return


def faithful(printed: str) -> bool:
    """Whether CPython prints it so, too: no text in it that the two make differently."""
    if _DOUBTFUL.search(printed):
        return False
    return all(
        repr(float(text)) == text
        for text in _FLOAT.findall(printed)
        if sum(character.isdigit() for character in text) > _SURE_DIGITS
    )


def _parse(code: str) -> ast.Module:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            tree = ast.parse(code, "main.py")
            compile(tree, "main.py", "exec", dont_inherit=True)  # warns of more than the parser does
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise UnfitError(f"it cannot be read here: {type(error).__name__}") from error
    if warned:
        raise UnfitError("Python's compiler warns of it on stderr")
    if not code.isascii() and not all(name.string.isascii() for name in _names(code)):
        raise UnfitError("names outside ASCII are only in CPython the same as others that look like them")
    return tree


def _prints(last: ast.Expr, tree: ast.Module, code: str) -> bool:
    """Whether it certainly has no value, as most programs' last expression: a call of `print`, which never means another."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_print(node)]
    return isinstance(last.value, ast.Call) and last.value in calls and len(_PRINT.findall(code)) == len(calls)


def _is_print(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "print"


def _names(code: str) -> Iterator[tokenize.TokenInfo]:
    return (token for token in tokenize.generate_tokens(io.StringIO(code).readline) if token.type == tokenize.NAME)


def _text(lines: list[bytes], node: ast.stmt) -> bytes:
    first, last = _span(node)
    if first == last:
        return lines[first][node.col_offset : node.end_col_offset]
    return b"\n".join([lines[first][node.col_offset :], *lines[first + 1 : last], lines[last][: node.end_col_offset]])


def _splice(lines: list[bytes], node: ast.stmt, text: bytes) -> None:
    """Put `text` in the node's place. Nodes are to be replaced from the last to the first: the lines move."""
    first, last = _span(node)
    lines[first : last + 1] = [lines[first][: node.col_offset] + text + lines[last][node.end_col_offset :]]


def _span(node: ast.stmt) -> tuple[int, int]:
    return node.lineno - 1, (node.end_lineno or node.lineno) - 1
