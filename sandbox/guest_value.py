"""A part of the guest: the value of a program's last expression, as text.

Sent with the guest and compiled when a program has such a value; the gateway makes what it tells of a value with it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.guest_protocol import RESULT_DEPTH
from sandbox.guest_tools import cut, library, quoted, type_name

if TYPE_CHECKING:
    from reprlib import Repr
    from typing import Literal


class _NotJsonError(Exception):
    """The value has no JSON form; `too_large` if only for its size."""

    def __init__(self, *, too_large: bool = False) -> None:
        super().__init__()
        self.too_large = too_large


def encode_result(value: object, limit: int) -> tuple[Literal["json", "repr"], str]:
    """The value as JSON text, or as its repr where it has no JSON form; at most `limit` bytes of UTF-8.

    JSON as `json.dumps` means it, save what other readers of JSON could not take: NaN and
    infinities, lone surrogates, keys that collide as text, and nesting deeper than 100. A repr
    that does not fit is cut. Never raises, whatever the value's own methods do.
    """
    room = _Room(limit)
    try:
        text = _text(value, room, RESULT_DEPTH)
        if room.only_numbers and len(text.encode()) <= limit:
            return "json", text
        brief = room.only_numbers
    except _NotJsonError as refusal:
        brief = refusal.too_large
    except BaseException:  # noqa: BLE001 - the value's methods are the program's: they may raise anything
        brief = False
    return "repr", cut(_repr(value, brief=brief), limit)


class _Room:
    """What is left for the text, and whether all floats so far were numbers."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.only_numbers = True

    def spend(self, size: int) -> None:
        """Take room for so many bytes and a separator; raises _NotJsonError where there is none."""
        self.left -= size + 1
        if self.left < -1:  # the last one needs no separator
            raise _NotJsonError(too_large=True)


def _text(value: object, room: _Room, depth: int) -> str:
    """The value in JSON; raises _NotJsonError as soon as it cannot fit."""
    if value is None or isinstance(value, (bool, int, float)):
        return _atom(value, room)
    if isinstance(value, str):
        room.spend(len(value) + 2)
        return quoted(str.__str__(value))
    if depth == 0 or not isinstance(value, (list, tuple, dict)):
        raise _NotJsonError
    room.spend(1)
    if isinstance(value, dict):
        return _object(value, room, depth - 1)
    return "[" + ", ".join([_text(item, room, depth - 1) for item in value]) + "]"


def _atom(value: float | None, room: _Room) -> str:
    if value is None or isinstance(value, bool):
        room.spend(4)
    else:
        room.spend(value.bit_length() // 4 if isinstance(value, int) else 3)
    return _atom_text(value, room)


def _atom_text(value: float | None, room: _Room) -> str:
    """A word of JSON that is no string."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    number = float.__float__(value)
    room.only_numbers &= number - number == 0
    return float.__repr__(number)


def _object(value: dict[object, object], room: _Room, depth: int) -> str:
    texts: dict[str, str] = {}
    for key, item in value.items():
        if key is not None and not isinstance(key, (str, int, float)):
            raise _NotJsonError
        name = str.__str__(key) if isinstance(key, str) else _atom_text(key, room)
        if name in texts:
            raise _NotJsonError
        room.spend(len(name) + 3)
        texts[name] = _text(item, room, depth)
    return "{" + ", ".join([f"{quoted(name)}: {text}" for name, text in texts.items()]) + "}"


def _repr(value: object, *, brief: bool) -> str:
    """The value's repr; with `brief`, of a builtin container only its beginning."""
    try:
        if brief:
            short: Repr = library("reprlib").Repr()
            short.maxlist = short.maxtuple = short.maxdict = short.maxstring = short.maxother = short.maxlong = 1_000
            return short.repr(value)
        return repr(value)
    except BaseException:  # noqa: BLE001 - as above
        return f"<unprintable {type_name(value)}>"
