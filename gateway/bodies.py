"""What is kept beside the log, and the digests by which the log binds it.

Pure. A body can be deleted when its time is over; what is left of it is still bound. JSON is canonical here: sorted keys,
no spaces, so that the digest of a body can be computed again from what is stored, whatever version of Airlock wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.events import Answered, Event, Submitted
from gateway.records import StoredExecution
from gateway.requests import NOT_THE_PROGRAM
from gateway.wire import Answer

_Data: TypeAlias = Mapping[str, object]


class Body(StrEnum):
    """What retention can delete of an execution."""

    CODE = "code"  # the request: code, inputs, stdin, files that came in
    OUTPUT = "output"  # what the program wrote, returned and raised, and what the checks said of its text
    FILES = "files"  # what it left
    KEYS = "keys"  # the idempotency key that its caller gave


BIT: Final[Mapping[Body, int]] = MappingProxyType({body: 1 << number for number, body in enumerate(Body)})
"""Each body's bit in the column `kept`."""

_OUTPUT: Final = frozenset({"stdout", "stderr", "result", "result_form", "error", "findings"})
_CONTENT: Final = frozenset({"content", "encoding"})
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Sealed:
    """An answer as it is kept, and the digests of its two parts: what retention leaves, and what it takes."""

    text: str
    remains: str
    output: str


def sealed(answer: Answer) -> Sealed:
    """The answer as it is kept. The contents of files are bound by their own digests, so they are in neither part."""
    data = answer.model_dump(mode="json", exclude_defaults=True)
    remains, output = _parts(data)
    if answer.files:
        return Sealed(_CANONICAL.encode(data), digest(remains), digest(output))
    comma = "," if min(len(remains), len(output)) > len("{}") else ""
    return Sealed(f"{remains[:-1]}{comma}{output[1:]}", digest(remains), digest(output))


def answer_digests(data: _Data) -> tuple[str, str]:
    """The digests of the two parts of a stored answer, as `sealed` made them."""
    remains, output = _parts(data)
    return digest(remains), digest(output)


def without_output(text: str) -> str:
    """A stored answer without what the program wrote, returned and raised."""
    data = json.loads(text)
    return _CANONICAL.encode({name: value for name, value in data.items() if name not in _OUTPUT})


def without_contents(text: str) -> str:
    """A stored answer without the contents of files that stand in it; names, sizes and digests stay."""
    data = json.loads(text)
    if not data.get("files"):
        return text
    return _CANONICAL.encode({**data, "files": [_described(file) for file in data["files"]]})


def _parts(data: _Data) -> tuple[str, str]:
    remains = {name: value for name, value in data.items() if name not in _OUTPUT}
    files = remains.get("files")
    if isinstance(files, list):
        remains["files"] = [_described(file) for file in files]
    return _CANONICAL.encode(remains), _CANONICAL.encode({name: data[name] for name in data if name in _OUTPUT})


def _described(file: _Data) -> _Data:
    return {name: value for name, value in file.items() if name not in _CONTENT}


def digest(text: str) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def program_digest(request: str) -> str:
    """The digest of the program in a stored request, as `work.written` makes it."""
    data = {name: value for name, value in json.loads(request).items() if name not in NOT_THE_PROGRAM}
    return digest(_CANONICAL.encode(data))


def record_digest(row: StoredExecution) -> str:
    """What binds the facts of a submission that stand in its row alone, the policy's digest above all."""
    return digest(_CANONICAL.encode([row.id, row.profile, row.policy, row.request_digest, row.submitted_at]))


def bound(event: Event, row: StoredExecution, answer: Sealed | None) -> Event:
    """The event with the digests of the bodies that are kept beside it."""
    if isinstance(event, Submitted):
        return replace(event, record=record_digest(row))
    if isinstance(event, Answered) and answer is not None:
        return replace(event, remains=answer.remains, output=answer.output)
    return event


def kept(answered: bool, *, files: bool, key: bool) -> int:  # noqa: FBT001  # what the others depend on
    """The bits of what an execution with an answer keeps; 0 as long as it has none, for then nothing is deleted."""
    if not answered:
        return 0
    also = (BIT[Body.FILES] if files else 0) | (BIT[Body.KEYS] if key else 0)
    return BIT[Body.CODE] | BIT[Body.OUTPUT] | also
