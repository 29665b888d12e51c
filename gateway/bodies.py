"""What is kept beside the log, and the digests by which the log binds it.

Pure. A body can be deleted when its time is over; what is left of it is still bound. A digest is that of the text as it is
stored, so that it can be computed again whatever version of Airlock wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.events import Answered, Event, Reconsidered, Submitted
from gateway.records import StoredExecution
from gateway.requests import NOT_THE_PROGRAM
from gateway.wire_answers import Answer

_Data: TypeAlias = Mapping[str, object]


class Body(StrEnum):
    """What retention can delete of an execution."""

    CODE = "code"  # the request: code, inputs, stdin, files that came in
    OUTPUT = "output"  # what the program wrote, returned and raised, and what the checks said of its text
    FILES = "files"  # what it left
    KEYS = "keys"  # the idempotency key that its caller gave


BIT: Final[Mapping[Body, int]] = MappingProxyType({body: 1 << number for number, body in enumerate(Body)})
"""Each body's bit in the column `kept`."""

_OUTPUT: Final = {"stdout", "stderr", "result", "result_form", "results", "error", "findings"}
_CONTENT: Final = frozenset({"content", "encoding"})
_DECODER: Final = json.JSONDecoder()
_CANONICAL: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Sealed:
    """An answer as it is kept, and the digests of its two parts: what retention leaves, and what it takes."""

    text: str
    remains: str
    output: str


def sealed(answer: Answer) -> Sealed:
    """The answer as it is kept. The contents of files are bound by their own digests, so they are in neither part."""
    remains = answer.model_dump_json(exclude=_OUTPUT, exclude_defaults=True)
    output = answer.model_dump_json(include=_OUTPUT, exclude_defaults=True)
    comma = "," if min(len(remains), len(output)) > len("{}") else ""
    text = f"{remains[:-1]}{comma}{output[1:]}"
    return Sealed(text, digest(without_contents(remains) if answer.files else remains), digest(output))


def answer_digests(text: str) -> tuple[str, str]:
    """The digests of the two parts of a stored answer, as `sealed` made them; raises `ValueError` for what is none."""
    members = _members(text)
    return digest(_object(_described_files(members), _OUTPUT, within=False)), digest(
        _object(members, _OUTPUT, within=True)
    )


def without_output(text: str) -> str:
    """A stored answer without what the program wrote, returned and raised."""
    return _object(_members(text), _OUTPUT, within=False)


def without_contents(text: str) -> str:
    """A stored answer without the contents of files that stand in it; names, sizes and digests stay."""
    return _object(_described_files(_members(text)), set(), within=False)


def _members(text: str) -> dict[str, str]:
    """The members of a JSON object as they are written, by name: what is not decoded is not written otherwise again."""
    members, at = {}, 1
    while at < len(text) - 1:
        name, colon = _DECODER.raw_decode(text, at)
        _, end = _DECODER.raw_decode(text, colon + 1)
        members[str(name)] = text[at:end]
        at = end + 1
    return members


def _object(members: Mapping[str, str], names: set[str], *, within: bool) -> str:
    return "{" + ",".join(one for name, one in members.items() if (name in names) is within) + "}"


def _described_files(members: Mapping[str, str]) -> dict[str, str]:
    if "files" not in members:
        return dict(members)
    files = json.loads(members["files"].partition(":")[2])
    return {**members, "files": '"files":' + _CANONICAL.encode([_described(file) for file in files])}


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
    return digest(f"{row.id}\n{row.profile}\n{row.policy}\n{row.request_digest}\n{row.submitted_at}")


def bound(event: Event, row: StoredExecution, answer: Sealed | None, before: str | None = None) -> Event:
    """The event with the digests of what is kept beside it; `before` is the policy that the row named until now."""
    if isinstance(event, Submitted):
        return replace(event, record=record_digest(row))
    if isinstance(event, Reconsidered):
        return replace(event, before=before, record=record_digest(row))
    if isinstance(event, Answered) and answer is not None:
        return replace(event, remains=answer.remains, output=answer.output)
    return event


def kept(answered: bool, *, files: bool, key: bool) -> int:  # noqa: FBT001  # what the others depend on
    """The bits of what an execution with an answer keeps; 0 as long as it has none, for then nothing is deleted."""
    if not answered:
        return 0
    also = (BIT[Body.FILES] if files else 0) | (BIT[Body.KEYS] if key else 0)
    return BIT[Body.CODE] | BIT[Body.OUTPUT] | also
