"""What `airlock verify` reads: everything, in the order of keys and a page at a time, and what belongs to nothing.

Apart from the gateway's own statements, each of which finds its few rows by an index.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from sqlalchemy import BindParameter, Select, bindparam, exists, func, select

from gateway.records import SIGHTING_COLUMNS
from gateway.tables import events, executions, files, policies, postures, reviews, sightings, tasks

_Query: TypeAlias = Select[tuple[object, ...]]

_PAGE: Final[BindParameter[int]] = bindparam("limit")
TASK_ROWS: Final = select(tasks).where(tasks.c.id > bindparam("after")).order_by(tasks.c.id).limit(1)
TASKS: Final = select(func.count()).select_from(tasks)
LINES: Final = (
    select(events.c.seq, events.c.at, events.c.type, events.c.data, events.c.prev_hash, events.c.hash)
    .where(events.c.task == bindparam("task"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(_PAGE)
)
FILE_PATHS: Final[_Query] = select(files.c.path).where(files.c.execution == bindparam("execution"))
EXECUTIONS_OF: Final = select(func.count()).select_from(executions).where(executions.c.task == bindparam("task"))
REVIEWS_OF: Final = select(func.count()).select_from(reviews).where(reviews.c.task == bindparam("task"))
EXECUTION_IDS: Final[_Query] = select(executions.c.id).where(executions.c.task == bindparam("task"))
REVIEW_IDS: Final[_Query] = select(reviews.c.id).where(reviews.c.task == bindparam("task"))
POLICY_ROWS: Final[_Query] = select(policies.c.digest, policies.c.document).order_by(policies.c.digest)
POSTURE_ROWS: Final[_Query] = select(postures.c.digest, postures.c.document).order_by(postures.c.digest)
LOST_EVENTS: Final = (
    select(events.c.task, func.min(events.c.seq))
    .where(~exists().where(tasks.c.id == events.c.task))
    .group_by(events.c.task)
)
LOST_ROWS: Final = tuple(
    (table.name, select(table.c.id).where(~exists().where(tasks.c.id == table.c.task)))
    for table in (executions, reviews)
)
LOST_FILES: Final = select(files.c.execution, files.c.path).where(~exists().where(executions.c.id == files.c.execution))
POLICIES_USED: Final = (
    select(executions.c.policy, func.min(executions.c.id))
    .where(~exists().where(policies.c.digest == executions.c.policy))
    .group_by(executions.c.policy)
)
SIGHTINGS_OF: Final = (
    select(*(sightings.c[name] for name in SIGHTING_COLUMNS))
    .join(reviews, reviews.c.id == sightings.c.review)
    .where(reviews.c.task == bindparam("task"), sightings.c.seen_at >= bindparam("since"))
    .order_by(sightings.c.seen_at, sightings.c.review, sightings.c.seen_by)
)
