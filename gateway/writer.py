"""What is written over one connection, in the gateway's nouns, and the letters that tell of it.

Nothing is decided here; statements are `statements.py`'s, transactions the store's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta

from gateway import statements
from gateway.bodies import BIT, Body
from gateway.errors import Unavailable
from gateway.events import Event
from gateway.lifecycle import Task, apply
from gateway.news import ExecutionEnded, News, ReviewEnded, ReviewOpened
from gateway.notices import Subscription, notices
from gateway.reader import Reader
from gateway.records import (
    StoredApproval,
    StoredExecution,
    StoredLetter,
    StoredPosture,
    StoredReview,
    StoredSighting,
    StoredSize,
    StoredTask,
    StoredUse,
)
from gateway.rows import log_row, projection
from gateway.session import Session, Value
from gateway.times import new_id, stamp
from gateway.tracing import TraceContext

_USES_DAYS = 90  # that what keys used is kept, for who wants to look


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
        logged = log_row(task, 1, stamp(at), event, "")
        row: dict[str, Value] = {
            "id": task,
            "tenant": opened.tenant,
            "task_id": opened.task_id,
            "caller": opened.by,
            "anonymous": opened.anonymous,
            "opened_at": stamp(at),
        }
        self._session.change(statements.ADD_TASK, {**row, **projection(opened, str(logged["hash"]))})
        self._add_events([logged])
        return self._leave(StoredTask(id=task, head=str(logged["hash"]), task=opened))

    def append(self, stored: StoredTask, events: Sequence[Event], at: datetime, told: Sequence[str] = ()) -> StoredTask:
        """Append to a log and move its projection on; raises `IllegalEvent` for what cannot happen.

        `told` are webhooks and mail addresses that hear of reviews among the events, whatever they subscribed to.
        """
        task, head, when, rows = stored.task, stored.head, stamp(at), []
        for item in events:
            task = apply(task, item)
            row = log_row(stored.id, task.seq, when, item, head)
            rows.append(row)
            head = str(row["hash"])
        self._add_events(rows)
        place: dict[str, Value] = {"this": stored.id, "seq_before": stored.task.seq}
        if self._session.change(statements.MOVE_TASK, {**place, **projection(task, head)}) != 1:
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
        size = self._session.one(statements.FILE_BYTES, _count_or_zero, execution=execution) or 0
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


def _count_or_zero(number: int | None) -> int:
    return number or 0
