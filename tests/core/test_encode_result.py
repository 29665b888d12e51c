"""The value of a program's last expression: JSON where JSON can hold it, else a bounded repr."""

from __future__ import annotations

import collections
import enum
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest_value import encode_result

LIMIT = 1000
Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - the kind that programs have


class Colour(enum.IntEnum):
    RED = 1


class Unprintable:
    def __repr__(self) -> str:
        raise SystemExit(1)


class Liar(dict[str, int]):
    def items(self) -> object:  # type: ignore[override]
        raise KeyboardInterrupt


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ("é\0\x1b", '"é\\u0000\\u001b"'),
        ([1, (2, 3)], "[1, [2, 3]]"),
        ({"a": {True: 2, None: 3}}, '{"a": {"true": 2, "null": 3}}'),
        ({1: "a", 2.5: "b", None: "c"}, '{"1": "a", "2.5": "b", "null": "c"}'),
        (collections.Counter("aab"), '{"a": 2, "b": 1}'),
        (Point(1, 2), "[1, 2]"),
        (Colour.RED, "1"),
        (nested(100), "[" * 100 + "1" + "]" * 100),
    ],
)
def test_what_json_can_hold_is_json(value: object, text: str) -> None:
    assert encode_result(value, LIMIT) == ("json", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1, 2}, "{1, 2}"),
        (math.nan, "nan"),
        ([math.inf], "[inf]"),
        (b"\xff", "b'\\xff'"),
        ("\ud800", "'\\ud800'"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ({1: "a", "1": "b"}, "{1: 'a', '1': 'b'}"),
        (cyclic(), "[[...]]"),
        (nested(101), "[" * 101 + "1" + "]" * 101),
        (nested(100_000), "<unprintable list>"),
        (Unprintable(), "<unprintable Unprintable>"),
        ([Unprintable()], "<unprintable list>"),
        (Liar(a=1), "{'a': 1}"),
    ],
)
def test_what_json_cannot_hold_is_its_repr(value: object, text: str) -> None:
    assert encode_result(value, LIMIT) == ("repr", text)


def test_what_cannot_even_be_shown_is_named() -> None:
    assert encode_result(10**5000, LIMIT * 10) == ("repr", "<unprintable int>")


@pytest.mark.parametrize(
    "value", ["x" * 2000, list(range(10**6)), {number: number for number in range(10**5)}, [["x" * 300] * 5] * 100]
)
@pytest.mark.parametrize("limit", [0, 1, 7, 1000])
def test_what_does_not_fit_is_cut(value: object, limit: int) -> None:
    form, text = encode_result(value, limit)
    assert form == "repr"
    assert len(text.encode()) <= limit


def test_a_type_cannot_forge_its_name() -> None:
    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise ValueError

    class Forged(metaclass=Meta):
        def __repr__(self) -> str:
            raise ValueError

    assert encode_result(Forged(), LIMIT) == ("repr", "<unprintable Forged>")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(json_values, st.integers(min_value=0, max_value=300))
def test_the_bound_holds_and_json_means_the_value(value: object, limit: int) -> None:
    form, text = encode_result(value, limit)
    assert len(text.encode()) <= limit
    if form == "json":
        assert json.loads(text) == value
