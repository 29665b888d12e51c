"""What came of a program becomes what its caller reads. Pure: outcomes, findings and rulings in, `Answer` out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Literal
from urllib.parse import quote

from pydantic import JsonValue

from gateway.causes import Cause
from gateway.failures import hint_for
from gateway.lifecycle import Attempt
from gateway.records import StoredExecution
from gateway.wire_answers import (
    Answer,
    AttemptInfo,
    BundleMetadata,
    BundleOut,
    Error,
    FileOut,
    Finding,
    LimitsInfo,
    ShownRows,
    SkippedFile,
    UsageInfo,
)
from sandbox.bundles import MimeType
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending, Outcome, OutputFile

INLINE_FILE_BYTES = 256 * 1024  # a larger file is fetched by its href
INLINE_TOTAL_BYTES = 1024 * 1024
_LIMIT_ERRORS = {
    Ending.TIMED_OUT: ("TimeLimitExceeded", "the wall-clock limit was reached"),
    Ending.OUT_OF_MEMORY: ("MemoryLimitExceeded", "the memory limit was reached"),
    Ending.OUTPUT_LIMIT_EXCEEDED: ("OutputLimitExceeded", "more was written than is kept"),
}


def limits_info(limits: Limits) -> LimitsInfo:
    """The limits with their units in their names."""
    return LimitsInfo(
        cpu_cores=limits.cpu_cores,
        memory_bytes=limits.memory_bytes,
        wall_seconds=limits.wall_seconds,
        pids=limits.pids,
        disk_bytes=limits.disk_bytes,
        output_bytes=limits.output_bytes,
    )


def attempts_info(attempts: Sequence[Attempt]) -> list[AttemptInfo]:
    """The tries so far."""
    return [
        AttemptInfo(
            number=one.number, lane=one.lane, ending=one.ending, cause=one.cause, limits=limits_info(one.limits)
        )
        for one in attempts
    ]


def from_outcome(execution: str, outcome: Outcome, limits: Limits) -> Answer:
    """The answer that a run gives."""
    usage = outcome.usage
    return Answer(
        lane=outcome.lane,
        stdout=outcome.stdout.text,
        stderr=outcome.stderr.text,
        stdout_omitted_bytes=outcome.stdout.omitted_bytes,
        stderr_omitted_bytes=outcome.stderr.omitted_bytes,
        result=outcome.result.value if outcome.result else None,
        result_form=outcome.result.form if outcome.result else None,
        results=_bundles(outcome),
        error=_error(outcome, limits),
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        files=_files(execution, outcome.files),
        skipped_files=[SkippedFile(path=skipped.path, reason=skipped.reason) for skipped in outcome.skipped_files],
        usage=UsageInfo(
            wall_seconds=usage.wall_seconds,
            cpu_seconds=usage.cpu_seconds,
            peak_memory_bytes=usage.peak_memory_bytes,
            stdout_bytes=outcome.stdout.total_bytes,
            stderr_bytes=outcome.stderr.total_bytes,
            limits_reached=list(outcome.limits_reached),
        ),
        python=outcome.python,
        posture=outcome.posture,
    )


def _bundles(outcome: Outcome) -> list[BundleOut]:
    """What a notebook would show. A figure whose file did not come back is named as left out."""
    came = {file.path for file in outcome.files}
    shown = []
    for one in outcome.bundles:
        lost: list[MimeType] = ["image/png"] if one.file is not None and one.file not in came else []
        notes = BundleMetadata(
            file=None if lost else one.file,
            rows=ShownRows(shown=one.rows[0], total=one.rows[1]) if one.rows else None,
            omitted=[*one.omitted, *lost],
        )
        shown.append(BundleOut(data=dict(one.data), metadata=notes))
    return shown


def _error(outcome: Outcome, limits: Limits) -> Error | None:
    """A limit's error wins: what the program said while it was being killed does not explain why it was."""
    hint, error = hint_for(outcome, limits), outcome.error
    if outcome.ending in _LIMIT_ERRORS:
        kind, message = _LIMIT_ERRORS[outcome.ending]
        return Error(type=kind, message=message, hint=hint)
    if error is not None and outcome.ending is not Ending.SUCCEEDED:
        return Error(
            type=error.type,
            message=error.message,
            line=error.line,
            traceback=error.traceback or None,
            hint=hint,
        )
    if outcome.signal is not None:
        return Error(type="Signalled", message=f"the program was ended by {outcome.signal}", hint=hint)
    if outcome.exit_code:
        message = f"the program ended with exit code {outcome.exit_code}"
        return Error(type="NonZeroExit", message=message, hint=hint)
    return None


def _files(execution: str, files: Sequence[OutputFile]) -> list[FileOut]:
    shown, inline = [], 0
    for file in files:
        size = len(file.content)
        fits = size <= INLINE_FILE_BYTES and inline + size <= INLINE_TOTAL_BYTES
        inline += size if fits else 0
        encoding, content = _inline(file.content) if fits else (None, None)
        shown.append(
            FileOut(
                path=file.path,
                size_bytes=size,
                sha256=hashlib.sha256(file.content).hexdigest(),
                encoding=encoding,
                content=content,
                href=f"/v1/executions/{execution}/files/{quote(file.path)}",
            )
        )
    return shown


def _inline(content: bytes) -> tuple[Literal["utf8", "base64"], str]:
    try:
        return "utf8", content.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(content).decode()


def refused(findings: Sequence[Finding], error: Error) -> Answer:
    """The answer of a program that the checks did not admit."""
    return Answer(findings=list(findings), error=error)


def remembered(row: StoredExecution) -> Answer:
    """The answer of a failed program that is sent again; where retention took what it said, that is said instead."""
    answer = Answer.model_validate_json(row.answer or "{}").model_copy(update={"timings": {}})
    if row.output_deleted_at is None:
        return answer
    message = (
        f"this program ended as {row.status} before; what it said was deleted by retention at {row.output_deleted_at}"
    )
    hint = "It is not run again while it is unchanged: send other code."
    return answer.model_copy(update={"error": Error(type="AnsweredFromRecord", message=message, hint=hint)})


def from_person(result: JsonValue) -> Answer:
    """The answer that a reviewer gives in a program's stead."""
    return Answer(result=result, result_form="json")


def platform_error(lane: Lane | None, cause: Cause) -> Answer:
    """The answer when the platform's own tries are spent."""
    hint = "Nothing is wrong with the program as far as is known. Send it again later."
    error = Error(type="PlatformError", message=f"the platform could not run the program ({cause})", hint=hint)
    return Answer(lane=lane, error=error, cause=cause)


def expired(lane: Lane | None) -> Answer:
    """The answer of a program whose time to start was over before its turn."""
    hint = "It was not run. Send it again, with a later `start_within` or without one."
    return Answer(lane=lane, error=Error(type="Expired", message="it did not start within `start_within`", hint=hint))
