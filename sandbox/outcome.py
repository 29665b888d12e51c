"""What happened to a job, mechanically: never an exception, never a guess.

Pure data. A value that could not be read is None, never 0.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from sandbox.bundles import Bundle
from sandbox.job import JsonValue, Lane

LimitName: TypeAlias = Literal["time", "memory", "pids", "disk", "output"]

# What the kernel answers at limits.disk: too large a file, no byte or inode left, a quota spent.
DISK_ERRORS: Final = frozenset({errno.EFBIG, errno.ENOSPC, errno.EDQUOT})


class Ending(StrEnum):
    """How a job ended."""

    SUCCEEDED = "succeeded"  # by itself, with exit code 0
    FAILED = "failed"  # by an exception, another exit code, or a signal
    TIMED_OUT = "timed_out"  # killed by us at its wall-clock limit
    OUT_OF_MEMORY = "out_of_memory"  # the kernel killed a process of it at its memory limit
    OUTPUT_LIMIT_EXCEEDED = "output_limit_exceeded"  # wrote more than is kept
    UNSUPPORTED = "unsupported"  # this lane cannot tell the truth about this program
    LOST = "lost"  # the box or the engine failed under it


class Loss(StrEnum):
    """What failed under a job that was lost."""

    ENGINE = "engine"  # it could not be reached, or did not answer in time
    REFUSED = "refused"  # it answered, and would not make or start the box
    UNFIT = "unfit"  # the image is missing, or nothing there is proven to hold a program
    BOX = "box"  # the box ended or fell silent before its guest told the end of the program
    STOPPED = "stopped"  # the gateway was stopping


class Fault(StrEnum):
    """Whose fault an ending is."""

    NONE = "none"
    CODE = "code"
    PLATFORM = "platform"


FAULTS: dict[Ending, Fault] = {
    Ending.SUCCEEDED: Fault.NONE,
    Ending.FAILED: Fault.CODE,
    Ending.TIMED_OUT: Fault.CODE,
    Ending.OUT_OF_MEMORY: Fault.CODE,
    Ending.OUTPUT_LIMIT_EXCEEDED: Fault.CODE,
    Ending.UNSUPPORTED: Fault.NONE,
    Ending.LOST: Fault.PLATFORM,
}


@dataclass(frozen=True, slots=True)
class Output:
    """One stream: its first and last bytes, and how many between them were not kept; None if nobody counted."""

    head: bytes = b""
    tail: bytes = b""
    omitted_bytes: int | None = 0

    @property
    def total_bytes(self) -> int | None:
        """Bytes that the program wrote, None where only what came of them is known."""
        return None if self.omitted_bytes is None else len(self.head) + self.omitted_bytes + len(self.tail)

    @property
    def text(self) -> str:
        """The kept bytes as text: what is not UTF-8 is shown as U+FFFD, the gap is marked."""
        if not self.omitted_bytes:
            return (self.head + self.tail).decode("utf-8", "replace")
        head = self.head.decode("utf-8", "replace")
        return f"{head}\n[... {self.omitted_bytes} bytes omitted ...]\n{self.tail.decode('utf-8', 'replace')}"


@dataclass(frozen=True, slots=True)
class Result:
    """The value of the program's last expression: JSON, or its bounded repr where it has no JSON form."""

    value: JsonValue
    form: Literal["json", "repr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramError:
    """An uncaught exception as the program's own source shows it (file `main.py`).

    The program's words: it can forge them, and harms only itself. `errno` is the number of an
    operating system error.
    """

    type: str
    message: str
    line: int | None
    traceback: str
    errno: int | None = None


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that the program left for its caller; `path` is relative to the working directory."""

    path: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A match of `outputs` that was not brought back, and why."""

    path: str
    reason: Literal["not_regular", "too_large", "too_many", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the job used; the CPU time is that of the program and all that it started."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why the ending is what it says; for operators, never for the agent.

    `killed_for` is written before the kill; `oom_kills` and `forks_refused` (processes and threads, at the
    limit of both) are the cgroup's own counters; `disk_full` is what the file system said when the run was
    over; `engine_oom_flag` and `box_exit_code` are the engine's words after the box ended. `loss` belongs to what was
    lost; `retry_after_seconds` is what the engine, or a proxy before it, asked for.
    """

    killed_for: Literal["wall", "output"] | None = None
    oom_kills: int | None = None
    engine_oom_flag: bool | None = None
    forks_refused: int | None = None
    disk_full: bool | None = None
    box_exit_code: int | None = None
    loss: Loss | None = None
    retry_after_seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a lane answers.

    `exit_code` and `signal` (a name such as `SIGSEGV`) are None unless the program ended
    by itself. `python` is the version that ran it ("3.13"), None where no Python was reached.
    `posture` is the digest of what was in force around it, None where nothing was started.
    `timings` are seconds by phase name (`create`, `start`, `run`, `collect`).
    """

    ending: Ending
    lane: Lane
    stdout: Output = field(default_factory=Output)
    stderr: Output = field(default_factory=Output)
    result: Result | None = None
    bundles: tuple[Bundle, ...] = ()
    error: ProgramError | None = None
    exit_code: int | None = None
    signal: str | None = None
    files: tuple[OutputFile, ...] = ()
    skipped_files: tuple[SkippedFile, ...] = ()
    usage: Usage = field(default_factory=Usage)
    evidence: Evidence = field(default_factory=Evidence)
    python: str | None = None
    posture: str | None = None
    timings: tuple[tuple[str, float], ...] = ()

    @property
    def fault(self) -> Fault:
        """Whose fault the ending is."""
        return FAULTS[self.ending]

    @property
    def limits_reached(self) -> tuple[LimitName, ...]:
        """The limits that the job is known to have run into, also where it coped; one that was not read is left out.

        All but one from what was measured: a full disk that the program emptied again before its end is
        known by nothing but the error that it ended with.
        """
        evidence, error = self.evidence, self.error
        reached: dict[LimitName, bool] = {
            "time": evidence.killed_for == "wall",
            "memory": bool(evidence.oom_kills) or evidence.engine_oom_flag is True,
            "pids": bool(evidence.forks_refused),
            "disk": evidence.disk_full is True or (error is not None and error.errno in DISK_ERRORS),
            "output": evidence.killed_for == "output" or bool(self.stdout.omitted_bytes or self.stderr.omitted_bytes),
        }
        return tuple(name for name, is_reached in reached.items() if is_reached)
