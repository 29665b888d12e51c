"""How a line of the log looks: as text for people, or as JSON for machines. One event is one line, whatever is in it.

What agents and engines say can stand in a message: control characters and what turns text around are escaped, and no line
is longer than a bound.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Final

from gateway.circumstances import REQUEST, WORK
from gateway.work import Work

LONGEST_MESSAGE: Final = 4 << 10
"""Characters of a message, and of each of its fields."""

LONGEST_TRACEBACK: Final = 16 << 10
"""Characters of a traceback: its last ones, where the error stands."""

_PLACE: Final = re.compile(r"%[-#0 +]*[\d.*]*[a-zA-Z]|%%")
_NOT_A_WORD: Final = re.compile(r"[^a-z0-9]+")
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class TextFormatter(logging.Formatter):
    """The usual text. A traceback follows its line, each of its lines indented, so that none looks like an event."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        """Escape what is no printable text."""
        record.message = shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802  # as above
        """Show the end of a traceback."""
        lines = super().formatException(ei)[-LONGEST_TRACEBACK:].split("\n")  # type: ignore[arg-type]
        return "\n".join(f"  {shown(line)}" for line in lines)


class JsonFormatter(logging.Formatter):
    """A JSON object; what is unknown is left out. `event` is the message without what varies in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line, in ASCII."""
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": _event(record),
            "logger": record.name,
            "message": record.getMessage()[:LONGEST_MESSAGE],
        }
        line |= _circumstances()
        for name, value in getattr(record, "fields", {}).items():
            line[name] = value[:LONGEST_MESSAGE] if isinstance(value, str) else value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[-LONGEST_TRACEBACK:]
        return json.dumps(line, separators=(",", ":"), default=repr)


def shown(text: str) -> str:
    """A text as one line of bounded length, in which nothing is invisible."""
    text = text[:LONGEST_MESSAGE]
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _event(record: logging.LogRecord) -> str:
    """The record's own name for it, or the words of its template."""
    named = getattr(record, "event", None)
    if isinstance(named, str):
        return named
    words = _PLACE.sub(" ", record.msg) if isinstance(record.msg, str) else type(record.msg).__name__
    return _NOT_A_WORD.sub("_", words.lower()).strip("_")[:64] or "message"


def _circumstances() -> dict[str, object]:
    request, work = REQUEST.get(), WORK.get()
    found: dict[str, object] = {}
    if request is not None:
        found["request_id"] = request.id
        if request.trace is not None:
            found["trace_id"] = request.trace.trace_id
        work = work or request.work
    return found | (_of(work) if work is not None else {})


def _of(work: Work) -> dict[str, object]:
    found: dict[str, object] = {
        "tenant": work.tenant,
        "task": work.task_id,
        "execution": work.id,
        "policy": work.profile.digest,
    }
    if work.execution.attempts:
        found["attempt"] = work.execution.attempts[-1].number
    if work.trace is not None:
        found["trace_id"] = work.trace.trace_id
    return found
