"""How a run ended, as a table: evidence in, ending out."""

from __future__ import annotations

import signal

import pytest

from sandbox import frames
from sandbox.job import Limits
from sandbox.outcome import Ending, Fault
from sandbox.transcript import Transcript
from sandbox.verdict import BoxEnd, Observed, ending_of, exit_code_and_signal, outcome_of

EXITED_0, EXITED_1, EXITED_137 = 0, 1 << 8, 137 << 8
KILLED, SEGFAULT_WITH_CORE = int(signal.SIGKILL), int(signal.SIGSEGV) | 0x80

TABLE = [
    ("by itself, with exit code 0", Observed(reported=True, status=EXITED_0), Ending.SUCCEEDED),
    ("an exit code", Observed(reported=True, status=EXITED_1), Ending.FAILED),
    ("an exit code that looks like a kill", Observed(reported=True, status=EXITED_137, oom_kills=0), Ending.FAILED),
    ("a signal", Observed(reported=True, status=SEGFAULT_WITH_CORE), Ending.FAILED),
    ("a kill of its own making", Observed(reported=True, status=KILLED, oom_kills=0), Ending.FAILED),
    ("our kill at the limit", Observed(reported=True, status=KILLED, killed_for="wall"), Ending.TIMED_OUT),
    ("the gateway's kill, the guest silent", Observed(reported=False, killed_for="wall"), Ending.TIMED_OUT),
    ("our kill, and OOM kills", Observed(reported=True, status=KILLED, killed_for="wall", oom_kills=3), Ending.TIMED_OUT),
    ("out of memory", Observed(reported=True, status=KILLED, oom_kills=1), Ending.OUT_OF_MEMORY),
    ("a child out of memory, not coped with", Observed(reported=True, status=EXITED_1, oom_kills=1), Ending.OUT_OF_MEMORY),
    ("a child out of memory, coped with", Observed(reported=True, status=EXITED_0, oom_kills=1), Ending.SUCCEEDED),
    ("no counter, but the engine's flag", Observed(reported=True, status=KILLED, engine_oom_flag=True), Ending.OUT_OF_MEMORY),
    ("the engine's flag, coped with", Observed(reported=True, status=EXITED_0, engine_oom_flag=True), Ending.SUCCEEDED),
    ("the guest itself out of memory", Observed(reported=False, engine_oom_flag=True), Ending.OUT_OF_MEMORY),
    ("the guest gone, and the engine says no", Observed(reported=False, engine_oom_flag=False), Ending.LOST),
    ("the guest gone, and nobody knows", Observed(reported=False), Ending.LOST),
    ("the end told, but not all of it", Observed(reported=False, status=EXITED_0), Ending.LOST),
    ("a process that could not be collected", Observed(reported=True, status=None), Ending.LOST),
    ("our kill for output", Observed(reported=True, status=KILLED, killed_for="output"), Ending.OUTPUT_LIMIT_EXCEEDED),
    ("output left out", Observed(reported=True, status=EXITED_0, omitted_bytes=1), Ending.OUTPUT_LIMIT_EXCEEDED),
    ("output left out of a failure", Observed(reported=True, status=EXITED_1, omitted_bytes=1), Ending.OUTPUT_LIMIT_EXCEEDED),
    ("output left out, then out of memory", Observed(reported=True, status=KILLED, oom_kills=1, omitted_bytes=1), Ending.OUT_OF_MEMORY),
]  # fmt: skip


@pytest.mark.parametrize(("observed", "ending"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_ending_follows_from_the_evidence(observed: Observed, ending: Ending) -> None:
    assert ending_of(observed) is ending


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (Observed(reported=True, status=3 << 8), (3, None)),
        (Observed(reported=True, status=SEGFAULT_WITH_CORE), (None, "SIGSEGV")),
        (Observed(reported=True, status=KILLED, oom_kills=0), (None, "SIGKILL")),
        (Observed(reported=True, status=40), (None, "SIG40")),
        (Observed(reported=True, status=KILLED, killed_for="wall"), (None, None)),
        (Observed(reported=True, status=KILLED, oom_kills=1), (None, None)),
        (Observed(reported=True, status=EXITED_1, oom_kills=1), (1, None)),
        (Observed(reported=False), (None, None)),
    ],
)
def test_exit_code_and_signal_are_told_only_of_a_program_that_ended_by_itself(
    observed: Observed, expected: tuple[int | None, str | None]
) -> None:
    assert exit_code_and_signal(observed) == expected


LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 26, wall_seconds=1, pids=8, disk_bytes=100, output_bytes=10)
ENDED = frames.Ended(
    status=0,
    wall_seconds=0.5,
    cpu_seconds=0.25,
    peak_memory_bytes=None,
    oom_kills=0,
    forks_refused=0,
    disk_full=False,
    stdout_bytes=0,
    stderr_bytes=0,
)


def said(*heard: frames.Frame) -> Transcript:
    transcript = Transcript(LIMITS)
    for frame in heard:
        transcript.add(frame)
    return transcript


def test_what_was_not_read_is_none_never_zero() -> None:
    outcome = outcome_of(said(frames.Started("3.13"), ENDED, frames.Finished(collected=True)))
    assert outcome.ending is Ending.SUCCEEDED
    assert (outcome.usage.wall_seconds, outcome.usage.peak_memory_bytes) == (0.5, None)
    assert (outcome.evidence.engine_oom_flag, outcome.evidence.box_exit_code) == (None, None)
    assert outcome.python == "3.13"


def test_a_gateways_kill_keeps_what_came_before_it() -> None:
    outcome = outcome_of(
        said(frames.Started("3.13"), frames.Written("stdout", is_tail=False, data=b"abc")), timed_out=True
    )
    assert outcome.ending is Ending.TIMED_OUT
    assert outcome.evidence.killed_for == "wall"
    assert outcome.stdout.text == "abc"
    assert outcome.usage.wall_seconds is None


def test_an_announced_kill_has_its_author_even_if_the_box_dies_of_it() -> None:
    heard = said(frames.Started("3.13"), frames.Killing("wall"))
    outcome = outcome_of(heard, end=BoxEnd(exit_code=137, out_of_memory=False), problem="the stream ended early")
    assert (outcome.ending, outcome.evidence.killed_for) == (Ending.TIMED_OUT, "wall")


def test_a_request_that_cannot_be_set_up_is_the_codes_fault() -> None:
    outcome = outcome_of(said(frames.SetupFailed("OSError", "No space left on device")))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.CODE)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.line) == ("OSError", None)


def test_a_lost_box_is_the_platforms_fault_and_says_why() -> None:
    outcome = outcome_of(said(), end=BoxEnd(exit_code=1, out_of_memory=False), problem="the stream ended early")
    assert (outcome.ending, outcome.fault) == (Ending.LOST, Fault.PLATFORM)
    assert (outcome.evidence.detail, outcome.evidence.box_exit_code) == ("the stream ended early", 1)


@pytest.mark.parametrize(
    "heard",
    [
        [frames.Written("stdout", is_tail=False, data=b"x" * 11)],
        [frames.Written("stdout", is_tail=False, data=b"x" * 6), frames.Written("stdout", is_tail=True, data=b"x" * 5)],
        [frames.Written("stderr", is_tail=False, data=b"x"), ENDED],
        [frames.FileBegins("a", 101)],
        [frames.FileBegins("a", 60), frames.FilePart(b"x" * 60), frames.FileBegins("b", 60)],
        [frames.FilePart(b"x")],
        [frames.FileBegins("a", 1), frames.FilePart(b"xx")],
        [frames.FileBegins(str(number), 0) for number in range(101)],
    ],
)
def test_more_than_the_job_allows_is_no_guest_of_ours(heard: list[frames.Frame]) -> None:
    transcript = said(*heard)
    assert transcript.violation is not None
    assert transcript.over


def test_only_whole_files_count() -> None:
    transcript = said(
        frames.FileBegins("empty", 0),
        frames.FileBegins("half", 4),
        frames.FilePart(b"ab"),
        frames.FileBegins("whole", 4),
        frames.FilePart(b"ab"),
        frames.FilePart(b"cd"),
        frames.FileBegins("cut", 9),
        frames.Finished(collected=False),
    )
    assert [(file.path, file.content) for file in transcript.files] == [("empty", b""), ("whole", b"abcd")]
    assert [(file.path, file.reason) for file in transcript.skipped] == [("half", "unreadable"), ("cut", "unreadable")]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([frames.ResultPart("json", b"[1, "), frames.ResultPart("json", b"2]")], ([1, 2], "json")),
        ([frames.ResultPart("repr", b"<object>")], ("<object>", "repr")),
        ([frames.ResultPart("json", b"[1, ")], ("[1, ", "repr")),
        ([frames.ResultPart("json", b"NaN")], ("NaN", "repr")),
        ([frames.ResultPart("json", b'"\\ud800"')], ('"\\ud800"', "repr")),
        ([frames.ResultPart("json", b"\xff")], ("\ufffd", "repr")),
        ([frames.ResultPart("json", b"1" * 40)], (1111111111, "json")),
    ],
)
def test_a_result_that_only_claims_to_be_json_is_shown_as_text(
    parts: list[frames.Frame], expected: tuple[object, str]
) -> None:
    result = said(*parts).result
    assert result is not None
    assert (result.value, result.form) == expected


def test_a_result_nested_too_deep_for_others_is_text() -> None:
    transcript = Transcript(
        Limits(cpu_cores=1, memory_bytes=1, wall_seconds=1, pids=1, disk_bytes=1, output_bytes=9999)
    )
    transcript.add(frames.ResultPart("json", b"[" * 500 + b"]" * 500))
    assert transcript.result is not None
    assert transcript.result.form == "repr"
