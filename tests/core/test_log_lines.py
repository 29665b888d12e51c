"""Promise: one event is one line of the log, of bounded length, whatever somebody managed to have written there."""

from __future__ import annotations

import json
import logging
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.log_lines import LONGEST_MESSAGE, LONGEST_TRACEBACK, JsonFormatter, TextFormatter

HOSTILE = "a\nFAKE\r\n2025-01-01 INFO gateway: all is well\x1b[2J\u202e\u2028\x00\ud800é"


def record(message: str, *values: object, error: BaseException | None = None, **more: object) -> logging.LogRecord:
    caught = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("gateway.test", logging.WARNING, "", 0, message, values, caught)
    made.__dict__.update(more)
    return made


def fail(message: str) -> None:
    raise ValueError(message)


def raised(message: str) -> ValueError:
    """An error with the traceback of having been raised."""
    with pytest.raises(ValueError, match="FAKE") as caught:
        fail(message)
    return caught.value


def parsed(line: str) -> dict[str, object]:
    assert "\n" not in line
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_a_line_of_json_says_when_what_and_how_bad() -> None:
    line = parsed(JsonFormatter().format(record("%s: attempt %d had no result (%s)", "exe_1", 2, HOSTILE)))
    assert line["message"] == f"exe_1: attempt 2 had no result ({HOSTILE})"
    assert (line["level"], line["logger"]) == ("warning", "gateway.test")
    assert line["event"] == "attempt_had_no_result"
    assert str(line["ts"]).endswith("Z")
    assert datetime.fromisoformat(str(line["ts"])).tzinfo is not None


def test_an_event_has_one_name_whatever_its_values_are() -> None:
    names = {
        parsed(JsonFormatter().format(record("%s: it took %.1f s", *values)))["event"]
        for values in [("a", 1.0), ("b", 2.0)]
    }
    assert names == {"it_took_s"}
    assert parsed(JsonFormatter().format(record("x", event="request", fields={"status": 200})))["status"] == 200


def test_a_traceback_stays_within_its_line_of_json() -> None:
    line = JsonFormatter().format(record("it failed", error=raised(HOSTILE * 5000)))
    assert "ValueError" not in parsed(line)["message"]  # type: ignore[operator]
    assert len(str(parsed(line)["traceback"])) == LONGEST_TRACEBACK
    assert len(line) < 12 * (LONGEST_TRACEBACK + LONGEST_MESSAGE), (
        "an escape of what is no character has twelve letters"
    )


def test_in_text_nothing_looks_like_another_event() -> None:
    first, *rest = TextFormatter().format(record("%s", HOSTILE, error=raised(HOSTILE))).split("\n")
    assert "WARNING gateway.test: a\\nFAKE\\r\\n2025" in first
    assert "\\x1b" in first
    assert "\\u202e" in first
    assert "é" in first
    assert rest
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
@given(st.text(max_size=200), st.integers(0, 40))
def test_any_message_is_one_bounded_line(formatter: logging.Formatter, text: str, times: int) -> None:
    line = formatter.format(record("%s", text * times))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert len(line) < 12 * LONGEST_MESSAGE + 500
