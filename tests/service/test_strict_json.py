"""What is not one plain UTF-8 JSON document is refused, with its place."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MalformedRequest
from gateway.strict_json import MAX_DEPTH, MAX_DIGITS, MAX_VALUES, parse

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children),
    max_leaves=20,
)


@given(json_values, st.booleans())
def test_every_value_passes_as_the_standard_library_reads_it(value: object, escaped: bool) -> None:  # noqa: FBT001
    document = json.dumps(value, ensure_ascii=escaped).encode()
    assert parse(document) == json.loads(document)


@given(st.binary())
def test_any_bytes_are_a_value_or_malformed(body: bytes) -> None:
    with contextlib.suppress(MalformedRequest):
        parse(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b"{", "line 1, column 2"),
        (b'{"code": "x",\n "inputs": }', "line 2, column 12"),
        (b"{'code': 1}", "line 1, column 2"),
        (b"[1,]", "line 1"),
        (b"1 2", "line 1, column 3"),
        (b'"\n"', "line 1, column 2"),
        (b'"\\x41"', "line 1"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'"\xff"', "byte 1"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),  # a surrogate, encoded
        (b'["NaN", NaN]', "NaN is not a JSON number (line 1, column 9)"),
        (b'{"x":\n-Infinity}', "line 2, column 1"),
        (b"[Infinity]", "column 2"),
        (b'["1e999", 1e999]', "larger than any floating-point number (line 1, column 11)"),
        (b'{"code": "a", "code": "b"}', "'code' appears twice"),
        (b'[{"a": {"b": 1, "\\u0062": 2}}]', "'b' appears twice"),
        (b'"\\ud800"', "half of a surrogate pair is not a character (line 1, column 2)"),
        (b'["ok \\ud83d\\ude00", "\\udc00"]', "column 22"),
        (b'"\\ud800\\u0041"', "column 2"),
        (b'"\\ud800\\ud800\\udc00"', "column 2"),
        (b"[" * 101 + b"]" * 101, "deeper than 100"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100"),
        (b"[" * 200_000, "deeper than 100"),
        (b"[" + b"[]," * MAX_VALUES + b"[]]", "more than 250000 values"),
        (b'"' + b'\\"' * MAX_VALUES + b"," * MAX_VALUES, "Unterminated string"),
        (b'{"n": 1' + b"0" * MAX_DIGITS + b"}", "more than 4300 digits (line 1, column 7)"),
    ],
)
def test_refused_with_its_place(body: bytes, why: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse(body)
    assert why in caught.value.detail
    assert len(caught.value.detail) < 300


def test_a_repeated_name_is_quoted_short_and_safe() -> None:
    name = "\\u001b[2J" + "x" * 10_000
    with pytest.raises(MalformedRequest) as caught:
        parse(f'{{"{name}": 1, "{name}": 2}}'.encode())
    assert "\x1b" not in caught.value.detail
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        b'"' + b"[" * 1000 + b'"',
        b'["' + b"a,b," * MAX_VALUES + b'"]',
        b"[" + b"[]," * 1000 + b"[]]",
        b'"\\ud83d\\ude00 \\\\ud800 \\u0000"',
        b"9" * MAX_DIGITS,
        b" 1e308 ",
    ],
)
def test_the_largest_that_is_fine_passes(body: bytes) -> None:
    assert parse(body) == json.loads(body)
