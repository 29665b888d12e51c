"""Executions: what their callers see of them, how long they wait for it, and how they end one."""

from __future__ import annotations

import asyncio

from gateway.callers import Caller
from gateway.commits import Commits
from gateway.conductor import Conductor
from gateway.errors import NotFound, Unavailable
from gateway.in_force import InForce
from gateway.lifecycle import Task
from gateway.policy import Policy
from gateway.reader import Reader
from gateway.records import StoredExecution, StoredTask
from gateway.rules import profile_named, rules_of
from gateway.store import Store
from gateway.views import execution_view
from gateway.wire_answers import ExecutionView
from gateway.work import Work


class Executions:
    """One gateway's executions."""

    def __init__(self, *, policy: InForce, store: Store, conductor: Conductor, commits: Commits) -> None:
        self._policy = policy
        self._store = store
        self._conductor = conductor
        self._commits = commits

    async def view(self, caller: Caller, execution: str, wait_seconds: float) -> ExecutionView:
        """See `service.Service.execution`."""
        row, stored = await self._store.read(lambda reader: owned_execution(reader, caller, execution))
        if row.answered_at is None and wait_seconds > 0:
            return await self.answer_of(caller, execution, wait_seconds)
        return shown(self._policy.current, row, stored.task)

    async def answer_of(self, caller: Caller, execution: str, wait_seconds: float | None) -> ExecutionView:
        """The execution's view once it is answered, or once the wait is over and it is at least recorded.

        Raises what it was not taken for.
        """
        if running := self._conductor.running(execution):
            work, runner = running
            done, _ = await asyncio.wait({runner}, timeout=wait_seconds)
            if not done:
                await self._placed(work, runner)
            elif runner.cancelled():
                raise Unavailable("The gateway is stopping; send the request again.", retry_after_seconds=5)
            else:
                runner.result()
                kept = work.kept
                if kept is not None and kept.execution.answered_at is not None:
                    # what reading it again would show: it was committed a moment ago
                    return execution_view(
                        kept.execution, kept.task.task, work.rules, work.profile.retention, work.answer
                    )
        return await self._recorded(caller, execution)

    async def _placed(self, work: Work, runner: asyncio.Task[None]) -> None:
        """Record an execution that its caller waits for no longer, once it has a place: what has none is not promised."""
        if work.recorded:
            return
        placed = asyncio.ensure_future(work.placed.wait())
        await asyncio.wait({placed, runner}, return_when=asyncio.FIRST_COMPLETED)
        placed.cancel()
        if runner.done() and not runner.cancelled():
            runner.result()
        await self._commits.record(work)

    async def _recorded(self, caller: Caller, execution: str) -> ExecutionView:
        row, stored = await self._store.read(lambda reader: owned_execution(reader, caller, execution))
        return shown(self._policy.current, row, stored.task)

    async def file(self, caller: Caller, execution: str, path: str) -> bytes:
        """See `service.Service.file`."""

        def find(reader: Reader) -> tuple[StoredExecution, bytes | None]:
            row, _ = owned_execution(reader, caller, execution)
            return row, reader.file(execution, path)

        row, content = await self._store.read(find)
        if content is None and row.files_deleted_at is not None:
            raise NotFound(f"The files of this execution were deleted by retention at {row.files_deleted_at}.")
        if content is None:
            raise NotFound("The execution left no such file.")
        return content

    async def cancel(self, caller: Caller, execution: str) -> ExecutionView:
        """See `service.Service.cancel`."""
        await self._store.read(lambda reader: owned_execution(reader, caller, execution))
        await self._conductor.cancel(execution, caller.name)
        return await self._recorded(caller, execution)


def owned_execution(reader: Reader, caller: Caller, execution: str) -> tuple[StoredExecution, StoredTask]:
    """An execution of the caller's tenant; another tenant's is as if it did not exist."""
    row = reader.execution(execution)
    stored = reader.task(row.task) if row is not None and row.tenant == caller.tenant else None
    if row is None or stored is None:
        raise NotFound("There is no such execution.")
    return row, stored


def shown(policy: Policy, row: StoredExecution, task: Task) -> ExecutionView:
    """A recorded execution as its caller sees it."""
    profile = profile_named(policy, row.profile)
    return execution_view(row, task, rules_of(profile, anonymous=task.anonymous), profile.retention)
