"""Which limits a run is known to have reached, what a caller is told to do about it, and what the log keeps of it."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import pytest

from gateway.answers import from_outcome
from gateway.events import Finished, decode, encode
from gateway.failures import HINTS
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Evidence, Fault, LimitName, Outcome, Output, ProgramError, Usage

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=2.5, pids=32, disk_bytes=1 << 24, output_bytes=1 << 16)
QUIET = Evidence(oom_kills=0, forks_refused=0, disk_full=False)


def ended(
    ending: Ending = Ending.FAILED, evidence: Evidence = QUIET, error: ProgramError | None = None, omitted: int = 0
) -> Outcome:
    return Outcome(
        ending=ending, lane=Lane.CONTAINER, stdout=Output(omitted_bytes=omitted), error=error, evidence=evidence
    )


def raised(kind: str, number: int | None = None) -> ProgramError:
    return ProgramError(type=kind, message="", line=1, traceback="", errno=number)


REACHED: list[tuple[str, Outcome, list[LimitName]]] = [
    ("nothing", ended(), []),
    ("nothing that could be read", ended(evidence=Evidence()), []),
    ("an exit code that looks like a kill", replace(ended(), exit_code=137), []),
    ("the time", ended(Ending.TIMED_OUT, Evidence(killed_for="wall")), ["time"]),
    ("memory, by the box's counter", ended(Ending.OUT_OF_MEMORY, replace(QUIET, oom_kills=1)), ["memory"]),
    ("memory, by the engine's word", ended(Ending.OUT_OF_MEMORY, Evidence(engine_oom_flag=True)), ["memory"]),
    ("memory, and it coped", ended(Ending.SUCCEEDED, replace(QUIET, oom_kills=2)), ["memory"]),
    ("processes", ended(evidence=replace(QUIET, forks_refused=3)), ["pids"]),
    ("processes, and it coped", ended(Ending.SUCCEEDED, replace(QUIET, forks_refused=1)), ["pids"]),
    ("a disk that is still full", ended(evidence=replace(QUIET, disk_full=True)), ["disk"]),
    ("a disk that was full", ended(error=raised("OSError", errno.ENOSPC)), ["disk"]),
    ("a file too large", ended(error=raised("OSError", errno.EFBIG)), ["disk"]),
    ("another error of the system", ended(error=raised("OSError", errno.EAGAIN)), []),
    ("output that was left out", ended(Ending.OUTPUT_LIMIT_EXCEEDED, omitted=1), ["output"]),
    ("output, and it was killed for it", ended(Ending.OUTPUT_LIMIT_EXCEEDED, Evidence(killed_for="output")), ["output"]),
    (
        "everything",
        ended(Ending.TIMED_OUT, Evidence(killed_for="wall", oom_kills=1, forks_refused=1, disk_full=True), omitted=1),
        ["time", "memory", "pids", "disk", "output"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("outcome", "reached"), [row[1:] for row in REACHED], ids=[row[0] for row in REACHED])
def test_the_limits_reached_follow_from_the_evidence(outcome: Outcome, reached: list[LimitName]) -> None:
    usage = from_outcome("exe", outcome, LIMITS).usage
    assert usage is not None
    assert usage.limits_reached == list(outcome.limits_reached) == reached


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (ended(Ending.TIMED_OUT, Evidence(killed_for="wall")), ["2.5 s", "`limits.time`"]),
        (ended(Ending.OUT_OF_MEMORY, Evidence(oom_kills=1)), [str(1 << 28), "`limits.memory`"]),
        (ended(Ending.OUTPUT_LIMIT_EXCEEDED, omitted=1), [str(1 << 16), "`outputs`"]),
        (ended(evidence=Evidence(forks_refused=1), error=raised("RuntimeError")), ["32 processes", "`limits.pids`"]),
        (ended(error=raised("OSError", errno.ENOSPC)), [str(1 << 24), "10000 files", "`limits.disk`"]),
        (replace(ended(evidence=Evidence(disk_full=True)), exit_code=3), ["`limits.disk`"]),
        (replace(ended(evidence=Evidence(forks_refused=1)), signal="SIGABRT"), ["`limits.pids`"]),
        (ended(evidence=Evidence(forks_refused=1), error=raised("KeyError")), ["`limits.pids`", HINTS["KeyError"]]),
        (ended(error=raised("KeyError")), [HINTS["KeyError"]]),
        (ended(error=raised("OSError", errno.EROFS)), [HINTS["OSError"]]),
    ],
)
def test_a_failure_says_which_limit_it_ran_into_and_what_to_do(outcome: Outcome, words: list[str]) -> None:
    error = from_outcome("exe", outcome, LIMITS).error
    assert error is not None
    assert error.hint is not None
    assert [word for word in words if word not in error.hint] == []


def test_the_limit_that_ended_a_program_comes_first_and_the_others_after_it() -> None:
    outcome = ended(Ending.OUTPUT_LIMIT_EXCEEDED, Evidence(killed_for="output", forks_refused=1), omitted=1)
    error = from_outcome("exe", outcome, LIMITS).error
    assert error is not None
    assert error.hint is not None
    assert error.hint.index("`outputs`") < error.hint.index("`limits.pids`")


def test_a_full_disk_needs_no_other_advice() -> None:
    error = from_outcome("exe", ended(error=raised("OSError", errno.ENOSPC)), LIMITS).error
    assert error is not None
    assert error.hint is not None
    assert HINTS["OSError"] not in error.hint


def test_what_nobody_counted_is_null_in_the_answer() -> None:
    outcome = Outcome(
        ending=Ending.TIMED_OUT,
        lane=Lane.CONTAINER,
        stdout=Output(b"so far", omitted_bytes=None),
        stderr=Output(omitted_bytes=None),
        usage=Usage(),
        evidence=Evidence(killed_for="wall"),
    )
    answer = from_outcome("exe", outcome, LIMITS)
    assert (answer.stdout, answer.stdout_omitted_bytes, answer.stderr_omitted_bytes) == ("so far", None, None)
    assert answer.usage is not None
    assert answer.usage.model_dump() == {
        "wall_seconds": None,
        "cpu_seconds": None,
        "peak_memory_bytes": None,
        "stdout_bytes": None,
        "stderr_bytes": None,
        "limits_reached": ["time"],
    }


def test_an_attempt_is_recorded_with_its_evidence() -> None:
    evidence = Evidence(killed_for="wall", oom_kills=0, forks_refused=7, disk_full=None, box_exit_code=137)
    event = Finished("exe", 1, Ending.TIMED_OUT, Fault.CODE, "mark", "", evidence)
    name, data = encode(event)
    assert decode(name, data) == event
    assert json.loads(data)["evidence"]["disk_full"] is None


def test_a_log_from_before_evidence_was_recorded_can_be_read() -> None:
    old = '{"attempt":1,"detail":"why","ending":"lost","execution":"exe","fault":"platform","fingerprint":null}'
    assert decode("Finished", old) == Finished("exe", 1, Ending.LOST, Fault.PLATFORM, None, "why")


def test_evidence_of_more_or_fewer_kinds_can_be_read() -> None:
    record = json.loads(encode(Finished("exe", 1, Ending.FAILED, Fault.CODE, evidence=QUIET))[1])
    record["evidence"] = {"oom_kills": 0, "of_a_kind_to_come": True}
    assert decode("Finished", json.dumps(record)) == Finished(
        "exe", 1, Ending.FAILED, Fault.CODE, evidence=Evidence(oom_kills=0)
    )
