"""The desk: what callers ask for, answered. Implements `service.Service` over the store and the conductor.

It finds, hands over and refuses what a caller may not have; it decides nothing about a program.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal

from gateway.callers import Caller, Role
from gateway.circumstances import submits
from gateway.conductor import Conductor
from gateway.deliveries import Deliveries
from gateway.errors import IdempotencyMismatch, InvalidRequest, NotFound, PolicyRefused, Unavailable
from gateway.events import Status, Submitted
from gateway.expectations import Expectations
from gateway.explaining import explanation
from gateway.in_force import InForce
from gateway.isolation import Isolation
from gateway.lifecycle import Task, received
from gateway.limiter import Limiter
from gateway.metrics import Metrics
from gateway.oversight import Oversight
from gateway.policy import Profile
from gateway.reader import Reader
from gateway.readiness import Readiness
from gateway.recording import require_open
from gateway.records import StoredExecution, StoredTask
from gateway.reloading import Reloader
from gateway.requests import EditRequest, ExecutionRequest, ExplainRequest, RulingRequest
from gateway.resources import lacks_room, limits_of, memory_max_bytes
from gateway.retention import Pruner
from gateway.reviews import Reviews
from gateway.rules import ANONYMOUS, anonymous_task_id, profile_named, rules_of
from gateway.script_block import may_declare
from gateway.store import Store
from gateway.stream import Position
from gateway.tasks import Tasks
from gateway.times import new_id, now
from gateway.views import execution_view
from gateway.watching import Watching
from gateway.wire_answers import ExecutionView, TaskView
from gateway.wire_operations import (
    DeadLetter,
    DeadLetterList,
    IsolationView,
    MontyLaneView,
    PostureView,
    ReadyView,
    RetentionView,
    SparedList,
)
from gateway.wire_policy import ExplanationView, KeptPolicyView, PolicyView, ReloadView
from gateway.wire_reviews import ChecksView, ReviewList, ReviewView
from gateway.work import Work, Written, written
from sandbox.job import Limits

_SHOWN_EXECUTIONS = 50  # of a task, newest first


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with what it is judged by."""

    caller: Caller
    request: ExecutionRequest
    written: Written
    profile: Profile
    limits: Limits
    fresh: bool


class Desk:
    """One gateway's desk."""

    def __init__(  # noqa: PLR0913  # the parts that it stands on
        self,
        *,
        policy: InForce,
        store: Store,
        conductor: Conductor,
        tasks: Tasks,
        reviews: Reviews,
        readiness: Readiness,
        isolation: Isolation,
        metrics: Metrics,
        limiter: Limiter,
        expectations: Expectations,
        watching: Watching,
        pruner: Pruner,
        deliveries: Deliveries,
        reloader: Reloader,
        oversight: Oversight,
    ) -> None:
        self._policy = policy
        self._store = store
        self._conductor = conductor
        self._tasks = tasks
        self._reviews = reviews
        self._readiness = readiness
        self._isolation = isolation
        self._metrics = metrics
        self._limiter = limiter
        self._expectations = expectations
        self._watching = watching
        self._pruner = pruner
        self._deliveries = deliveries
        self._reloader = reloader
        self._oversight = oversight
        self._keyed: dict[tuple[str, str, str], tuple[str, str]] = {}  # to an execution and its request's digest
        self._usual: dict[str, Limits] = {}  # by a profile's digest, for who asks for nothing else
        self._keying = asyncio.Lock()

    async def submit(
        self,
        caller: Caller,
        request: ExecutionRequest,
        *,
        idempotency_key: str | None,
        wait_seconds: float | None,
        fresh: bool = False,
    ) -> ExecutionView:
        """Take a program: see `service.Service.submit`."""
        profile = self._policy.profile(caller)
        limits = self._limits(profile, request)
        _require_room(request, limits)
        await self._expectations.require_sound(caller.tenant, request.expect)
        asked = _Asked(caller, request, written(request), profile, limits, fresh)
        if idempotency_key is None:
            execution = (await self._take(asked, None)).id
        else:
            execution = await self._take_once(asked, idempotency_key)
        return await self._answer_of(caller, execution, wait_seconds)

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
                work = await self._take(asked, key, replaces=row)
                self._keyed[name] = (work.id, asked.written.digest)
                self._runner(work.id).add_done_callback(lambda _: self._keyed.pop(name, None))
                return work.id
        if digest != asked.written.digest:
            raise IdempotencyMismatch(
                fields=(("Idempotency-Key", "was used for a request with another body"),),
                extra={"execution": execution},
            )
        return execution

    async def _take(self, asked: _Asked, key: str | None, *, replaces: StoredExecution | None = None) -> Work:
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
        submits(work)
        self._limiter.admit_execution(caller, self._conductor.live_of(caller.tenant, caller.name), at)
        self._conductor.start(work)
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

    def _runner(self, execution: str) -> asyncio.Task[None]:
        running = self._conductor.running(execution)
        if running is None:
            raise Unavailable("The execution is not live in this gateway.")
        return running[1]

    async def _answer_of(self, caller: Caller, execution: str, wait_seconds: float | None) -> ExecutionView:
        """The execution's view once it is answered, or once the wait is over and it is at least recorded."""
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
        return await self._execution_view(caller, execution)

    async def _placed(self, work: Work, runner: asyncio.Task[None]) -> None:
        """Record an execution that its caller waits for no longer, once it has a place: what has none is not promised."""
        if work.recorded:
            return
        placed = asyncio.ensure_future(work.placed.wait())
        await asyncio.wait({placed, runner}, return_when=asyncio.FIRST_COMPLETED)
        placed.cancel()
        if runner.done() and not runner.cancelled():
            runner.result()
        await self._conductor.record(work)

    async def _execution_view(self, caller: Caller, execution: str) -> ExecutionView:
        row, stored = await self._store.read(lambda reader: _owned(reader, caller, execution))
        return self._view(row, stored.task)

    def _view(self, row: StoredExecution, task: Task) -> ExecutionView:
        """An execution as its caller sees it."""
        profile = profile_named(self._policy.current, row.profile)
        return execution_view(row, task, rules_of(profile, anonymous=task.anonymous), profile.retention)

    async def execution(self, caller: Caller, execution: str, *, wait_seconds: float) -> ExecutionView:
        """See `service.Service.execution`."""
        row, stored = await self._store.read(lambda reader: _owned(reader, caller, execution))
        if row.answered_at is None and wait_seconds > 0:
            return await self._answer_of(caller, execution, wait_seconds)
        return self._view(row, stored.task)

    async def events(
        self, caller: Caller, execution: str, after: Position | None
    ) -> AsyncGenerator[bytes, None] | None:
        """See `service.Service.events`."""
        return await self._watching.events(caller, execution, after)

    async def file(self, caller: Caller, execution: str, path: str) -> bytes:
        """See `service.Service.file`."""

        def find(reader: Reader) -> tuple[StoredExecution, bytes | None]:
            row, _ = _owned(reader, caller, execution)
            return row, reader.file(execution, path)

        row, content = await self._store.read(find)
        if content is None and row.files_deleted_at is not None:
            raise NotFound(f"The files of this execution were deleted by retention at {row.files_deleted_at}.")
        if content is None:
            raise NotFound("The execution left no such file.")
        return content

    async def cancel(self, caller: Caller, execution: str) -> ExecutionView:
        """See `service.Service.cancel`."""
        await self._store.read(lambda reader: _owned(reader, caller, execution))
        await self._conductor.cancel(execution, caller.name)
        return await self._execution_view(caller, execution)

    async def task(self, caller: Caller, task_id: str, *, wait_seconds: float) -> TaskView:
        """See `service.Service.task`."""
        return await self._tasks.view(caller, task_id, wait_seconds)

    async def close_task(self, caller: Caller, task_id: str) -> TaskView:
        """See `service.Service.close_task`."""
        return await self._tasks.close(caller, task_id)

    async def reviews(
        self,
        caller: Caller,
        *,
        state: Literal["open", "decided", "withdrawn", "expired"] | None,
        limit: int,
        after: str | None,
    ) -> ReviewList:
        """See `service.Service.reviews`."""
        return await self._reviews.page(caller, state, limit, after)

    async def review(self, caller: Caller, review: str) -> ReviewView:
        """See `service.Service.review`."""
        return await self._reviews.view(caller, review)

    async def rule(self, caller: Caller, review: str, ruling: RulingRequest) -> ReviewView:
        """See `service.Service.rule`."""
        return await self._reviews.rule(caller, review, ruling)

    async def check_edit(self, caller: Caller, review: str, edit: EditRequest) -> ChecksView:
        """See `service.Service.check_edit`."""
        return await self._reviews.check(caller, review, edit.code)

    async def dead_letters(self, *, limit: int, after: str | None) -> DeadLetterList:
        """See `service.Service.dead_letters`."""
        return await self._deliveries.dead_letters(limit, after)

    async def replay_letter(self, letter: str) -> DeadLetter:
        """See `service.Service.replay_letter`."""
        return await self._deliveries.replay(letter)

    async def drop_letter(self, letter: str) -> DeadLetter:
        """See `service.Service.drop_letter`."""
        return await self._deliveries.drop(letter)

    async def policy(self, caller: Caller) -> PolicyView:
        """See `service.Service.policy`."""
        profile = self._policy.profile(caller)
        return PolicyView(
            name=profile.policy,
            profile=profile.name,
            digest=profile.digest,
            document=json.loads(profile.document),
            today=self._limiter.today(caller, now()),
            file=self._reloader.view() if Role.OPERATOR in caller.roles else None,
        )

    async def reload_policy(self) -> ReloadView:
        """See `service.Service.reload_policy`."""
        done = await self._reloader.reload("request")
        if not done.loaded:
            fields = tuple(
                (f"{one.file}:{one.line}:{one.column}", f"{one.path}: {one.message}") for one in done.problems
            )
            raise PolicyRefused(fields=fields, extra={"reload": json.loads(done.model_dump_json())})
        return done

    async def spared(self, days: int) -> SparedList:
        """See `service.Service.spared`."""
        return await self._oversight.spared(days)

    def monty_lane(self) -> MontyLaneView:
        """See `service.Service.monty_lane`."""
        return self._oversight.monty_lane()

    async def restore_monty(self, caller: Caller) -> MontyLaneView:
        """See `service.Service.restore_monty`."""
        return await self._oversight.restore_monty(caller.name)

    async def policy_of(self, caller: Caller, execution: str) -> PolicyView:
        """See `service.Service.policy_of`."""
        row, _ = await self._store.read(lambda reader: _owned(reader, caller, execution))
        kept = await self.kept_policy(row.policy)
        return PolicyView(name=row.policy_name, profile=row.profile, digest=row.policy, document=kept.document)

    async def kept_policy(self, digest: str) -> KeptPolicyView:
        """See `service.Service.kept_policy`."""
        document = await self._store.read(lambda reader: reader.policy_document(digest))
        if document is None:
            raise NotFound("Nothing was ever decided by such a policy.")
        return KeptPolicyView(digest=digest, document=json.loads(document))

    async def explain(self, asked: ExplainRequest) -> ExplanationView:
        """See `service.Service.explain`."""
        try:
            return explanation(self._policy.current, asked)
        except KeyError as error:
            field = "key" if asked.key is not None and asked.profile is None else "profile"
            raise InvalidRequest(fields=((field, error.args[0]),)) from None

    async def isolation(self) -> IsolationView:
        """See `service.Service.isolation`."""
        return self._isolation.view()

    async def prove_isolation(self) -> IsolationView:
        """See `service.Service.prove_isolation`."""
        return await self._isolation.prove()

    async def retention(self) -> RetentionView:
        """See `service.Service.retention`."""
        return await self._pruner.view()

    async def prune(self) -> RetentionView:
        """See `service.Service.prune`."""
        return await self._pruner.prune_now()

    async def metrics(self) -> str:
        """See `service.Service.metrics`."""
        return await self._metrics.text()

    async def posture(self, digest: str) -> PostureView:
        """See `service.Service.posture`."""
        return await self._isolation.posture(digest)

    async def readiness(self) -> ReadyView:
        """See `service.Service.readiness`."""
        return await self._readiness.view()

    def live(self) -> bool:
        """See `service.Service.live`."""
        return self._store.writing


def _owned(reader: Reader, caller: Caller, execution: str) -> tuple[StoredExecution, StoredTask]:
    """An execution of the caller's tenant; another tenant's is as if it did not exist."""
    row = reader.execution(execution)
    stored = reader.task(row.task) if row is not None and row.tenant == caller.tenant else None
    if row is None or stored is None:
        raise NotFound("There is no such execution.")
    return row, stored


def _failed(row: StoredExecution) -> bool:
    """Whether the platform failed it: then its key is free for another try, since nothing came of the first."""
    return row.status == Status.PLATFORM_ERROR.value


def _require_room(request: ExecutionRequest, limits: Limits) -> None:
    """Files and stdin must fit the box's disk, or the program would fail for what it did not do."""
    if message := lacks_room(request, limits):
        raise InvalidRequest(fields=(("files", message),))
