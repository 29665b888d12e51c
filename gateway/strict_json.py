"""Bytes to a JSON value, or a message that says where it is wrong.

Owns what RFC 8259 leaves to the reader: UTF-8 only, every name once, only text and numbers that every other reader
understands alike. Pure; must not know what the value is for.
"""

from __future__ import annotations

import json
import math
import re

from pydantic import JsonValue

from gateway.errors import MalformedRequest

MAX_DEPTH = 100
MAX_DIGITS = 4300  # what CPython turns into an int at most
MAX_VALUES = 250_000  # a body of 8 MiB can hold millions, and the whole gateway would wait while they are built

_STRING = r'"(?:[^"\\]|\\.)*+"?'
_TOO_MANY_DIGITS = rf"[0-9]{{{MAX_DIGITS + 1}}}"
# All that stands for characters. Where it cannot go on there is half of a surrogate pair.
_CHARACTERS = re.compile(
    r"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+"
)


class _Refused(ValueError):
    """Valid to the parser, not to us. `token` is the regular expression that finds it."""

    def __init__(self, why: str, token: str | None = None) -> None:
        self.why = why
        self.token = token
        super().__init__(why)


def parse(body: bytes) -> JsonValue:
    """Read a JSON document; raises `MalformedRequest` with the line and the column where they are known."""
    text = _decoded(body)
    _refuse_number_of_values(text)
    try:
        value: JsonValue = _DECODER.decode(text)
    except _Refused as refused:
        raise _malformed(refused.why, text, _position(text, refused.token)) from None
    except json.JSONDecodeError as error:
        raise _malformed(error.msg, text, error.pos) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # from int()
        why = f"a number has more than {MAX_DIGITS} digits"
        raise _malformed(why, text, _position(text, _TOO_MANY_DIGITS)) from None
    characters = _CHARACTERS.match(text)
    if characters and characters.end() < len(text):
        raise _malformed("half of a surrogate pair is not a character", text, characters.end())
    _refuse_depth(text, value)
    return value


def _decoded(body: bytes) -> str:
    if not body:
        raise MalformedRequest("The body is empty; it must be a JSON document.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"The body is not UTF-8: byte {error.start} ({error.reason}).") from None
    if text.startswith("\ufeff"):
        raise MalformedRequest("The body must not begin with a byte order mark (BOM).")
    return text


def _each_name_once(pairs: list[tuple[str, JsonValue]]) -> JsonValue:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Refused(f"the name {name[:64]!a} appears twice in one object")
            seen.add(name)
    return value


def _no_constant(name: str) -> JsonValue:
    raise _Refused(f"{name} is not a JSON number", re.escape(name))


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Refused("a number is larger than any floating-point number", re.escape(text))
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_each_name_once, parse_constant=_no_constant, parse_float=_finite)


def _refuse_number_of_values(text: str) -> None:
    if _separators(text) > MAX_VALUES and _separators(re.sub(_STRING, "", text)) > MAX_VALUES:
        raise MalformedRequest(f"The body has more than {MAX_VALUES} values; bulk data belongs into `files`.")


def _separators(text: str) -> int:
    return text.count(",") + text.count("[") + text.count("{")


def _refuse_depth(text: str, value: JsonValue) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
    if level:
        raise _too_deep()


def _position(text: str, token: str | None) -> int | None:
    """Where the token stands outside of strings."""
    if token is None:
        return None
    found = re.finditer(f"{_STRING}|{token}", text)
    return next((match.start() for match in found if not match[0].startswith('"')), None)


def _malformed(why: str, text: str, position: int | None) -> MalformedRequest:
    if position is None:
        return MalformedRequest(f"The body is not acceptable JSON: {why}.")
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return MalformedRequest(f"The body is not acceptable JSON: {why} (line {line}, column {column}).")


def _too_deep() -> MalformedRequest:
    return MalformedRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
