"""What `airlock policy replay` reads: all that was asked and answered since a time, beside a gateway at work.

Apart from the gateway's own statements, each of which finds its few rows by an index.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from sqlalchemy import Select, bindparam, case, or_, select

from gateway.tables import events, executions, tasks

_Query: TypeAlias = Select[tuple[object, ...]]

# Of most executions the answer is large, and what it says is not asked about.
ASKED: Final[_Query] = (
    select(
        executions.c.id,
        executions.c.task,
        executions.c.tenant,
        executions.c.caller,
        executions.c.profile,
        executions.c.policy,
        executions.c.source,
        executions.c.request,
        executions.c.status,
        case(
            (or_(executions.c.status == "denied", executions.c.status == "rejected"), executions.c.answer), else_=None
        ),
        tasks.c.anonymous,
    )
    .join(tasks, tasks.c.id == executions.c.task)
    .where(executions.c.id > bindparam("after"), executions.c.submitted_at >= bindparam("since"))
    .order_by(executions.c.id)
    .limit(bindparam("limit"))
)
ANSWERED: Final[_Query] = (
    select(events.c.task, events.c.data)
    .where(events.c.type == "Answered", events.c.at >= bindparam("since"))
    .order_by(events.c.task, events.c.seq)
)
