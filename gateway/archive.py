"""The archive: what people look for in the past, beyond what the API answers: searches, a task's log, a queue's length.

Everything is the caller's tenant's. Nothing is decided here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from gateway.callers import Caller
from gateway.errors import NotFound
from gateway.events import encode
from gateway.reader import Reader
from gateway.records import REVIEW_COLUMNS, StoredReview
from gateway.requests import ExecutionRequest
from gateway.store import Store
from gateway.tasks import owned_task
from gateway.times import parse
from gateway.views import review_summary
from gateway.wire_reviews import ReviewSummary

_END: Final = "~"  # sorts after every id
_MOST_LOGGED: Final = 2_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One event of a task's log; `data` has the fields of its kind."""

    seq: int
    at: datetime
    kind: str
    data: dict[str, JsonValue]
    hash: str


@dataclass(frozen=True, slots=True)
class FoundExecution:
    """An execution without its bodies."""

    id: str
    task: str
    status: str | None
    caller: str
    submitted_at: str
    answered_at: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Queue:
    """How long a tenant's queue is; `newest` is the newest review of any state."""

    open: int
    newest: str


class Archive:
    """One gateway's archive."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def queue(self, caller: Caller) -> Queue:
        """How long the queue is now."""
        return await self._store.read(lambda reader: Queue(*reader.queue_of(caller.tenant)))

    async def version(self, caller: Caller, review: str) -> str | None:
        """What a review is now, in a word that changes with it; None where there is none."""

        def find(reader: Reader) -> str | None:
            row = reader.review(review)
            stored = reader.task(row.task) if row is not None and row.tenant == caller.tenant else None
            return f"{row.state}.{stored.task.seq}" if row is not None and stored is not None else None

        return await self._store.read(find)

    async def open_reviews(  # the parts of a question
        self, caller: Caller, *, reason: str = "", task: str = "", after: str = "", limit: int = 50
    ) -> list[ReviewSummary]:
        """The open reviews, oldest first, those after an id."""

        def find(reader: Reader) -> list[ReviewSummary]:
            asked = {"tenant": caller.tenant, "reason": reason, "task": task, "after": after}
            return [_summary(*row) for row in reader.open_found(_row, limit, asked)]

        return await self._store.read(find)

    async def reviews(  # noqa: PLR0913  # the parts of a question
        self,
        caller: Caller,
        *,
        state: str = "",
        by: str = "",
        task: str = "",
        since: str = "",
        before: str = "",
        limit: int = 50,
    ) -> list[ReviewSummary]:
        """Reviews of any state, newest first, those before an id and since another."""

        def find(reader: Reader) -> list[ReviewSummary]:
            asked = {"tenant": caller.tenant, "state": state, "reason": "", "by": by, "task": task}
            place = {"since": since, "before": before or _END}
            return [_summary(*row) for row in reader.reviews_found(_row, limit, {**asked, **place})]

        return await self._store.read(find)

    async def executions(  # noqa: PLR0913  # the parts of a question
        self, caller: Caller, *, status: str = "", task: str = "", since: str = "", before: str = "", limit: int = 50
    ) -> list[FoundExecution]:
        """Executions, newest first, those before an id and since another."""

        def find(reader: Reader) -> list[FoundExecution]:
            asked = {"tenant": caller.tenant, "status": status, "task": task}
            place = {"since": since, "before": before or _END}
            return reader.executions_found(FoundExecution, limit, {**asked, **place})

        return await self._store.read(find)

    async def log(self, caller: Caller, task_id: str) -> list[LogLine]:
        """A task's log, its newest lines."""

        def find(reader: Reader) -> list[LogLine]:
            stored = owned_task(reader, caller, task_id)
            lines = reader.log_of(stored.id)[-_MOST_LOGGED:]
            return [
                LogLine(line.seq, parse(line.at), type(line.event).__name__, _fields(encode(line.event)[1]), line.hash)
                for line in lines
            ]

        return await self._store.read(find)

    async def request(self, caller: Caller, execution: str) -> ExecutionRequest | None:
        """What was asked of an execution; None where retention deleted it."""
        row = await self._store.read(lambda reader: reader.execution(execution))
        if row is None or row.tenant != caller.tenant:
            raise NotFound("There is no such execution.")
        return ExecutionRequest.model_validate_json(row.request) if row.request else None


def _fields(data: str) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = json.loads(data)
    return fields


def _row(*columns: str | None) -> tuple[StoredReview, str]:
    named = dict(zip(REVIEW_COLUMNS, columns, strict=False))
    return StoredReview(**named), str(columns[-1])  # type: ignore[arg-type]  # as the table has them


def _summary(row: StoredReview, task_id: str) -> ReviewSummary:
    return review_summary(row, task_id)
