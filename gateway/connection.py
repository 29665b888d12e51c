"""What is found and written over one connection, in the gateway's nouns.

Nothing is decided here; statements are `statements.py`'s, transactions the store's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TypeVar

from pydantic import TypeAdapter

from gateway import archive_statements, replay_statements, statements
from gateway.bodies import BIT, Body
from gateway.errors import Unavailable
from gateway.events import Answered, Approved, Event, Spared, chain, decode, encode
from gateway.lifecycle import Task, apply
from gateway.news import ExecutionEnded, News, ReviewEnded, ReviewOpened
from gateway.notices import Subscription, notices
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
    StoredSighting,
    StoredSize,
    StoredSpared,
    StoredTask,
    StoredUse,
)
from gateway.session import Session, Value
from gateway.times import new_id, stamp
from gateway.tracing import TraceContext

T = TypeVar("T")
_TASK = TypeAdapter(Task)
_USES_DAYS = 90  # that what keys used is kept, for who wants to look


class Reader:
    """Finds things over one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def task(self, task: str) -> StoredTask | None:
        """A task by its internal id."""
        return self._session.one(statements.TASK, _task, id=task)

    def task_named(self, tenant: str, task_id: str) -> StoredTask | None:
        """A task by its tenant's name for it."""
        return self._session.one(statements.TASK_NAMED, _task, tenant=tenant, task_id=task_id)

    def anonymous_in_review(self, tenant: str, caller: str) -> StoredTask | None:
        """The caller's anonymous task that waits for a person, if any."""
        return self._session.one(statements.ANONYMOUS_IN_REVIEW, _task, tenant=tenant, caller=caller)

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
        newest = [self._session.one(statement, _id_or_nothing) or "" for statement in statements.NEWEST_IDS]
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
        said = self._session.every(statements.APPROVED_IN, _approved, review=review)
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
        return self._session.every(statements.SPARED_IN, _spared, task=task)

    def spared(self, since: datetime, limit: int) -> list[StoredSpared]:
        """What ran since then although it broke rules, of all tenants, newest first."""
        return self._session.every(statements.SPARED, _stored_spared, since=stamp(since), limit=limit)

    def queue_of(self, tenant: str) -> tuple[int, str]:
        """How many reviews of a tenant are open, and the newest id of any."""
        count = self._session.one(archive_statements.OPEN_COUNT, int, tenant=tenant)
        return count or 0, self._session.one(archive_statements.NEWEST_REVIEW, _id_or_nothing, tenant=tenant) or ""

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
        return self._session.every(replay_statements.ANSWERED, _answered, since=stamp(since))

    def log_of(self, task: str) -> list[LoggedEvent]:
        """A task's whole log, in order."""
        return self._session.every(statements.LOG, _logged, task=task)


class Writer(Reader):
    """Finds and writes within one part of a transaction.

    `changed` are the tasks that it changed, as it left them; `left` those that its connection changed, by id. Letters to
    `subscriptions` are written with the events that they tell of, by whomever these are appended.
    """

    def __init__(
        self, session: Session, left: dict[str, StoredTask], subscriptions: Sequence[Subscription] = ()
    ) -> None:
        super().__init__(session)
        self._subscriptions = subscriptions
        self.changed: list[StoredTask] = []
        self.news: list[News] = []
        self._left = left

    def task(self, task: str) -> StoredTask | None:
        """See `Reader.task`. Moving on what another gateway moved on meanwhile fails, and forgets."""
        return self._left.get(task) or super().task(task)

    def open_task(self, task: str, opened: Task, event: Event, at: datetime) -> StoredTask:
        """Begin a task's log with its first event, which made `opened`."""
        logged = _log_row(task, 1, stamp(at), event, "")
        row: dict[str, Value] = {
            "id": task,
            "tenant": opened.tenant,
            "task_id": opened.task_id,
            "caller": opened.by,
            "anonymous": opened.anonymous,
            "opened_at": stamp(at),
        }
        self._session.change(statements.ADD_TASK, {**row, **_projection(opened, str(logged["hash"]))})
        self._add_events([logged])
        return self._leave(StoredTask(id=task, head=str(logged["hash"]), task=opened))

    def append(self, stored: StoredTask, events: Sequence[Event], at: datetime, told: Sequence[str] = ()) -> StoredTask:
        """Append to a log and move its projection on; raises `IllegalEvent` for what cannot happen.

        `told` are webhooks and mail addresses that hear of reviews among the events, whatever they subscribed to.
        """
        task, head, when, rows = stored.task, stored.head, stamp(at), []
        for item in events:
            task = apply(task, item)
            row = _log_row(stored.id, task.seq, when, item, head)
            rows.append(row)
            head = str(row["hash"])
        self._add_events(rows)
        place: dict[str, Value] = {"this": stored.id, "seq_before": stored.task.seq}
        if self._session.change(statements.MOVE_TASK, {**place, **_projection(task, head)}) != 1:
            raise Unavailable("The task was changed by another gateway at the same moment.")
        if self._subscriptions or told:
            self._add_letters(stored.task, events, when, told)
        return self._leave(StoredTask(id=stored.id, head=head, task=task))

    def _leave(self, stored: StoredTask) -> StoredTask:
        self.changed.append(stored)
        self._left[stored.id] = stored
        return stored

    def _add_events(self, rows: Sequence[Mapping[str, Value]]) -> None:
        """As few statements as can be: around each, threads that wait for the interpreter take turns."""
        for first in range(0, len(rows), statements.MOST_EVENTS):
            some = rows[first : first + statements.MOST_EVENTS]
            values = {f"{name}{number}": value for number, row in enumerate(some) for name, value in row.items()}
            self._session.change(statements.ADD_EVENTS[len(some)], values)

    def _add_letters(self, before: Task, events: Sequence[Event], when: str, told: Sequence[str]) -> None:
        for notice in notices(before, events, when, self._subscriptions, told):
            letter = StoredLetter(
                id=new_id("msg"),
                webhook=notice.webhook,
                type=notice.kind.value,
                body=notice.body,
                state="waiting",
                attempts=0,
                written_at=when,
                due_at=when,
            )
            self._session.change(statements.ADD_LETTER, letter.row())

    def change_letter(self, letter: StoredLetter) -> None:
        """Keep what became of a try."""
        self._session.change(statements.CHANGE_LETTER, {**letter.row(), "this": letter.id})

    def remove_letter(self, letter: str) -> None:
        """Take a letter out of the outbox."""
        self._session.change(statements.REMOVE_LETTER, {"id": letter})

    def give_up_letters(self, known: Sequence[str], error: str) -> int:
        """Make dead letters of those to other webhooks than these; count them."""
        others = set(self._session.every(statements.LETTER_WEBHOOKS, str)) - set(known)
        gone = {"state": "dead", "error": error}
        return sum(self._session.change(statements.GIVE_UP_LETTERS, {**gone, "this": other}) for other in others)

    def add_execution(self, execution: StoredExecution) -> None:
        """Keep a submitted program, with its answer if it has one already."""
        self._session.change(statements.ADD_EXECUTION, execution.row())
        if execution.status is not None:
            self.news.append(ExecutionEnded(execution.profile, execution.status))

    def answer_execution(self, execution: StoredExecution) -> None:
        """Keep the answer of a program that was added without one."""
        answered = self._session.change(statements.ANSWER_EXECUTION, {**execution.row(), "this": execution.id})
        if answered and execution.status is not None:
            self.news.append(ExecutionEnded(execution.profile, execution.status))

    def reconsider_execution(self, execution: StoredExecution) -> None:
        """Keep the policy that decides from now on about a program that was added under another."""
        self._session.change(statements.RECONSIDER_EXECUTION, {**execution.row(), "this": execution.id})

    def keep_trace(self, execution: str, trace: TraceContext) -> None:
        """Keep where an execution belongs."""
        self._session.change(
            statements.ADD_TRACE, {"execution": execution, "parent": trace.parent, "state": trace.state}
        )

    def release_key(self, execution: str) -> None:
        """Let the idempotency key of an execution stand for another one."""
        self._session.change(statements.RELEASE_KEY, {"this": execution, "bits": ~BIT[Body.KEYS]})

    def add_use(self, use: StoredUse) -> None:
        """Add to what a key used on a day. With the first of a day what is long over goes."""
        whose: dict[str, Value] = {"this_tenant": use.tenant, "this_caller": use.caller, "this_day": use.day}
        more: dict[str, Value] = {
            "more_executions": use.executions,
            "more_cpu_milliseconds": use.cpu_milliseconds,
        }
        if not self._session.change(statements.ADD_TO_USE, {**whose, **more}):
            self._session.change(statements.ADD_USE, asdict(use))
            before = date.fromisoformat(use.day) - timedelta(days=_USES_DAYS)
            self._session.change(statements.DELETE_USES, {"before": before.isoformat()})

    def keep_size(self, size: StoredSize) -> None:
        """Keep what a program was found to need, in place of what was found before."""
        found: dict[str, Value] = {"memory_bytes": size.memory_bytes, "found_at": size.found_at}
        whose: dict[str, Value] = {"this_tenant": size.tenant, "this_imports": size.imports}
        if not self._session.change(statements.CHANGE_SIZE, {**found, **whose}):
            row: dict[str, Value] = {"tenant": size.tenant, "imports": size.imports, **found}
            self._session.change(statements.ADD_SIZE, row)

    def forget_sizes(self, before: datetime) -> None:
        """Delete what was found too long ago to be believed."""
        self._session.change(statements.DELETE_SIZES, {"since": stamp(before)})

    def forget_results(self) -> None:
        """Answer nothing from the record of what ran before now."""
        self._session.change(statements.FORGET_RESULTS, {})

    def keep_result(self, key: str, execution: str) -> None:
        """From now on this execution's record answers all of its kind."""
        if not self._session.change(statements.MOVE_RESULT, {"execution": execution, "this": key}):
            self._session.change(statements.ADD_RESULT, {"key": key, "execution": execution})

    def delete_bodies(self, execution: StoredExecution) -> None:
        """Leave of an execution's bodies what the row says.

        SQLite would leave a row that became small alone on the page of the large one; put in anew it shares one.
        """
        if execution.code_deleted_at is not None:
            self._session.change(statements.DELETE_TRACE, {"this": execution.id})
        if self._session.defer_references():
            self._session.change(statements.DELETE_EXECUTION, {"this": execution.id})
            self._session.change(statements.ADD_EXECUTION, execution.row())
        else:
            self._session.change(statements.DELETE_BODIES, {**execution.row(), "this": execution.id})

    def delete_files(self, execution: str) -> int:
        """Delete the files that an execution left; returns their bytes."""
        size = self._session.one(statements.FILE_BYTES, _count, execution=execution) or 0
        self._session.change(statements.DELETE_FILES, {"this": execution})
        return size

    def touch(self) -> None:
        """Write something that changes nothing, to see whether it can be done."""
        self._session.touch()

    def give_back(self, pages: int) -> bool:
        """Return up to so many unused pages to the file system; False where there are none to return."""
        return self._session.give_back(pages)

    def add_files(self, execution: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Keep the files that an execution left."""
        rows: list[dict[str, Value]] = [
            {"execution": execution, "path": path, "content": content} for path, content in files
        ]
        self._session.add(statements.ADD_FILES, rows)

    def add_review(self, review: StoredReview) -> None:
        """Keep a review that was opened."""
        self._session.change(statements.ADD_REVIEW, review.row())
        profile = self._session.one(statements.EXECUTION_PROFILE, str, id=review.execution) or ""
        self.news.append(ReviewOpened(review, profile))

    def change_review(self, review: StoredReview) -> None:
        """Keep what became of a review."""
        self._session.change(statements.CHANGE_REVIEW, {**review.row(), "this": review.id})
        if review.state != "open":
            self.news.append(ReviewEnded(review, self.trace(review.execution)))

    def keep_approval(self, approval: StoredApproval, at: datetime) -> None:
        """Remember what a person said yes to, in place of what was said before; forget what holds no more."""
        self._session.change(statements.DELETE_APPROVALS, {"at": stamp(at), "this": approval.question})
        self._session.change(statements.ADD_APPROVAL, approval.row())

    def see(self, sighting: StoredSighting) -> None:
        """Keep that somebody looked at a review; the second time is free."""
        whose = {"review": sighting.review, "seen_by": sighting.seen_by, "token": sighting.token}
        if self._session.one(statements.SIGHTING, StoredSighting, **whose) is None:
            self._session.change(statements.ADD_SIGHTING, sighting.row())

    def keep_policy(self, digest: str, document: str, at: datetime) -> None:
        """Keep a resolved policy that decided something; the second time is free."""
        if self._session.one(statements.POLICY_KEPT, str, digest=digest) is None:
            row = {"digest": digest, "document": document, "first_used_at": stamp(at)}
            self._session.change(statements.ADD_POLICY, row)

    def keep_posture(self, posture: StoredPosture) -> None:
        """Keep a posture, with what its latest self-test found."""
        found = {"trials": posture.trials, "tested_at": posture.tested_at}
        if not self._session.change(statements.TEST_POSTURE, {**found, "this": posture.digest}):
            row = {"digest": posture.digest, "document": posture.document, **found}
            self._session.change(statements.ADD_POSTURE, row)


def decoded_task(body: str) -> Task:
    """The task that a row's body holds; raises `ValidationError` for what is none."""
    return _TASK.validate_json(body)


def _task(task: str, head: str, body: str) -> StoredTask:
    return StoredTask(id=task, head=head, task=decoded_task(body))


def _logged(seq: int, at: str, name: str, data: str, previous: str, digest: str) -> LoggedEvent:  # noqa: PLR0913, PLR0917  # a row
    return LoggedEvent(seq, at, decode(name, data), previous, digest)


def _spared(data: str) -> Spared:
    event = decode(Spared.__name__, data)
    assert isinstance(event, Spared)  # noqa: S101  # the statement asked for no others
    return event


def _approved(data: str) -> Approved:
    event = decode(Approved.__name__, data)
    assert isinstance(event, Approved)  # noqa: S101  # the statement asked for no others
    return event


def _answered(task: str, data: str) -> tuple[str, Answered]:
    event = decode("Answered", data)
    if not isinstance(event, Answered):
        raise TypeError("an answer that is none")
    return task, event


def _stored_spared(at: str, tenant: str, data: str) -> StoredSpared:
    return StoredSpared(at, tenant, _spared(data))


def _text_or_nothing(text: str | None) -> str | None:
    return text


def _count(number: int | None) -> int:
    return number or 0


def _id_or_nothing(newest: str | None) -> str:
    return newest or ""


def _projection(task: Task, head: str) -> dict[str, Value]:
    """What a task's row says of where its log stands."""
    return {"state": task.state.value, "seq": task.seq, "head": head, "body": _TASK.dump_json(task).decode()}


def _log_row(task: str, seq: int, at: str, item: Event, previous: str) -> dict[str, Value]:
    name, data = encode(item)
    digest = chain(previous, seq, at, name, data)
    return {
        "task": task,
        "seq": seq,
        "at": at,
        "type": name,
        "data": data,
        "prev_hash": previous,
        "hash": digest,
    }
