"""How a run ended, from evidence alone.

Pure. The order of the rules is the order of certainty: what we did ourselves, what the kernel
counted, what was measured, and only then what the program's process left as its status.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from sandbox.job import Lane
from sandbox.outcome import Ending, Evidence, Loss, Outcome, Usage
from sandbox.transcript import Transcript


@dataclass(frozen=True, slots=True)
class BoxEnd:
    """How the engine saw a box end; each None where it did not say."""

    exit_code: int | None
    out_of_memory: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that is known of a run that is over.

    `reported`: the guest told the end of its program, so that `status` (as `waitpid` gives it,
    None if the process could not be collected) is known. `oom_kills` is the box's own counter,
    `engine_oom_flag` the engine's word, each None where it was not read.
    """

    reported: bool
    status: int | None = None
    killed_for: Literal["wall", "output"] | None = None
    oom_kills: int | None = None
    engine_oom_flag: bool | None = None
    omitted_bytes: int = 0


def ending_of(observed: Observed) -> Ending:
    """The one ending that the evidence allows."""
    out_of_memory = observed.engine_oom_flag is True or (observed.oom_kills is not None and observed.oom_kills > 0)
    succeeded = observed.status == 0
    if observed.killed_for == "wall":
        return Ending.TIMED_OUT
    if out_of_memory and not (observed.reported and succeeded):
        # A child that the kernel killed and the program coped with is the program's affair.
        return Ending.OUT_OF_MEMORY
    if not observed.reported or (observed.status is None and observed.killed_for is None):
        return Ending.LOST
    if observed.killed_for == "output" or observed.omitted_bytes > 0:
        return Ending.OUTPUT_LIMIT_EXCEEDED
    return Ending.SUCCEEDED if succeeded else Ending.FAILED


def exit_code_and_signal(observed: Observed) -> tuple[int | None, str | None]:
    """The program's exit code, or the name of the signal that ended it; neither if it was killed from outside.

    From outside: by the guest, or by the kernel at the memory limit.
    """
    status = observed.status
    if status is None or observed.killed_for is not None:
        return None, None
    number = status & 0x7F
    if number == 0:
        return (status >> 8) & 0xFF, None
    if number == signal.SIGKILL and ending_of(observed) is Ending.OUT_OF_MEMORY:
        return None, None
    return None, _signal_name(number)


def outcome_of(said: Transcript, *, timed_out: bool = False, end: BoxEnd | None = None, problem: str = "") -> Outcome:
    """The outcome of a run, from what its guest said and what was seen from outside.

    `timed_out`: the gateway itself had to end the box at the job's limit. `problem` says, for
    operators, what kept the guest from telling everything, if anything did.
    """
    ended = said.ended
    stdout, stderr = said.output("stdout"), said.output("stderr")
    killed_for = None if said.killing is None else said.killing.reason
    observed = Observed(
        reported=ended is not None and not problem,
        status=None if ended is None else ended.status,
        killed_for="wall" if timed_out else killed_for,
        oom_kills=None if ended is None else ended.oom_kills,
        engine_oom_flag=None if end is None else end.out_of_memory,
        omitted_bytes=(stdout.omitted_bytes or 0) + (stderr.omitted_bytes or 0),
    )
    exit_code, signal_name = exit_code_and_signal(observed)
    ending = Ending.FAILED if said.setup_failed is not None else ending_of(observed)
    return Outcome(
        ending=ending,
        lane=Lane.CONTAINER,
        stdout=stdout,
        stderr=stderr,
        result=said.result,
        bundles=said.bundles,
        error=said.error,
        exit_code=exit_code,
        signal=signal_name,
        files=said.files,
        skipped_files=said.skipped,
        usage=Usage()
        if ended is None
        else Usage(
            wall_seconds=ended.wall_seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_memory_bytes=ended.peak_memory_bytes,
        ),
        evidence=Evidence(
            killed_for=observed.killed_for,
            oom_kills=observed.oom_kills,
            engine_oom_flag=observed.engine_oom_flag,
            forks_refused=None if ended is None else ended.forks_refused,
            disk_full=None if ended is None else ended.disk_full,
            box_exit_code=None if end is None else end.exit_code,
            loss=Loss.BOX if ending is Ending.LOST else None,
            detail=problem or _remark(said),
        ),
        python=None if said.started is None else said.started.python,
    )


def _remark(said: Transcript) -> str:
    if said.setup_failed is not None:
        return "the box could not be set up as the job asks"
    if said.finished is not None and not said.finished.collected:
        return "the files could not all be collected in time"
    return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
