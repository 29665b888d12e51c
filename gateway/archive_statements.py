"""What people look for in the past: newest first, a page at a time, by an index or by the time that every id begins with."""

from __future__ import annotations

from typing import Final, TypeAlias

from sqlalchemy import Select, bindparam, func, or_, select

from gateway.records import REVIEW_COLUMNS
from gateway.tables import executions, reviews, tasks

_Query: TypeAlias = Select[tuple[object, ...]]

# An empty parameter asks for nothing.
REVIEWS_FOUND: Final[_Query] = (
    select(*(reviews.c[name] for name in REVIEW_COLUMNS), tasks.c.task_id)
    .join(tasks, tasks.c.id == reviews.c.task)
    .where(
        reviews.c.tenant == bindparam("tenant"),
        reviews.c.id < bindparam("before"),
        reviews.c.id >= bindparam("since"),
        or_(bindparam("state") == "", reviews.c.state == bindparam("state")),
        or_(bindparam("reason") == "", reviews.c.reason == bindparam("reason")),
        or_(bindparam("by") == "", reviews.c.decided_by == bindparam("by")),
        or_(bindparam("task") == "", tasks.c.task_id == bindparam("task")),
    )
    .order_by(reviews.c.id.desc())
    .limit(bindparam("limit"))
)
OPEN_FOUND: Final[_Query] = (
    select(*(reviews.c[name] for name in REVIEW_COLUMNS), tasks.c.task_id)
    .join(tasks, tasks.c.id == reviews.c.task)
    .where(
        reviews.c.tenant == bindparam("tenant"),
        reviews.c.state == "open",
        reviews.c.id > bindparam("after"),
        or_(bindparam("reason") == "", reviews.c.reason == bindparam("reason")),
        or_(bindparam("task") == "", tasks.c.task_id == bindparam("task")),
    )
    .order_by(reviews.c.id)
    .limit(bindparam("limit"))
)
OPEN_COUNT: Final = (
    select(func.count()).select_from(reviews).where(reviews.c.tenant == bindparam("tenant"), reviews.c.state == "open")
)
NEWEST_REVIEW: Final = select(func.max(reviews.c.id)).where(reviews.c.tenant == bindparam("tenant"))
EXECUTIONS_FOUND: Final[_Query] = (
    select(
        executions.c.id,
        tasks.c.task_id,
        executions.c.status,
        executions.c.caller,
        executions.c.submitted_at,
        executions.c.answered_at,
        executions.c.answer_source,
    )
    .join(tasks, tasks.c.id == executions.c.task)
    .where(
        executions.c.tenant == bindparam("tenant"),
        executions.c.id < bindparam("before"),
        executions.c.id >= bindparam("since"),
        or_(bindparam("status") == "", executions.c.status == bindparam("status")),
        or_(bindparam("task") == "", tasks.c.task_id == bindparam("task")),
    )
    .order_by(executions.c.id.desc())
    .limit(bindparam("limit"))
)
