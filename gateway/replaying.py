"""Requests of the past under another policy: which decisions it would change, and how often it would ask a person.

Reads only, beside a gateway at work. The old decision is the recorded one, the new one that of the functions which
decide when a request comes. What Monty found is not looked for again, but taken from the record: no policy changes it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from pydantic import ValidationError

from gateway.checks import Checker
from gateway.events import EscalationReason
from gateway.judging import Decision, Judged, judge
from gateway.lifecycle import Rules
from gateway.policy import DEFAULT_PROFILE, Policy, Profile
from gateway.reader import Reader
from gateway.records import StoredAsked
from gateway.requests import ExecutionRequest
from gateway.rules import rules_of
from sandbox.diagnostics import Diagnostic, DiagnosticKind
from sandbox.monty import Gate, GateVerdict

_PAGE: Final = 500
_NAME: Final = "name.unknown"
_WATCHDOG: Final = "complexity.watchdog"
_INEXACT: Final = "lane.monty"
_HELD: Final = frozenset({"limits.held", "confidence.held", "review.held"})
_SWITCHED_OFF: Final = "the policy has the Monty lane switched off"
_ALL_SPARED: Final = 10_000_000

Facts: TypeAlias = frozenset[str]
"""The rules that a program broke whatever the policy: what Monty and the compiler found of it."""


@dataclass(frozen=True, slots=True)
class Change:
    """An execution that would be decided otherwise, and why."""

    execution: str
    tenant: str
    caller: str
    old: Decision
    new: Decision
    why: str


@dataclass(slots=True)
class Replayed:
    """What came of all. `asked` is the sum of `replayed`, `deleted`, `ruled` and `repeated`.

    `deleted`: retention has their code deleted. `ruled`: a reviewer decided about them, not the policy. `repeated`: the
    same program had failed in its task, so that the record answered. `checks_changed`: decided otherwise also by the old
    policy, for the checks are not those of then. Reviews are those that the replayed executions would open.
    """

    asked: int = 0
    replayed: int = 0
    deleted: int = 0
    ruled: int = 0
    repeated: int = 0
    checks_changed: int = 0
    changes: list[Change] = field(default_factory=list)
    reviews_before: int = 0
    reviews_after: int = 0


@dataclass(frozen=True, slots=True)
class _Decided:
    """One execution by both policies: the rules that count its failures, and the decisions."""

    was: Rules
    now: Rules
    old: Decision
    new: Decision


class _Remembered:
    """Monty, as the record has it. `facts` are those of the program that is judged now."""

    facts: Facts = frozenset()

    async def compile_gate(self, code: str) -> GateVerdict:
        """See `checks.Inspector`."""
        del code
        if _WATCHDOG in self.facts:
            return GateVerdict(Gate.TOO_COMPLEX, "it was too complex for Monty")
        if _INEXACT in self.facts:
            return GateVerdict(Gate.UNSUPPORTED, "Monty could not run it like CPython")
        syntax = any(one.partition(".")[0] == "syntax" for one in self.facts)
        return GateVerdict(Gate.SYNTAX if syntax else Gate.OK)

    async def type_check(self, code: str) -> tuple[Diagnostic, ...] | None:
        """See `checks.Inspector`."""
        del code
        if _NAME not in self.facts:
            return ()
        return (Diagnostic(DiagnosticKind.BAD_NAME, "unresolved-reference", "a name that does not exist", 1, 1),)


async def _no_guest() -> str | None:
    return None


class Replay:
    """One replay. Each distinct program is decided about once."""

    def __init__(
        self,
        reader: Reader,
        new: Policy,
        since: datetime,
        guest_python: Callable[[], Awaitable[str | None]] = _no_guest,
    ) -> None:
        self._reader = reader
        self._new = new
        self._since = since
        self._monty = _Remembered()
        self._checker = Checker(self._monty, guest_python, finds_lanes=False)
        self._spared = _spared_facts(reader, since)
        self._profiles: dict[tuple[str, str], Profile | None] = {}
        self._deciding: dict[str, str] = {}
        self._known: dict[tuple[str, str, Facts], Judged | None] = {}
        self._decided: dict[str, _Decided] = {}

    async def run(self, step: Callable[[int], None] = lambda _: None) -> Replayed:
        """Decide about all; `step` is told how many at a time."""
        done = Replayed()
        async for row in self._rows(step):
            done.asked += 1
            if row.source != "agent":
                done.ruled += 1
            elif not row.request:
                done.deleted += 1
            else:
                await self._replay(row, done)
        self._count_reviews(done)
        return done

    async def _rows(self, step: Callable[[int], None]) -> AsyncIterator[StoredAsked]:
        after = ""
        while rows := self._reader.asked(self._since, after, _PAGE):
            for row in rows:
                yield row
            after = rows[-1].id
            step(len(rows))
            await asyncio.sleep(0)

    async def _replay(self, row: StoredAsked, done: Replayed) -> None:
        rules = _refused_rules(row.answer)
        if rules is not None and not rules:  # it failed before, and what was found then stands there
            done.repeated += 1
            return
        done.replayed += 1
        was, new = self._old_profile(row), self._new_profile(row)
        old = _recorded(row, rules or frozenset())
        facts = (rules or frozenset()) | self._spared.get(row.id, frozenset())
        if was is not None and self._decides(was) == self._decides(new):
            self._decided[row.id] = _Decided(_rules(row, was), _rules(row, new), old, old)
            return
        judged = await self._judged(row.request, new, facts)
        after = judged.decision if judged else old
        if judged is not None and after is not old:
            before = await self._judged(row.request, was, facts) if was else None
            if before is not None and before.decision is after:
                done.checks_changed += 1
                after = old
            else:
                why = judged.why or _why_not_any_more(was, before)
                done.changes.append(Change(row.id, row.tenant, row.caller, old, after, why))
        self._decided[row.id] = _Decided(_rules(row, was or new), _rules(row, new), old, after)

    async def _judged(self, text: str, profile: Profile, facts: Facts) -> Judged | None:
        """None for a request that this version cannot read."""
        name = (text, self._decides(profile), facts)
        if name not in self._known:
            self._monty.facts = facts
            try:
                request = ExecutionRequest.model_validate_json(text)
            except ValidationError:
                self._known[name] = None
            else:
                self._known[name] = await judge(self._checker, profile, request)
        return self._known[name]

    def _decides(self, profile: Profile) -> str:
        """What of a profile has a part in its decisions, as text."""
        known = self._deciding.get(profile.digest)
        if known is None:
            parts = profile.model_dump_json(
                include={
                    "checks": True,
                    "limits": True,
                    "lanes": {"monty"},
                    "isolation": {"packages"},
                    "review": {"when", "confidence"},
                }
            )
            known = self._deciding[profile.digest] = parts
        return known

    def _old_profile(self, row: StoredAsked) -> Profile | None:
        """The profile that decided then; None where it was another version's, which this one cannot read."""
        name = (row.policy, row.profile)
        if name not in self._profiles:
            document = self._reader.policy_document(row.policy)
            data = json.loads(document) if document else {}
            data.pop("version", None)
            try:
                self._profiles[name] = Profile.model_validate({**data, "name": row.profile}) if data else None
            except ValidationError:
                self._profiles[name] = None
        return self._profiles[name]

    def _new_profile(self, row: StoredAsked) -> Profile:
        """That of the caller's key, or the one of the same name where there is no such key."""
        profiles = self._new.profiles
        keys = self._new.keys
        named = next((key.profile for key in keys if (key.tenant, key.name) == (row.tenant, row.caller)), row.profile)
        return profiles.get(named) or profiles[DEFAULT_PROFILE]

    def _count_reviews(self, done: Replayed) -> None:
        """Let both policies count the failures of each task, as if every review ended with a fresh start."""
        tasks: dict[str, tuple[_Ledger, _Ledger]] = {}
        for task, event in self._reader.answered(self._since):
            before, after = tasks.setdefault(task, (_Ledger(), _Ledger()))
            found = self._decided.get(event.execution)
            if found is None:
                before.charge(event.charge, event.fingerprint)
                after.charge(event.charge, event.fingerprint)
                continue
            same = found.new is found.old
            before.add(found.old, found.was, event.charge, event.fingerprint)
            after.add(found.new, found.now, event.charge if same else None, event.fingerprint)
        done.reviews_before = sum(before.reviews for before, _ in tasks.values())
        done.reviews_after = sum(after.reviews for _, after in tasks.values())


@dataclass(slots=True)
class _Ledger:
    """What one task failed, by one policy, and how often a person was asked."""

    in_a_row: int = 0
    total: int = 0
    reviews: int = 0
    fingerprints: Counter[str] = field(default_factory=Counter)

    def charge(self, charge: int, fingerprint: str | None) -> None:
        if charge:
            self.in_a_row += charge
            self.total += charge
            self.fingerprints[fingerprint or ""] += 1
        else:
            self.in_a_row = 0
            self.fingerprints.clear()

    def add(self, decision: Decision, rules: Rules, charged: int | None, fingerprint: str | None) -> None:
        """Count one answer. `charged` is what was charged then; None where the decision is another one now."""
        if decision is Decision.HELD:
            self.reviews += 1
            return
        if decision is Decision.DENIED:
            self.charge(rules.cost_denied, "denied")
        elif charged is None:
            self.charge(1 if decision is Decision.REJECTED else 0, decision.value)
        else:
            self.charge(charged, fingerprint)
        if not self.in_a_row:
            return
        spent = self.in_a_row >= rules.failures_in_a_row or self.total >= rules.failures_total
        reasons = {
            EscalationReason.POLICY_DENIED: decision is Decision.DENIED,
            EscalationReason.STUCK: max(self.fingerprints.values(), default=0) >= rules.same_failure,
            EscalationReason.BUDGET_EXHAUSTED: spent,
        }
        asked = any(holds and reason in rules.when for reason, holds in reasons.items())
        if asked or spent:  # what is spent and not asked about is over
            self.reviews += asked
            self.in_a_row = self.total = 0
            self.fingerprints.clear()


def _rules(row: StoredAsked, profile: Profile) -> Rules:
    return rules_of(profile, anonymous=row.anonymous)


def _spared_facts(reader: Reader, since: datetime) -> Mapping[str, Facts]:
    """What programs broke that ran all the same, by execution."""
    rows = reader.spared(since, _ALL_SPARED)
    return {row.event.execution: frozenset(one.rule for one in row.event.breaches) for row in rows}


def _refused_rules(answer: str | None) -> Facts | None:
    """The rules by which a program was refused; None where it was not, nothing where its refusal was repeated."""
    if answer is None:
        return None
    found = json.loads(answer)
    if found.get("cause") == "repeated":
        return frozenset()
    errors = [one for one in found.get("findings") or () if one["severity"] == "error"]
    return frozenset(one["rule"] for one in errors if one["message"] != _SWITCHED_OFF) or frozenset({"policy"})


def _recorded(row: StoredAsked, rules: Facts) -> Decision:
    if row.status == "denied":
        return Decision.DENIED if rules.isdisjoint(_HELD) else Decision.HELD
    return Decision.REJECTED if row.status == "rejected" else Decision.ADMITTED


def _why_not_any_more(was: Profile | None, before: Judged | None) -> str:
    told = before.why if was and before else ""
    return f"no more: {told}" if told else ""


def decisions_of(changes: Sequence[Change]) -> Iterator[tuple[Decision, Decision, int]]:
    """How many changed from what to what, most first."""
    for (old, new), count in Counter((one.old, one.new) for one in changes).most_common():
        yield old, new, count
