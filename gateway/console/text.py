"""Hostile text as HTML: escaped, cut, and with everything in it that acts or hides spelled out. Pure.

All of it is an agent's. No function here returns markup in which a character of the text is anything but text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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

_HIGHLIGHTED: Final = 128 << 10  # characters; a lexer's time grows with them, and a page has several texts
_LONGEST_HIGHLIGHTED: Final = 4_000  # characters of one line


class _Marked(Spelling):
    def show(self, char: str) -> str:
        """The character as HTML."""
        return escape(char) if is_plain(char) else f'<span class="spelled">U+{ord(char):04X}</span>'


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


def code_lines(code: str, most: int = MOST_LINES) -> Lines:
    """A program's first lines, highlighted where that is cheap."""
    lines = code.removesuffix("\n").split("\n")
    longest = max(map(len, lines))
    if len(code) > _HIGHLIGHTED or longest > _LONGEST_HIGHLIGHTED:
        marked: Iterable[Markup] = (short(line) for line in lines[:most])
    else:
        marked = _highlighted(code.removesuffix("\n"))
    numbered = [(number, line) for number, line in zip(range(1, most + 1), marked, strict=False)]
    return Lines(numbered, max(0, len(lines) - most), longest > MOST_COLUMNS)


def _highlighted(code: str) -> Iterator[Markup]:
    """Lines with spans of classes; a token that goes over several lines has a span on each."""
    parts: list[Markup] = []
    column = omitted = 0
    # not `get_tokens`, which would take `\\r` out of the text, and with it what it hides
    for _, kind, value in PythonLexer().get_tokens_unprocessed(code):
        for number, piece in enumerate(value.split("\n")):
            if number:
                yield Markup().join([*parts, _cut(omitted)] if omitted else parts)
                parts, column, omitted = [], 0, 0
            room = max(0, MOST_COLUMNS - column)
            omitted += max(0, len(piece) - room)
            column += len(piece)
            if piece[:room]:
                parts.append(_span(_class_of(kind), piece[:room]))
    yield Markup().join([*parts, _cut(omitted)] if omitted else parts)


def _span(name: str, text: str) -> Markup:
    return Markup('<span class="{}">{}</span>').format(name, shown(text)) if name else shown(text)


def _class_of(kind: _TokenType) -> str:
    found = STANDARD_TYPES.get(kind)
    while found is None and kind.parent is not None:
        kind = kind.parent
        found = STANDARD_TYPES.get(kind)
    return found or ""
