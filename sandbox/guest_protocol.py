"""A part of the guest: what it and the gateway say to each other, and the bounds of that.

The gateway sends one job on the attached stream: four bytes of length (big endian), an `Order` as marshal writes it,
the bytes of the files. The guest answers in frames: one byte of kind, four of length, payload:
`started`, output as it comes, `killing` if it has to, `ended`, what was kept back of the output, the
program's report, files, and `end`; or `setup_failed` alone.
"""

from __future__ import annotations

import _struct
import marshal
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypedDict

    from sandbox.job import JsonValue

    class Order(TypedDict):
        """A job as the gateway sends it; the files' bytes follow in the order of `files`."""

        code: str
        stdin: str
        args: list[str]
        env: dict[str, str]
        inputs: dict[str, JsonValue]
        files: list[tuple[str, int]]
        outputs: list[str]
        wall_seconds: float
        output_bytes: int
        collect_bytes: int

    class Terms(TypedDict):
        """How a cell is to be made around each program."""

        masked: list[str]
        readonly: list[str]
        shared_memory_bytes: int
        most_files: int
        preload: list[str]


HEADER = _struct.Struct(">cI")
STARTED, SETUP_FAILED, KILLING, ENDED, END = b"S", b"F", b"k", b"p", b"z"
STDOUT, STDERR, STDOUT_TAIL, STDERR_TAIL = b"o", b"e", b"O", b"E"
RESULT_JSON, RESULT_REPR, ERROR = b"j", b"r", b"x"
BUNDLES, FIGURE = b"m", b"g"  # the second for the guest alone: a file that it has to bring back unasked
FILE, FILE_DATA, SKIPPED = b"f", b"d", b"s"

CHUNK_BYTES = 1 << 16
FRAME_BYTES = 1 << 18  # no payload is longer
MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS = 4_000, 24_000  # six bytes each in JSON at worst: within a frame
RESULT_DEPTH = 100
ERRNO_END = 4096  # the kernel's own bound
COLLECT_SECONDS = 2.0
COLLECT_FILES, COLLECT_ENTRIES, COLLECT_DEPTH = 100, 10_000, 32
MOST_FIGURES = 20
BUNDLE_TYPES = (  # what a value may look like besides; of anything else nobody would know how to show it
    "text/plain",
    "text/html",
    "text/markdown",
    "text/latex",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "application/json",
)

HOME = "/tmp"  # noqa: S108 - the box's own, and its only writable place
SOURCE = "main.py"

NOTHING: Order = {  # an order, for rehearsals
    "code": "None",
    "stdin": "",
    "args": [],
    "env": {},
    "inputs": {},
    "files": [],
    "outputs": [],
    "wall_seconds": 0.0,
    "output_bytes": 0,
    "collect_bytes": 0,
}
ITS_ORDER = ("code", "args", "env", "inputs", "output_bytes")  # what of a job the program's own process needs


def read_order() -> tuple[Order, list[bytes]]:
    """The job, and its files' bytes; ends the box when the gateway does not send a whole one."""
    order = read_one(0)
    return order, [_read_exactly(0, size) for _, size in order["files"]]


def read_one(descriptor: int) -> Order:
    """An order without its files."""
    order: Order = marshal.loads(_read_exactly(descriptor, int.from_bytes(_read_exactly(descriptor, 4), "big")))  # noqa: S302 - the gateway's own words
    return order


def _read_exactly(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, min(size, CHUNK_BYTES))
    if len(data) == size:
        return data
    parts = bytearray(data)
    while len(parts) < size:
        part = os.read(descriptor, min(size - len(parts), CHUNK_BYTES))
        if not part:
            sys.exit("the job ended early")
        parts += part
    return bytes(parts)


def take_frames(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take the whole frames off the front of the buffer."""
    while len(buffer) >= HEADER.size:
        kind, length = HEADER.unpack_from(buffer)
        if length > FRAME_BYTES or len(buffer) < HEADER.size + length:
            return
        data = bytes(buffer[HEADER.size : HEADER.size + length])
        del buffer[: HEADER.size + length]
        yield kind, data


def write_all(descriptor: int, data: bytes) -> None:
    """Write to a pipe that blocks or to a file, however few bytes it takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
