"""Intake: a program that a caller sends becomes an execution of a task, or the one that its idempotency key stands for.

What it may ask for is settled here, before anything is decided about the program.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.callers import Caller
from gateway.circumstances import submits
from gateway.conductor import Conductor
from gateway.errors import IdempotencyMismatch, InvalidRequest
from gateway.events import Status, Submitted
from gateway.execution_life import received
from gateway.expectations import Expectations
from gateway.in_force import InForce
from gateway.limiter import Limiter
from gateway.policy import Profile
from gateway.reader import Reader
from gateway.recording import require_open
from gateway.records import StoredExecution, StoredTask
from gateway.requests import ExecutionRequest
from gateway.resources import lacks_room, limits_of, memory_max_bytes
from gateway.rules import ANONYMOUS, anonymous_task_id, rules_of
from gateway.script_block import may_declare
from gateway.store import Store
from gateway.times import new_id, now
from gateway.work import Work, Written, written
from sandbox.job import Limits


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with what it is judged by."""

    caller: Caller
    request: ExecutionRequest
    written: Written
    profile: Profile
    limits: Limits
    fresh: bool


class Intake:
    """One gateway's intake."""

    def __init__(
        self, *, policy: InForce, store: Store, conductor: Conductor, expectations: Expectations, limiter: Limiter
    ) -> None:
        self._policy = policy
        self._store = store
        self._conductor = conductor
        self._expectations = expectations
        self._limiter = limiter
        self._keyed: dict[tuple[str, str, str], tuple[str, str]] = {}  # to an execution and its request's digest
        self._usual: dict[str, Limits] = {}  # by a profile's digest, for who asks for nothing else
        self._keying = asyncio.Lock()

    async def take(self, caller: Caller, request: ExecutionRequest, *, key: str | None, fresh: bool) -> str:
        """Take a program, and return the execution that it is; see `service.Service.submit`."""
        profile = self._policy.profile(caller)
        limits = self._limits(profile, request)
        _require_room(request, limits)
        await self._expectations.require_sound(caller.tenant, request.expect)
        asked = _Asked(caller, request, written(request), profile, limits, fresh)
        if key is None:
            execution, _ = await self._begin(asked, None)
            return execution
        return await self._take_once(asked, key)

    def _limits(self, profile: Profile, request: ExecutionRequest) -> Limits:
        silent = request.limits is None and not may_declare(request.code)
        usual = self._usual.get(profile.digest) if silent else None
        if usual is not None:
            return usual
        limits = limits_of(profile, request)
        if not isinstance(limits, Limits):
            raise InvalidRequest(fields=tuple((f"limits.{one.field}", one.message) for one in limits))
        if silent:
            self._usual[profile.digest] = limits
        return limits

    async def _take_once(self, asked: _Asked, key: str) -> str:
        """The execution that the key stands for: the one there is, or a new one. One at a time, so never two."""
        name = (asked.caller.tenant, asked.caller.name, key)
        async with self._keying:
            live = self._keyed.get(name)
            if live is not None:
                execution, digest = live
            elif (row := await self._store.read(lambda reader: reader.execution_keyed(*name))) and not _failed(row):
                execution, digest = row.id, row.request_digest
            else:
                execution, runner = await self._begin(asked, key, replaces=row)
                self._keyed[name] = (execution, asked.written.digest)
                runner.add_done_callback(lambda _: self._keyed.pop(name, None))
                return execution
        if digest != asked.written.digest:
            raise IdempotencyMismatch(
                fields=(("Idempotency-Key", "was used for a request with another body"),),
                extra={"execution": execution},
            )
        return execution

    async def _begin(
        self, asked: _Asked, key: str | None, *, replaces: StoredExecution | None = None
    ) -> tuple[str, asyncio.Task[None]]:
        """A new execution, on its way to its answer; `replaces` had the key before."""
        caller, work = asked.caller, await self._work(asked, key, replaces)
        submits(work)
        self._limiter.admit_execution(caller, self._conductor.live_of(caller.tenant, caller.name), work.submitted_at)
        return work.id, self._conductor.start(work)

    async def _work(self, asked: _Asked, key: str | None, replaces: StoredExecution | None) -> Work:
        at, caller, profile = now(), asked.caller, asked.profile
        task_id, stored = await self._task_for(caller, asked.request.task_id, profile)
        if stored is not None:
            require_open(stored.task, rules_of(profile, anonymous=stored.task.anonymous))
        execution = new_id("exe")
        most = memory_max_bytes(profile, asked.request)
        event = Submitted(execution, asked.written.program, asked.limits, caller.name, memory_max_bytes=most)
        anonymous = task_id.startswith(ANONYMOUS)
        work = Work(
            execution=received(event),
            request=asked.request,
            written=asked.written,
            profile=profile,
            rules=rules_of(profile, anonymous=anonymous),
            tenant=caller.tenant,
            caller=caller.name,
            task_id=task_id,
            anonymous=anonymous,
            failures=stored.task.failures if stored else {},
            submitted_at=at,
            idempotency_key=key,
            replaces=replaces.id if replaces else None,
            task=stored.id if stored else None,
            fresh=asked.fresh,
        )
        work.happened(event)
        return work

    async def _task_for(self, caller: Caller, task_id: str | None, profile: Profile) -> tuple[str, StoredTask | None]:
        """The named task, or the caller's rolling anonymous one, which stays the same while a person looks at it."""
        recent = self._store.recent
        name = task_id or anonymous_task_id(caller.name, profile, now())
        if task_id is not None or recent.is_free(caller.tenant, caller.name):
            known = recent.task(caller.tenant, name)
            if known is not None:
                return name, known
        age = recent.age

        def find(reader: Reader) -> tuple[StoredTask | None, StoredTask | None]:
            held = reader.anonymous_in_review(caller.tenant, caller.name) if task_id is None else None
            return held, held or reader.task_named(caller.tenant, name)

        held, stored = await self._store.read(find)
        if task_id is None and held is None:
            recent.found_free(caller.tenant, caller.name, age)
        if stored is None and task_id is not None and task_id.startswith(ANONYMOUS):
            raise InvalidRequest(fields=(("task_id", f"names that begin with '{ANONYMOUS}' are the gateway's own"),))
        return (held.task.task_id if held else name), stored


def _failed(row: StoredExecution) -> bool:
    """Whether the platform failed it: then its key is free for another try, since nothing came of the first."""
    return row.status == Status.PLATFORM_ERROR.value


def _require_room(request: ExecutionRequest, limits: Limits) -> None:
    """Files and stdin must fit the box's disk, or the program would fail for what it did not do."""
    if message := lacks_room(request, limits):
        raise InvalidRequest(fields=(("files", message),))
