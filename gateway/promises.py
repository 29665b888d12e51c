"""What a request promises of a run beyond its success, and what becomes of a run that did not keep it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from gateway.requests import Expect
from sandbox.outcome import Ending, Outcome, Output, ProgramError

BAD_RESULT: Final = "bad_result"
"""The error type of a program that ran, and broke its promise."""

_MOST_TOLD: Final = 5


def broken_sizes_and_files(expect: Expect, outcome: Outcome) -> Iterator[str]:
    """What was promised of sizes and files and is not so, one sentence each."""
    files = {file.path: len(file.content) for file in outcome.files}
    sizes = (
        ("stdout", _written(outcome.stdout), expect.max_stdout_bytes),
        ("stderr", _written(outcome.stderr), expect.max_stderr_bytes),
        ("result", _result_bytes(outcome), expect.max_result_bytes),
        ("files", sum(files.values()), expect.max_files_bytes),
    )
    for what, size, most in sizes:
        if most is not None and size > most:
            yield f"{what}: larger than the {most} bytes of `expect`\nfound: {size} bytes"
    skipped = {one.path: one.reason for one in outcome.skipped_files}
    for path in expect.files:
        if path not in files:
            why = f"not brought back ({skipped[path]})" if path in skipped else "no match of `outputs` has this name"
            yield f"files: {path} is missing\nfound: {why}"


def without_value(outcome: Outcome) -> str | None:
    """Why there is nothing that a schema could be held against; None where there is a value."""
    if outcome.result is None:
        return "result: there is none\nfound: the last statement is no expression"
    if outcome.result.form != "json":
        return "result: it has no JSON form\nfound: " + str(outcome.result.value)[:200]
    return None


def broke(outcome: Outcome, promises: Sequence[str]) -> Outcome:
    """The run as a failure of the program's own. The first sentence comes first: it names the failure."""
    message = "\n".join(promises[:_MOST_TOLD])
    error = ProgramError(type=BAD_RESULT, message=message, line=None, traceback="")
    return replace(outcome, ending=Ending.FAILED, error=error)


def _written(stream: Output) -> int:
    """Bytes that were written, or at least those that are kept where nobody counted."""
    return len(stream.head) + len(stream.tail) if stream.total_bytes is None else stream.total_bytes


def _result_bytes(outcome: Outcome) -> int:
    if outcome.result is None:
        return 0
    return len(json.dumps(outcome.result.value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
