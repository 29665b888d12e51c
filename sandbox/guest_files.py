"""A part of the guest: brings back the files that a job asks for."""

from __future__ import annotations

import os
import select
import stat
import time
from typing import TYPE_CHECKING

from sandbox.guest_protection import SIGKILL, become_expendable
from sandbox.guest_protocol import (
    CHUNK_BYTES,
    COLLECT_DEPTH,
    COLLECT_ENTRIES,
    COLLECT_FILES,
    COLLECT_SECONDS,
    FILE,
    FILE_DATA,
    HEADER,
    HOME,
    SKIPPED,
    take_frames,
    write_all,
)
from sandbox.guest_tools import as_json

if TYPE_CHECKING:
    from sandbox.guest_channel import Channel
    from sandbox.guest_protocol import Order


def collect(order: Order, channel: Channel) -> bool:
    """Pass on the files that match `outputs`; False when that could not be finished in time.

    In a process of its own, so that nothing that the program left behind can hold up the guest.
    """
    read, write = os.pipe()
    try:
        process = os.fork()
    except OSError:
        return False
    if process == 0:
        try:
            become_expendable()
            Collector(order, write).walk(os.open(HOME, _DIRECTORY), "", 0)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write)
    until = time.monotonic() + COLLECT_SECONDS
    buffer = bytearray()
    poll = select.poll()
    poll.register(read, select.POLLIN)
    whole = False
    while not whole and poll.poll(max(until - time.monotonic(), 0) * 1000):
        data = os.read(read, CHUNK_BYTES)
        whole = not data
        buffer += data
        for kind, payload in take_frames(buffer):
            channel.send(kind, payload)
    os.kill(process, SIGKILL)
    os.waitpid(process, 0)
    return whole


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Collector:
    """Walks what the program left, by directory descriptors, and follows no link."""

    def __init__(self, order: Order, pipe: int) -> None:
        self.patterns = [_pattern_parts(pattern) for pattern in order["outputs"]]
        self.pipe = pipe
        self.bytes_left = order["collect_bytes"]
        self.files_left = COLLECT_FILES
        self.skips_left = COLLECT_FILES
        self.entries_left = COLLECT_ENTRIES

    def walk(self, directory: int, prefix: str, depth: int) -> None:
        """Collect below one directory, and close it."""
        names = sorted(os.listdir(directory))
        if len(names) > self.entries_left:
            self._skip(prefix.rstrip("/") or ".", "too_many")
        for name in names[: self.entries_left]:
            self.entries_left -= 1
            path = prefix + name
            try:
                mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    self._descend(directory, name, path, depth)
                elif any(self._matches(path.split("/"), pattern) for pattern in self.patterns):
                    self._take(directory, name, path, mode)
            except OSError:
                self._skip(path, "unreadable")
        os.close(directory)

    def _descend(self, directory: int, name: str, path: str, depth: int) -> None:
        if depth == COLLECT_DEPTH:
            self._skip(path, "too_many")
        else:
            self.walk(os.open(name, _DIRECTORY, dir_fd=directory), path + "/", depth + 1)

    def _matches(self, path: list[str], pattern: list[str]) -> bool:
        if not pattern:
            return not path
        if pattern[0] == "**":
            return any(self._matches(path[start:], pattern[1:]) for start in range(len(path) + 1))
        return bool(path) and matches_name(path[0], pattern[0]) and self._matches(path[1:], pattern[1:])

    def _take(self, directory: int, name: str, path: str, mode: int) -> None:
        if not stat.S_ISREG(mode):
            self._skip(path, "not_regular")
            return
        with open(os.open(name, _CONTENT, dir_fd=directory), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size  # what a sparse file claims, it is charged for
            if size > self.bytes_left:
                self._skip(path, "too_large")
            elif self.files_left == 0:
                self._skip(path, "too_many")
            elif not _is_text(path):
                self._skip(path, "unreadable")
            else:
                self.files_left -= 1
                self.bytes_left -= size
                self._send(FILE, as_json({"path": path, "size": size}))
                for start in range(0, size, CHUNK_BYTES):
                    self._send(FILE_DATA, file.read(min(CHUNK_BYTES, size - start)))

    def _skip(self, path: str, reason: str) -> None:
        if self.skips_left > 0:
            self.skips_left -= 1
            shown = path.encode("utf-8", "backslashreplace").decode()
            self._send(SKIPPED, as_json({"path": shown, "reason": reason}))

    def _send(self, kind: bytes, data: bytes) -> None:
        write_all(self.pipe, HEADER.pack(kind, len(data)) + data)


def matches_name(name: str, pattern: str) -> bool:
    """Whether a name is what a pattern of a shell means: as `fnmatch.fnmatchcase`, whose import takes longer than a run."""
    if "[" in pattern:
        import fnmatch  # noqa: PLC0415 - rare

        return fnmatch.fnmatchcase(name, pattern)
    at = wanted = taken = 0
    star = -1
    while at < len(name):
        sign = pattern[wanted : wanted + 1]
        if sign == "*":
            star, taken = wanted, at
            wanted += 1
        elif sign in {"?", name[at]}:
            at += 1
            wanted += 1
        elif star >= 0:  # the last star takes one more
            taken += 1
            at, wanted = taken, star + 1
        else:
            return False
    return not pattern[wanted:].strip("*")


def _pattern_parts(pattern: str) -> list[str]:
    """The parts of a glob relative to the working directory; one that points elsewhere matches nothing."""
    relative = pattern[len(HOME) + 1 :] if pattern.startswith(HOME + "/") else pattern
    return [part for part in relative.split("/") if part != "."]


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
