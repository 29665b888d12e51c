"""The format of event streams as its specification reads it, to the letter: lines end in CR, LF or both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Told:
    """One event as a client that keeps to the specification gets it. A comment is one without a name."""

    name: str
    id: str = ""
    data: dict = field(default_factory=dict)  # type: ignore[type-arg]

    @property
    def text(self) -> str:
        return str(self.data.get("text", ""))


def told(pieces: Iterable[bytes]) -> Iterator[Told]:
    """The events of a stream, as they come."""
    rest = ""
    fields: dict[str, str] = {}
    for piece in pieces:
        *lines, rest = re.split("\r\n|\r|\n", rest + piece.decode())
        for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                if "data" in fields:
                    yield Told(fields["event"], fields["id"], json.loads(fields["data"]))
                fields = {}
            elif not name:
                yield Told("")
            elif name == "data" and "data" in fields:
                fields["data"] += "\n" + value
            else:
                assert name in {"id", "event", "data", "retry"}, "a program wrote into the frame"
                assert "\0" not in value
                fields[name] = value


def texts(events: Iterable[Told]) -> tuple[str, str]:
    """What was told of stdout and of stderr of the last attempt, put together."""
    said = {"stdout": "", "stderr": ""}
    for event in events:
        if event.name == "started":
            said = {"stdout": "", "stderr": ""}
        elif event.name in said:
            said[event.name] += event.text
    return said["stdout"], said["stderr"]
