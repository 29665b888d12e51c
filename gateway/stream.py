"""What is told of an execution while it goes on: events, each with the position in the execution up to which it tells.

Pure. A position counts what was told, not events: whoever comes back with one is told exactly the rest, in whatever
pieces, whether the program still runs, ran in a gateway that is gone, or ended long ago.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from pydantic import JsonValue

from gateway.lifecycle import Attempt
from gateway.wire_answers import AttemptInfo, ExecutionView, TaskInfo
from sandbox.live import Live, StreamName

ID: Final = r"^[0-9]{1,9}\.[0-3](\.[0-9]{1,12}){2}$"
"""What the id of an event looks like."""

HEARTBEAT: Final = b":\n\n"
"""A comment, so that a connection on which nothing happens is not taken for a dead one."""

OPENING: Final = b"retry: 1000\n\n"
"""How many milliseconds a client waits before it connects again."""

MOST_CHARACTERS: Final = 1 << 14
"""Of output in one event."""

MOST_RESULT_CHARACTERS: Final = 1 << 16
"""Of JSON; a larger result is fetched."""

Name: TypeAlias = Literal["queued", "started", "stdout", "stderr", "result", "finished"]
_QUEUED, _RUNNING, _RESULT, _FINISHED = range(4)
_STREAMS: Final[tuple[StreamName, ...]] = ("stdout", "stderr")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far an execution was told: which attempt, which stage of it, how many characters of each stream."""

    attempt: int = -1
    stage: int = _QUEUED
    stdout: int = 0
    stderr: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.stage}.{self.stdout}.{self.stderr}"

    @property
    def over(self) -> bool:
        """Whether there is nothing more to tell."""
        return self.stage == _FINISHED


BEGINNING: Final = Position()


def position_of(text: str) -> Position | None:
    """The position that an event's id is; None for what never was one."""
    return Position(*map(int, text.split("."))) if re.fullmatch(ID, text, re.ASCII) else None


def framed(name: Name, position: Position, data: dict[str, JsonValue]) -> bytes:
    """An event as it is sent. The data are one line of ASCII, whatever is in them: no program can end a frame."""
    return f"id: {position}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode("ascii")


@dataclass(slots=True)
class _Text:
    """One stream of one attempt, read as it grows, as the text that the answer will show."""

    read_bytes: int = 0
    characters: int = 0
    decoder: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    def more(self, live: Live, stream: StreamName) -> str | None:
        """The text that came meanwhile, some of it; None where nothing did."""
        data = live.after(stream, self.read_bytes)
        if not data:
            return None
        self.read_bytes += len(data)
        text = self.decoder.decode(data)
        self.characters += len(text)
        return text


class Teller:
    """Tells one listener what it has not heard yet."""

    def __init__(self, after: Position) -> None:
        self._at = after
        self._reading = -1
        self._texts: dict[StreamName, _Text] = {}

    def queued(self) -> Iterator[bytes]:
        """That it is recorded, and will be answered."""
        if self._at.attempt < 0:
            self._at = Position(0)
            yield framed("queued", self._at, {})

    def live(self, attempts: Sequence[Attempt], live: Live) -> Iterator[bytes]:
        """What is known of the attempts up to the one that runs, and what that one wrote so far."""
        for attempt in attempts[: live.attempt]:
            yield from self._started(AttemptInfo.model_construct(number=attempt.number, lane=attempt.lane))
        if self._reading != live.attempt:
            self._reading, self._texts = live.attempt, {stream: _Text() for stream in _STREAMS}
        if self._at.attempt == live.attempt and self._at.stage == _RUNNING:
            for stream, text in self._texts.items():
                yield from self._grown(live, stream, text)

    def _grown(self, live: Live, stream: StreamName, text: _Text) -> Iterator[bytes]:
        while (piece := text.more(live, stream)) is not None:
            known = getattr(self._at, stream)
            new = piece[max(len(piece) - (text.characters - known), 0) :] if text.characters > known else ""
            yield from self._wrote(stream, new)

    def answered(self, view: ExecutionView, result: str) -> Iterator[bytes]:
        """The rest of what was answered, up to its end; `result` is that of the view, as JSON."""
        yield from self.queued()
        attempts = [] if view.source == "record" else view.attempts  # of another execution
        for attempt in attempts:
            yield from self._started(attempt)
        last = len(attempts)
        if self._at.attempt != last or self._at.stage < _RUNNING:
            self._at = Position(last, _RUNNING)  # it was answered without any run, or the listener made up where it is
        if self._at.stage == _RUNNING:
            for stream in _STREAMS:
                text: str = getattr(view, stream)
                for start in range(getattr(self._at, stream), len(text), MOST_CHARACTERS):
                    yield from self._wrote(stream, text[start : start + MOST_CHARACTERS])
            self._at = replace(self._at, stage=_RESULT)
            yield framed("result", self._at, self._result(view, result))

    def finished(self, view: ExecutionView, task: TaskInfo) -> bytes:
        """That it is over, how, and whose turn it is now."""
        self._at = replace(self._at, stage=_FINISHED)
        data: dict[str, JsonValue] = {
            "attempt": self._at.attempt,
            "status": view.status.value,
            "exit_code": view.exit_code,
            "signal": view.signal,
            "error": view.error.model_dump(mode="json", exclude={"traceback"}) if view.error else None,
            "retryable": view.retryable,
            "task": task.model_dump(mode="json"),
            "href": f"/v1/executions/{view.id}",
        }
        return framed("finished", self._at, data)

    def _started(self, attempt: AttemptInfo) -> Iterator[bytes]:
        begun = Position(attempt.number, _RUNNING)
        if self._at < begun:
            self._at = begun
            yield framed("started", begun, {"attempt": attempt.number, "lane": attempt.lane.value})

    def _wrote(self, stream: StreamName, text: str) -> Iterator[bytes]:
        if text:
            so_far = getattr(self._at, stream) + len(text)
            self._at = replace(self._at, stdout=so_far) if stream == "stdout" else replace(self._at, stderr=so_far)
            yield framed(stream, self._at, {"attempt": self._at.attempt, "text": text})

    def _result(self, view: ExecutionView, result: str) -> dict[str, JsonValue]:
        fits = len(result) <= MOST_RESULT_CHARACTERS
        return {
            "attempt": self._at.attempt,
            "result": view.result if fits else None,
            "result_form": view.result_form,
            "omitted": not fits,
        }
