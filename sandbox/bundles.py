"""MIME bundles: what a notebook would show of a program's last value and of its figures, as a guest tells it.

Pure. All of it is the program's own word: it is read within bounds, kinds come from a closed list, and nothing in it is
ever followed or shown by the gateway itself; HTML is only text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from sandbox import guest_protocol
from sandbox.guest_value import encode_result
from sandbox.job import JsonValue

MimeType: TypeAlias = Literal[
    "text/plain",
    "text/html",
    "text/markdown",
    "text/latex",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "application/json",
]
MIME_TYPES: Final[dict[str, MimeType]] = {kind: kind for kind in get_args(MimeType)}
MOST_BUNDLES: Final = (
    guest_protocol.MOST_FIGURES + 2
)  # the value's, and one that tells how many more figures there were

_MAGIC: Final = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
_FIGURE: Final = re.compile(r"figure-[0-9]{1,8}\.png")
_MOST_ROWS: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Bundle:
    """One thing to show, in several forms: text, or base64 of an image, or a JSON value.

    `file` is the output file that holds a figure's PNG; `rows` are how many of a table's rows are in its JSON, and how
    many it has, where these differ; `omitted` are forms that it has, but for which there was no room.
    """

    data: Mapping[MimeType, JsonValue] = field(repr=False)
    file: str | None = None
    rows: tuple[int, int] | None = None
    omitted: tuple[MimeType, ...] = ()


def read_bundles(text: bytes, limit: int) -> tuple[Bundle, ...]:
    """What a guest told, or nothing where it is not told as our guest tells it; `limit` is of its bytes."""
    if not text or len(text) > limit:
        return ()
    try:
        told: JsonValue = json.loads(text)
        if not isinstance(told, list) or len(told) > MOST_BUNDLES:
            return ()
        return tuple(_bundle(one, limit) for one in told)
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()


def _bundle(told: JsonValue, limit: int) -> Bundle:
    bundle = _mapping(told)
    data, notes = _mapping(bundle["data"]), _mapping(bundle["metadata"])
    return Bundle(
        {MIME_TYPES[kind]: _form(kind, form, limit) for kind, form in data.items()},
        _file(notes.get("file")),
        _rows(notes.get("rows")),
        tuple(MIME_TYPES[_text(kind)] for kind in _list(notes.get("omitted", []))[: len(MIME_TYPES)]),
    )


def _form(kind: str, form: JsonValue, limit: int) -> JsonValue:
    if kind == "application/json":
        if encode_result(form, limit)[0] != "json":
            raise ValueError
        return form
    text = _text(form)
    if kind in _MAGIC:
        try:
            image = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError from None
        if not image.startswith(_MAGIC[kind]):
            raise ValueError
    return text


def _file(name: JsonValue) -> str | None:
    if name is not None and not _FIGURE.fullmatch(_text(name)):
        raise ValueError
    return None if name is None else _text(name)


def _rows(rows: JsonValue) -> tuple[int, int] | None:
    if rows is None:
        return None
    shown, all_of_them = (_count(one) for one in _list(rows))
    return shown, all_of_them


def _count(number: JsonValue) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST_ROWS:
        raise ValueError
    return number


def _mapping(value: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value.encode("utf-8", "backslashreplace").decode()
