"""What the exactness guard knows of text within a program: characters, formats, regular expressions, dates.

Pure. Each function says whether Monty 1.4 and CPython 3.13 are known to treat the text alike.
"""

from __future__ import annotations

import re
import string
import unicodedata
from datetime import datetime
from typing import Final

_SPEC: Final = re.compile(r"(?:[^{}]?[<>^])?[+\- ]?#?0?\d{0,3}[,_]?(?:\.(?P<precision>\d+))?(?P<type>[bdeEfFgosxX%]?)")
_MOST_PRECISION: Final = 15  # digits that are equal in both

# Later than Unicode 3.2, and compared: emoji and their kin.
_COMPARED: Final = (
    *((0x23E9, 0x23F3), (0x26A0, 0x26FF), (0x2705, 0x2705), (0x270A, 0x270B), (0x2728, 0x2728), (0x274C, 0x274C)),
    *((0x274E, 0x274E), (0x2753, 0x2757), (0x2795, 0x2797), (0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F900, 0x1F9FF)),
)

# One piece of a regular expression of the compared kind. Left out, because they match differently or were not
# compared: `$` (unless every line ends there), \Z, \B, backreferences, look-behind and -ahead, possessive and atomic
# groups, inline flags, `{,n}`.
_PIECE: Final = re.compile(
    r"""(?P<open>\((?:\?:|\?P<[A-Za-z_]\w*>|(?!\?)))
    |(?P<close>\))
    |(?P<alternative>\|)
    |(?P<repeat>(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})\??(?![*+?]))
    |(?P<end>\$)
    |(?P<place>\^|\\b|\\A)
    |(?P<one>\\[dDwWsSnrt]|\\[^\w\s]|\[\^?\]?(?:\\[dDwWsSnrt]|\\[^\w\s]|[^\\\[\]])*\]|[^\\()\[\]{}*+?|^$])""",
    re.VERBOSE,
)
_REPLACEMENT: Final = re.compile(r"(?:[^\\]|\\[1-9](?!\d)|\\g<\w+>)*", re.DOTALL)
_NESTED_REPEATS: Final = re.compile(r"[*+}]\??\)[*+{]")  # may try exponentially many ways


def plain_characters(text: str) -> bool:
    """Whether both know all of its characters."""
    return text.isascii() or all(_known(character) for character in text if not character.isascii())


def _known(character: str) -> bool:
    code = ord(character)
    if any(first <= code <= last for first, last in _COMPARED):
        return True
    return unicodedata.ucd_3_2_0.category(character) not in {"Cn", "Cs"} and character != "\ufffd"


def plain_spec(spec: str, *, typed: bool) -> bool:
    """Whether a format means the same. Without a type at its end, Monty also formats what CPython refuses to."""
    match = _SPEC.fullmatch(spec)
    if match is None or int(match["precision"] or 0) > _MOST_PRECISION:
        return False
    return not typed or bool(match["type"]) or spec in {"", ",", "_"}


def plain_template(text: str, *, caught: bool) -> bool:
    """Whether `text.format(...)` means the same; `caught` where a wrong value's exception may be caught."""
    try:
        fields = [(spec or "", conversion) for _, _, spec, conversion in string.Formatter().parse(text)]
    except ValueError:
        return False
    return all(plain_spec(spec, typed=conversion is None) and not (caught and spec) for spec, conversion in fields)


def plain_pattern(pattern: str, *, multiline: bool, may_be_empty: bool) -> bool:
    """Whether a regular expression matches the same.

    `multiline` is whether `$` ends every line. Where it may match nothing, repeated searches go on at
    another place: `may_be_empty` says that it is not searched for repeatedly.
    """
    width = None if _NESTED_REPEATS.search(pattern) or not pattern.isascii() else _least_width(pattern, multiline)
    return width is not None and (may_be_empty or width > 0)


def _least_width(pattern: str, multiline: bool) -> int | None:  # noqa: FBT001 - of two private arguments
    """How many characters it matches at least; None for what is not of the compared kind."""
    open_groups: list[tuple[int, int | None]] = []
    width, shortest, last = 0, None, None  # of this branch; of the branches before it; of the piece before
    position = 0
    while position < len(pattern):
        piece = _PIECE.match(pattern, position)
        if piece is None or (piece["end"] and not multiline):
            return None
        position = piece.end()
        match piece.lastgroup:
            case "open":
                open_groups.append((width, shortest))
                width, shortest, last = 0, None, None
            case "close" if open_groups:
                last = min(width, shortest) if shortest is not None else width
                width, shortest = open_groups.pop()
                width += last
            case "alternative":
                shortest, width, last = min(width, shortest) if shortest is not None else width, 0, None
            case "repeat" if last:
                width += last * (_least_count(piece["repeat"]) - 1)
                last = None
            case "one":
                width, last = width + 1, 1
            case "place" | "end":
                last = None
            case _:  # a group that was not opened; a repeated nothing
                return None
    if open_groups:
        return None
    return min(width, shortest) if shortest is not None else width


def _least_count(repeat: str) -> int:
    match repeat[0]:
        case "+":
            return 1
        case "{":
            return int(re.findall(r"\d+", repeat)[0])
        case _:
            return 0


def plain_replacement(text: str) -> bool:
    """Whether a regular expression's replacement means the same."""
    return _REPLACEMENT.fullmatch(text) is not None


def plain_date(text: str, form: str) -> bool:
    """Whether `strptime` reads the text strictly by its form: Monty also reads what is only like it."""
    try:
        moment = datetime.strptime(text, form)  # noqa: DTZ007 - read to be compared, not to be used
    except ValueError:
        return False
    return moment.year > 999 and moment.strftime(form) == text and "%Y" in form and "%m" in form and "%d" in form  # noqa: PLR2004
