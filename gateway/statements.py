"""Every statement of the gateway. Each means the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Delete,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)

from gateway.records import (
    APPROVAL_COLUMNS,
    EXECUTION_COLUMNS,
    LETTER_COLUMNS,
    POSTURE_COLUMNS,
    REVIEW_COLUMNS,
    SIGHTING_COLUMNS,
    SIZE_COLUMNS,
    USE_COLUMNS,
)
from gateway.tables import (
    approvals,
    events,
    executions,
    files,
    letters,
    memory_sizes,
    policies,
    postures,
    results,
    reviews,
    sightings,
    tasks,
    traces,
    uses,
)

_Query: TypeAlias = Select[tuple[object, ...]]


def _is(column: ColumnElement[object], name: str | None = None) -> ColumnElement[bool]:
    """The column equals the parameter of that name, or of its own."""
    return column == bindparam(name or str(column.key))


def _changing(table: Table, key: str, *names: str) -> Update:
    """An update of these columns of the row whose key is the parameter `this`."""
    return update(table).where(_is(table.c[key], "this")).values({name: bindparam(name) for name in names})


def _whole(table: Table, columns: Iterable[str]) -> _Query:
    return select(*(table.c[name] for name in columns))


_TASK: Final[_Query] = select(tasks.c.id, tasks.c.head, tasks.c.body)
TASK: Final = _TASK.where(_is(tasks.c.id))
TASK_NAMED: Final = _TASK.where(_is(tasks.c.tenant), _is(tasks.c.task_id))
ANONYMOUS_IN_REVIEW: Final = _TASK.where(
    _is(tasks.c.tenant), _is(tasks.c.caller), tasks.c.anonymous.is_(True), tasks.c.state == "in_review"
).limit(1)
ADD_TASK: Final[Insert] = insert(tasks)
MOVE_TASK: Final = _changing(tasks, "id", "state", "seq", "head", "body").where(_is(tasks.c.seq, "seq_before"))

LOG: Final = (
    _whole(events, ("seq", "at", "type", "data", "prev_hash", "hash")).where(_is(events.c.task)).order_by(events.c.seq)
)
EVENT_COLUMNS: Final = tuple(column.name for column in events.c)
MOST_EVENTS: Final = 8
"""How many events one statement adds at most."""


EVENT_PARAMETERS: Final = tuple(tuple(f"{name}{n}" for name in EVENT_COLUMNS) for n in range(MOST_EVENTS))
"""What the columns of the first event are called among a statement's parameters, those of the second, and so on."""


def _events(count: int) -> Insert:
    rows = [dict(zip(EVENT_COLUMNS, names, strict=True)) for names in EVENT_PARAMETERS[:count]]
    return insert(events).values([{column: bindparam(name) for column, name in row.items()} for row in rows])


SPARED_IN: Final[_Query] = (
    select(events.c.data).where(_is(events.c.task), events.c.type == "Spared").order_by(events.c.seq)
)
APPROVED_IN: Final[_Query] = (
    select(events.c.data)
    .join(reviews, reviews.c.task == events.c.task)
    .where(reviews.c.id == bindparam("review"), events.c.type == "Approved")
    .order_by(events.c.seq)
)
SPARED: Final[_Query] = (
    select(events.c.at, tasks.c.tenant, events.c.data)
    .join(tasks, tasks.c.id == events.c.task)
    .where(events.c.type == literal_column("'Spared'"), events.c.at >= bindparam("since"))
    .order_by(events.c.at.desc())
    .limit(bindparam("limit"))
)


ADD_EVENTS: Final = {count: _events(count) for count in range(1, MOST_EVENTS + 1)}

_EXECUTION: Final = _whole(executions, EXECUTION_COLUMNS)
EXECUTION: Final = _EXECUTION.where(_is(executions.c.id))
EXECUTION_PROFILE: Final[_Query] = select(executions.c.profile).where(_is(executions.c.id))
EXECUTION_TASK: Final[_Query] = select(executions.c.task).where(_is(executions.c.id))
EXECUTION_KEYED: Final = _EXECUTION.where(
    _is(executions.c.tenant), _is(executions.c.caller), _is(executions.c.idempotency_key)
)
EXECUTION_HEADS: Final[_Query] = (
    select(executions.c.id, executions.c.status, executions.c.submitted_at, executions.c.answered_at)
    .where(_is(executions.c.task))
    .order_by(executions.c.id.desc())
    .limit(bindparam("limit"))
)
UNANSWERED: Final = _EXECUTION.where(executions.c.answered_at.is_(None)).order_by(executions.c.id)
ADD_EXECUTION: Final[Insert] = insert(executions)
ANSWER_EXECUTION: Final = _changing(
    executions, "id", "status", "answer_source", "repeats", "answer", "answered_at", "kept"
).where(executions.c.answered_at.is_(None))

RECONSIDER_EXECUTION: Final = _changing(executions, "id", "profile", "policy", "policy_name").where(
    executions.c.answered_at.is_(None)
)
RELEASE_KEY: Final = (
    update(executions)
    .where(_is(executions.c.id, "this"))
    .values(idempotency_key=null(), kept=executions.c.kept.bitwise_and(bindparam("bits")))
)

USES: Final = _whole(uses, USE_COLUMNS).where(_is(uses.c.day))
ADD_USE: Final[Insert] = insert(uses)
ADD_TO_USE: Final = (
    update(uses)
    .where(_is(uses.c.tenant, "this_tenant"), _is(uses.c.caller, "this_caller"), _is(uses.c.day, "this_day"))
    .values(
        executions=uses.c.executions + bindparam("more_executions"),
        cpu_milliseconds=uses.c.cpu_milliseconds + bindparam("more_cpu_milliseconds"),
    )
)
DELETE_USES: Final = delete(uses).where(uses.c.day < bindparam("before"))
SIZES: Final = (
    _whole(memory_sizes, SIZE_COLUMNS)
    .where(memory_sizes.c.found_at >= bindparam("since"))
    .order_by(memory_sizes.c.found_at.desc())
    .limit(bindparam("limit"))
)
DELETE_SIZES: Final = delete(memory_sizes).where(memory_sizes.c.found_at < bindparam("since"))
ADD_SIZE: Final[Insert] = insert(memory_sizes)
CHANGE_SIZE: Final = (
    update(memory_sizes)
    .where(_is(memory_sizes.c.tenant, "this_tenant"), _is(memory_sizes.c.imports, "this_imports"))
    .values(memory_bytes=bindparam("memory_bytes"), found_at=bindparam("found_at"))
)
RESULT: Final = _EXECUTION.join(results, results.c.execution == executions.c.id).where(_is(results.c.key))
ADD_RESULT: Final[Insert] = insert(results)
FORGET_RESULTS: Final = delete(results)
MOVE_RESULT: Final = _changing(results, "key", "execution")
_KEEPS: Final = executions.c.kept > literal_column("0")  # as the partial index says it, or that is not used
# `upto_N` is the time of the youngest answer whose body N is due; empty where it is kept for ever.
KEEPING: Final[_Query] = (
    select(executions.c.id, executions.c.task, executions.c.answered_at, executions.c.kept)
    .where(
        _KEEPS,
        _is(executions.c.profile),
        executions.c.answered_at <= bindparam("upto"),
        or_(
            executions.c.answered_at > bindparam("after"),
            and_(executions.c.answered_at == bindparam("after"), executions.c.id > bindparam("after_id")),
        ),
        or_(
            *(
                and_(executions.c.kept.bitwise_and(bit) > 0, executions.c.answered_at <= bindparam(f"upto_{bit}"))
                for bit in (1, 2, 4, 8)
            )
        ),
    )
    .order_by(executions.c.answered_at, executions.c.id)
    .limit(bindparam("limit"))
)
NEXT_PROFILE: Final[_Query] = select(func.min(executions.c.profile)).where(
    _KEEPS, executions.c.profile > bindparam("after")
)
DELETE_BODIES: Final = _changing(
    executions,
    "id",
    "request",
    "answer",
    "kept",
    "idempotency_key",
    "code_deleted_at",
    "output_deleted_at",
    "files_deleted_at",
)
DELETE_EXECUTION: Final = delete(executions).where(_is(executions.c.id, "this"))
FILE_BYTES: Final = select(func.sum(func.length(files.c.content))).where(_is(files.c.execution))
DELETE_FILES: Final = delete(files).where(_is(files.c.execution, "this"))

FILE: Final[_Query] = select(files.c.content).where(_is(files.c.execution), _is(files.c.path))
ADD_FILES: Final[Insert] = insert(files)

NEWEST_IDS: Final[tuple[_Query, ...]] = tuple(select(func.max(table.c.id)) for table in (tasks, executions, reviews))

_REVIEW: Final = _whole(reviews, REVIEW_COLUMNS)
REVIEW: Final = _REVIEW.where(_is(reviews.c.id))
REVIEWS_DUE: Final = _REVIEW.where(reviews.c.state == "open", reviews.c.expires_at <= bindparam("at"))
REVIEWS_TO_PASS_ON: Final = _REVIEW.where(reviews.c.state == "open", reviews.c.due_at <= bindparam("at"))
REVIEWS_WAITING: Final = (
    _REVIEW.where(reviews.c.state == "open", reviews.c.id > bindparam("after"))
    .order_by(reviews.c.id)
    .limit(bindparam("limit"))
)
OPEN_REVIEWS: Final = select(func.count()).select_from(reviews).where(reviews.c.state == "open")
ADD_REVIEW: Final[Insert] = insert(reviews)
CHANGE_REVIEW: Final = _changing(reviews, "id", *(column.name for column in reviews.c if column.name != "id"))


def _page(*, state: bool, after: bool) -> _Query:
    """A page of reviews: of one state or of all, from the beginning or after an id."""
    query = _REVIEW.where(_is(reviews.c.tenant)).order_by(reviews.c.id).limit(bindparam("limit"))
    query = query.where(_is(reviews.c.state)) if state else query
    return query.where(reviews.c.id > bindparam("after")) if after else query


REVIEWS: Final = {(state, after): _page(state=state, after=after) for state in (False, True) for after in (False, True)}

# By profile and level (0: nobody else was asked yet): how many reviews are open, and since when the oldest is.
OPEN_REVIEWS_BY: Final[_Query] = (
    select(executions.c.profile, reviews.c.level, func.count(), func.min(reviews.c.opened_at))
    .join(executions, executions.c.id == reviews.c.execution)
    .where(reviews.c.state == "open")
    .group_by(executions.c.profile, reviews.c.level)
)

_TRACE: Final[_Query] = select(traces.c.parent, traces.c.state)
TRACE: Final = _TRACE.where(_is(traces.c.execution))
TRACE_OF_REVIEW: Final = _TRACE.join(reviews, reviews.c.execution == traces.c.execution).where(_is(reviews.c.id))
ADD_TRACE: Final[Insert] = insert(traces)
DELETE_TRACE: Final = delete(traces).where(_is(traces.c.execution, "this"))
APPROVAL: Final = _whole(approvals, APPROVAL_COLUMNS).where(
    _is(approvals.c.question), approvals.c.until > bindparam("at")
)
ADD_APPROVAL: Final[Insert] = insert(approvals)
DELETE_APPROVALS: Final[Delete] = delete(approvals).where(
    or_(approvals.c.until <= bindparam("at"), _is(approvals.c.question, "this"))
)
SIGHTING: Final = _whole(sightings, SIGHTING_COLUMNS).where(
    _is(sightings.c.review), _is(sightings.c.seen_by), _is(sightings.c.token)
)
ADD_SIGHTING: Final[Insert] = insert(sightings)

POLICY: Final[_Query] = select(policies.c.document).where(_is(policies.c.digest))
POLICY_KEPT: Final[_Query] = select(policies.c.digest).where(_is(policies.c.digest))
ADD_POLICY: Final[Insert] = insert(policies)

POSTURE: Final = _whole(postures, POSTURE_COLUMNS).where(_is(postures.c.digest))
ADD_POSTURE: Final[Insert] = insert(postures)
TEST_POSTURE: Final = _changing(postures, "digest", "trials", "tested_at")

_LETTER: Final = _whole(letters, LETTER_COLUMNS)
LETTER: Final = _LETTER.where(_is(letters.c.id))
LETTERS_DUE: Final = (
    _LETTER.where(letters.c.state == "waiting", _is(letters.c.webhook), letters.c.due_at <= bindparam("at"))
    .order_by(letters.c.due_at, letters.c.id)
    .limit(bindparam("limit"))
)
LETTER_WEBHOOKS: Final[_Query] = select(letters.c.webhook).where(letters.c.state == "waiting").distinct()
DEAD_LETTERS: Final = (
    _LETTER.where(letters.c.state == "dead", letters.c.id > bindparam("after"))
    .order_by(letters.c.id)
    .limit(bindparam("limit"))
)
DEAD_LETTER_COUNT: Final = select(func.count()).select_from(letters).where(letters.c.state == "dead")
ADD_LETTER: Final[Insert] = insert(letters)
CHANGE_LETTER: Final = _changing(letters, "id", "state", "attempts", "due_at", "tried_at", "error")
GIVE_UP_LETTERS: Final = (
    update(letters)
    .where(letters.c.state == "waiting", _is(letters.c.webhook, "this"))
    .values(state=bindparam("state"), error=bindparam("error"))
)
REMOVE_LETTER: Final[Delete] = delete(letters).where(_is(letters.c.id))
