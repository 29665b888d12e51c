"""What a notebook would show of a run: tables from their JSON, PNGs of a screen's size, and nothing else."""

from __future__ import annotations

import base64
import struct

import pytest
from pydantic import JsonValue

from gateway.exhibits import MOST_COLUMNS, MOST_ROWS, exhibits, is_shown, picture_of, words
from gateway.wire_answers import BundleMetadata, BundleOut, ExecutionView, ShownRows

HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def png(width: int, height: int) -> bytes:
    return HEAD + struct.pack(">II", width, height) + b"\x08\x06\x00\x00\x00"


def view(
    *data: dict[str, JsonValue], metadata: BundleMetadata | None = None, result: JsonValue = None
) -> ExecutionView:
    bundles = [BundleOut.model_validate({"data": one, "metadata": metadata or BundleMetadata()}) for one in data]
    return ExecutionView.model_construct(results=bundles, result=result)


def split(columns: JsonValue, index: JsonValue, data: JsonValue) -> dict[str, JsonValue]:
    return {"application/json": {"columns": columns, "index": index, "data": data}}


def test_a_table_is_its_json_and_says_how_much_of_it_is_shown() -> None:
    (one,) = exhibits(view(split(["a", "<b>"], [0, "x"], [[1, None], [{"y": 2}, "<i>"]])))
    assert one.table is not None
    assert one.table.columns == ["a", "<b>"]
    assert list(one.table.rows) == [("0", "1", ""), ("x", "{'y': 2}", "<i>")]
    assert one.table.told == "2 rows, 2 columns"
    many = split([f"c{n}" for n in range(400)], list(range(500)), [list(range(400))] * 500)
    (one,) = exhibits(view(many, metadata=BundleMetadata(rows=ShownRows(shown=500, total=20_000))))
    assert one.table is not None
    assert (len(one.table.rows), len(one.table.columns), len(one.table.rows[0])) == (50, 30, 31)
    assert (MOST_ROWS, MOST_COLUMNS) == (50, 30)
    assert one.table.told == "20,000 rows, 400 columns; the first 50 rows and 30 columns"


@pytest.mark.parametrize(
    "told",
    [
        split("abc", [0], [[1]]),
        split(["a"], {"0": 1}, [[1]]),
        split(["a"], [0, 1], [[1]]),
        {"application/json": [1, 2]},
        {"application/json": {"columns": ["a"]}},
        {"application/json": "text"},
    ],
)
def test_json_that_is_no_table_is_named_and_not_shown(told: dict[str, JsonValue]) -> None:
    (one,) = exhibits(view(told))
    assert (one.table, list(one.also)) == (None, ["application/json"])


def test_rows_that_are_none_are_left_out() -> None:
    (one,) = exhibits(view(split(["a"], [0, 1], ["row", [1, 2]])))
    assert one.table is not None
    assert list(one.table.rows) == [("1", "1", "2")]


def test_what_could_act_is_named_and_not_shown() -> None:
    (one,) = exhibits(view({"text/plain": "x", "text/html": "<script>", "image/svg+xml": "<svg/>"}, result="x"))
    assert (one.table, one.picture, one.text, list(one.also)) == (None, False, "", ["text/html", "image/svg+xml"])
    assert exhibits(view({"text/plain": "x"}, result="x")) == [], "the result said it"
    assert list(words(view({"text/plain": "980 more figures"}))) == ["980 more figures"]


def test_a_picture_is_in_the_answer_or_in_a_file_of_the_run() -> None:
    shown = view({"image/png": base64.b64encode(png(9, 9)).decode()}, {"text/plain": "f"}, {"image/png": "?"})
    assert [one.picture for one in exhibits(shown)] == [True, False, True]
    assert [picture_of(shown, number) for number in range(4)] == [png(9, 9), None, None, None]
    figure = view({"text/plain": "<Figure>"}, metadata=BundleMetadata(file="figure-1.png"))
    assert picture_of(figure, 0) == "figure-1.png"
    assert list(words(figure)) == ["picture: figure-1.png"]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (png(640, 480), True),
        (png(8_192, 4_096), True),
        (png(60_000, 60_000), False),
        (png(1, 1 << 31), False),
        (png(0, 480), False),
        (HEAD, False),
        (b"", False),
        (b"<script>alert(1)</script>", False),
        (b"\xff\xd8\xff\xe0", False),
        (b"GIF89a" + png(9, 9), False),
        (b"\x89PNG\r\n\x1a\n<svg xmlns='http://www.w3.org/2000/svg'/>", False),
    ],
)
def test_a_picture_is_a_png_that_a_screen_can_hold(data: bytes, shown: bool) -> None:  # noqa: FBT001  # a row of the table
    assert is_shown(data) is shown
