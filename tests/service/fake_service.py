"""An honest service at the port: it keeps what it is given and answers by the rules of the port, in memory.

A program here is a JSON object that says what its answer will be (`{"status": "failed", "exit_code": 3}`); any other
text succeeds and prints itself. `seconds` delays the answer, `raise` is a mistake of ours.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from gateway.callers import Caller
from gateway.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidRequest,
    NotFound,
    NotYourTurn,
    ReviewDecided,
    StaleReview,
)
from gateway.events import EscalationReason, RulingKind, Status
from gateway.explaining import explanation
from gateway.lifecycle import TaskState
from gateway.policy import Policy, PolicyDocument, resolve
from gateway.policy_notices import NoticeKind
from gateway.requests import EditRequest, ExecutionRequest, ExplainRequest, RulingRequest
from gateway.stream import BEGINNING, OPENING, Position, Teller
from gateway.wire_answers import Budget, ExecutionSummary, ExecutionView, FileOut, Left, LimitsInfo, TaskInfo, TaskView
from gateway.wire_operations import (
    BodyCounts,
    DeadLetter,
    DeadLetterList,
    IsolationView,
    MontyLaneView,
    PostureView,
    ProofView,
    ReadyView,
    RetentionRules,
    RetentionView,
    SparedList,
    TrialView,
)
from gateway.wire_policy import ExplanationView, KeptPolicyView, PolicyView, ReloadView
from gateway.wire_reviews import ChecksView, ReviewList, ReviewSummary, ReviewView, TryView
from sandbox.job import Lane

POSTURE = "e" * 64
_RESOLVED = resolve(PolicyDocument(version=1), name="default")
assert isinstance(_RESOLVED, Policy)
POLICY = _RESOLVED
SECRET = "/srv/airlock/secret-path"
MEMORY_MAX = 1 << 30
LIMITS = LimitsInfo(
    cpu_cores=1, memory_bytes=1 << 28, wall_seconds=30, pids=64, disk_bytes=1 << 26, output_bytes=1 << 18
)
_AT = datetime(2025, 11, 21, 9, 30, tzinfo=UTC)
_CLOCK = 0.01  # seconds that a sleep may end early by
_INLINE = 100  # bytes of a file that come with the answer


@dataclass
class Kept:
    """An execution, and what the service keeps beside it."""

    tenant: str
    request: ExecutionRequest
    view: ExecutionView
    due: float
    files: dict[str, bytes] = field(default_factory=dict)


class FakeService:
    """See the module."""

    def __init__(self, *, container: bool = True, monty: bool = True) -> None:
        self.kept: dict[str, Kept] = {}
        self.by_key: dict[tuple[str, str], str] = {}
        self.opened: dict[str, ReviewView] = {}
        self.closed: set[str] = set()
        self.container = container
        self.monty = monty
        self.findings: list[str] = []
        self.fresh: list[bool] = []
        self.proofs = 0
        self.passes = 0
        self.monty_on = False
        self.letters = {f"msg_000{number}": _letter(f"msg_000{number}") for number in range(3)}

    async def submit(
        self,
        caller: Caller,
        request: ExecutionRequest,
        *,
        idempotency_key: str | None,
        wait_seconds: float | None,
        fresh: bool = False,
    ) -> ExecutionView:
        self.fresh.append(fresh)
        known = self.by_key.get((caller.name, idempotency_key)) if idempotency_key else None
        if known:
            if self.kept[known].request != request:
                raise IdempotencyMismatch
            return await self.execution(caller, known, wait_seconds=wait_seconds or 0)
        if request.limits and (request.limits.memory or 0) > MEMORY_MAX:
            raise InvalidRequest(fields=(("limits.memory", "2Gi is more than this profile's 1Gi"),))
        task_id = request.task_id or "anonymous"
        if task_id in self.closed:
            raise Conflict(extra={"turn": "nobody"})
        if review := self._open_review(task_id):
            raise NotYourTurn(extra={"turn": "reviewer", "review": review.id})
        name = f"exe_{len(self.kept):04}"
        if idempotency_key:
            self.by_key[caller.name, idempotency_key] = name
        kept = self._run(caller, request, name, task_id)
        self._escalate(task_id, kept, caller)
        await asyncio.sleep(max(0, kept.due - _now() if wait_seconds is None else min(wait_seconds, kept.due - _now())))
        return self._view(kept)

    def _run(self, caller: Caller, request: ExecutionRequest, name: str, task_id: str) -> Kept:
        program: dict[str, object] = {"stdout": request.code + "\n"}
        if request.code.startswith("{"):
            program = json.loads(request.code)
        if program.pop("raise", False):
            raise RuntimeError(SECRET)
        due = _now() + float(str(program.pop("seconds", 0)))
        contents = program.pop("contents", {})
        assert isinstance(contents, dict)
        files = {path: base64.b64decode(content) for path, content in contents.items()}
        view = ExecutionView.model_validate(
            {
                "id": name,
                "status": "succeeded",
                "lane": "monty",
                "submitted_at": _AT,
                "answered_at": _AT,
                "policy": "0" * 64,
                "next_actions": ["continue"],
                "task": self._task(task_id),
                "files": [_file(name, path, content) for path, content in files.items()],
                **program,
            }
        )
        self.kept[name] = Kept(caller.tenant, request, view, due, files)
        return self.kept[name]

    def _view(self, kept: Kept) -> ExecutionView:
        if kept.due > _now() + _CLOCK:
            return kept.view.model_copy(
                update={"status": Status.QUEUED, "answered_at": None, "stdout": "", "next_actions": ["wait"]}
            )
        return kept.view.model_copy(update={"task": self._task(kept.view.task.id)})

    def _escalate(self, task_id: str, kept: Kept, caller: Caller) -> None:
        failed = [one for one in self._of(task_id) if one.view.status is Status.FAILED]
        if len(failed) % 3 or kept.view.status is not Status.FAILED:
            return
        review = f"rev_{len(self.opened):04}"
        tries = [TryView(execution=one.view, code=one.request.code, diff="") for one in failed]
        if len(tries) > 1:
            tries[-1] = tries[-1].model_copy(update={"diff": f"-{tries[-2].code}\n+{tries[-1].code}"})
        self.opened[review] = ReviewView(
            id=review,
            task=task_id,
            execution=kept.view.id,
            reason=EscalationReason.BUDGET_EXHAUSTED,
            state="open",
            opened_at=_AT,
            expires_at=_AT + timedelta(days=1),
            token=_token(review),
            submitted_by=caller.name,
            ceilings=LIMITS,
            grants_left=2,
            tries=tries,
            rulings=list(RulingKind),
        )

    async def execution(self, caller: Caller, execution: str, *, wait_seconds: float) -> ExecutionView:
        kept = self._mine(caller, execution)
        await asyncio.sleep(max(0, min(wait_seconds, kept.due - _now())))
        return self._view(kept)

    async def events(
        self, caller: Caller, execution: str, after: Position | None
    ) -> AsyncGenerator[bytes, None] | None:
        kept = self._mine(caller, execution)
        return None if after is not None and after.over else self._told(kept, Teller(after or BEGINNING))

    async def _told(self, kept: Kept, teller: Teller) -> AsyncGenerator[bytes, None]:
        yield OPENING
        for piece in teller.queued():
            yield piece
        await asyncio.sleep(max(0, kept.due - _now()))
        view = self._view(kept)
        for piece in teller.answered(view, json.dumps(view.result)):
            yield piece
        yield teller.finished(view, view.task)

    async def file(self, caller: Caller, execution: str, path: str) -> bytes:
        files = self._mine(caller, execution).files
        if path not in files:
            raise NotFound
        return files[path]

    async def cancel(self, caller: Caller, execution: str) -> ExecutionView:
        kept = self._mine(caller, execution)
        if kept.due > _now():
            kept.due = 0
            kept.view = kept.view.model_copy(update={"status": Status.CANCELLED})
        return self._view(kept)

    async def task(self, caller: Caller, task_id: str, *, wait_seconds: float) -> TaskView:
        mine = [kept for kept in self._of(task_id) if kept.tenant == caller.tenant]
        if not mine:
            raise NotFound
        if self._open_review(task_id):
            await asyncio.sleep(wait_seconds)
        views = [self._view(kept) for kept in reversed(mine)]
        return TaskView.model_validate(
            {
                **self._task(task_id).model_dump(),
                "executions": [
                    ExecutionSummary(id=view.id, status=view.status, submitted_at=_AT, answered_at=_AT)
                    for view in views
                ],
                "latest": views[0],
                "next_actions": views[0].next_actions,
            }
        )

    async def close_task(self, caller: Caller, task_id: str) -> TaskView:
        self.closed.add(task_id)
        return await self.task(caller, task_id, wait_seconds=0)

    async def dead_letters(self, *, limit: int, after: str | None) -> DeadLetterList:
        found = [one for name, one in self.letters.items() if one.state == "dead" and name > (after or "")]
        return DeadLetterList(letters=found[:limit], next=found[limit - 1].id if len(found) > limit else None)

    async def replay_letter(self, letter: str) -> DeadLetter:
        if letter not in self.letters:
            raise NotFound
        self.letters[letter] = self.letters[letter].model_copy(update={"state": "waiting", "attempts": 0})
        return self.letters[letter]

    async def drop_letter(self, letter: str) -> DeadLetter:
        if letter not in self.letters:
            raise NotFound
        return self.letters.pop(letter)

    async def reviews(
        self,
        caller: Caller,
        *,
        state: Literal["open", "decided", "withdrawn", "expired"] | None,
        limit: int,
        after: str | None,
    ) -> ReviewList:
        ids = [name for name, review in self.opened.items() if state in {None, review.state} and name > (after or "")]
        page = [
            ReviewSummary.model_validate(self.opened[name].model_dump(include=set(ReviewSummary.model_fields)))
            for name in ids[:limit]
            if self.kept[self.opened[name].execution].tenant == caller.tenant
        ]
        return ReviewList(reviews=page, next=page[-1].id if len(ids) > limit else None)

    async def review(self, caller: Caller, review: str) -> ReviewView:
        if review not in self.opened:
            raise NotFound
        self._mine(caller, self.opened[review].execution)
        return self.opened[review]

    async def rule(self, caller: Caller, review: str, ruling: RulingRequest) -> ReviewView:
        found = await self.review(caller, review)
        if found.state != "open":
            raise ReviewDecided
        if ruling.token != found.token:
            raise StaleReview
        name = None
        if ruling.ruling is RulingKind.APPROVE_EDITED:
            name = f"exe_{len(self.kept):04}"
            self._run(caller, ExecutionRequest(code=ruling.code or "", task_id=found.task), name, found.task)
        if ruling.ruling is RulingKind.REJECT and ruling.final:
            self.closed.add(found.task)
        self.opened[review] = found.model_copy(
            update={
                "state": "decided",
                "token": None,
                "ruling": ruling.ruling,
                "decided_by": caller.name,
                "decided_at": _AT,
                "message": ruling.message,
                "ruled_execution": name,
            }
        )
        return self.opened[review]

    async def check_edit(self, caller: Caller, review: str, edit: EditRequest) -> ChecksView:
        await self.review(caller, review)
        return ChecksView(admitted="refuse" not in edit.code, lane=None, findings=[])

    async def policy(self, caller: Caller) -> PolicyView:
        return PolicyView(name="default", profile=caller.profile, digest="0" * 64, document={})

    async def reload_policy(self) -> ReloadView:
        return ReloadView(at=_AT, why="request", loaded=True, name="default", sha256="0" * 64)

    async def spared(self, days: int) -> SparedList:
        return SparedList(since=_AT - timedelta(days=days), executions=0, whole=True, findings=[])

    def monty_lane(self) -> MontyLaneView:
        return MontyLaneView(
            on=self.monty_on, moved_at=_AT, execution=None, differs=[], by=None, shadow_runs={}, shadow_waiting=0
        )

    async def restore_monty(self, caller: Caller) -> MontyLaneView:
        del caller
        self.monty_on = True
        return self.monty_lane()

    async def policy_of(self, caller: Caller, execution: str) -> PolicyView:
        self._mine(caller, execution)
        document = json.loads(POLICY.resolve("default").document)
        return PolicyView(name="default", profile="default", digest="0" * 64, document=document)

    async def kept_policy(self, digest: str) -> KeptPolicyView:
        if digest != "0" * 64:
            raise NotFound
        return KeptPolicyView(digest=digest, document={})

    async def explain(self, asked: ExplainRequest) -> ExplanationView:
        return explanation(POLICY, asked)

    async def isolation(self) -> IsolationView:
        trial = TrialView(name="network.interfaces", held=not self.findings, detail="; ".join(self.findings))
        proof = ProofView(
            image="guest",
            runtime=None,
            held=not self.findings,
            posture=POSTURE,
            tested_at=_AT + timedelta(seconds=self.proofs),
            findings=self.findings,
            trials=[trial],
        )
        return IsolationView(held=not self.findings, profiles={"default": proof})

    async def prove_isolation(self) -> IsolationView:
        self.proofs += 1
        return await self.isolation()

    async def retention(self) -> RetentionView:
        return RetentionView(
            profiles={"default": RetentionRules(code=60, output=None, files=1, keys=1)},
            due=BodyCounts(code=0 if self.passes else 2),
            held=1,
            deleted=BodyCounts(code=2 if self.passes else 0),
            freed_bytes=2000 if self.passes else 0,
            running=False,
            ended_at=_AT if self.passes else None,
        )

    async def prune(self) -> RetentionView:
        self.passes += 1
        return await self.retention()

    async def metrics(self) -> str:
        return "# HELP airlock_boxes_spare Boxes that wait.\n"

    async def posture(self, digest: str) -> PostureView:
        if digest != POSTURE:
            raise NotFound("There was no such posture.")
        return PostureView(digest=digest, document={"lane": "container"}, tested_at=_AT, trials=[])

    async def readiness(self) -> ReadyView:
        available = {Lane.MONTY: self.monty, Lane.CONTAINER: self.container}
        return ReadyView.model_validate(
            {
                "ready": self.monty and not self.findings,
                "findings": self.findings,
                "lanes": {
                    lane: {"available": can, "detail": "ready" if can else "no engine answers", "python": "3.13"}
                    for lane, can in available.items()
                },
                "live_executions": 0,
                "breaker": "closed",
                "queued": 0,
                "open_reviews": len([review for review in self.opened.values() if review.state == "open"]),
                "policy": "0" * 64,
                "version": "0",
            }
        )

    def live(self) -> bool:
        return True

    def _mine(self, caller: Caller, execution: str) -> Kept:
        kept = self.kept.get(execution)
        if kept is None or kept.tenant != caller.tenant:
            raise NotFound
        return kept

    def _of(self, task_id: str) -> list[Kept]:
        return [kept for kept in self.kept.values() if kept.view.task.id == task_id]

    def _open_review(self, task_id: str) -> ReviewView | None:
        return next((one for one in self.opened.values() if one.task == task_id and one.state == "open"), None)

    def _task(self, task_id: str) -> TaskInfo:
        failed = len([kept for kept in self._of(task_id) if kept.view.status is Status.FAILED])
        review = self._open_review(task_id)
        three = Left(left=max(0, 3 - failed % 4), limit=3)
        state = TaskState.CLOSED if task_id in self.closed else TaskState.IN_REVIEW if review else TaskState.OPEN
        return TaskInfo(
            id=task_id,
            state=state,
            turn={"open": "agent", "in_review": "reviewer", "closed": "nobody"}[state],  # type: ignore[arg-type]
            budget=Budget(
                failures_in_a_row=three,
                failures_total=Left(left=12 - failed, limit=12),
                same_failure=three,
                grants=Left(left=2, limit=2),
            ),
            review=review.id if review else None,
        )


def _letter(name: str) -> DeadLetter:
    return DeadLetter(
        id=name,
        webhook="alerts",
        type=NoticeKind.TASK_CLOSED,
        state="dead",
        written_at=_AT,
        attempts=8,
        error="HTTP 503\x1b[31m",
        body={"type": "task.closed"},
    )


def _file(execution: str, path: str, content: bytes) -> FileOut:
    small = len(content) <= _INLINE
    return FileOut(
        path=path,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        encoding="base64" if small else None,
        content=base64.b64encode(content).decode() if small else None,
        href=f"/v1/executions/{execution}/files/{path}",
    )


def _token(review: str) -> str:
    return hashlib.sha256(review.encode()).hexdigest()


def _now() -> float:
    return asyncio.get_running_loop().time()
