"""What a start finds unfinished: executions of a gateway that ended, taken up where their log stands.

What was running when nobody was there to see it end is lost by the platform, never by the program.
"""

from __future__ import annotations

import json
import logging

from pydantic import JsonValue

from gateway.causes import Cause
from gateway.conductor import Conductor
from gateway.events import Finished
from gateway.lifecycle import State
from gateway.policy import Policy, Profile
from gateway.reader import Reader
from gateway.records import StoredExecution
from gateway.requests import ExecutionRequest
from gateway.rules import profile_named, rules_of
from gateway.store import Store
from gateway.times import ids_follow, parse
from gateway.work import Work
from sandbox.outcome import Ending, Fault

log = logging.getLogger(__name__)


async def recover(store: Store, conductor: Conductor, policy: Policy) -> int:
    """Take up every execution without an answer, and go on with the ids; returns how many executions."""

    def find(reader: Reader) -> list[Work]:
        ids_follow(reader.newest_id())
        rows = reader.unanswered()
        return [work for row in rows if (work := _work(reader, row, policy)) is not None]

    found = await store.read(find)
    for work in found:
        if work.execution.state is State.RUNNING:
            attempt = len(work.execution.attempts)
            work.happened(_unseen(work.id, attempt))
        conductor.start(work)
    if found:
        log.warning("took up %d executions that an earlier gateway left unfinished", len(found))
    return len(found)


def _unseen(execution: str, attempt: int) -> Finished:
    """The end of an attempt that nobody saw end."""
    detail = "the gateway ended"
    return Finished(execution, attempt, Ending.LOST, Fault.PLATFORM, detail=detail, cause=Cause.GATEWAY_LOST)


def _work(reader: Reader, row: StoredExecution, policy: Policy) -> Work | None:
    stored = reader.task(row.task)
    execution = stored.task.executions.get(row.id) if stored else None
    if stored is None or execution is None:
        log.error("%s has no answer, and its task's log does not know it", row.id)
        return None
    profile = _profile(reader, row, policy)
    return Work(
        execution=execution,
        request=ExecutionRequest.model_validate_json(row.request),
        written=None,
        profile=profile,
        rules=rules_of(profile, anonymous=stored.task.anonymous),
        tenant=row.tenant,
        caller=row.caller,
        task_id=stored.task.task_id,
        anonymous=stored.task.anonymous,
        failures=stored.task.failures,
        submitted_at=parse(row.submitted_at),
        idempotency_key=row.idempotency_key,
        of=row.of,
        task=row.task,
        recorded=True,
        trace=reader.trace(row.id),
        fresh=True,  # whether it had to be run is not recorded
    )


def _profile(reader: Reader, row: StoredExecution, policy: Policy) -> Profile:
    """The profile that decided when it was submitted: an edited policy file does not rewrite what was admitted."""
    document = reader.policy_document(row.policy)
    if document is None:
        return profile_named(policy, row.profile)
    names = {"name": row.profile, "policy": row.policy_name}
    profile = Profile.model_validate({**_today(json.loads(document)), **names})
    notify = profile_named(policy, row.profile).review.notify  # who is told decides nothing, so no document has it
    return profile.model_copy(update={"review": profile.review.model_copy(update={"notify": notify})})


def _today(document: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A document of an earlier version in today's words."""
    del document["version"]
    review = document.get("review")
    if isinstance(review, dict) and "above_default" in review:
        when: list[JsonValue] = ["budget_exhausted", "stuck"]
        review["when"] = [*when, "above_default"] if review.pop("above_default") else when
    return document
