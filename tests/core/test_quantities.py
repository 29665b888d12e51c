"""Quantities are read exactly or refused, and what is written reads back as the same number."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.quantities import (
    Cores,
    Seconds,
    Size,
    format_cores,
    format_keeping,
    format_seconds,
    format_size,
    parse_cores,
    parse_keeping,
    parse_seconds,
    parse_size,
    shown,
)


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: Cores | None = None
    memory: Size | None = None
    time: Seconds | None = None


@pytest.mark.parametrize(
    ("text", "cores"),
    [("500m", 0.5), ("2", 2.0), (2, 2.0), (0.5, 0.5), ("0.25", 0.25), ("1m", 0.001), ("1500m", 1.5), (1024, 1024.0)],
)
def test_cores(text: object, cores: float) -> None:
    assert parse_cores(text) == cores


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128Mi", 128 * 2**20),
        ("1Gi", 2**30),
        ("512Ki", 512 * 2**10),
        ("1Ti", 2**40),
        ("1k", 1000),
        ("1M", 10**6),
        ("2G", 2 * 10**9),
        ("1T", 10**12),
        (4096, 4096),
        (4096.0, 4096),
        ("4096", 4096),
        ("1.5Gi", 3 * 2**29),
        ("0.5Ki", 512),
        (1, 1),
    ],
)
def test_sizes(text: object, size: int) -> None:
    parsed = parse_size(text)
    assert parsed == size
    assert type(parsed) is int


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("24h", 86400.0),
        ("7d", 604800.0),
        (30, 30.0),
        (0.5, 0.5),
        ("1.5h", 5400.0),
        ("90", 90.0),
        ("0.1s", 0.1),
        ("366d", 366 * 86400.0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


NONSENSE: list[object] = [
    True,
    False,
    None,
    float("nan"),
    float("inf"),
    float("-inf"),
    [],
    {},
    b"1",
    "",
    " 1",
    "1 ",
    "1\n",
    "+1",
    "-1",
    "1e3",
    "0x10",
    "0755",
    "1_000",
    "1,5",
    ".5",
    "5.",
    "nan",
    "inf",
    "\u0663",  # an Arabic-Indic three, which is a digit to `int`
    "\uff11",  # a full-width one
    "1" * 33,
    "1Q",
    "1 Mi",
    "one",
]


@pytest.mark.parametrize("parse", [parse_cores, parse_size, parse_seconds])
@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_nonsense_is_refused_by_all(parse: Callable[[object], float], nonsense: object) -> None:
    with pytest.raises(ValueError, match=r"is not (an amount of cores|a size|a duration) \(write "):
        parse(nonsense)


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (parse_size, "1GB", "'1GB' is not a size (write 512Mi, 2Gi)"),
        (parse_size, "512K", "'512K' is not a size (write 512Mi, 2Gi)"),
        (parse_size, "128m", "'128m' is not a size (write 512Mi, 2Gi)"),
        (parse_size, "0.1", "'0.1' is less than 1 byte, the least that makes sense for a size"),
        (parse_size, 1.5, "1.5 is not a whole number of bytes (write 512Mi, 2Gi)"),
        (parse_size, 0, "0 is less than 1 byte, the least that makes sense for a size"),
        (parse_size, -1, "-1 is less than 1 byte, the least that makes sense for a size"),
        (parse_size, "1025Ti", "'1025Ti' is more than 1024Ti, the most that makes sense for a size"),
        pytest.param(
            parse_size,
            10**5000,
            "a number of many digits is more than 1024Ti, the most that makes sense for a size",
            id="huge",
        ),
        (parse_cores, "1k", "'1k' is not an amount of cores (write 500m, 2)"),
        (parse_cores, 0, "0 is less than 1m, the least that makes sense for an amount of cores"),
        (parse_cores, 1e300, "1e+300 is more than 1024, the most that makes sense for an amount of cores"),
        (parse_seconds, "1h30m", "'1h30m' is not a duration (write 500ms, 30s, 5m, 24h, 7d)"),
        (parse_seconds, "1:30", "'1:30' is not a duration (write 500ms, 30s, 5m, 24h, 7d)"),
        (parse_seconds, "0s", "'0s' is less than 1ms, the least that makes sense for a duration"),
        (parse_seconds, "367d", "'367d' is more than 366d, the most that makes sense for a duration"),
        (
            parse_seconds,
            "9" * 40,
            f"'{'9' * 32}'... is not a duration (write 500ms, 30s, 5m, 24h, 7d)",
        ),
    ],
)
def test_a_refusal_says_what_to_write(parse: Callable[[object], float], text: object, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        parse(text)


@given(st.floats(min_value=0.001, max_value=1024))
def test_cores_round_trip(cores: float) -> None:
    assert parse_cores(format_cores(cores)) == cores


@given(st.integers(min_value=1, max_value=2**50))
def test_sizes_round_trip(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.floats(min_value=0.001, max_value=366 * 86400))
def test_durations_round_trip(seconds: float) -> None:
    assert parse_seconds(format_seconds(seconds)) == seconds


@given(st.integers(min_value=1, max_value=366), st.sampled_from(["d", "h", "m", "s", "ms"]))
def test_whole_durations_are_written_as_people_write_them(count: int, unit: str) -> None:
    text = format_seconds(parse_seconds(f"{count}{unit}"))
    assert re.fullmatch(r"[0-9]+(d|h|m|s|ms)", text)
    assert len(text) <= len(f"{count}{unit}") + 1


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.binary()))
def test_anything_else_is_a_value_error(thing: object) -> None:
    for parse in (parse_cores, parse_size, parse_seconds):
        try:
            assert parse(thing) > 0
        except ValueError as error:
            assert str(error).isprintable()  # noqa: PT017  # either outcome is right


@pytest.mark.parametrize(
    ("write", "amount", "text"),
    [
        (format_cores, 2.0, "2"),
        (format_cores, 0.5, "500m"),
        (format_cores, 1 / 3, "0.3333333333333333"),
        (format_cores, 0.0, "0"),
        (format_size, 2**30, "1Gi"),
        (format_size, 1536 * 2**20, "1536Mi"),
        (format_size, 10**6, "1M"),
        (format_size, 1001, "1001"),
        (format_size, 0, "0"),
        (format_seconds, 0.5, "500ms"),
        (format_seconds, 90.0, "90s"),
        (format_seconds, 1800.0, "30m"),
        (format_seconds, 86400.0, "1d"),
        (format_seconds, 0.0, "0s"),
        (format_seconds, 0.0001, "0.0001s"),
    ],
)
def test_amounts_in_messages(write: Callable[[float], str], amount: float, text: str) -> None:
    assert write(amount) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "nothing"),
        (10**30, "a number of many digits"),
        ("a\n\x1b[31mred", r"'a\n\x1b[31mred'"),
        ("\ud800", r"'\ud800'"),
        ("x" * 33, f"'{'x' * 32}'..."),
        ([1], "a list"),
        ({}, "a map"),
        (b"x", "this"),
    ],
)
def test_a_quoted_value_is_short_and_harmless(value: object, text: str) -> None:
    assert shown(value) == text


def test_the_types_work_in_http_models() -> None:
    request = Request.model_validate_json('{"cpu": "500m", "memory": 1048576, "time": "30s"}')
    assert request == Request(cpu=0.5, memory=2**20, time=30.0)
    assert Request.model_validate_json('{"memory": null}').memory is None
    for body in ('{"memory": true}', '{"memory": 1e400}', '{"memory": -1}', '{"cpu": NaN}', '{"time": "\\u0663s"}'):
        with pytest.raises(ValidationError) as caught:
            Request.model_validate_json(body)
        assert caught.value.errors()[0]["loc"]


def test_editors_are_told_the_pattern() -> None:
    schema = Request.model_json_schema()["properties"]["memory"]["anyOf"][0]["anyOf"]
    text = next(option for option in schema if option["type"] == "string")
    assert re.search(text["pattern"], "128Mi")
    assert not re.search(text["pattern"], "1GB")


@pytest.mark.parametrize(
    ("given", "seconds"), [("30d", 2592000.0), ("forever", None), ("36600d", 3162240000.0), (60, 60.0), (None, None)]
)
def test_a_time_to_keep_may_be_for_ever(given: object, seconds: float | None) -> None:
    assert parse_keeping(given) == seconds
    assert parse_keeping(format_keeping(seconds)) == seconds


@pytest.mark.parametrize("given", ["Forever", "never", "", "36601d", "0s", "-1d", True, []])
def test_what_is_no_time_to_keep_is_refused_with_what_to_write(given: object) -> None:
    with pytest.raises(ValueError, match=r"time to keep"):
        parse_keeping(given)
