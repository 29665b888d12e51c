"""The listener's side of a stream of events. Must not know a terminal, nor where the bytes come from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

_LONGEST_LINE: Final = 4 << 20  # bytes; a gateway's are much shorter


@dataclass(frozen=True, slots=True)
class Heard:
    """One event. `id` is what to come back with."""

    name: str
    id: str
    data: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What of an output stream it tells."""
        text = self.data.get("text")
        return text if isinstance(text, str) else ""

    @property
    def attempt(self) -> int:
        """The attempt that it is about."""
        number = self.data.get("attempt")
        return number if isinstance(number, int) else 0


def heard(pieces: Iterable[bytes]) -> Iterator[Heard]:
    """The events in what a gateway sends, each as soon as it is whole; raises `ValueError` for what no gateway sends."""
    rest = b""
    fields: dict[bytes, bytes] = {}
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line:
                name, _, value = line.partition(b": ")
                fields[name] = value
                continue
            if b"data" in fields:
                yield _event(fields)
            fields = {}
        if len(rest) > _LONGEST_LINE:
            raise ValueError("a line that does not end")


def _event(fields: dict[bytes, bytes]) -> Heard:
    data: JsonValue = json.loads(fields[b"data"])
    if not isinstance(data, dict):
        raise ValueError("data that are no object")  # noqa: TRY004  # one kind of error for what is sent wrong
    return Heard(fields.get(b"event", b"").decode(), fields.get(b"id", b"").decode(), data)
