"""Executions as the conductor has them in memory, made of a profile and a request by the gateway's own functions."""

from __future__ import annotations

from gateway.events import Submitted
from gateway.execution_life import received
from gateway.policy import Profile
from gateway.requests import ExecutionRequest
from gateway.resources import limits_of, memory_max_bytes
from gateway.rules import rules_of
from gateway.times import new_id, now
from gateway.work import Work, written
from sandbox.job import Limits


def work_of(profile: Profile, request: ExecutionRequest) -> Work:
    """What a submission makes; the request's limits must be within the profile's."""
    limits = limits_of(profile, request)
    assert isinstance(limits, Limits), limits
    kept = written(request)
    most = memory_max_bytes(profile, request)
    event = Submitted(new_id("exe"), kept.program, limits, "ada", memory_max_bytes=most)
    work = Work(
        execution=received(event),
        request=request,
        written=kept,
        profile=profile,
        rules=rules_of(profile, anonymous=False),
        tenant="t",
        caller="ada",
        task_id="task",
        anonymous=False,
        failures={},
        submitted_at=now(),
    )
    work.happened(event)
    return work
