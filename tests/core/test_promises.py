"""Promises of sizes and files, and what a broken promise makes of a run."""

from __future__ import annotations

import pytest

from gateway.failures import fingerprint, hint_for
from gateway.promises import broke, broken_sizes_and_files, without_value
from gateway.requests import Expect
from sandbox.job import JsonValue, Lane, Limits
from sandbox.outcome import Ending, Outcome, Output, OutputFile, Result, SkippedFile

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=5, pids=64, disk_bytes=1 << 20, output_bytes=1 << 16)


def ran(value: JsonValue = None, **more: object) -> Outcome:
    parts = {"result": Result(value, "json"), "exit_code": 0, **more}
    return Outcome(ending=Ending.SUCCEEDED, lane=Lane.CONTAINER, **parts)  # type: ignore[arg-type]


def broken(outcome: Outcome, **expect: object) -> list[str]:
    return list(broken_sizes_and_files(Expect.model_validate(expect), outcome))


@pytest.mark.parametrize(
    ("outcome", "field", "size"),
    [
        (ran(stdout=Output(b"12345")), "max_stdout_bytes", 5),
        (ran(stdout=Output(b"123", b"8", omitted_bytes=4)), "max_stdout_bytes", 8),
        (ran(stderr=Output(b"123", b"8", omitted_bytes=None)), "max_stderr_bytes", 4),
        (ran({"a": ["ä", 1]}), "max_result_bytes", 14),
        (ran(files=(OutputFile("a", b"12"), OutputFile("b", b"3"))), "max_files_bytes", 3),
    ],
)
def test_a_size_may_be_reached_and_not_passed(outcome: Outcome, field: str, size: int) -> None:
    assert broken(outcome, **{field: size}) == []
    (told,) = broken(outcome, **{field: size - 1})
    assert f"the {size - 1} bytes" in told
    assert told.endswith(f"{size} bytes")


def test_a_missing_file_is_named_with_the_reason_where_there_is_one() -> None:
    outcome = ran(files=(OutputFile("a.csv", b""),), skipped_files=(SkippedFile("big.bin", "too_large"),))
    told = broken(outcome, files=["a.csv", "b.csv", "big.bin"])
    assert [one.splitlines()[0] for one in told] == ["files: b.csv is missing", "files: big.bin is missing"]
    assert "too_large" in told[1]


def test_a_schema_has_nothing_to_say_of_what_is_no_json() -> None:
    assert without_value(ran(1)) is None
    assert without_value(ran(result=None)) is not None
    assert "<object>" in (without_value(ran(result=Result("<object>", "repr"))) or "")


def test_the_same_broken_promise_is_the_same_failure_whatever_was_found() -> None:
    first, again, other = (
        broke(ran(), [message])
        for message in (
            "result/rows/1: the value is too long\nfound: 'x'",
            "result/rows/7: the value is too long\nfound: 'y'",
            "result/total: the value is too long\nfound: 'x'",
        )
    )
    assert (first.ending, first.exit_code) == (Ending.FAILED, 0)
    assert fingerprint(first, "1") == fingerprint(again, "1") != fingerprint(other, "1")
    assert "expect" in (hint_for(first, LIMITS) or "")
