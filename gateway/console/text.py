"""Hostile text as HTML: escaped, cut, and with everything in it that acts or hides spelled out. Pure.

All of it is an agent's. No function here returns markup in which a character of the text is anything but text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from typing import Final

from markupsafe import Markup
from pygments.lexers.python import PythonLexer
from pygments.token import STANDARD_TYPES, _TokenType

from gateway.spelling import Spelling, is_plain

MOST_COLUMNS: Final = 400
"""Characters of a line that are shown."""

MOST_LINES: Final = 2_000
"""Lines of a text that are shown."""

MOST_HIGHLIGHTED: Final = 32 << 10
"""Characters that a page may have highlighted: a lexer's time grows with them, and an agent chooses them."""

_LONGEST_HIGHLIGHTED: Final = 1_000  # characters of one line
_DESERT: Final = re.compile(r"\s{200}")  # at each of its lines the lexer looks to its end


class _Marked(Spelling):
    def show(self, char: str) -> str:
        """The character as HTML."""
        return escape(char) if is_plain(char) else f'<span class="spelled">U+{ord(char):04X}</span>'


_MOST_HIDDEN: Final = 20
_MARKED: Final = _Marked()
_HEAPED: Final = '<span class="spelled">{} marks</span>'
_HEAP: Final = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f]{3,}"
)


def shown(text: str) -> Markup:
    """The text as HTML, whole; of marks that would be heaped on one letter, over everything above it, the first two."""
    pieces, at = [], 0
    for heap in _HEAP.finditer(text):
        pieces += [text[at : heap.start() + 2].translate(_MARKED), _HEAPED.format(heap.end() - heap.start() - 2)]
        at = heap.end()
    pieces.append(text[at:].translate(_MARKED))
    return Markup("".join(pieces))  # noqa: S704  # every character of it went through `_Marked`


def short(text: str, most: int = MOST_COLUMNS) -> Markup:
    """The text as HTML, cut where it is longer than `most` characters."""
    return shown(text) if len(text) <= most else shown(text[:most]) + _cut(len(text) - most)


def hidden_in(text: str) -> list[str]:
    """What is in a text that acts or hides, which an editor does not spell out: U+202E."""
    return [f"U+{ord(char):04X}" for char in sorted(set(text)) if not is_plain(char)][:_MOST_HIDDEN]


def _cut(characters: int) -> Markup:
    return Markup('<span class="cut">{} more</span>').format(f"{characters:,}")


@dataclass(frozen=True, slots=True)
class Lines:
    """Numbered lines as HTML; `omitted` of them are not shown, `cut` tells whether a line is not whole."""

    lines: Sequence[tuple[int, Markup]]
    omitted: int = 0
    cut: bool = False

    @property
    def whole(self) -> bool:
        """Whether everything is shown."""
        return not self.omitted and not self.cut


def tail(text: str, most: int = 120) -> Lines:
    """The last lines of an output."""
    lines = text.removesuffix("\n").split("\n") if text else []
    first = max(0, len(lines) - most)
    kept = lines[first:]
    return Lines(
        [(first + number, short(line)) for number, line in enumerate(kept, 1)],
        first,
        any(len(line) > MOST_COLUMNS for line in kept),
    )


def is_quick(code: str) -> bool:
    """Whether it takes little time to highlight a program."""
    longest = max(map(len, code.split("\n")))
    return len(code) <= MOST_HIGHLIGHTED and longest <= _LONGEST_HIGHLIGHTED and not _DESERT.search(code)


def code_lines(code: str, most: int = MOST_LINES, *, lit: bool = True) -> Lines:
    """A program's first lines, highlighted where they are to be `lit` and that is quick."""
    lines = code.removesuffix("\n").split("\n")
    longest = max(map(len, lines))
    marked: Iterable[Markup] = (
        _highlighted(code.removesuffix("\n")) if lit and is_quick(code) else (short(line) for line in lines[:most])
    )
    numbered = [(number, line) for number, line in zip(range(1, most + 1), marked, strict=False)]
    return Lines(numbered, max(0, len(lines) - most), longest > MOST_COLUMNS)


def _highlighted(code: str) -> Iterator[Markup]:
    """Lines with spans of classes; a token that goes over several lines has a span on each."""
    line = _Line()
    # not `get_tokens`, which would take `\\r` out of the text, and with it what it hides
    for _, kind, value in PythonLexer().get_tokens_unprocessed(code):
        for number, piece in enumerate(value.split("\n")):
            if number:
                yield line.markup()
                line = _Line()
            line.add(kind, piece)
    yield line.markup()


@dataclass(slots=True)
class _Line:
    """A line as it is put together. What follows in the same class goes into the same span: a lexer may see a token in each character."""

    parts: list[tuple[str, list[str]]] = field(default_factory=list)
    column: int = 0

    def add(self, kind: _TokenType, piece: str) -> None:
        kept = piece[: max(0, MOST_COLUMNS - self.column)]
        self.column += len(piece)
        if not kept:
            return
        name = _class_of(kind)
        if self.parts and self.parts[-1][0] == name:
            self.parts[-1][1].append(kept)
        else:
            self.parts.append((name, [kept]))

    def markup(self) -> Markup:
        spans = [_span(name, "".join(pieces)) for name, pieces in self.parts]
        omitted = self.column - MOST_COLUMNS
        return Markup().join([*spans, _cut(omitted)] if omitted > 0 else spans)


def _span(name: str, text: str) -> Markup:
    return Markup('<span class="{}">{}</span>').format(name, shown(text)) if name else shown(text)


@cache  # kinds are a lexer's own, some dozens
def _class_of(kind: _TokenType) -> str:
    found = STANDARD_TYPES.get(kind)
    while found is None and kind.parent is not None:
        kind = kind.parent
        found = STANDARD_TYPES.get(kind)
    return found or ""
