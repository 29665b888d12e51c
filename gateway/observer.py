"""Who is told what happens to executions and reviews, after it happened: it counts for Prometheus and draws for traces.

Nothing of it changes what happens. Without a tracer it only counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from gateway.causes import KINDS, Cause
from gateway.circumstances import REQUEST
from gateway.counts import Counts
from gateway.events import Answered, Event, Started
from gateway.news import ExecutionEnded, News, ReviewEnded, ReviewOpened, ReviewPassedOn
from gateway.records import StoredReview
from gateway.times import parse
from gateway.tracing import Span, TraceContext, Tracer, Value
from gateway.work import Work
from sandbox.job import Lane
from sandbox.outcome import Fault, Outcome

_TOOL = "airlock"


class Observer:
    """One gateway's observer. `tracer` is there where traces are sent; `gen_ai`: in the words for tools of models too."""

    def __init__(self, *, gen_ai: bool = False) -> None:
        self.counts = Counts()
        self.tracer: Tracer | None = None
        self._gen_ai = gen_ai
        self._executions: dict[str, Span] = {}
        self._attempts: dict[str, Span] = {}

    def started(self, work: Work) -> None:
        """An execution is driven from here on."""
        if self.tracer is None:
            return
        links, request = {}, REQUEST.get()
        if work.recorded and request is not None and request.trace is not None:
            links["ruling"] = request.trace
        elif work.recorded and work.trace is not None:
            links["resumed"] = work.trace
        self._executions[work.id] = self.tracer.begin(
            f"execute_tool {_TOOL}" if self._gen_ai else "execution",
            {**_about(work), **(_tool(work) if self._gen_ai else {}), **_content(work)},
            parent=work.trace,
            links=links,
        )

    def ended(self, work: Work) -> None:
        """An execution is driven no more: it is answered, or left to the next gateway."""
        for spans in (self._attempts, self._executions):
            span = spans.pop(work.id, None)
            if span is not None:
                span.end()

    def checked(self, work: Work, seconds: float) -> None:
        """Its checks took that long."""
        execution = work.execution
        found: dict[str, Value] = {"airlock.findings": len(work.findings)}
        if execution.verdict is not None and execution.lane is not None:
            found |= {"airlock.verdict": execution.verdict.value, "airlock.lane": execution.lane.value}
        self.counts.remembered += execution.approval is not None
        self._past("checks", work, seconds, found)

    def waited(self, work: Work, seconds: float) -> None:
        """It waited that long for a box."""
        self.counts.queue_wait.observe(seconds)
        self._past("queue wait", work, seconds, {})

    def attempting(self, work: Work, started: Started) -> None:
        """An attempt begins."""
        attempts = work.execution.attempts
        before = attempts[-2].cause if len(attempts) > 1 else None
        again = before is not None and KINDS[before].fault is Fault.PLATFORM
        self.counts.attempted(before or "first", again=again)
        if self.tracer is not None and work.id in self._executions:
            about: dict[str, Value] = {
                "airlock.execution.id": work.id,
                "airlock.attempt.number": started.attempt,
                "airlock.attempt.reason": before or "first",
                "airlock.lane": started.lane.value,
            }
            parent = self._executions[work.id].context
            self._attempts[work.id] = self.tracer.begin("attempt", about, parent=parent)

    def attempted(self, work: Work, outcome: Outcome, cause: Cause | None) -> None:
        """An attempt ended."""
        phases = dict(outcome.timings)
        if "run" in phases:
            self.counts.run[outcome.lane].observe(phases["run"])
        if outcome.lane is Lane.CONTAINER and "run" in phases:
            self.counts.box_start.observe(_before_run(outcome))
        if outcome.usage.peak_memory_bytes is not None:
            self.counts.memory_peak.observe(outcome.usage.peak_memory_bytes)
        span = self._attempts.pop(work.id, None)
        if span is None:
            return
        span.tell({**_used(outcome, cause), **_output(work, outcome)})
        if cause is not None and KINDS[cause].fault is Fault.PLATFORM:
            span.fail(cause)
        ended = time.time()
        self._phases(span.context, outcome, ended)
        span.end(ended)

    def _phases(self, attempt: TraceContext, outcome: Outcome, ended: float) -> None:
        """Draw how the box started and how long the program ran, going back from the end."""
        phases = dict(outcome.timings)
        if self.tracer is None or "run" not in phases:
            return
        run_ended = ended - phases.get("collect", 0.0)
        began = run_ended - phases["run"]
        if outcome.lane is Lane.CONTAINER:
            start = self.tracer.begin("box start", {}, parent=attempt, began=began - _before_run(outcome))
            start.end(began)
        self.tracer.begin("run", {"airlock.lane": outcome.lane.value}, parent=attempt, began=began).end(run_ended)

    def recorded(self, work: Work, events: Sequence[Event]) -> None:
        """Events of an execution are on disk."""
        span, final = self._executions.get(work.id), events[-1]
        if span is not None and isinstance(final, Answered):
            _tell_answer(span, final)

    def told(self, news: Sequence[News]) -> None:
        """What a commit brought about, in the context of who wrote it."""
        for one in news:
            match one:
                case ExecutionEnded(profile=profile, status=status):
                    self.counts.executions[profile, status] += 1
                case ReviewOpened(review=review, profile=profile):
                    self._opened(review, profile)
                case ReviewPassedOn(review=review, by=by, trace=trace):
                    self._passed_on(review, by, trace)
                case ReviewEnded(review=review, trace=trace):
                    self._decided(review, trace)

    def _opened(self, review: StoredReview, profile: str) -> None:
        self.counts.budget_exhausted[profile, review.reason] += 1
        span = self._executions.get(review.execution)
        if span is not None:
            about = {"airlock.review.id": review.id, "airlock.review.reason": review.reason}
            span.event("airlock.review.opened", about)

    def _passed_on(self, review: StoredReview, by: str, trace: TraceContext | None) -> None:
        if self.tracer is None:
            return
        about: dict[str, Value] = {"airlock.review.id": review.id, "airlock.execution.id": review.execution}
        span = self.tracer.begin("review", about, parent=trace)
        who = "policy" if by == "policy" else "reviewer"
        span.event("airlock.review.escalated", {"airlock.review.level": review.level, "airlock.review.by": who})
        span.end()

    def _decided(self, review: StoredReview, trace: TraceContext | None) -> None:
        outcome = review.ruling or review.state if review.state == "decided" else review.state
        waited = max(0.0, (parse(review.decided_at or review.opened_at) - parse(review.opened_at)).total_seconds())
        self.counts.decided[outcome] += 1
        self.counts.review_wait.observe(waited)
        if self.tracer is None:
            return
        request = REQUEST.get()
        links = {"ruling": request.trace} if request is not None and request.trace is not None else {}
        about: dict[str, Value] = {"airlock.review.id": review.id, "airlock.execution.id": review.execution}
        span = self.tracer.begin("review", about, parent=trace, links=links)
        span.event("airlock.review.decided", {"airlock.ruling": outcome, "airlock.review.wait_seconds": waited})
        span.end()

    def _past(self, name: str, work: Work, seconds: float, attributes: dict[str, Value]) -> None:
        execution = self._executions.get(work.id)
        if self.tracer is not None and execution is not None:
            ended = time.time()
            self.tracer.begin(name, attributes, parent=execution.context, began=ended - seconds).end(ended)


def _about(work: Work) -> dict[str, Value]:
    return {
        "airlock.execution.id": work.id,
        "airlock.tenant": work.tenant,
        "airlock.profile": work.profile.name,
        "airlock.policy.digest": work.profile.digest,
        "airlock.source": work.execution.source,
    }


def _tool(work: Work) -> dict[str, Value]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": _TOOL,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": work.id,
    }


def _content(work: Work) -> dict[str, Value]:
    """What the agent said, where the policy has it told: each part of it bounded."""
    if not work.profile.telemetry.content:
        return {}
    most = work.profile.telemetry.content_size
    return {
        "airlock.task.id": _cut(work.task_id, most),
        "airlock.code": _cut(work.request.code, most),
        "airlock.inputs": _cut(json.dumps(work.request.inputs), most),
    }


def _output(work: Work, outcome: Outcome) -> dict[str, Value]:
    if not work.profile.telemetry.content:
        return {}
    most = work.profile.telemetry.content_size
    return {"airlock.stdout": _cut(outcome.stdout.text, most), "airlock.stderr": _cut(outcome.stderr.text, most)}


def _cut(text: str, most: int) -> str:
    """The beginning of a text, no more than `most` bytes of UTF-8."""
    return text[:most].encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def _before_run(outcome: Outcome) -> float:
    """Seconds from asking for a box to the program's first step."""
    return sum(seconds for phase, seconds in outcome.timings if phase not in {"run", "collect"})


def _used(outcome: Outcome, cause: Cause | None) -> dict[str, Value]:
    usage = outcome.usage
    fault = Fault.NONE if cause is None else KINDS[cause].fault
    found: dict[str, Value | None] = {
        "airlock.ending": outcome.ending.value,
        "airlock.fault": fault.value,
        "airlock.cause": cause,
        "error.type": cause,
        "airlock.posture": outcome.posture,
        "airlock.usage.wall_seconds": usage.wall_seconds,
        "airlock.usage.cpu_seconds": usage.cpu_seconds,
        "airlock.usage.peak_memory_bytes": usage.peak_memory_bytes,
    }
    return {name: value for name, value in found.items() if value is not None}


def _tell_answer(span: Span, final: Answered) -> None:
    found: dict[str, Value] = {"airlock.outcome": final.status.value, "airlock.charge": final.charge}
    if final.cause is not None:
        found["error.type"] = final.cause.value
        if KINDS[final.cause].fault is Fault.PLATFORM:
            span.fail(final.cause.value)
    span.tell(found)
