"""The lifecycle, walked exhaustively: every event that the world, the policy or a person can bring, in every reachable state."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TypeAlias

import pytest

from gateway.causes import KINDS, Cause
from gateway.events import (
    BEFORE_THE_RUN,
    Admitted,
    Answered,
    Approval,
    Approved,
    Checked,
    Closed,
    Escalated,
    EscalationReason,
    Event,
    Finished,
    Opened,
    PassedOn,
    Reconsidered,
    Ruled,
    RulingKind,
    Started,
    Status,
    Submitted,
    Verdict,
    chain,
    decode,
    encode,
)
from gateway.execution_life import EXECUTION_TRANSITIONS, Attempt, Execution, IllegalEvent, State
from gateway.guards import Guards, Person, Refusal, approved, refusal, review_token
from gateway.lifecycle import TASK_TRANSITIONS, Rules, Task, TaskState, apply, begin, fold
from gateway.steps import Check, Run, escalation, is_over, more_memory_bytes, next_step
from sandbox.job import Lane, Limits
from sandbox.outcome import FAULTS, Ending

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=5, pids=64, disk_bytes=1 << 20, output_bytes=1 << 16)
RULES = Rules(failures_in_a_row=2, failures_total=4, same_failure=3, cost_denied=2, platform_attempts=2, grants=1)
Shape: TypeAlias = tuple[object, ...]
Walk: TypeAlias = tuple[dict[Shape, Task], dict[Shape, set[Shape]], list[Event]]
Way: TypeAlias = tuple[Rules, Guards, int]  # the numbers, who rules, and how many programs bound the walk
OPENED = Opened("t", "task", "agent")
SHAPED = {"seq", "executions", "failures", "fingerprints", "review"}  # what `shape` treats by itself
MOST_BYTES = 2 * LIMITS.memory_bytes  # LADDER steps lead there
LADDER = 1
MOST_SUBMISSIONS = 3  # bounds the widest walk: two spend the budget, a third may follow what a person rules


def submitted(number: int, digest: str, source: str = "agent") -> Submitted:
    return Submitted(f"e{number}", digest, LIMITS, source, source, memory_max_bytes=MOST_BYTES)  # type: ignore[arg-type]


def reconsidered(execution: Execution, limits: Limits = LIMITS) -> Reconsidered:
    return Reconsidered(execution.id, "default", "other", limits, MOST_BYTES, "policy")


def outcomes(task: Task, execution: Execution) -> Iterator[Event]:
    """What a lane can answer. The Monty lane alone gives up; the container alone is lost."""
    number = len(execution.attempts)
    for ending in (Ending.SUCCEEDED, Ending.FAILED, Ending.UNSUPPORTED, Ending.LOST):
        if (ending is Ending.UNSUPPORTED) == (execution.lane is Lane.MONTY) or ending is Ending.SUCCEEDED:
            yield Finished(execution.id, number, ending, FAULTS[ending], f"f{task.total}")
    if execution.lane is Lane.CONTAINER:
        yield out_of_memory(execution)


def out_of_memory(execution: Execution) -> Finished:
    cause = Cause.OUT_OF_MEMORY if more_memory_bytes(execution) is None else Cause.MEMORY_SHORT
    number = len(execution.attempts)
    return Finished(execution.id, number, Ending.OUT_OF_MEMORY, KINDS[cause].fault, "memory", cause=cause)


def moves(task: Task, rules: Rules, guards: Guards, most: int) -> Iterator[list[Event]]:
    """Every group of events that can come next: the gateway's own step, or the world's and people's choices."""
    if reason := escalation(task, rules):
        assert task.last_failure is not None
        yield [Escalated(f"r{task.seq}", task.last_failure.execution, reason)]
        return
    if is_over(task, rules):
        ended: list[Event] = [Answered(one, Status.CANCELLED, 0) for one in task.executions]
        yield [*ended, Closed("policy", "budget_exhausted")]
        return
    for execution in task.executions.values():
        yield from steps(task, execution)
        yield [Answered(execution.id, Status.CANCELLED, 0, by="agent")]
    count = int(task.latest[1:]) if task.latest else 0
    if task.state is TaskState.OPEN and not task.executions:
        yield [Closed("agent", "closed_by_agent")]
        if count < most:
            yield [submitted(count + 1, "same")]
            yield [submitted(count + 1, f"d{count}")]
    if task.review is not None:
        yield [Closed("agent", "closed_by_agent")]
        if task.review.level < len(guards.levels):
            yield [PassedOn(task.review.id, task.review.level + 1)]
        if count <= most:
            yield from rulings(task, count, rules, guards)


def steps(task: Task, execution: Execution) -> Iterator[list[Event]]:
    match next_step(execution, task.failures, RULES):
        case Check():
            for verdict in (Verdict.DENIED, Verdict.INVALID):
                yield [Checked(execution.id, verdict, Lane.CONTAINER)]
            if execution.id == "e1":  # of one only: it bounds the walk, and no ruling's program is ever held
                yield [Checked(execution.id, Verdict.HELD, Lane.CONTAINER)]
                remembered = Approval("zoe", "r0", "then", LIMITS)
                yield [Checked(execution.id, Verdict.HELD, Lane.MONTY, None, EscalationReason.ALWAYS, remembered)]
            for lane in Lane:
                yield [Checked(execution.id, Verdict.ADMIT, lane)]
        case Run(attempt=number, lane=lane):
            yield [Started(execution.id, number, lane)]
            if not execution.attempts:
                yield [reconsidered(execution)]
        case None:
            assert execution.state is State.RUNNING
            yield from ([event] for event in outcomes(task, execution))
        case ruling:
            yield [ruling]


PEOPLE = (Person("ann"), Person("bob"))
EXPECTED_REFUSALS = {Refusal.GRANTS_SPENT, Refusal.APPROVED_ALREADY, Refusal.NO_NEXT_LEVEL, Refusal.NOT_ASKED}


def rulings(task: Task, count: int, rules: Rules, guards: Guards) -> Iterator[list[Event]]:
    assert task.review is not None
    for kind, by in product(RulingKind, PEOPLE if guards.approvals > 1 else PEOPLE[:1]):
        token = review_token(task, "policy")
        assert token is not None
        refused = refusal(
            task,
            review=task.review.id,
            token=token,
            policy_digest="policy",
            kind=kind,
            by=by,
            rules=rules,
            guards=guards,
            subject=kind,
        )
        if refused is not None:
            assert refused in EXPECTED_REFUSALS
            continue
        if kind is RulingKind.ESCALATE:
            yield [PassedOn(task.review.id, task.review.level + 1, by.name)]
            continue
        if one := approved(task.review, kind, kind, by.name, guards):
            yield [one]
            continue
        ruled = Ruled(task.review.id, kind, by.name, failures=1)
        match kind:
            case RulingKind.GRANT:
                yield [ruled]
            case RulingKind.REJECT:
                yield [ruled]
                yield [ruled, Closed("ann", "rejected")]
            case RulingKind.ANSWER:
                answer = Answered(f"e{count + 1}", Status.SUCCEEDED, 0, by="ann", source="human")
                yield [ruled, submitted(count + 1, "human", "reviewer"), answer]
            case _:
                yield [ruled, submitted(count + 1, task.review.digest, "reviewer")]


def shape(task: Task) -> Shape:
    """All of the task but what only names or counts the past, so that the walk ends."""
    executions = tuple(
        (key, *(value for name, value in vars(one).items() if name != "attempts"), tuple(map(tried, one.attempts)))
        for key, one in task.executions.items()
    )
    review = task.review and replace(task.review, id="")
    maps = (tuple(task.fingerprints.items()), tuple(task.failures.items()), executions)
    return (*(value for name, value in vars(task).items() if name not in SHAPED), *maps, review)


def tried(attempt: Attempt) -> Shape:
    return (attempt.lane, attempt.limits, attempt.ending, attempt.cause, attempt.peak_memory_bytes)


def invariants(task: Task, before: Task, events: list[Event]) -> None:
    assert task.in_a_row >= 0
    assert task.total >= before.total
    assert (task.state is TaskState.IN_REVIEW) == (task.review is not None)
    assert task.grants <= RULES.grants
    answers = [event for event in events if isinstance(event, Answered)]
    if not answers:
        assert task.total == before.total, "only an answer is charged"
    for answer in answers:
        assert task.total - before.total == answer.charge
        if answer.status in {Status.PLATFORM_ERROR, Status.CANCELLED, Status.SUCCEEDED}:
            assert answer.charge == 0, "nobody pays for the platform, for a success or for a cancellation"
    for execution in task.executions.values():
        assert execution.losses <= RULES.platform_attempts
        assert len(execution.attempts) <= RULES.platform_attempts + 1 + LADDER
        assert all(attempt.limits.memory_bytes <= MOST_BYTES for attempt in execution.attempts)
    if any(isinstance(event, Submitted) for event in events):
        assert before.state is not TaskState.CLOSED


WAYS = {
    "one person decides": (RULES, Guards(), MOST_SUBMISSIONS),
    "two people agree": (
        replace(RULES, failures_in_a_row=1, failures_total=2, platform_attempts=1),
        Guards(approvals=2, four_eyes=frozenset({RulingKind.RAISE_LIMITS})),
        2,
    ),
    "asked level by level about what is denied, never about the budget": (
        replace(RULES, when=frozenset({EscalationReason.POLICY_DENIED})),
        Guards(reviewers=frozenset({"zoe"}), levels=(frozenset({"ann"}),)),
        2,
    ),
}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture(scope="module")
def walk(way: Way) -> Walk:
    """Every reachable task (by shape), who leads to whom, and one of each event that occurred."""
    start = begin(OPENED)
    seen = {shape(start): start}
    edges: dict[Shape, set[Shape]] = {}
    occurred: dict[Event, None] = {}
    waiting = deque(seen.items())
    while waiting:
        before, task = waiting.popleft()
        for events in moves(task, *way):
            after = task
            for event in events:
                after = apply(after, event)
                occurred[event] = None
            invariants(after, task, events)
            key = shape(after)
            edges.setdefault(key, set()).add(before)
            if key not in seen:
                seen[key] = after
                waiting.append((key, after))
    return seen, edges, list(occurred)


def test_the_walk_is_wide_and_nothing_in_it_breaks_an_invariant(walk: Walk) -> None:
    seen = walk[0].values()
    assert len(seen) > 500
    assert {task.state for task in seen} == set(TaskState)
    states = {execution.state for task in seen for execution in task.executions.values()}
    assert states == set(State) - {State.ANSWERED}


def test_every_task_can_still_end(walk: Walk) -> None:
    seen, edges, _ = walk
    ended = {key for key, task in seen.items() if task.state is TaskState.CLOSED}
    waiting = list(ended)
    while waiting:
        for before in edges.get(waiting.pop(), ()):
            if before not in ended:
                ended.add(before)
                waiting.append(before)
    assert set(seen) <= ended


def is_refused(task: Task, event: Event) -> bool:
    """`pytest.raises` in a tenth of its time, for what is asked half a million times."""
    try:
        apply(task, event)
    except IllegalEvent:
        return True
    return False


def test_whatever_the_tables_do_not_have_is_refused(walk: Walk) -> None:
    seen, _, occurred = walk
    refused = 0
    for task in list(seen.values())[::50]:
        for event in occurred:
            execution = task.executions.get(getattr(event, "execution", ""))
            table = (
                EXECUTION_TRANSITIONS[execution.state]
                if execution is not None and not isinstance(event, (Submitted, Escalated, Ruled, Approved, PassedOn))
                else TASK_TRANSITIONS[task.state]
            )
            if type(event) not in table:
                assert is_refused(task, event), (task, event)
                refused += 1
    assert refused > 1000


def test_nobody_is_asked_while_there_is_budget_and_somebody_is_when_there_is_none(walk: Walk, way: Way) -> None:
    rules = way[0]
    for task in walk[0].values():
        if task.state is TaskState.OPEN and task.in_a_row and not task.row_left(rules):
            assert (escalation(task, rules) is None) == is_over(task, rules)
            assert is_over(task, rules) <= (EscalationReason.BUDGET_EXHAUSTED not in rules.when)
        held = task.last_failure.reason if task.last_failure and task.last_failure.reason in BEFORE_THE_RUN else None
        if task.state is TaskState.OPEN and held:
            assert escalation(task, rules) is held
        elif not task.in_a_row:
            assert escalation(task, rules) is None


def test_a_review_ends_only_when_as_many_people_agreed_as_the_policy_wants(walk: Walk, way: Way) -> None:
    guards = way[1]
    for task in walk[0].values():
        if task.review is not None:
            assert len(task.review.approvals) < max(guards.needed(kind) for kind in RulingKind)
            assert len(set(task.review.approvals)) == len(task.review.approvals)
            assert task.review.level <= len(guards.levels)


def test_events_survive_writing_and_reading(walk: Walk) -> None:
    for event in walk[2]:
        assert decode(*encode(event)) == event


def run_to_failure(number: int, digest: str, ending: Ending = Ending.FAILED) -> list[Event]:
    execution, status = f"e{number}", Status(ending.value)
    return [
        submitted(number, digest),
        Checked(execution, Verdict.ADMIT, Lane.CONTAINER),
        Admitted(execution, Lane.CONTAINER, LIMITS),
        Started(execution, 1, Lane.CONTAINER),
        Finished(execution, 1, ending, FAULTS[ending], f"print{number}"),
        Answered(execution, status, 1, fingerprint=f"print{number}"),
    ]


def test_a_success_resets_the_row_but_never_the_total() -> None:
    task = fold([OPENED, *run_to_failure(1, "a")])
    assert (task.in_a_row, task.total) == (1, 1)
    good = run_to_failure(2, "b", Ending.SUCCEEDED)[:-1]
    task = fold([OPENED, *run_to_failure(1, "a"), *good, Answered("e2", Status.SUCCEEDED, 0)])
    assert (task.in_a_row, task.total) == (0, 1)


def test_a_failed_program_sent_again_is_answered_from_the_record_and_charged() -> None:
    task = fold([OPENED, *run_to_failure(1, "a"), submitted(2, "a")])
    step = next_step(task.executions["e2"], task.failures, RULES)
    record = Answered("e2", Status.FAILED, 1, fingerprint="print1", source="record", repeats="e1", cause=Cause.REPEATED)
    assert step == record


def queued(number: int = 1, digest: str = "a") -> list[Event]:
    return run_to_failure(number, digest)[:3]


NARROW = replace(LIMITS, wall_seconds=1, memory_bytes=1 << 26)


def test_what_waits_while_the_policy_changes_is_checked_again_and_runs_within_the_new_limits() -> None:
    task = fold([OPENED, *queued()])
    task = apply(task, reconsidered(task.executions["e1"], NARROW))
    assert next_step(task.executions["e1"], {}, RULES) == Check()
    task = apply(task, Checked("e1", Verdict.ADMIT, Lane.CONTAINER))
    assert next_step(task.executions["e1"], {}, RULES) == Admitted("e1", Lane.CONTAINER, NARROW)


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - {Verdict.ADMIT, Verdict.HELD}))
def test_a_refusal_that_only_the_new_policy_makes_costs_nothing(verdict: Verdict) -> None:
    task = fold([OPENED, *queued()])
    task = apply(apply(task, reconsidered(task.executions["e1"])), Checked("e1", verdict, Lane.CONTAINER))
    answer = next_step(task.executions["e1"], {}, RULES)
    assert answer == Answered("e1", Status.DENIED, 0, cause=Cause.POLICY_CHANGED)
    answered = apply(task, answer)
    assert (answered.total, answered.failures, escalation(answered, RULES)) == (0, {}, None)


def test_what_the_new_policy_has_a_person_look_at_is_held_for_one() -> None:
    task = fold([OPENED, *queued()])
    held = Checked("e1", Verdict.HELD, Lane.CONTAINER, None, EscalationReason.ALWAYS)
    task = apply(apply(task, reconsidered(task.executions["e1"])), held)
    answer = next_step(task.executions["e1"], {}, RULES)
    assert isinstance(answer, Answered)
    assert (answer.cause, answer.charge) == (Cause.HELD, 0)
    assert escalation(apply(task, answer), RULES) is EscalationReason.ALWAYS


def test_what_failed_elsewhere_meanwhile_is_no_charge_for_one_that_is_decided_anew() -> None:
    task = fold([OPENED, *queued(2), *run_to_failure(1, "a")])
    task = apply(task, reconsidered(task.executions["e2"]))
    assert task.failures
    assert next_step(task.executions["e2"], task.failures, RULES) == Check()


def test_what_was_begun_once_is_never_decided_anew() -> None:
    lost = Finished("e1", 1, Ending.LOST, FAULTS[Ending.LOST])
    task = fold([OPENED, *run_to_failure(1, "a")[:4], lost, Admitted("e1", Lane.CONTAINER, LIMITS)])
    with pytest.raises(IllegalEvent):
        apply(task, reconsidered(task.executions["e1"]))


def test_a_reviewer_may_run_what_failed_before() -> None:
    task = fold([OPENED, *run_to_failure(1, "a"), submitted(2, "a", "reviewer")])
    assert next_step(task.executions["e2"], task.failures, RULES) == Check()


def test_a_zombies_result_is_refused() -> None:
    lost = Finished("e1", 1, Ending.LOST, FAULTS[Ending.LOST])
    again: list[Event] = [Admitted("e1", Lane.CONTAINER, LIMITS), Started("e1", 2, Lane.CONTAINER)]
    task = fold([OPENED, *run_to_failure(1, "a")[:4], lost, *again])
    with pytest.raises(IllegalEvent):
        apply(task, Finished("e1", 1, Ending.SUCCEEDED, FAULTS[Ending.SUCCEEDED]))


def ran_out_of_memory(times: int, found: int | None = None, most: int | None = MOST_BYTES) -> Task:
    """A task whose only program ran out of memory, each time as the gateway ruled."""
    received = replace(submitted(1, "a"), memory_max_bytes=most)
    task = fold([OPENED, received, Checked("e1", Verdict.ADMIT, Lane.CONTAINER, found)])
    for _ in range(times):
        admitted = next_step(task.executions["e1"], {}, RULES)
        assert isinstance(admitted, Admitted)
        task = apply(task, admitted)
        task = apply(task, Started("e1", len(task.executions["e1"].attempts) + 1, Lane.CONTAINER))
        task = apply(task, out_of_memory(task.executions["e1"]))
    return task


@pytest.mark.parametrize(("given", "again"), [(1, True), (2, False)])
def test_the_memory_that_a_person_gave_is_a_wall_also_where_their_word_is_remembered(given: int, again: bool) -> None:  # noqa: FBT001  # a row
    """Of what they left as it was asked for, the policy says how far the platform may raise it."""
    limits = replace(LIMITS, memory_bytes=given * LIMITS.memory_bytes)
    said = Approval("ann", "rev_1", "2026", limits)
    found = 3 * LIMITS.memory_bytes
    held = Checked("e1", Verdict.HELD, Lane.CONTAINER, None if again else found, EscalationReason.ALWAYS, said)
    task = fold([OPENED, replace(submitted(1, "a"), memory_max_bytes=4 * LIMITS.memory_bytes), held])
    admitted = next_step(task.executions["e1"], {}, RULES)
    assert isinstance(admitted, Admitted)
    assert admitted.limits == limits
    task = apply(apply(task, admitted), Started("e1", 1, Lane.CONTAINER))
    after = next_step(apply(task, out_of_memory(task.executions["e1"])).executions["e1"], {}, RULES)
    assert isinstance(after, Admitted) is again


def memory_of(task: Task) -> list[int]:
    return [attempt.limits.memory_bytes // LIMITS.memory_bytes for attempt in task.executions["e1"].attempts]


def test_what_runs_out_of_memory_runs_again_with_twice_as_much_up_to_the_most_and_then_it_failed() -> None:
    task = ran_out_of_memory(times=3, most=3 * LIMITS.memory_bytes)
    assert memory_of(task) == [1, 2, 3]
    assert [attempt.cause for attempt in task.executions["e1"].attempts] == [
        Cause.MEMORY_SHORT,
        Cause.MEMORY_SHORT,
        Cause.OUT_OF_MEMORY,
    ]
    ruled = next_step(task.executions["e1"], {}, RULES)
    assert isinstance(ruled, Answered)
    assert (ruled.status, ruled.charge) == (Status.OUT_OF_MEMORY, 1)


def test_memory_that_the_caller_named_is_a_wall() -> None:
    task = ran_out_of_memory(times=1, most=None)
    ruled = next_step(task.executions["e1"], {}, RULES)
    assert isinstance(ruled, Answered)
    assert (ruled.status, ruled.charge) == (Status.OUT_OF_MEMORY, 1)


def test_a_program_begins_with_what_its_kind_was_found_to_need_and_never_beyond_the_most() -> None:
    assert memory_of(ran_out_of_memory(times=1, found=2 * LIMITS.memory_bytes)) == [2]
    assert memory_of(ran_out_of_memory(times=1, found=9 * LIMITS.memory_bytes)) == [2]
    assert memory_of(ran_out_of_memory(times=1, found=1)) == [1]


def test_a_peak_that_was_seen_asks_for_a_quarter_more() -> None:
    task = ran_out_of_memory(times=1, most=100 * LIMITS.memory_bytes)
    execution = task.executions["e1"]
    seen = replace(execution.attempts[0], peak_memory_bytes=4 * LIMITS.memory_bytes)
    assert more_memory_bytes(replace(execution, attempts=(seen,))) == 5 * LIMITS.memory_bytes


def alike(events: list[Event]) -> list[Event]:
    """The same events, as if the failure were the same each time."""
    return [replace(event, fingerprint="same") if isinstance(event, Answered) else event for event in events]


def test_the_same_failure_over_and_over_is_stuck_before_the_row_is_spent() -> None:
    rules = replace(RULES, failures_in_a_row=9, failures_total=9, same_failure=2)
    first, same = alike(run_to_failure(1, "a")), alike(run_to_failure(2, "b"))
    assert escalation(fold([OPENED, *first]), rules) is None
    assert escalation(fold([OPENED, *first, *same]), rules) == "stuck"


def test_a_token_goes_stale_with_anything_that_the_reviewer_saw() -> None:
    task = fold([OPENED, *run_to_failure(1, "a"), *run_to_failure(2, "b")])
    reason = escalation(task, RULES)
    assert reason is not None
    task = apply(task, Escalated("r", "e2", reason))
    assert review_token(task, "p") != review_token(task, "q")
    assert review_token(task, "p") != review_token(replace(task, seq=task.seq + 1), "p")


def test_an_agent_cannot_rule_on_its_own_program() -> None:
    task = fold([OPENED, *run_to_failure(1, "a"), *run_to_failure(2, "b")])
    reason = escalation(task, RULES)
    assert reason is not None
    task = apply(task, Escalated("r", "e2", reason))
    token = review_token(task, "p") or ""
    refused = refusal(
        task,
        review="r",
        token=token,
        policy_digest="p",
        kind=RulingKind.APPROVE,
        by=Person("agent"),
        rules=RULES,
        guards=Guards(),
    )
    assert refused is Refusal.SELF_REVIEW


def test_a_changed_event_breaks_the_chain() -> None:
    first = chain("", 1, "now", *encode(OPENED))
    assert chain("", 1, "now", *encode(replace(OPENED, by="mallory"))) != first


def test_a_program_that_is_held_is_shown_to_a_person_once_and_costs_nothing() -> None:
    held = fold([OPENED, submitted(1, "big"), Checked("e1", Verdict.HELD, Lane.MONTY)])
    answer = next_step(held.executions["e1"], {}, RULES)
    assert answer == Answered("e1", Status.DENIED, 0, fingerprint="held", cause=Cause.HELD)
    answered = apply(held, answer)
    assert escalation(answered, RULES) is EscalationReason.ABOVE_DEFAULT
    asked = apply(answered, Escalated("r1", "e1", EscalationReason.ABOVE_DEFAULT))
    assert (asked.total, asked.failures, asked.review and asked.review.execution) == (0, {}, "e1")
    ruled = apply(asked, Ruled("r1", RulingKind.APPROVE, "ann"))
    assert escalation(ruled, RULES) is None


def test_a_program_that_is_held_while_a_person_looks_at_another_asks_nobody() -> None:
    events = [*run_to_failure(1, "a"), *run_to_failure(2, "b")]
    task = fold([OPENED, *events[:6], submitted(3, "big"), *events[6:]])
    asked = apply(task, Escalated("r1", "e2", EscalationReason.BUDGET_EXHAUSTED))
    held = apply(apply(asked, Checked("e3", Verdict.HELD, Lane.MONTY)), Answered("e3", Status.DENIED, 0, "held"))
    ruled = apply(held, Ruled("r1", RulingKind.GRANT, "ann", failures=1))
    assert escalation(ruled, RULES) is None
