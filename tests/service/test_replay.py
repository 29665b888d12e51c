"""Requests of the past under another policy: the decisions that change are named, each of them and no other."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest_asyncio

from gateway.bodies import kept, sealed
from gateway.causes import Cause
from gateway.database import looking
from gateway.events import Answered, Breach, Event, Opened, Spared, Status, Submitted, Verdict
from gateway.events import Checked as CheckedEvent
from gateway.judging import Decision
from gateway.lifecycle import begin
from gateway.policy import Policy
from gateway.policy_file import parse_policy
from gateway.reader import Reader
from gateway.records import StoredExecution
from gateway.replaying import Change, Replay, Replayed
from gateway.store import Store, migrate
from gateway.times import new_id, now, stamp
from gateway.wire_answers import Answer, Finding
from gateway.writer import Writer
from sandbox.job import Lane, Limits

MANY = 10_000
LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=30, pids=64, disk_bytes=1 << 26, output_bytes=1 << 18)
OLD = "version: 1\ndefaults: {checks: {imports: {deny: [ssl]}}}\n"


def policy(text: str) -> Policy:
    return parse_policy(text, file="policy.yaml")


@dataclass(frozen=True)
class Past:
    """A request that was decided, as a gateway recorded it."""

    request: dict[str, object]
    rule: str = ""  # by which it was refused
    status: str = "succeeded"
    spared: str = ""  # by which it would have been
    source: str = "agent"
    deleted: bool = False


def denied(code: str, module: str) -> Past:
    return Past({"code": code}, rule=f"import.denied {module}", status="denied")


def add(writer: Writer, old: Policy, past: Sequence[Past], at: datetime, *, anonymous: bool = False) -> list[str]:
    """One task with all of them."""
    profile = old.resolve("default")
    writer.keep_policy(profile.digest, profile.document, at)
    opened = Opened("t", new_id("task"), "ada", anonymous=anonymous)
    stored = writer.open_task(new_id("tsk"), begin(opened), opened, at)
    made = []
    for one in past:
        execution = new_id("exe")
        made.append(execution)
        rule, _, module = one.rule.partition(" ")
        findings = [Finding(rule=rule, severity="error", message=f"of `{module}`")] if rule else []
        cause = {"denied": Cause.DENIED, "rejected": Cause.FIX_FIRST}.get(one.status)
        answer = sealed(Answer(findings=findings, cause=cause))
        events: list[Event] = [Submitted(execution, execution, LIMITS, "ada")]
        if one.spared:
            spared = Spared(execution, "audit", Verdict.FIX_FIRST, "default", (Breach(one.spared),))
            events += [CheckedEvent(execution, Verdict.ADMIT, Lane.CONTAINER), spared]
        charge = {"denied": 2, "rejected": 1}.get(one.status, 0)
        events.append(Answered(execution, Status(one.status), charge, fingerprint=one.status if charge else None))
        stored = writer.append(stored, events, at)
        writer.add_execution(
            StoredExecution(
                id=execution,
                task=stored.id,
                tenant="t",
                caller="ada",
                profile="default",
                policy=profile.digest,
                source=one.source,
                of=None,
                idempotency_key=None,
                request_digest=execution,
                request="" if one.deleted else json.dumps(one.request),
                submitted_at=stamp(at),
                status=one.status,
                answer_source="program",
                answer=answer.text,
                answered_at=stamp(at),
                kept=kept(answered=True, files=False, key=False),
            )
        )
    return made


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    migrate(url(tmp_path))
    opened = Store(url(tmp_path))
    await opened.open()
    yield opened
    await opened.close()


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'airlock.db'}"


async def record(store: Store, *past: Past, old: str = OLD, days: float = 1) -> list[str]:
    at = now() - timedelta(days=days)
    return await store.write(lambda writer: add(writer, policy(old), past, at))


async def replay(tmp_path: Path, new: str, days: float = 7) -> Replayed:
    """As the command does it: beside the gateway, over a connection that cannot write."""
    with looking(url(tmp_path)) as session:
        return await Replay(Reader(session), policy(new), now() - timedelta(days=days)).run()


def named(done: Replayed) -> dict[str, tuple[str, str]]:
    return {one.execution: (one.old.value, one.new.value) for one in done.changes}


async def test_ten_thousand_requests_are_replayed_and_exactly_those_that_change_are_named(
    store: Store, tmp_path: Path
) -> None:
    """Ten thousand different programs; of each hundred it is known beforehand which are decided otherwise."""
    expected: dict[str, tuple[str, str]] = {}
    programs: list[str] = []
    for hundred in range(MANY // 100):
        past, becomes = [], {}
        for number in range(100):
            code = f"import json\n\ndef total(items):\n    return sum(items)\n\nprint(json.dumps(total([{hundred}, {number}])))\n"
            one = Past({"code": code})
            if number in {3, 50}:
                one, becomes[number] = Past({"code": f"import socket\n{code}"}), ("admitted", "denied")
            elif number in {7, 60}:
                one, becomes[number] = denied(f"import ssl\n{code}", "ssl"), ("denied", "admitted")
            elif number == 11:
                one = Past({"code": code, "limits": {"memory": "800Mi"}})
                becomes[number] = ("admitted", "refused")
            elif number == 13:
                one, becomes[number] = Past({"code": code, "limits": {"time": "40s"}}), ("admitted", "held")
            elif number == 17:
                one = Past({"code": f"{code}nope({number})"}, rule="name.unknown", status="rejected")
            past.append(one)
            programs.append(str(one.request["code"]))
        made = await record(store, *past)
        expected |= {made[number]: change for number, change in becomes.items()}
    new = (
        "version: 1\ndefaults: {checks: {imports: {deny: [socket]}}, limits: {memory: {max: 512Mi}},"
        " review: {when: [budget_exhausted, stuck, above_default]}}\n"
    )
    began = time.process_time()
    for code in programs:
        ast.parse(code)
    floor = time.process_time() - began
    began = time.process_time()
    done = await replay(tmp_path, new)
    took = time.process_time() - began
    assert (done.asked, done.replayed, done.checks_changed) == (MANY, MANY, 0)
    assert named(done) == expected
    assert took < 25 * floor, f"{took:.1f} s of the processor for what takes {floor:.1f} s to parse"


async def test_what_cannot_be_replayed_is_counted_and_said(store: Store, tmp_path: Path) -> None:
    await record(
        store,
        Past({"code": "1"}),
        Past({"code": "import socket"}, deleted=True),
        Past({"code": "import socket"}, source="reviewer"),
    )
    await record(store, Past({"code": "import socket"}), days=9)
    done = await replay(tmp_path, "version: 1\ndefaults: {checks: {imports: {deny: [socket, ssl]}}}\n")
    assert (done.asked, done.replayed, done.deleted, done.ruled, done.changes) == (3, 1, 1, 1, [])


async def test_what_the_same_rules_decide_is_not_decided_again(store: Store, tmp_path: Path) -> None:
    """Also what a check of today would see otherwise: nothing changed but what is no rule about programs."""
    await record(store, Past({"code": "print(undefined_name)"}, rule="name.unknown", status="rejected"))
    done = await replay(
        tmp_path, OLD.replace("deny: [ssl]}", "deny: [ssl]}}, retries: {attempts: 1").replace("1}}}", "1}}")
    )
    assert (done.replayed, done.changes) == (1, [])


async def test_what_only_ran_because_the_policy_was_trying_a_rule_out_is_refused_by_the_rule(
    store: Store, tmp_path: Path
) -> None:
    old = "version: 1\ndefaults: {checks: {mode: audit}}\n"
    made = await record(store, Past({"code": "nope()"}, spared="name.unknown"), Past({"code": "1"}), old=old)
    done = await replay(tmp_path, "version: 1\n")
    assert named(done) == {made[0]: ("admitted", "rejected")}
    assert done.changes[0].why.startswith("name.unknown")


async def test_the_profile_of_the_new_files_key_decides(store: Store, tmp_path: Path) -> None:
    made = await record(store, Past({"code": "import socket"}))
    key = f"{{name: ada, sha256: {'a' * 64}, tenant: t, profile: strict, roles: [agent]}}"
    strict = "profiles: {strict: {checks: {imports: {allow: [json]}}}}"
    done = await replay(tmp_path, f"version: 1\n{strict}\nkeys: [{key}]\n")
    assert named(done) == {made[0]: ("admitted", "denied")}
    assert done.changes == [Change(made[0], "t", "ada", Decision.ADMITTED, Decision.DENIED, done.changes[0].why)]
    assert "socket" in done.changes[0].why


async def test_reviews_more_or_fewer_are_counted(store: Store, tmp_path: Path) -> None:
    """Two denials of 2 each spend three failures: a person is asked. Without the rule nobody is."""
    await record(store, denied("import ssl\n1", "ssl"), denied("import ssl\n2", "ssl"))
    await record(store, Past({"code": "1", "limits": {"time": "40s"}}))
    same = await replay(tmp_path, OLD)
    assert (same.reviews_before, same.reviews_after) == (1, 1)
    lenient = await replay(tmp_path, "version: 1\n")
    assert (lenient.reviews_before, lenient.reviews_after) == (1, 0)
    held = await replay(tmp_path, "version: 1\ndefaults: {review: {when: [budget_exhausted, stuck, above_default]}}\n")
    assert (held.reviews_before, held.reviews_after) == (1, 1)


ASKS = "version: 1\ndefaults: {{review: {{when: [{when}], confidence: 0.5}}}}\n"


def _with_when(when: str) -> str:
    return f"version: 1\ndefaults: {{checks: {{imports: {{deny: [ssl]}}}}, review: {{when: [{when}]}}}}\n"


def held(request: dict[str, object], rule: str) -> Past:
    return Past(request, rule=rule, status="denied")


async def test_who_is_asked_first_is_decided_anew_although_nothing_else_changes(store: Store, tmp_path: Path) -> None:
    sure, unsure = Past({"code": "1", "confidence": 0.9}), Past({"code": "2", "confidence": 0.1})
    made = await record(store, sure, unsure)
    always = await replay(tmp_path, _with_when("always"))
    assert named(always) == dict.fromkeys(made, ("admitted", "held"))
    assert (always.reviews_before, always.reviews_after) == (0, 2)
    doubt = await replay(tmp_path, _with_when("low_confidence"))
    assert named(doubt) == {made[1]: ("admitted", "held")}


async def test_what_waited_for_a_person_counts_as_held_for_whatever_reason(store: Store, tmp_path: Path) -> None:
    made = await record(
        store,
        held({"code": "1"}, "review.held"),
        held({"code": "2", "confidence": 0.1}, "confidence.held"),
        old=ASKS.format(when="low_confidence, always"),
    )
    done = await replay(tmp_path, ASKS.format(when=""))
    assert named(done) == dict.fromkeys(made, ("held", "admitted"))
    assert (done.checks_changed, done.reviews_before, done.reviews_after) == (0, 2, 0)


async def test_reviews_are_counted_by_what_each_policy_asks_about(store: Store, tmp_path: Path) -> None:
    await record(store, denied("import ssl\n1", "ssl"), denied("import ssl\n2", "ssl"))
    nobody = await replay(tmp_path, _with_when(""))
    assert (nobody.reviews_before, nobody.reviews_after) == (1, 0)
    each = await replay(tmp_path, _with_when("policy_denied"))
    assert (each.reviews_before, each.reviews_after) == (1, 2)


async def test_programs_without_a_task_have_their_own_budget(store: Store, tmp_path: Path) -> None:
    past = denied("import ssl\n1", "ssl"), denied("import ssl\n2", "ssl")
    await store.write(lambda writer: add(writer, policy(OLD), past, now() - timedelta(days=1), anonymous=True))
    done = await replay(tmp_path, OLD)
    assert (done.reviews_before, done.reviews_after) == (0, 0)
