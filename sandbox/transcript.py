"""What a guest has said so far, as the pieces of an outcome.

Pure. It believes the guest's frames only within what the job allows: a guest that says more is
no guest of ours. What the program says (result, error) is taken as it comes, bounded.
"""

from __future__ import annotations

import json
from typing import Literal

from sandbox import frames, guest_protocol
from sandbox.bundles import Bundle, read_bundles
from sandbox.guest_value import encode_result
from sandbox.job import JsonValue, Limits
from sandbox.live import Live, StreamName
from sandbox.outcome import Output, OutputFile, ProgramError, Result, SkippedFile


class Transcript:
    """Adds up frames. After one that no guest of ours would send, `violation` says which; `live` shows what is written."""

    def __init__(self, limits: Limits, live: Live | None = None) -> None:
        self.violation: str | None = None
        self.started: frames.Started | None = None
        self.setup_failed: frames.SetupFailed | None = None
        self.killing: frames.Killing | None = None
        self.ended: frames.Ended | None = None
        self.finished: frames.Finished | None = None
        self._raised: frames.Raised | None = None
        self._kept_bytes = limits.output_bytes
        self._heads: dict[StreamName, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        if live is not None:
            live.follow(self._heads)
        self._tails: dict[StreamName, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._result = bytearray()
        self._result_form: Literal["json", "repr"] | None = None
        self._bundles = bytearray()
        self._file_bytes_left = min(limits.disk_bytes, frames.COLLECT_BYTES)
        self._file: tuple[frames.FileBegins, bytearray] | None = None
        self._files: list[OutputFile] = []
        self._skipped: list[SkippedFile] = []

    def add(self, frame: frames.Frame) -> None:
        """Take one frame into account."""
        match frame:
            case frames.Started():
                self.started = frame
            case frames.SetupFailed():
                self.setup_failed = frame
            case frames.Written():
                self._write(frame)
            case frames.Killing():
                self.killing = frame
            case frames.Ended():
                self.ended = frame
                self._check_sizes(frame)
            case frames.ResultPart() | frames.BundlesPart():
                self._add_result(frame)
            case frames.Raised():
                self._raised = frame
            case frames.FileBegins() | frames.FilePart() | SkippedFile():
                self._add_file(frame)
            case frames.Finished():
                self._drop_incomplete_file()
                self.finished = frame

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.finished is not None or self.setup_failed is not None or self.violation is not None

    def output(self, stream: Literal["stdout", "stderr"]) -> Output:
        """What is kept of one stream; the tail and the gap are known only once the program has ended."""
        head, tail = bytes(self._heads[stream]), bytes(self._tails[stream])
        if self.ended is None:
            return Output(head, tail, 0 if self.setup_failed is not None else None)
        written = self.ended.stdout_bytes if stream == "stdout" else self.ended.stderr_bytes
        return Output(head, tail, max(written - len(head) - len(tail), 0))

    @property
    def error(self) -> ProgramError | None:
        """The uncaught exception, in the program's words; or why the box could not be set up for it."""
        failed, raised = self.setup_failed, self._raised
        if failed is not None:
            return ProgramError(type=failed.type, message=failed.message, line=None, traceback="", errno=failed.errno)
        if raised is None:
            return None
        return ProgramError(
            type=raised.type,
            message=raised.message,
            line=raised.line,
            traceback=raised.traceback,
            errno=raised.errno,
        )

    @property
    def result(self) -> Result | None:
        """The value of the last expression; what only claims to be JSON is shown as the text that it is."""
        if self._result_form is None:
            return None
        text = self._result.decode("utf-8", "replace")
        if self._result_form == "json":
            try:
                value: JsonValue = json.loads(text)
            except (ValueError, RecursionError):
                return Result(text, "repr")
            if encode_result(value, self._kept_bytes)[0] == "json":
                return Result(value, "json")
        return Result(text, "repr")

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """What a notebook would show; nothing where more, or something else, was told than our guest tells."""
        return read_bundles(bytes(self._bundles), self._kept_bytes)

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """The files that came whole."""
        return tuple(self._files)

    @property
    def skipped(self) -> tuple[SkippedFile, ...]:
        """The files that did not."""
        return tuple(self._skipped)

    def _write(self, frame: frames.Written) -> None:
        head, tail = self._heads[frame.stream], self._tails[frame.stream]
        if len(head) + len(tail) + len(frame.data) > self._kept_bytes:
            self.violation = f"more {frame.stream} than is kept"
        elif frame.is_tail:
            tail += frame.data
        else:
            head += frame.data

    def _add_result(self, frame: frames.ResultPart | frames.BundlesPart) -> None:
        if isinstance(frame, frames.ResultPart):
            self._result_form = frame.form
            self._result += frame.data[: self._kept_bytes - len(self._result)]
        else:  # one byte too many tells that there were more
            self._bundles += frame.data[: self._kept_bytes + 1 - len(self._bundles)]

    def _check_sizes(self, ended: frames.Ended) -> None:
        written: dict[StreamName, int] = {"stdout": ended.stdout_bytes, "stderr": ended.stderr_bytes}
        for stream, size in written.items():
            if size < len(self._heads[stream]):
                self.violation = f"less {stream} in all than came"

    def _add_file(self, frame: frames.FileBegins | frames.FilePart | SkippedFile) -> None:
        match frame:
            case frames.FileBegins():
                self._begin_file(frame)
            case frames.FilePart():
                self._fill_file(frame)
            case SkippedFile():
                self._skip(frame)

    def _begin_file(self, frame: frames.FileBegins) -> None:
        self._drop_incomplete_file()
        self._file_bytes_left -= frame.size
        if self._file_bytes_left < 0 or len(self._files) >= guest_protocol.COLLECT_FILES:
            self.violation = "more files than are collected"
        elif frame.size == 0:
            self._files.append(OutputFile(frame.path, b""))
        else:
            self._file = (frame, bytearray())

    def _fill_file(self, frame: frames.FilePart) -> None:
        if self._file is None or len(self._file[1]) + len(frame.data) > self._file[0].size:
            self.violation = "bytes of no file"
            return
        begun, content = self._file
        content += frame.data
        if len(content) == begun.size:
            self._files.append(OutputFile(begun.path, bytes(content)))
            self._file = None

    def _drop_incomplete_file(self) -> None:
        if self._file is not None:
            self._skip(SkippedFile(self._file[0].path, "unreadable"))

    def _skip(self, skipped: SkippedFile) -> None:
        self._file = None
        if len(self._skipped) < 2 * guest_protocol.COLLECT_FILES:
            self._skipped.append(skipped)
