"""The gateway's side of the conversation with a guest: bytes in, typed frames out, and the job as bytes.

Pure: no socket, no clock. Whatever comes back from a box is hostile: nothing here allocates more
than a frame's bound, and bytes that break the format end the reading, they never raise.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from sandbox import guest
from sandbox.outcome import SkippedFile

if TYPE_CHECKING:
    from sandbox.guest import Order
    from sandbox.job import Job, JsonValue

COLLECT_BYTES: Final = 16 << 20  # of files, brought back from one run
PATH_CHARACTERS: Final = 4096  # the kernel's own bound of a path
LARGEST_NUMBER: Final = 1 << 53  # beyond it nothing that a box measures is believable

SkipReason: TypeAlias = Literal["not_regular", "too_large", "too_many", "unreadable"]
KillReason: TypeAlias = Literal["wall", "output"]


@dataclass(frozen=True, slots=True)
class Started:
    """The program has been forked; from here its time runs."""

    python: str


@dataclass(frozen=True, slots=True)
class SetupFailed:
    """The box could not be made what the job asks for, before the program began."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Written:
    """Output: of the first part that is kept (`is_tail` false), or of the last."""

    stream: Literal["stdout", "stderr"]
    is_tail: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The program has ended and nothing of it runs any more. `status` is as `waitpid` gives it."""

    status: int | None
    killed_for: KillReason | None
    wall_seconds: float | None
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    oom_kills: int | None
    stdout_bytes: int
    stderr_bytes: int


@dataclass(frozen=True, slots=True)
class ResultPart:
    """A part of the text of the last expression's value."""

    form: Literal["json", "repr"]
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Raised:
    """An uncaught exception, in the program's own words."""

    type: str
    message: str
    line: int | None
    traceback: str


@dataclass(frozen=True, slots=True)
class FileBegins:
    """A file that the program left; its `size` bytes follow."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class FilePart:
    """Some bytes of the file that began last."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """The guest has said everything; `collected` is false when it could not go through the files in time."""

    collected: bool


Frame: TypeAlias = (
    Started | SetupFailed | Written | Ended | ResultPart | Raised | FileBegins | FilePart | SkippedFile | Finished
)


def encode_job(job: Job) -> bytes:
    """The job as the guest reads it."""
    order: Order = {
        "code": job.code,
        "stdin": job.stdin,
        "args": list(job.args),
        "env": dict(job.env),
        "inputs": dict(job.inputs),
        "files": [(file.path, len(file.content)) for file in job.files],
        "outputs": list(job.outputs),
        "wall_seconds": job.limits.wall_seconds,
        "output_bytes": job.limits.output_bytes,
        "collect_bytes": min(job.limits.disk_bytes, COLLECT_BYTES),
    }
    header = json.dumps(order).encode()
    return b"".join([struct.pack(">I", len(header)), header, *(file.content for file in job.files)])


class StreamReader:
    """Takes apart the stream of an attached container without a terminal.

    The engine puts before each piece one byte of stream number (1 stdout, 2 stderr), three of
    zero and four of length. Pieces pass through as they come; none is ever held whole.
    """

    HEADER: Final = struct.Struct(">BxxxI")

    def __init__(self) -> None:
        self._header = bytearray()
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The (stream number, bytes) pairs in what the engine sent; numbers other than 1 and 2 are passed on too."""
        pieces: list[tuple[int, bytes]] = []
        position = 0
        while position < len(data):
            if self._left:
                piece = data[position : position + self._left]
                self._left -= len(piece)
                position += len(piece)
                pieces.append((self._stream, piece))
                continue
            missing = self.HEADER.size - len(self._header)
            self._header += data[position : position + missing]
            position += missing
            if len(self._header) == self.HEADER.size:
                self._stream, self._left = self.HEADER.unpack(self._header)
                self._header.clear()
        return pieces


class FrameReader:
    """Takes apart what a guest wrote. After the first byte that cannot be a guest's, `broken` says why."""

    def __init__(self) -> None:
        self.broken: str | None = None
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that became whole. Nothing more comes once the reader is broken."""
        frames: list[Frame] = []
        if self.broken is not None:
            return frames
        self._buffer += data
        while len(self._buffer) >= guest.HEADER.size:
            kind, length = guest.HEADER.unpack_from(self._buffer)
            if kind not in _PARSERS or length > guest.FRAME_BYTES:
                self._break(f"not a guest's frame: {kind!r}, {length} bytes")
                break
            end = guest.HEADER.size + length
            if len(self._buffer) < end:
                break
            frame = _parse(kind, bytes(self._buffer[guest.HEADER.size : end]))
            if frame is None:
                self._break(f"a frame of kind {kind!r} that does not say what it must")
                break
            del self._buffer[:end]
            frames.append(frame)
        return frames

    def _break(self, why: str) -> None:
        self.broken = why
        self._buffer.clear()


class _NotWellFormedError(Exception):
    """A record lacks a field, or has one of another type."""


class _Record:
    """A JSON object from a box, read field by field."""

    def __init__(self, data: bytes) -> None:
        try:
            parsed: JsonValue = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _NotWellFormedError from error
        if not isinstance(parsed, dict):
            raise _NotWellFormedError
        self._fields = parsed

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise _NotWellFormedError
        return value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate could not be answered

    def integer(self, name: str) -> int:
        value = self.optional_integer(name)
        if value is None:
            raise _NotWellFormedError
        return value

    def optional_integer(self, name: str) -> int | None:
        return _natural(self._fields.get(name))

    def naturals(self, name: str) -> list[int]:
        values = self._fields.get(name)
        if not isinstance(values, list):
            raise _NotWellFormedError
        return [number for value in values if (number := _natural(value)) is not None]

    def optional_seconds(self, name: str) -> float | None:
        value = self._fields.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST_NUMBER:
            raise _NotWellFormedError
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._fields.get(name)
        if not isinstance(value, bool):
            raise _NotWellFormedError
        return value


def _natural(value: JsonValue) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_NUMBER:
        raise _NotWellFormedError
    return value
