"""A part of the guest: the way out to the gateway, and what of a program's output takes it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from sandbox.guest_protocol import CHUNK_BYTES, HEADER
from sandbox.guest_tools import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

LINGER_SECONDS = 0.002  # that a frame waits for the next one: each write wakes three processes on its way


class Channel:
    """Frames to the gateway. While the program runs, a slow reader must not hold up the guest."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waiting = bytearray()  # bounded: only what is kept of the output is ever sent
        self.due = 0.0
        os.set_blocking(descriptor, False)

    def send(self, kind: bytes, data: bytes) -> None:
        """Send one frame: at the latest when it is due and there is room."""
        if not self.waiting:
            self.due = time.monotonic() + LINGER_SECONDS
        self.waiting += HEADER.pack(kind, len(data))
        self.waiting += data
        if len(self.waiting) > CHUNK_BYTES:
            self.flush()

    def send_record(self, kind: bytes, record: Mapping[str, str | float | list[int] | None]) -> None:
        """Send one frame of JSON."""
        self.send(kind, as_json(record))

    def flush(self) -> None:
        """Write what there is room for."""
        try:
            while self.waiting:
                del self.waiting[: os.write(self.descriptor, self.waiting)]
        except BlockingIOError:
            return

    def wait(self) -> None:
        """From now on whatever `flush` finds is written before it returns."""
        os.set_blocking(self.descriptor, True)


class Stream:
    """One output stream: its first half is passed on at once, the last half is kept back, the rest is counted."""

    def __init__(self, kind: bytes, tail_kind: bytes, kept_bytes: int) -> None:
        self.kind = kind
        self.tail_kind = tail_kind
        self.head_left = kept_bytes // 2
        self.tail_bytes = kept_bytes - self.head_left
        self.tail = bytearray()
        self.total = 0

    def take(self, data: bytes) -> bytes:
        """Account for what the program wrote; return the part to be passed on."""
        self.total += len(data)
        head = data[: self.head_left]
        self.head_left -= len(head)
        self.tail += memoryview(data)[len(head) :]
        if len(self.tail) > 2 * self.tail_bytes:
            self._trim()
        return head

    def send_tail(self, channel: Channel) -> None:
        """Pass on what was kept back."""
        self._trim()
        for start in range(0, len(self.tail), CHUNK_BYTES):
            channel.send(self.tail_kind, bytes(self.tail[start : start + CHUNK_BYTES]))

    def _trim(self) -> None:
        del self.tail[: max(len(self.tail) - self.tail_bytes, 0)]
