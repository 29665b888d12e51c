"""One talk with one guest: the job goes in, frames come out, and every silence has its limit.

Owns the gateway's own deadlines, which stand behind the guest's. Knows streams and clocks, but no
engine; a kill is for its caller, who is told why (`Silence`) before anything is killed.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import Final

from sandbox.attach import READ_BYTES, Attachment
from sandbox.frames import FrameReader, StreamReader, encode_job
from sandbox.job import Job
from sandbox.transcript import Transcript

START_SECONDS: Final = 10.0  # from a started box to a forked program, and
PRELOAD_SECONDS: Final = (
    50.0  # more, where modules are imported before it: large ones take 3 s of a processor to itself
)
WALL_GRACE_SECONDS: Final = 0.5  # past the job's limit, the guest was kept from enforcing it itself
TELL_SECONDS: Final = 10.0  # from the program's end, or the guest's decision to kill it, to the last frame
NOTES_BYTES: Final = 4096  # of what the box writes outside frames: its last words, for operators


class Silence(StrEnum):
    """Why there is nothing more to hear."""

    FINISHED = "finished"  # the guest has said everything
    CLOSED = "closed"  # the stream ended early: only the engine knows why
    NOT_STARTED = "not_started"
    WALL = "wall"
    NOT_TOLD = "not_told"
    BROKEN = "broken"  # something else than our guest is speaking


class Conversation:
    """The gateway's half of one attached stream. `started_at`, `ended_at`: of the program, on the monotonic clock."""

    def __init__(self, job: Job, attachment: Attachment) -> None:
        self.transcript = Transcript(job.limits, job.live)
        self._live = job.live
        self.notes = bytearray()
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self._wall_seconds = job.limits.wall_seconds
        self._start_seconds = START_SECONDS + (PRELOAD_SECONDS if job.cell is not None and job.cell.preload else 0.0)
        self._attachment = attachment
        self._streams = StreamReader()
        self._frames = FrameReader()
        attachment.writer.write(encode_job(job))

    def problem(self, silence: Silence) -> str:
        """Why there is no more to hear, in words for operators; empty where nothing is missing."""
        notes = self.notes.decode("utf-8", "backslashreplace").strip()
        words = {
            Silence.FINISHED: "",
            Silence.CLOSED: f"the box's stream ended early; the box's last words: {notes or 'none'}",
            Silence.NOT_STARTED: f"the guest did not start the program within {self._start_seconds:g} s",
            Silence.WALL: "",
            Silence.NOT_TOLD: f"the guest did not tell everything within {TELL_SECONDS:g} s of the program's end",
            Silence.BROKEN: f"the box does not speak as a guest: {self._said_wrong}",
        }
        return words[silence]

    @property
    def unheard(self) -> bool:
        """Whether nobody took the job: it may be given to another box."""
        return self.transcript.started is None and self.transcript.setup_failed is None

    @property
    def is_whole(self) -> bool:
        """Whether the guest said everything and not a byte more, so that it can take another job."""
        return self.transcript.over and self._streams.between and self._frames.between

    @property
    def _said_wrong(self) -> str | None:
        return self._frames.broken or self.transcript.violation

    async def listen(self) -> Silence:
        """Hear the guest out; to be called once its box has been started. Never raises OSError."""
        timer = asyncio.timeout(self._start_seconds)
        try:
            async with timer:
                while not self.transcript.over and self._frames.broken is None:
                    data = await self._attachment.reader.read(READ_BYTES)
                    if not data:
                        return Silence.CLOSED
                    self._hear(data, timer)
        except OSError:
            return self._silence() if timer.expired() else Silence.CLOSED
        return Silence.BROKEN if self._said_wrong else Silence.FINISHED

    def _hear(self, data: bytes, timer: asyncio.Timeout) -> None:
        for stream, piece in self._streams.feed(data):
            if stream == 1:
                for frame in self._frames.feed(piece):
                    self.transcript.add(frame)
            else:
                self.notes = (self.notes + piece)[-NOTES_BYTES:]
        self._set(timer)
        if self._live is not None:
            self._live.changed()

    def _set(self, timer: asyncio.Timeout) -> None:
        """Move the limit on with the run's phase: the program's time, then the guest's to tell about it."""
        now = asyncio.get_running_loop().time()
        said = self.transcript
        if said.started is not None and self.started_at is None:
            self.started_at = time.monotonic()
            timer.reschedule(now + self._wall_seconds + WALL_GRACE_SECONDS)
        if self._is_over and self.ended_at is None:
            self.ended_at = time.monotonic()
            timer.reschedule(now + TELL_SECONDS)

    @property
    def _is_over(self) -> bool:
        return self.transcript.ended is not None or self.transcript.killing is not None

    def _silence(self) -> Silence:
        if self.transcript.started is None:
            return Silence.NOT_STARTED
        return Silence.NOT_TOLD if self._is_over else Silence.WALL
