"""A part of the guest: what both of its processes need, in place of libraries that would take too long to import."""

from __future__ import annotations

import _ctypes  # the whole of ctypes, as that of signal, json, types and weakref, is for those who have the time
import os
import sys
from typing import TYPE_CHECKING

try:
    from _json import encode_basestring, encode_basestring_ascii
except ImportError:  # an interpreter without its faster half of json
    from json.encoder import encode_basestring, encode_basestring_ascii

from sandbox.guest_protocol import ERRNO_END, HOME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

PARTS: dict[str, str] = {}  # the texts of what only some programs need; put in by `bundle`
TOLD_DESCRIPTOR = 201  # in a cell: the way to say that a run is over


def type_name(value: object) -> str:
    """The name of its class, whatever that says of itself."""
    return cut(type.__dict__["__name__"].__get__(type(value)), 200)


def cut(text: str, limit: int) -> str:
    """The text as encodable UTF-8 of at most `limit` bytes, its middle left out where it is longer."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    mark = b"[...]"
    half = max((limit - len(mark)) // 2, 0)
    kept = data[: limit - len(mark) - half] + mark + data[len(data) - half :] if limit > len(mark) else data[:limit]
    return kept.decode("utf-8", "ignore")


quoted, quoted_ascii = encode_basestring, encode_basestring_ascii
_C = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type] # None is all that is loaded


def c_library(name: str, *arguments: object) -> int:
    """Call a function of the C library that takes and returns whole numbers."""
    said: int = _ctypes.call_cdeclfunction(_ctypes.dlsym(_C, name), arguments)
    return said


def give_back() -> None:
    """Let go of the memory that nothing is in: each fork would copy the way to it, and take it down again."""
    try:
        c_library("malloc_trim", 0)
    except OSError:
        return  # the C library of this image has nothing of the kind


def need(part: str) -> None:
    """Compile a part that came as text, the first time that it is needed."""
    text = PARTS.pop(part, None)
    if text is not None:
        exec(compile(text, part, "exec", dont_inherit=True), globals())


def library(name: str) -> ModuleType:
    """Import from the library, also where files of the program's have such names: it did not ask for this."""
    path = sys.path
    sys.path = [one for one in path if one != HOME]
    try:
        return __import__(name)
    finally:
        sys.path = path


def as_json(record: Mapping[str, str | float | list[int] | None]) -> bytes:
    """A flat record as JSON."""
    return ("{" + ", ".join([f'"{name}": {_word(value)}' for name, value in record.items()]) + "}").encode()


def _word(value: str | float | list[int] | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted_ascii(value) if isinstance(value, str) else repr(value)


def errno_of(error: BaseException) -> int | None:
    """The kernel's number of an operating system error, whatever the program made of its attributes."""
    if not issubclass(type(error), OSError):
        return None
    number: object = OSError.__dict__["errno"].__get__(error)
    return number if type(number) is int and 0 < number < ERRNO_END else None


def do_nothing(*_: object) -> None:
    """Do nothing, where something has to be called."""


CELL = len(sys.argv) > 1 and __name__ == "__main__"
