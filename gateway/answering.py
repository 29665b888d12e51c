"""Answering: what a caller is told of an execution, put together from all that the gateway knows of it.

How it ends is decided before; nothing here changes that.
"""

from __future__ import annotations

import logging
import time
from typing import Literal

from gateway.answers import attempts_info, expired, from_outcome, platform_error, refused, remembered
from gateway.causes import Cause
from gateway.counts import Counts
from gateway.events import Answered, Status
from gateway.execution_life import Execution, IllegalEvent
from gateway.reports import error_of
from gateway.resources import effective
from gateway.store import Store
from gateway.wire_answers import Answer
from gateway.work import Work

log = logging.getLogger(__name__)


class Answering:
    """One gateway's answers."""

    def __init__(self, store: Store, counts: Counts) -> None:
        self._store = store
        self._counts = counts

    async def answer(self, work: Work, ruling: Answered) -> Answer:
        """The answer that an ending brings."""
        if ruling.repeats is not None:
            return await self._recorded(ruling.repeats)
        if ruling.status is Status.PLATFORM_ERROR:
            answer = self.platform_error(work, ruling.cause or Cause.STEP_FAILED)
        elif ruling.status is Status.EXPIRED:
            answer = expired(work.execution.lane)
        elif work.outcome is None:
            answer = refused(work.findings, error_of(work.findings))
        else:
            answer = from_outcome(work.id, work.outcome, work.execution.limits)
        return complete(work, answer, ruling.cause)

    def platform_error(self, work: Work, cause: Cause) -> Answer:
        """For an operator to look at: the gateway does not try again by itself."""
        self._counts.platform_errors[cause] += 1
        log.error("%s: the platform could not run it (%s); nobody is charged", work.id, cause)
        return platform_error(work.execution.lane, cause)

    async def _recorded(self, execution: str) -> Answer:
        found = await self._store.read(lambda reader: reader.execution(execution))
        if found is None or found.answer is None:
            raise IllegalEvent(f"{execution} failed, but its answer is not recorded")
        return remembered(found).model_copy(update={"cause": Cause.REPEATED})


def complete(work: Work, answer: Answer, cause: Cause | None = None) -> Answer:
    """The answer with what the gateway knows of the execution."""
    timings = {name: round(seconds, 6) for name, seconds in work.timings.items()}
    return answer.model_copy(
        update={
            "cause": cause,
            "findings": list(work.findings),
            "attempts": attempts_info(work.execution.attempts),
            "limits": effective(work.profile, work.request, work.execution.limits, source=_limits_by(work.execution)),
            "timings": {**timings, "total": round(time.monotonic() - work.began, 6)},
        }
    )


def cancelled(work: Work) -> Answer:
    """The answer of what somebody ended. The program may have run; nothing of it counts."""
    return Answer(
        lane=work.execution.lane,
        cause=Cause.CANCELLED,
        findings=list(work.findings),
        attempts=attempts_info(work.execution.attempts),
    )


def _limits_by(execution: Execution) -> Literal["agent", "reviewer"]:
    """Who had the last word on an execution's limits; of what is remembered, the person who said it."""
    return "reviewer" if execution.approval is not None else execution.source
