"""What a gateway does under a policy, looked at through the functions that decide it: for `knobs.py`."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

from gateway.auth import authenticator, require
from gateway.bodies import BIT, Body
from gateway.cache import key_of
from gateway.callers import Caller, Role
from gateway.cases import require_grantable
from gateway.causes import Cause
from gateway.checks import Checker, Report
from gateway.deliveries import Deliveries
from gateway.errors import Forbidden, InvalidRequest, QueueFull, QuotaSpent, RateLimited, Unauthorized
from gateway.events import (
    Admitted,
    Answered,
    Checked,
    Closed,
    EscalationReason,
    Event,
    Finished,
    Opened,
    RulingKind,
    Started,
    Status,
    Submitted,
    Verdict,
)
from gateway.explaining import explain
from gateway.guards import Guards, Person, refusal, review_token
from gateway.in_force import InForce
from gateway.letters import wait_seconds
from gateway.lifecycle import OpenReview, Task, apply, begin
from gateway.limiter import Limiter
from gateway.limits import LimitsRequest, limits_for, raised_limits
from gateway.main import Gateway, compose
from gateway.monty_switch import MontySwitch
from gateway.notices import notices
from gateway.observer import _content
from gateway.policy import Policy, Profile
from gateway.policy_file import PolicyError, parse_policy
from gateway.queue import Queue
from gateway.quotas import Quotas, day_of
from gateway.reader import Reader
from gateway.recording import escalate
from gateway.records import StoredLetter, StoredReview, StoredUse
from gateway.requests import ExecutionRequest, RulingRequest
from gateway.resources import memory_max_bytes, wrong_with_declaration
from gateway.retention import _cutoffs
from gateway.retries import backoff_seconds
from gateway.rules import anonymous_task_id, rules_of
from gateway.settings import Settings
from gateway.shadow import Shadow
from gateway.steps import escalation, next_step
from gateway.store import Store
from gateway.times import new_id, now, parse
from gateway.turns import Ticket
from gateway.webhooks import subscriptions, webhook_targets
from gateway.work import Work
from gateway.writer import Writer
from sandbox.container import ContainerDriver
from sandbox.job import Job, Lane, Limits
from sandbox.monty import Monty
from sandbox.outcome import FAULTS, Ending, Outcome
from sandbox.pool import Kind
from sandbox.proven import ProvenDriver
from sandbox.testing import ScriptedDriver
from tests.works import work_of

SECRETS: Final = ("whsec_" + "A" * 40, "whsec_" + "B" * 40)
LIMITS: Final = Limits(
    cpu_cores=0.1, memory_bytes=1 << 25, wall_seconds=1, pids=4, disk_bytes=1 << 13, output_bytes=1 << 10
)
AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Seen: TypeAlias = "object | Awaitable[object]"


@dataclass
class Bench:
    """What looking needs: a folder, the real Monty and a store that is migrated."""

    folder: Path
    monty: Monty
    database: str

    def queue(self, policy: Policy) -> Queue:
        return self.compose(policy).queue

    def compose(self, policy: Policy) -> Gateway:
        """The whole gateway of a policy's file, as it is before it starts."""
        path = self.folder / f"{policy.name}.yaml"
        return compose(Settings(data=self.folder / policy.name, policy=path))

    async def report(self, policy: Policy, code: str, **more: object) -> Report:
        async def python() -> str | None:
            return "3.13"

        checker = Checker(self.monty, python)
        request = ExecutionRequest.model_validate({"code": code, **more})
        return await checker.check(request, policy.resolve("default"))


def default(policy: Policy) -> Profile:
    return policy.resolve("default")


def granted(limit: str, amount: str | int) -> Callable[[Bench, Policy], Seen]:
    """Whether a request may have that much."""
    ask = LimitsRequest.model_validate({limit: amount})
    return lambda _, policy: isinstance(limits_for(default(policy), ask), Limits)


def without_asking(bench: Bench, policy: Policy) -> Seen:
    """What a program that asks for nothing gets."""
    del bench
    return work_of(default(policy), ExecutionRequest(code="1")).job(1, Lane.CONTAINER, _limits(policy)).limits


def _limits(policy: Policy) -> Limits:
    limits = limits_for(default(policy), None)
    assert isinstance(limits, Limits)
    return limits


def ruled(limit: str, amount: str | int) -> Callable[[Bench, Policy], Seen]:
    """Whether a reviewer may give that much."""
    ask = LimitsRequest.model_validate({limit: amount})
    return lambda _, policy: isinstance(raised_limits(default(policy), ask, current=LIMITS), Limits)


def verdict(code: str, **more: object) -> Callable[[Bench, Policy], Seen]:
    async def see(bench: Bench, policy: Policy) -> object:
        report = await bench.report(policy, code, **more)
        return report.verdict, report.lane

    return see


async def findings(bench: Bench, policy: Policy) -> object:
    return [one.rule for one in (await bench.report(policy, "print(len(5))", lane="container")).findings]


def served(bench: Bench, policy: Policy) -> Seen:
    """How many of twenty programs of 1 GiB have a box at once."""
    turns = bench.queue(policy)
    return sum(turns.enter(Ticket(str(n), "t", "normal", 1 << 30, 0), must=True) for n in range(20))


def taken(bench: Bench, policy: Policy) -> Seen:
    """How many programs come in before one is sent away."""
    queue, count = bench.queue(policy), 0
    try:
        while count < 100:
            queue.enter(Ticket(str(count), "t", "normal", 1, 0), must=False)
            count += 1
    except QueueFull:
        pass
    return count


async def spares(bench: Bench, policy: Policy) -> object:
    """How many boxes of a kind that is much asked for are to be made in stock."""
    gateway = bench.compose(policy)
    lane = gateway.lanes[Lane.CONTAINER]
    assert isinstance(lane, ProvenDriver)
    driver = lane._driver  # noqa: SLF001  # where the stock is
    assert isinstance(driver, ContainerDriver)
    pool, kind = driver.supply.pool, Kind("image", None, LIMITS)
    for _ in range(10):
        pool.take(kind)
    wanted = pool._shelves[kind].wanted  # noqa: SLF001  # what is to be made
    await driver.close()
    return wanted


def retried(bench: Bench, policy: Policy) -> Seen:
    """How long the platform's twentieth retry waits after forty first tries."""
    pace = bench.queue(policy).pace
    waits = [pace.again_seconds(0.0) for _ in range(10)]
    for _ in range(5):
        pace.first()
    return [*waits, *(pace.again_seconds(0.0) for _ in range(10))]


def loads(text: Mapping[str, Json]) -> Callable[[Bench, Policy], Seen]:
    """Whether a file is sound that also says `text`, beside what this policy's file says."""

    def see(bench: Bench, policy: Policy) -> object:
        said = json.loads((bench.folder / f"{policy.name}.yaml").read_text())
        try:
            parse_policy(json.dumps(merged(said, dict(text))), file="beside.yaml")
        except PolicyError:
            return False
        return True

    return see


def granting(failures: int) -> Callable[[Bench, Policy], Seen]:
    ruling = RulingRequest(token="t", ruling=RulingKind.GRANT, failures=failures)

    def see(_: Bench, policy: Policy) -> object:
        try:
            require_grantable(default(policy), ruling)
        except InvalidRequest:
            return False
        return True

    return see


def job(policy: Policy) -> Job:
    """What a box is asked to do."""
    return work_of(default(policy), ExecutionRequest(code="1")).job(1, Lane.CONTAINER, _limits(policy))


def jobs(name: str) -> Callable[[Bench, Policy], Seen]:
    return lambda _, policy: getattr(job(policy), name)


def in_monty(_: Bench, policy: Policy) -> Seen:
    work = work_of(default(policy), ExecutionRequest(code="1"))
    return work.job(1, Lane.MONTY, _limits(policy)).limits.wall_seconds


def shadowed(bench: Bench, policy: Policy) -> Seen:
    """How many of a hundred runs in Monty are chosen; they vary, so that none is run."""
    shadow = Shadow(ScriptedDriver(), bench.queue(policy), MontySwitch(bench.folder / "switch"))
    for number in range(100):
        work = work_of(default(policy), ExecutionRequest(code="1"))
        work.execution = replace(work.execution, id=f"exe_{number}")
        work.outcome = Outcome(ending=Ending.SUCCEEDED, lane=Lane.MONTY)
        shadow.saw(work)
    return shadow.counts.total()


def declaring(_: Bench, policy: Policy) -> Seen:
    code = "# /// script\n# dependencies = ['numpy']\n# ///\n1"
    wrong = wrong_with_declaration(ExecutionRequest(code=code), default(policy), None, ruled=False)
    return [one.rule for one in wrong]


LOST: Final = Finished("e", 1, Ending.LOST, FAULTS[Ending.LOST], cause=Cause.BOX_LOST)


def tried(_: Bench, policy: Policy) -> Seen:
    """How often a program that the platform loses each time is tried."""
    rules = rules_of(default(policy), anonymous=False)
    events: list[Event] = [Submitted("e", "d", LIMITS, "ada"), Checked("e", Verdict.ADMIT, Lane.CONTAINER)]
    task = _after(events)
    for number in range(1, 20):
        step = next_step(task.executions["e"], {}, rules)
        if not isinstance(step, Admitted):
            return number - 1
        started: list[Event] = [step, Started("e", number, Lane.CONTAINER), replace(LOST, attempt=number)]
        for event in started:
            task = apply(task, event)
    return None


def waits(_: Bench, policy: Policy) -> Seen:
    return [backoff_seconds(losses, default(policy).retries, 1.0) for losses in range(1, 20)]


def more_memory(_: Bench, policy: Policy) -> Seen:
    return memory_max_bytes(default(policy), ExecutionRequest(code="1"))


def _after(events: list[Event]) -> Task:
    task = begin(Opened("t", "task", "ada"))
    for event in events:
        task = apply(task, event)
    return task


def failing(*, anonymous: bool = False, same: bool = False, rests: bool = False) -> Callable[[Bench, Policy], Seen]:
    """After how many failures a person is asked. `rests`: a success stands between any two."""

    def see(_: Bench, policy: Policy) -> object:
        rules, task = rules_of(default(policy), anonymous=anonymous), _after([])
        for number in range(1, 50):
            print_ = "same" if same else f"print{number}"
            task = _ended(task, f"e{number}", Status.FAILED, 1, print_)
            if escalation(task, rules) is not None:
                return number
            if rests:
                task = _ended(task, f"s{number}", Status.SUCCEEDED, 0, None)
        return None

    return see


def _ended(task: Task, name: str, status: Status, charge: int, fingerprint: str | None) -> Task:
    task = apply(task, Submitted(name, name, LIMITS, "ada"))
    return apply(task, Answered(name, status, charge, fingerprint=fingerprint))


def denied(_: Bench, policy: Policy) -> Seen:
    """What a denied import costs."""
    rules = rules_of(default(policy), anonymous=False)
    task = _after([Submitted("e", "d", LIMITS, "ada"), Checked("e", Verdict.DENIED, Lane.CONTAINER)])
    step = next_step(task.executions["e"], {}, rules)
    assert isinstance(step, Answered)
    return step.charge


def window(_: Bench, policy: Policy) -> Seen:
    """How many anonymous tasks a caller has in a day of one program a minute."""
    times = [AT + timedelta(minutes=number) for number in range(24 * 60)]
    return len({anonymous_task_id("ada", default(policy), at) for at in times})


REVIEW: Final = OpenReview("r", "e", "d", LIMITS, "ada", EscalationReason.STUCK)


def grants(_: Bench, policy: Policy) -> Seen:
    """Why a second grant is refused, if it is."""
    task = replace(_after([]), review=REVIEW, grants=1)
    token = review_token(task, "p") or ""
    return refusal(
        task,
        review="r",
        token=token,
        policy_digest="p",
        kind=RulingKind.GRANT,
        by=Person("ann"),
        guards=Guards(),
        rules=rules_of(default(policy), anonymous=False),
    )


async def expires(bench: Bench, policy: Policy) -> object:
    """How long the review of a task that spent its budget stays open."""
    store = Store(bench.database)
    await store.open()
    profile, name = default(policy), new_id("exe")

    def record(writer: Writer) -> StoredReview | None:
        opened = Opened("t", new_id("task"), "ada")
        stored = writer.open_task(new_id("tsk"), begin(opened), opened, now())
        events: list[Event] = [Submitted(name, "d", LIMITS, "ada"), Answered(name, Status.FAILED, 99, fingerprint="f")]
        stored = escalate(writer, writer.append(stored, events, now()), rules_of(profile, anonymous=False), profile, AT)
        return writer.review(stored.task.review.id) if stored.task.review else None

    row = await store.write(record)
    await store.close()
    assert row is not None
    return parse(row.expires_at) - AT


ADA: Final = Caller("ada", "t", "default", frozenset({Role.AGENT}))


def charged(_: Bench, policy: Policy) -> Seen:
    """Whether a key is let in that used a minute and a half of the CPU today."""
    quotas = Quotas()
    quotas.load([StoredUse("t", "ada", day_of(AT), 1, 90_000)])
    try:
        Limiter(InForce(policy), quotas).admit_execution(ADA, 0, AT)
    except QuotaSpent as spent:
        return str(spent)
    return None


def admitted(ask: Callable[[Limiter, int], None]) -> Callable[[Bench, Policy], Seen]:
    """How many of fifty are let in, twelve a second."""

    def see(_: Bench, policy: Policy) -> object:
        clock = iter(number / 12 for number in range(1000))
        limiter, count = Limiter(InForce(policy), Quotas(), lambda: next(clock)), 0
        for number in range(50):
            try:
                ask(limiter, number)
            except (RateLimited, QuotaSpent):
                continue
            count += 1
        return count

    return see


def remembered(_: Bench, policy: Policy) -> Seen:
    """Whether two tenants' equal programs share a result, and whether there is one."""
    report = Report(Verdict.ADMIT, Lane.MONTY, (), deterministic=True)
    keys = [key_of(_of(policy, tenant), report) for tenant in ("one", "two")]
    return keys[0] is not None, keys[0] == keys[1]


def _of(policy: Policy, tenant: str) -> Work:
    work = work_of(default(policy), ExecutionRequest(code="1"))
    work.tenant = tenant
    return work


def due(body: Body) -> Callable[[Bench, Policy], Seen]:
    """The youngest answer of which retention takes this now."""
    return lambda _, policy: _cutoffs(default(policy).retention, AT)[BIT[body]]


def traced(_: Bench, policy: Policy) -> Seen:
    return _content(work_of(default(policy), ExecutionRequest(code="print('x' * 1000)")))


def called(_: Bench, policy: Policy) -> Seen:
    """Who comes with this key, and what an agent's route says to them."""
    known = authenticator(policy.keys, loopback=True, data=Path("unused"))
    try:
        caller = known.caller([(b"authorization", b"Bearer open-sesame")])
        return require(caller, Role.AGENT)
    except (Unauthorized, Forbidden) as error:
        return type(error)


KEY: Final[dict[str, Json]] = {
    "name": "ada",
    "sha256": sha256(b"open-sesame").hexdigest(),
    "tenant": "t",
    "profile": "default",
    "roles": ["agent"],
}
WEBHOOK: Final[dict[str, Json]] = {"name": "hook", "url": "http://127.0.0.1:1/", "secret_env": "AIRLOCK_SECRET_ONE"}


def targets(bench: Bench, policy: Policy) -> Seen:
    """Where letters go, and signed with what."""
    del bench
    return [(one.name, one.url, one.secrets) for one in webhook_targets(policy)]


def told(_: Bench, policy: Policy) -> Seen:
    """The letters about an answer, and about a task's end."""
    task = _after([])
    events: list[Event] = [Answered("e", Status.FAILED, 1), Closed("ada", "closed_by_agent")]
    return [(one.webhook, one.kind) for one in notices(task, events, "now", subscriptions(policy))]


def later(_: Bench, policy: Policy) -> Seen:
    """The waits between the tries of a letter."""
    return [wait_seconds(one, attempts, 1.0) for one in webhook_targets(policy) for attempts in range(1, 20)]


async def delivered(bench: Bench, policy: Policy) -> object:
    """What becomes of a letter after one try with a receiver that takes calls and says nothing."""
    store = Store(bench.database, subscriptions(policy))
    await store.open()
    (target,) = webhook_targets(policy)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        target = replace(target, url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        opened = Opened("t", new_id("task"), "ada")
        await store.write(
            lambda writer: writer.append(
                writer.open_task(new_id("tsk"), begin(opened), opened, now()), [Closed("ada", "closed_by_agent")], now()
            )
        )
        sending = asyncio.create_task(Deliveries(store, [target], lambda: 0.0).run())
        while not (tried := [one for one in await store.read(_letters) if one.attempts]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    await store.write(lambda writer: writer.remove_letter(tried[0].id))
    await store.close()
    return tried[0].state, tried[0].error


def _letters(reader: Reader) -> list[StoredLetter]:
    return [*reader.letters_due("hook", AT + timedelta(days=36500), 10), *reader.dead_letters(10, None)]


def inherited(_: Bench, policy: Policy) -> Seen:
    return policy.resolve("child").checks.nesting


def names(_: Bench, policy: Policy) -> Seen:
    """What an explanation calls the policy."""
    return explain(policy, "default", key=None, request=None)[0].value


def merged(under: Json, over: Json) -> Json:
    """Maps merge, lists item by item."""
    if isinstance(under, dict) and isinstance(over, Mapping):
        return {**under, **{key: merged(under.get(key), value) for key, value in over.items()}}
    if isinstance(under, list) and isinstance(over, list) and any(isinstance(one, dict) for one in over):
        return [merged(one, other) for one, other in zip(under, over, strict=True)]
    return over
