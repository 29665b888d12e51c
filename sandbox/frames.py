"""The gateway's side of the conversation with a guest: bytes in, typed frames out, and the job as bytes.

Pure: no socket, no clock. Whatever comes back from a box is hostile: nothing here allocates more
than a frame's bound, and bytes that break the format end the reading, they never raise.
"""

from __future__ import annotations

import json
import marshal
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from sandbox import guest_protocol
from sandbox.job import Job, JsonValue
from sandbox.outcome import SkippedFile

if TYPE_CHECKING:
    from sandbox.guest_protocol import Order  # exists for type checkers only

COLLECT_BYTES: Final = 16 << 20  # of files, brought back from one run
MARSHAL_VERSION: Final = 2  # which every Python reads, for plain values
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
    errno: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Output: of the first part that is kept (`is_tail` false), or of the last."""

    stream: Literal["stdout", "stderr"]
    is_tail: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Killing:
    """The guest is about to kill the program; sent before it does."""

    reason: KillReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The program has ended and nothing of it runs any more.

    `status` is as `waitpid` gives it; `oom_kills` and `forks_refused` are how often the kernel killed, or
    refused a process or thread, at the box's limits; `disk_full` is about the end of the run.
    """

    status: int | None
    wall_seconds: float | None
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    oom_kills: int | None
    forks_refused: int | None
    disk_full: bool | None
    stdout_bytes: int
    stderr_bytes: int


@dataclass(frozen=True, slots=True)
class ResultPart:
    """A part of the text of the last expression's value."""

    form: Literal["json", "repr"]
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BundlesPart:
    """A part of the text that tells what a notebook would show."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Raised:
    """An uncaught exception, in the program's own words."""

    type: str
    message: str
    line: int | None
    traceback: str
    errno: int | None = None


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
    Started
    | SetupFailed
    | Written
    | Killing
    | Ended
    | ResultPart
    | BundlesPart
    | Raised
    | FileBegins
    | FilePart
    | SkippedFile
    | Finished
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
    header = marshal.dumps(dict(order), MARSHAL_VERSION)
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

    @property
    def between(self) -> bool:
        """Whether the last piece is whole."""
        return not self._header and not self._left

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
    """Takes apart what a guest wrote. After the first bytes that cannot be a guest's, `broken` says why."""

    def __init__(self) -> None:
        self.broken: str | None = None
        self._buffer = bytearray()

    @property
    def between(self) -> bool:
        """Whether the last frame is whole."""
        return not self._buffer

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that became whole. Nothing more comes once the reader is broken."""
        frames: list[Frame] = []
        if self.broken is not None:
            return frames
        self._buffer += data
        while self.broken is None and len(self._buffer) >= guest_protocol.HEADER.size:
            kind, length = guest_protocol.HEADER.unpack_from(self._buffer)
            end = guest_protocol.HEADER.size + length
            if kind not in _PARSERS or length > guest_protocol.FRAME_BYTES:
                self.broken = f"not a guest's frame: {kind!r}, {length} bytes"
            elif len(self._buffer) < end:
                break
            else:
                frames += self._parse(kind, bytes(self._buffer[guest_protocol.HEADER.size : end]))
                del self._buffer[:end]
        return frames

    def _parse(self, kind: bytes, payload: bytes) -> list[Frame]:
        try:
            return [_PARSERS[kind](payload)]
        except (KeyError, TypeError, ValueError, RecursionError):
            # An error record is the program's own word: a malformed one says nothing of the guest.
            if kind != guest_protocol.ERROR:
                self.broken = f"a frame of kind {kind!r} that does not say what it must"
            return []


def _record(payload: bytes) -> dict[str, JsonValue]:
    record: JsonValue = json.loads(payload)
    if not isinstance(record, dict):
        raise TypeError
    return record


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate could not be passed on


def _natural(value: JsonValue) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_NUMBER:
        raise ValueError
    return value


def _natural_or_none(value: JsonValue) -> int | None:
    return None if value is None else _natural(value)


def _seconds_or_none(value: JsonValue) -> float | None:
    if isinstance(value, float):
        if not 0 <= value <= LARGEST_NUMBER:
            raise ValueError
        return value
    return _natural_or_none(value)


def _errno_or_none(value: JsonValue) -> int | None:
    number = _natural_or_none(value)
    if number is not None and not 0 < number < guest_protocol.ERRNO_END:
        raise ValueError
    return number


def _flag_or_none(value: JsonValue) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError
    return value


def _started(payload: bytes) -> Started:
    python = _text(_record(payload)["python"])
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9]{1,3}", python):
        raise ValueError
    return Started(python)


def _setup_failed(payload: bytes) -> SetupFailed:
    record = _record(payload)
    return SetupFailed(_text(record["type"]), _text(record["message"]), _errno_or_none(record["errno"]))


def _killing(payload: bytes) -> Killing:
    return Killing(_KILL_REASONS[_text(_record(payload)["reason"])])


def _ended(payload: bytes) -> Ended:
    record = _record(payload)
    written = record["written_bytes"]
    if not isinstance(written, list):
        raise TypeError
    stdout_bytes, stderr_bytes = written
    return Ended(
        status=_natural_or_none(record["status"]),
        wall_seconds=_seconds_or_none(record["wall_seconds"]),
        cpu_seconds=_seconds_or_none(record["cpu_seconds"]),
        peak_memory_bytes=_natural_or_none(record["peak_memory_bytes"]),
        oom_kills=_natural_or_none(record["oom_kills"]),
        forks_refused=_natural_or_none(record["forks_refused"]),
        disk_full=_flag_or_none(record["disk_full"]),
        stdout_bytes=_natural(stdout_bytes),
        stderr_bytes=_natural(stderr_bytes),
    )


def _raised(payload: bytes) -> Raised:
    record = _record(payload)
    line, errno = _natural_or_none(record["line"]), _errno_or_none(record["errno"])
    return Raised(_text(record["type"]), _text(record["message"]), line, _text(record["traceback"]), errno)


def _path(record: dict[str, JsonValue]) -> str:
    path = _text(record["path"])
    if len(path) > PATH_CHARACTERS or path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError
    return path


def _file_begins(payload: bytes) -> FileBegins:
    record = _record(payload)
    return FileBegins(_path(record), _natural(record["size"]))


def _skipped(payload: bytes) -> SkippedFile:
    record = _record(payload)
    return SkippedFile(_path(record), _SKIP_REASONS[_text(record["reason"])])


def _finished(payload: bytes) -> Finished:
    collected = _record(payload)["collected"]
    if not isinstance(collected, bool):
        raise TypeError
    return Finished(collected)


_KILL_REASONS: Final[dict[str, KillReason]] = {reason: reason for reason in get_args(KillReason)}
_SKIP_REASONS: Final[dict[str, SkipReason]] = {reason: reason for reason in get_args(SkipReason)}
_PARSERS: Final[dict[bytes, Callable[[bytes], Frame]]] = {
    guest_protocol.STARTED: _started,
    guest_protocol.SETUP_FAILED: _setup_failed,
    guest_protocol.STDOUT: lambda payload: Written("stdout", is_tail=False, data=payload),
    guest_protocol.STDERR: lambda payload: Written("stderr", is_tail=False, data=payload),
    guest_protocol.STDOUT_TAIL: lambda payload: Written("stdout", is_tail=True, data=payload),
    guest_protocol.STDERR_TAIL: lambda payload: Written("stderr", is_tail=True, data=payload),
    guest_protocol.KILLING: _killing,
    guest_protocol.ENDED: _ended,
    guest_protocol.RESULT_JSON: lambda payload: ResultPart("json", payload),
    guest_protocol.RESULT_REPR: lambda payload: ResultPart("repr", payload),
    guest_protocol.BUNDLES: BundlesPart,
    guest_protocol.ERROR: _raised,
    guest_protocol.FILE: _file_begins,
    guest_protocol.FILE_DATA: FilePart,
    guest_protocol.SKIPPED: _skipped,
    guest_protocol.END: _finished,
}
