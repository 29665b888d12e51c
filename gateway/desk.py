"""The desk: what callers ask for, handed to who has it. Implements `service.Service`.

It decides nothing about a program.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.callers import Caller
from gateway.deliveries import Deliveries
from gateway.executions import Executions
from gateway.intake import Intake
from gateway.isolation import Isolation
from gateway.metrics import Metrics
from gateway.oversight import Oversight
from gateway.policy_views import PolicyViews
from gateway.readiness import Readiness
from gateway.requests import EditRequest, ExecutionRequest, ExplainRequest, ReviewState, RulingRequest
from gateway.retention import Pruner
from gateway.reviews import Reviews
from gateway.stream import Position
from gateway.tasks import Tasks
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


class Desk:
    """One gateway's desk."""

    def __init__(  # noqa: PLR0913  # those it hands to
        self,
        *,
        intake: Intake,
        executions: Executions,
        watching: Watching,
        tasks: Tasks,
        reviews: Reviews,
        deliveries: Deliveries,
        policies: PolicyViews,
        oversight: Oversight,
        isolation: Isolation,
        pruner: Pruner,
        metrics: Metrics,
        readiness: Readiness,
    ) -> None:
        self._intake = intake
        self._executions = executions
        self._watching = watching
        self._tasks = tasks
        self._reviews = reviews
        self._deliveries = deliveries
        self._policies = policies
        self._oversight = oversight
        self._isolation = isolation
        self._pruner = pruner
        self._metrics = metrics
        self._readiness = readiness

    async def submit(
        self,
        caller: Caller,
        request: ExecutionRequest,
        *,
        idempotency_key: str | None,
        wait_seconds: float | None,
        fresh: bool = False,
    ) -> ExecutionView:
        """See `service.Service.submit`."""
        execution = await self._intake.take(caller, request, key=idempotency_key, fresh=fresh)
        return await self._executions.answer_of(caller, execution, wait_seconds)

    async def execution(self, caller: Caller, execution: str, *, wait_seconds: float) -> ExecutionView:
        """See `service.Service.execution`."""
        return await self._executions.view(caller, execution, wait_seconds)

    async def events(
        self, caller: Caller, execution: str, after: Position | None
    ) -> AsyncGenerator[bytes, None] | None:
        """See `service.Service.events`."""
        return await self._watching.events(caller, execution, after)

    async def file(self, caller: Caller, execution: str, path: str) -> bytes:
        """See `service.Service.file`."""
        return await self._executions.file(caller, execution, path)

    async def cancel(self, caller: Caller, execution: str) -> ExecutionView:
        """See `service.Service.cancel`."""
        return await self._executions.cancel(caller, execution)

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
        state: ReviewState | None,
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
        return self._policies.of_caller(caller)

    async def reload_policy(self) -> ReloadView:
        """See `service.Service.reload_policy`."""
        return await self._policies.reload()

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
        return await self._policies.of_execution(caller, execution)

    async def kept_policy(self, digest: str) -> KeptPolicyView:
        """See `service.Service.kept_policy`."""
        return await self._policies.kept(digest)

    async def explain(self, asked: ExplainRequest) -> ExplanationView:
        """See `service.Service.explain`."""
        return self._policies.explain(asked)

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
        return self._readiness.live()
