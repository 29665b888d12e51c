"""What is found over one connection, in the gateway's nouns.

Nothing is decided here; statements are `statements.py`'s, transactions the store's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from gateway import archive_statements, replay_statements, statements
from gateway.events import Answered, Spared
from gateway.records import (
    ExecutionHead,
    Keeping,
    LoggedEvent,
    OpenReviews,
    StoredApproval,
    StoredAsked,
    StoredExecution,
    StoredLetter,
    StoredPosture,
    StoredReview,
    StoredSize,
    StoredSpared,
    StoredTask,
    StoredUse,
)
from gateway.rows import approved_event, logged_event, spared_event, stored_spared, stored_task, task_and_answer
from gateway.session import Session
from gateway.times import stamp
from gateway.tracing import TraceContext

T = TypeVar("T")


class Reader:
    """Finds things over one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def task(self, task: str) -> StoredTask | None:
        """A task by its internal id."""
        return self._session.one(statements.TASK, stored_task, id=task)

    def task_named(self, tenant: str, task_id: str) -> StoredTask | None:
        """A task by its tenant's name for it."""
        return self._session.one(statements.TASK_NAMED, stored_task, tenant=tenant, task_id=task_id)

    def anonymous_in_review(self, tenant: str, caller: str) -> StoredTask | None:
        """The caller's anonymous task that waits for a person, if any."""
        return self._session.one(statements.ANONYMOUS_IN_REVIEW, stored_task, tenant=tenant, caller=caller)

    def execution(self, execution: str) -> StoredExecution | None:
        """An execution by its id."""
        return self._session.one(statements.EXECUTION, StoredExecution, id=execution)

    def execution_task(self, execution: str) -> str | None:
        """The internal id of an execution's task."""
        return self._session.one(statements.EXECUTION_TASK, str, id=execution)

    def execution_keyed(self, tenant: str, caller: str, key: str) -> StoredExecution | None:
        """The execution that a caller submitted under an idempotency key."""
        return self._session.one(
            statements.EXECUTION_KEYED, StoredExecution, tenant=tenant, caller=caller, idempotency_key=key
        )

    def trace(self, execution: str) -> TraceContext | None:
        """Where an execution belongs in its caller's trace, or in ours."""
        return self._session.one(statements.TRACE, TraceContext, execution=execution)

    def trace_of_review(self, review: str) -> TraceContext | None:
        """That of the execution that a review is about."""
        return self._session.one(statements.TRACE_OF_REVIEW, TraceContext, id=review)

    def result(self, key: str) -> StoredExecution | None:
        """The execution whose record answers all of its kind."""
        return self._session.one(statements.RESULT, StoredExecution, key=key)

    def execution_heads(self, task: str, limit: int) -> list[ExecutionHead]:
        """A task's executions without their bodies, newest first: ids sort by time, also where the clock was set back."""
        return self._session.every(statements.EXECUTION_HEADS, ExecutionHead, task=task, limit=limit)

    def newest_id(self) -> str:
        """The newest id there is of a task, an execution or a review; empty where there is nothing."""
        newest = [self._session.one(statement, _id_or_empty) or "" for statement in statements.NEWEST_IDS]
        return max(newest, key=lambda one: one.partition("_")[2])

    def unanswered(self) -> list[StoredExecution]:
        """Every execution without an answer, oldest first."""
        return self._session.every(statements.UNANSWERED, StoredExecution)

    def memory_sizes(self, since: datetime, limit: int) -> list[StoredSize]:
        """What programs were found to need since then, newest first."""
        return self._session.every(statements.SIZES, StoredSize, since=stamp(since), limit=limit)

    def uses(self, day: str) -> list[StoredUse]:
        """What each key used of its share on a day."""
        return self._session.every(statements.USES, StoredUse, day=day)

    def keeping(self, profile: str, upto: Mapping[int, str], after: tuple[str, str], limit: int) -> list[Keeping]:
        """Answered executions of which a body is due, oldest answer first, those after `after` (its time, its id).

        `upto` has for each bit of `kept` the youngest answer that is due; empty where it is kept for ever.
        """
        cutoffs = {f"upto_{bit}": at for bit, at in upto.items()}
        place = {"upto": max(upto.values()), "after": after[0], "after_id": after[1]}
        return self._session.every(statements.KEEPING, Keeping, profile=profile, limit=limit, **cutoffs, **place)

    def profile_after(self, name: str) -> str | None:
        """The next profile by name, of those whose executions keep something."""
        return self._session.one(statements.NEXT_PROFILE, _text_or_nothing, after=name)

    def file(self, execution: str, path: str) -> bytes | None:
        """A file that an execution left."""
        return self._session.one(statements.FILE, bytes, execution=execution, path=path)

    def review(self, review: str) -> StoredReview | None:
        """A review by its id."""
        return self._session.one(statements.REVIEW, StoredReview, id=review)

    def reviews(self, tenant: str, state: str | None, limit: int, after: str | None) -> list[StoredReview]:
        """A tenant's reviews, oldest first (ids sort by time), those after the id `after`."""
        query = statements.REVIEWS[state is not None, after is not None]
        return self._session.every(query, StoredReview, tenant=tenant, state=state, limit=limit, after=after)

    def reviews_due(self, at: datetime) -> list[StoredReview]:
        """Open reviews whose time is over."""
        return self._session.every(statements.REVIEWS_DUE, StoredReview, at=stamp(at))

    def open_reviews_by_profile(self) -> list[OpenReviews]:
        """How many reviews are open, by the profile of what they are about and by how far they were escalated."""
        return self._session.every(statements.OPEN_REVIEWS_BY, OpenReviews)

    def reviews_to_pass_on(self, at: datetime) -> list[StoredReview]:
        """Open reviews that are due for the next level."""
        return self._session.every(statements.REVIEWS_TO_PASS_ON, StoredReview, at=stamp(at))

    def reviews_waiting(self, after: str, limit: int) -> list[StoredReview]:
        """Open reviews of all tenants, oldest first, those after the id `after`."""
        return self._session.every(statements.REVIEWS_WAITING, StoredReview, after=after, limit=limit)

    def execution_profile(self, execution: str) -> str | None:
        """The name of the profile that an execution was submitted under."""
        return self._session.one(statements.EXECUTION_PROFILE, str, id=execution)

    def approval(self, question: str, at: datetime) -> StoredApproval | None:
        """What a person said yes to, if that still holds."""
        return self._session.one(statements.APPROVAL, StoredApproval, question=question, at=stamp(at))

    def approvers(self, review: str) -> list[str]:
        """Who said yes on a review before the one who decided it, whatever each of them said yes to."""
        said = self._session.every(statements.APPROVED_IN, approved_event, review=review)
        return [one.by for one in said if one.review == review]

    def open_reviews(self) -> int:
        """How many reviews wait for a person."""
        return self._session.one(statements.OPEN_REVIEWS, int) or 0

    def policy_document(self, digest: str) -> str | None:
        """The resolved policy of that digest, as canonical JSON."""
        return self._session.one(statements.POLICY, str, digest=digest)

    def posture(self, digest: str) -> StoredPosture | None:
        """A posture by its digest."""
        return self._session.one(statements.POSTURE, StoredPosture, digest=digest)

    def letter(self, letter: str) -> StoredLetter | None:
        """A letter that is still in the outbox."""
        return self._session.one(statements.LETTER, StoredLetter, id=letter)

    def letters_due(self, webhook: str, at: datetime, limit: int) -> list[StoredLetter]:
        """Letters to one webhook that are to be sent now, those first that have waited longest."""
        return self._session.every(statements.LETTERS_DUE, StoredLetter, webhook=webhook, at=stamp(at), limit=limit)

    def dead_letters(self, limit: int, after: str | None) -> list[StoredLetter]:
        """Letters that nobody tries to deliver any more, oldest first, those after the id `after`."""
        return self._session.every(statements.DEAD_LETTERS, StoredLetter, limit=limit, after=after or "")

    def dead_letter_count(self) -> int:
        """How many there are."""
        return self._session.one(statements.DEAD_LETTER_COUNT, int) or 0

    def spared_in(self, task: str) -> list[Spared]:
        """What of a task ran although it broke rules, in order."""
        return self._session.every(statements.SPARED_IN, spared_event, task=task)

    def spared(self, since: datetime, limit: int) -> list[StoredSpared]:
        """What ran since then although it broke rules, of all tenants, newest first."""
        return self._session.every(statements.SPARED, stored_spared, since=stamp(since), limit=limit)

    def queue_of(self, tenant: str) -> tuple[int, str]:
        """How many reviews of a tenant are open, and the newest id of any."""
        count = self._session.one(archive_statements.OPEN_COUNT, int, tenant=tenant)
        return count or 0, self._session.one(archive_statements.NEWEST_REVIEW, _id_or_empty, tenant=tenant) or ""

    def open_found(self, make: Callable[..., T], limit: int, asked: Mapping[str, str]) -> list[T]:
        """Open reviews that were asked for, oldest first, each with its task's name."""
        return self._session.every(archive_statements.OPEN_FOUND, make, limit=limit, **asked)

    def reviews_found(self, make: Callable[..., T], limit: int, asked: Mapping[str, str]) -> list[T]:
        """Reviews that were asked for, newest first, each with its task's name."""
        return self._session.every(archive_statements.REVIEWS_FOUND, make, limit=limit, **asked)

    def executions_found(self, make: Callable[..., T], limit: int, asked: Mapping[str, str]) -> list[T]:
        """Executions that were asked for, newest first, without their bodies."""
        return self._session.every(archive_statements.EXECUTIONS_FOUND, make, limit=limit, **asked)

    def asked(self, since: datetime, after: str, limit: int) -> list[StoredAsked]:
        """What was asked since then, oldest first, those after the id `after`."""
        return self._session.every(replay_statements.ASKED, StoredAsked, since=stamp(since), after=after, limit=limit)

    def answered(self, since: datetime) -> list[tuple[str, Answered]]:
        """The answers since then with their tasks, task by task, each task's in order."""
        return self._session.every(replay_statements.ANSWERED, task_and_answer, since=stamp(since))

    def log_of(self, task: str) -> list[LoggedEvent]:
        """A task's whole log, in order."""
        return self._session.every(statements.LOG, logged_event, task=task)


def _text_or_nothing(text: str | None) -> str | None:
    return text


def _id_or_empty(newest: str | None) -> str:
    return newest or ""
