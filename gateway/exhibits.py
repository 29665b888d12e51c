"""What a notebook would show of a run, made ready for people: tables and pictures. Pure.

All of it is the program's word. A table is its JSON and nothing else; a picture is a PNG of a size that a screen can
hold. What could act (HTML, SVG, Markdown) is named and never rendered.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from gateway.wire_answers import BundleOut, ExecutionView

MOST_ROWS: Final = 50
"""Rows of a table that are shown."""

MOST_COLUMNS: Final = 30
"""Columns of a table that are shown."""

_MOST_PIXELS: Final = 32 << 20  # four bytes each in a browser's memory, whatever the file's size is
_PNG: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_SHOWN: Final = frozenset({"text/plain", "application/json", "image/png"})


@dataclass(frozen=True, slots=True)
class Table:
    """A table's first rows and columns as text; `rows` begin with their place in the index, `told` says how many there are."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    told: str


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One thing to show, the `number`th of its run; `also` are the kinds that are not shown."""

    number: int
    table: Table | None
    picture: bool
    text: str
    also: Sequence[str]


def exhibits(view: ExecutionView) -> list[Exhibit]:
    """What there is to show of a run, in its order; what the result says already is left out."""
    found = [_exhibit(number, one, view) for number, one in enumerate(view.results)]
    return [one for one in found if one.table or one.picture or one.text or one.also]


def _exhibit(number: int, one: BundleOut, view: ExecutionView) -> Exhibit:
    table = _table(one)
    picture = "image/png" in one.data or one.metadata.file is not None
    text = "" if table or picture else str(one.data.get("text/plain") or "")
    also = [kind for kind in one.data if kind not in _SHOWN or (kind == "application/json" and table is None)]
    return Exhibit(number, table, picture, "" if text == view.result else text, also)


def words(view: ExecutionView) -> Iterator[str]:
    """The same in a line each, for a terminal."""
    for one in exhibits(view):
        file = view.results[one.number].metadata.file
        said = [f"table: {one.table.told}"] if one.table else []
        said += [f"picture: {file or 'image/png'}"] if one.picture else []
        said += [one.text] if one.text else []
        said += [f"in the answer as JSON: {', '.join(one.also)}"] if one.also else []
        yield "; ".join(said)


def picture_of(view: ExecutionView, number: int) -> bytes | str | None:
    """A run's picture, or the name of the output file that holds it; None where there is none."""
    if number >= len(view.results):
        return None
    one = view.results[number]
    if one.metadata.file is not None:
        return one.metadata.file
    try:
        return base64.b64decode(str(one.data.get("image/png") or ""), validate=True) or None
    except binascii.Error:
        return None


def is_shown(png: bytes) -> bool:
    """Whether it says of itself that it is a PNG, and that it is no larger than a screen can hold."""
    head = png[: len(_PNG) + 8]
    if not head.startswith(_PNG) or len(head) < len(_PNG) + 8:
        return False
    width, height = struct.unpack(">II", head[len(_PNG) :])
    return bool(0 < width * height <= _MOST_PIXELS)


def _table(one: BundleOut) -> Table | None:
    """The bundle's JSON as `to_json(orient="split")` writes a table; None for any other."""
    told = one.data.get("application/json")
    if not isinstance(told, dict):
        return None
    columns, index, data = (_list(told.get(name)) for name in ("columns", "index", "data"))
    if columns is None or index is None or data is None or len(index) != len(data):
        return None
    rows = [
        (_cell(name), *map(_cell, row[:MOST_COLUMNS]))
        for name, row in zip(index[:MOST_ROWS], data, strict=False)
        if isinstance(row, list)
    ]
    total = one.metadata.rows.total if one.metadata.rows else len(data)
    told_ = f"{total:,} rows, {len(columns):,} columns"
    cut = total > len(rows) or len(columns) > MOST_COLUMNS
    here = f"; the first {len(rows):,} rows" + (f" and {MOST_COLUMNS} columns" if len(columns) > MOST_COLUMNS else "")
    return Table([*map(_cell, columns[:MOST_COLUMNS])], rows, told_ + (here if cut else ""))


def _list(value: JsonValue) -> list[JsonValue] | None:
    return value if isinstance(value, list) else None


def _cell(value: JsonValue) -> str:
    return "" if value is None else str(value)
