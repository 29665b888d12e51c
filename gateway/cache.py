"""The result cache: which programs have one result for ever, what makes two of them the same, and what is told of one.

Pure. Only what Monty ran exactly and the same each time is in it; nothing that a container ran.
"""

from __future__ import annotations

import hashlib
from typing import Final

from gateway import __version__
from gateway.checks import Report
from gateway.events import Status, Verdict
from gateway.policy import CacheScope
from gateway.records import StoredExecution
from gateway.wire_answers import Answer
from gateway.work import Work
from sandbox.job import Lane
from sandbox.monty import POSTURE
from sandbox.outcome import Ending

_TOLD: Final = (
    "lane",
    "stdout",
    "stderr",
    "stdout_omitted_bytes",
    "stderr_omitted_bytes",
    "result",
    "result_form",
    "exit_code",
    "python",
    "posture",
)
"""What of an answer is the program's alone: not when it ran, for whom, or how long that took."""


def key_of(work: Work, report: Report) -> str | None:
    """What all executions share that must come to the same; None for one that need not. SHA-256, hexadecimal."""
    scope = work.profile.cache.scope
    is_exact = report.verdict is Verdict.ADMIT and report.lane is Lane.MONTY and report.deterministic
    if scope is CacheScope.NONE or not is_exact or work.execution.source != "agent":
        return None
    whose = work.tenant if scope is CacheScope.TENANT else ""
    parts = (whose, work.execution.digest, work.profile.digest, __version__, POSTURE.digest)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def worth_keeping(work: Work) -> bool:
    """Whether the execution came to what the next of its kind may be answered with."""
    outcome = work.outcome
    return (
        work.cache_key is not None
        and outcome is not None
        and outcome.lane is Lane.MONTY
        and outcome.ending is Ending.SUCCEEDED
    )


def recalled(row: StoredExecution) -> Answer | None:
    """The answer that an earlier execution's record gives to another one; None where there is nothing left of it."""
    if row.status != Status.SUCCEEDED.value or row.answer is None or row.output_deleted_at is not None:
        return None  # retention leaves an answer without its output, which would look like one of a silent program
    answer = Answer.model_validate_json(row.answer)
    return Answer(**{name: getattr(answer, name) for name in _TOLD}, cached=True)
