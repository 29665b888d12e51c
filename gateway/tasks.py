"""Tasks: what an agent sees of one while it waits, and how it ends one."""

from __future__ import annotations

import asyncio

from gateway.callers import Caller
from gateway.changes import Changes
from gateway.conductor import Conductor
from gateway.errors import Conflict, NotFound
from gateway.events import Closed
from gateway.in_force import InForce
from gateway.lifecycle import TaskState
from gateway.reader import Reader
from gateway.recording import cancel_live
from gateway.records import ExecutionHead, StoredExecution, StoredTask
from gateway.reviews import Reviews
from gateway.rules import profile_named, rules_of
from gateway.store import Store
from gateway.times import now
from gateway.views import task_view
from gateway.wire_answers import TaskView
from gateway.writer import Writer

_SHOWN_EXECUTIONS = 50  # of a task, newest first


class Tasks:
    """One gateway's tasks."""

    def __init__(
        self, *, policy: InForce, store: Store, conductor: Conductor, changes: Changes, reviews: Reviews
    ) -> None:
        self._policy = policy
        self._store = store
        self._conductor = conductor
        self._changes = changes
        self._reviews = reviews

    async def view(self, caller: Caller, task_id: str, wait_seconds: float) -> TaskView:
        """A task as soon as it is the agent's or nobody's turn, or the wait is over."""
        stored = await self._store.read(lambda reader: owned_task(reader, caller, task_id))
        deadline = asyncio.get_running_loop().time() + wait_seconds
        with self._changes.watch(stored.id) as changed:
            while True:
                changed.clear()
                stored = await self._store.read(lambda reader: owned_task(reader, caller, task_id))
                left = deadline - asyncio.get_running_loop().time()
                if stored.task.turn in {"agent", "nobody"} or left <= 0:
                    return await self._view(stored)
                try:
                    await asyncio.wait_for(changed.wait(), left)
                except TimeoutError:
                    continue

    async def _view(self, stored: StoredTask) -> TaskView:
        def find(reader: Reader) -> tuple[list[ExecutionHead], StoredExecution]:
            heads = reader.execution_heads(stored.id, _SHOWN_EXECUTIONS)
            newest = reader.execution(heads[0].id) if heads else None
            if newest is None:
                raise NotFound("There is no such task.")
            return heads, newest

        heads, newest = await self._store.read(find)
        profile = profile_named(self._policy.current, newest.profile)
        rules = rules_of(profile, anonymous=stored.task.anonymous)
        return task_view(stored.task, heads, newest, rules, profile.retention)

    async def close(self, caller: Caller, task_id: str) -> TaskView:
        """End a task: live executions are cancelled, an open review is withdrawn."""
        stored = await self._store.read(lambda reader: owned_task(reader, caller, task_id))
        if stored.task.anonymous:
            raise Conflict("An anonymous task ends by itself, with its window; closing it would renew its budget.")
        await self._let_go(stored, caller)
        closed, ended = await self._store.write(lambda writer: self._close(writer, caller, task_id))
        await self._let_go(ended, caller)  # what a ruling began in between
        self._changes.notify(closed.id)
        return await self._view(closed)

    async def _let_go(self, stored: StoredTask, caller: Caller) -> None:
        for execution in stored.task.executions:
            await self._conductor.cancel(execution, caller.name)

    def _close(self, writer: Writer, caller: Caller, task_id: str) -> tuple[StoredTask, StoredTask]:
        """The task after its end, and before."""
        stored, at = owned_task(writer, caller, task_id), now()
        if stored.task.state is TaskState.CLOSED:
            return stored, stored
        self._reviews.withdraw(writer, stored, caller.name, at)
        events = cancel_live(writer, stored, caller.name, at)
        return writer.append(stored, [*events, Closed(caller.name, "closed_by_agent")], at), stored


def owned_task(reader: Reader, caller: Caller, task_id: str) -> StoredTask:
    """A task of the caller's tenant; another tenant's is as if it did not exist."""
    stored = reader.task_named(caller.tenant, task_id)
    if stored is None:
        raise NotFound("There is no such task.")
    return stored
