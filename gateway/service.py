"""The port between HTTP and the gateway: what the routes may ask for. No route decides anything."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from gateway.callers import Caller
from gateway.requests import EditRequest, ExecutionRequest, ExplainRequest, RulingRequest
from gateway.stream import Position
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


class Service(Protocol):
    """Raises `errors.GatewayError` for what a caller got wrong and for what the platform cannot do now."""

    async def submit(
        self,
        caller: Caller,
        request: ExecutionRequest,
        *,
        idempotency_key: str | None,
        wait_seconds: float | None,
        fresh: bool = False,
    ) -> ExecutionView:
        """Take a program and wait for its answer: without bound for None, else this long. It is recorded either way.

        `fresh`: run it, although its result may be known.
        """
        ...

    async def execution(self, caller: Caller, execution: str, *, wait_seconds: float) -> ExecutionView:
        """An execution of the caller's tenant, as soon as it is answered or the wait is over."""
        ...

    async def events(
        self, caller: Caller, execution: str, after: Position | None
    ) -> AsyncGenerator[bytes, None] | None:
        """What happens to an execution of the caller's tenant as it happens, up to its end; None after the end."""
        ...

    async def file(self, caller: Caller, execution: str, path: str) -> bytes:
        """A file that the execution left."""
        ...

    async def cancel(self, caller: Caller, execution: str) -> ExecutionView:
        """End an execution; one that is answered already stays as it is."""
        ...

    async def task(self, caller: Caller, task_id: str, *, wait_seconds: float) -> TaskView:
        """A task of the caller's tenant, as soon as it is the agent's or nobody's turn, or the wait is over."""
        ...

    async def close_task(self, caller: Caller, task_id: str) -> TaskView:
        """End a task: its live executions are cancelled, its open review is withdrawn."""
        ...

    async def reviews(
        self,
        caller: Caller,
        *,
        state: Literal["open", "decided", "withdrawn", "expired"] | None,
        limit: int,
        after: str | None,
    ) -> ReviewList:
        """The tenant's reviews, oldest first."""
        ...

    async def review(self, caller: Caller, review: str) -> ReviewView:
        """A review whole, with the token that a ruling must echo."""
        ...

    async def rule(self, caller: Caller, review: str, ruling: RulingRequest) -> ReviewView:
        """Decide a review."""
        ...

    async def check_edit(self, caller: Caller, review: str, edit: EditRequest) -> ChecksView:
        """What the checks would say of a reviewer's version."""
        ...

    async def dead_letters(self, *, limit: int, after: str | None) -> DeadLetterList:
        """Letters to webhooks that nobody took, of all tenants, oldest first."""
        ...

    async def replay_letter(self, letter: str) -> DeadLetter:
        """Try to deliver a dead letter again."""
        ...

    async def drop_letter(self, letter: str) -> DeadLetter:
        """Forget a dead letter."""
        ...

    async def policy(self, caller: Caller) -> PolicyView:
        """The profile that binds the caller's programs."""
        ...

    async def reload_policy(self) -> ReloadView:
        """Read the policy file again; raises `PolicyRefused` where the one before stays in force."""
        ...

    async def spared(self, days: int) -> SparedList:
        """What ran in the last days although the checks would have refused it."""
        ...

    def monty_lane(self) -> MontyLaneView:
        """Where the switch of the Monty lane stands, and why."""
        ...

    async def restore_monty(self, caller: Caller) -> MontyLaneView:
        """Switch the Monty lane on again."""
        ...

    async def policy_of(self, caller: Caller, execution: str) -> PolicyView:
        """The profile that decided an execution of the caller's tenant, as it was then."""
        ...

    async def kept_policy(self, digest: str) -> KeptPolicyView:
        """A resolved profile that decided something once."""
        ...

    async def explain(self, asked: ExplainRequest) -> ExplanationView:
        """What the policy decides about a request, and which line of it each time."""
        ...

    async def isolation(self) -> IsolationView:
        """What isolates programs, with the latest proof."""
        ...

    async def prove_isolation(self) -> IsolationView:
        """Try every forbidden thing again, and wait for what comes of it."""
        ...

    async def retention(self) -> RetentionView:
        """What retention would delete now, and what it deleted."""
        ...

    async def prune(self) -> RetentionView:
        """Delete now what is due, and wait a while for it."""
        ...

    async def metrics(self) -> str:
        """What Prometheus reads, in its text format."""
        ...

    async def posture(self, digest: str) -> PostureView:
        """What was in force at some time."""
        ...

    async def readiness(self) -> ReadyView:
        """What the gateway can do now."""
        ...

    def live(self) -> bool:
        """Whether the process is in working order, without asking anything outside it."""
        ...
