"""Nothing that is granted passes the ceilings: for any policy, by any route, through the functions that grant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

from gateway.callers import Caller, Role
from gateway.cases import Case, limits_of_ruling, require_grantable
from gateway.cases import work_of as work_of_ruling
from gateway.causes import KINDS, Cause
from gateway.errors import InvalidRequest
from gateway.events import (
    Admitted,
    Checked,
    EscalationReason,
    Finished,
    Opened,
    RulingKind,
    Started,
    Verdict,
)
from gateway.execution_life import Execution
from gateway.guards import Guards, Person, refusal, review_token
from gateway.lifecycle import OpenReview, Task, begin
from gateway.limits import LEAST, LimitsRequest, amounts_of
from gateway.policy import Ceilings, Policy, PolicyDocument, Profile, resolve
from gateway.quantities import KIB, MIB
from gateway.records import StoredExecution, StoredReview, StoredTask
from gateway.requests import ExecutionRequest, RulingRequest
from gateway.resources import limits_of
from gateway.rules import rules_of
from gateway.shadow import _job as shadow_job
from gateway.steps import Run, more_memory_bytes, next_step
from gateway.times import now
from gateway.work import Work, written
from sandbox.job import Lane, Limits
from sandbox.outcome import Ending
from tests.works import work_of

# Of each limit amounts from the least that a box starts with to well above any ceiling.
AMOUNTS: Final[dict[str, st.SearchStrategy[float]]] = {
    "cpu": st.sampled_from([0.01, 0.5, 1, 2, 4, 8, 64]),
    "memory": st.integers(16, 4096).map(lambda mib: mib * MIB),
    "time": st.integers(1, 7200),
    "pids": st.integers(2, 5000),
    "disk": st.integers(4, 1 << 22).map(lambda kib: kib * KIB),
    "output": st.integers(1, 1 << 26),
}
SMALL: Final = Limits(
    cpu_cores=1, memory_bytes=1 << 25, wall_seconds=1, pids=4, disk_bytes=1 << 13, output_bytes=1 << 10
)
DECLARED: Final = {"cpu": "cpu", "memory": "memory", "time": "timeout"}


def limits(draw: DrawFn, most: dict[str, float], *, wild: bool) -> dict[str, dict[str, float]]:
    """A whole table of limits, sound in itself; a wild one minds no ceiling."""
    table = {}
    for name, amounts in AMOUNTS.items():
        low, high = sorted([draw(amounts), draw(amounts)])
        table[name] = {
            "default": low if wild else min(low, most[name]),
            "max": high if wild else min(high, most[name]),
        }
    return table


@composite
def policies(draw: DrawFn) -> Policy | None:
    """A policy; None where it contradicts itself and is refused, so that nothing is granted under it."""
    wild = not draw(st.integers(0, 9))
    most: dict[str, float] = {name: draw(amounts) for name, amounts in AMOUNTS.items()}
    grants, names = draw(st.integers(0, 6)), ["default", "a", "b", "c"]
    profiles: dict[str, object] = {}
    for number, name in enumerate(names):
        said: dict[str, object] = {"limits": limits(draw, most, wild=wild)} if draw(st.booleans()) else {}
        if number and draw(st.booleans()):
            said["extends"] = draw(st.sampled_from(names[:number]))
        said["retries"] = {"memory": draw(st.booleans()), "attempts": draw(st.integers(1, 4))}
        said["review"] = {"grants_per_task": draw(st.integers(0, 6 if wild else grants))}
        profiles[name] = said
    ceilings = {**most, "grants_per_task": grants, "failures": draw(st.integers(1, 20))}
    defaults = {"limits": limits(draw, most, wild=wild)}
    document = {"version": 1, "ceilings": ceilings, "defaults": defaults, "profiles": profiles}
    policy = resolve(PolicyDocument.model_validate(document), name="any")
    assert wild or isinstance(policy, Policy), policy
    return policy if isinstance(policy, Policy) else None


@composite
def asks(draw: DrawFn) -> LimitsRequest | None:
    """What somebody asks for."""
    wanted = draw(st.sets(st.sampled_from(sorted(AMOUNTS)), max_size=2))  # more of them are seldom all to be had
    return LimitsRequest.model_validate({name: draw(AMOUNTS[name]) for name in wanted}) if wanted else None


@composite
def requests(draw: DrawFn) -> ExecutionRequest:
    """A program that asks for something in its request, in its text, in both or in none."""
    wanted = draw(st.sets(st.sampled_from(sorted(DECLARED)), max_size=1))
    lines = [f"# {DECLARED[name]} = {draw(AMOUNTS[name])}" for name in sorted(wanted)]
    block = "\n".join(["# /// script", "# [tool.airlock]", *lines, "# ///", "1"])
    return ExecutionRequest(code=block if wanted else "1", limits=draw(asks()))


@dataclass(frozen=True)
class World:
    """What the world does to one program: what its like were found to need, and what it used when it ran out."""

    found: int | None
    peaks: tuple[int, ...]
    endings: tuple[Ending, ...]


WORLDS: Final = st.builds(
    World,
    found=st.none() | st.integers(0, 1 << 50),
    peaks=st.lists(st.integers(0, 1 << 50), min_size=12, max_size=12).map(tuple),
    endings=st.lists(
        st.sampled_from([Ending.OUT_OF_MEMORY, Ending.LOST, Ending.UNSUPPORTED]), min_size=12, max_size=12
    ).map(tuple),
)


def assert_within(granted: Limits, ceilings: Ceilings) -> None:
    most = dict(ceilings)
    for name, amount in amounts_of(granted).items():
        assert amount <= most[name], f"{name}: {amount} is above the ceiling of {most[name]}"
        assert amount >= LEAST[name]


def jobs_of(work: Work, lane: Lane, world: World) -> Iterator[Limits]:
    """The limits of every job that a program makes, however the world treats it."""
    work.happened(Checked(work.id, Verdict.ADMIT, lane, world.found))
    for peak, ending in zip(world.peaks, world.endings, strict=True):
        step = next_step(work.execution, {}, work.rules)
        if not isinstance(step, Admitted):
            return
        yield step.limits
        work.happened(step)
        run = next_step(work.execution, {}, work.rules)
        assert isinstance(run, Run)
        yield work.job(run.attempt, run.lane, run.limits).limits
        yield shadow_job(work).limits
        work.happened(Started(work.id, run.attempt, run.lane))
        work.happened(_finished(work.execution, run, peak, ending))


def _finished(execution: Execution, run: Run, peak: int, ending: Ending) -> Finished:
    """As the conductor says it: whether there is more memory decides what running out of it means."""
    if run.lane is Lane.MONTY:
        ending = Ending.UNSUPPORTED
    elif ending is Ending.UNSUPPORTED:
        ending = Ending.OUT_OF_MEMORY
    seen = replace(execution.attempts[-1], peak_memory_bytes=peak)
    short = more_memory_bytes(replace_attempt(execution, seen)) is not None
    cause = {
        Ending.UNSUPPORTED: Cause.LANE,
        Ending.LOST: Cause.BOX_LOST,
        Ending.OUT_OF_MEMORY: Cause.MEMORY_SHORT if short else Cause.OUT_OF_MEMORY,
    }[ending]
    return Finished(execution.id, run.attempt, ending, KINDS[cause].fault, cause=cause, peak_memory_bytes=peak)


def replace_attempt(execution: Execution, attempt: object) -> Execution:
    return replace(execution, attempts=(*execution.attempts[:-1], attempt))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=100)
@given(
    policy=policies(),
    name=st.sampled_from(["default", "a", "b", "c"]),
    request=requests(),
    world=WORLDS,
    data=st.data(),
)
def test_no_program_of_an_agent_ever_has_more_than_the_ceilings(
    policy: Policy | None, name: str, request: ExecutionRequest, world: World, data: st.DataObject
) -> None:
    if policy is None:
        event("refused policy")
        return
    profile = policy.resolve(name)
    granted = limits_of(profile, request)
    if not isinstance(granted, Limits):
        event("refused request")
        assert all(one.message for one in granted)
        return
    event("granted")
    assert_within(granted, profile.ceilings)
    work = work_of(profile, request)
    seen = list(jobs_of(work, data.draw(st.sampled_from(Lane)), world))
    assert seen
    event(f"{len(work.execution.attempts)} attempts")
    for one in seen:
        assert_within(one, profile.ceilings)
    if (found := work.memory_found) is not None:
        assert found[1] <= profile.ceilings.memory


@settings(deadline=None, max_examples=100)
@given(
    before=policies(),
    policy=policies() | st.none(),
    name=st.sampled_from(["default", "a", "b", "c"]),
    request=requests(),
    edited=requests(),
    wanted=asks(),
    kind=st.sampled_from([RulingKind.APPROVE, RulingKind.APPROVE_EDITED, RulingKind.RAISE_LIMITS]),
    world=WORLDS,
)
def test_no_ruling_gives_a_program_more_than_the_ceilings(  # noqa: PLR0913, PLR0917  # all that a ruling depends on
    before: Policy | None,
    policy: Policy | None,
    name: str,
    request: ExecutionRequest,
    edited: ExecutionRequest,
    wanted: LimitsRequest | None,
    kind: RulingKind,
    world: World,
) -> None:
    """Also not where the reviewed program ran under an earlier policy, which gave it more."""
    policy = policy or before  # as often as not nobody changed it meanwhile
    if policy is None or before is None:
        return
    had = limits_of(before.resolve(name), request)
    if not isinstance(had, Limits):
        return
    asked: dict[RulingKind, dict[str, object]] = {
        RulingKind.APPROVE_EDITED: {"code": edited.code},
        RulingKind.RAISE_LIMITS: {"limits": wanted or LimitsRequest(cpu=1)},
    }
    ruling = RulingRequest.model_validate({"token": "t", "ruling": kind, **asked.get(kind, {})})
    profile = policy.resolve(name)
    case = case_of(profile, request, had)
    try:
        limits = limits_of_ruling(case, ruling)
    except InvalidRequest:
        event("refused ruling")
        return
    event(f"{kind}")
    reviewer = Caller("ann", "t", name, frozenset({Role.REVIEWER}))
    work = work_of_ruling(case, reviewer, ruling, limits, now())
    for one in [limits, *jobs_of(work, Lane.CONTAINER, world)]:
        assert_within(one, profile.ceilings)


def case_of(profile: Profile, request: ExecutionRequest, had: Limits) -> Case:
    """An open review of a program that had these limits."""
    task = replace(
        begin(Opened("t", "task", "ada")),
        review=OpenReview("rev", "exe", "d", had, "ada", EscalationReason.STUCK),
    )
    row = StoredReview("rev", "tsk", "t", "exe", "stuck", "open", "2026", "2027")
    kept = written(request)
    reviewed = StoredExecution(
        "exe", "tsk", "t", "ada", profile.name, profile.digest, "agent", None, None, kept.digest, kept.text, "2026"
    )
    return Case(row, StoredTask("tsk", "", task), reviewed, profile, rules_of(profile, anonymous=False), Guards())


@settings(deadline=None, max_examples=100)
@given(
    policy=policies(),
    name=st.sampled_from(["default", "a", "b", "c"]),
    wanted=st.lists(st.integers(1, 1000), max_size=12),
)
def test_no_grant_passes_the_ceilings_neither_in_number_nor_in_failures(
    policy: Policy | None, name: str, wanted: list[int]
) -> None:
    if policy is None:
        return
    profile = policy.resolve(name)
    rules = rules_of(profile, anonymous=False)
    task: Task = begin(Opened("t", "task", "ada"))
    taken: list[int] = []
    for number, failures in enumerate(wanted):
        review = OpenReview(f"rev{number}", "exe", "d", SMALL, "ada", EscalationReason.STUCK)
        task = replace(task, review=review)
        token = review_token(task, "p") or ""
        refused = refusal(
            task,
            review=review.id,
            token=token,
            policy_digest="p",
            kind=RulingKind.GRANT,
            by=Person("ann"),
            rules=rules,
            guards=Guards(),
        )
        ruling = RulingRequest(token=token, ruling=RulingKind.GRANT, failures=failures)
        try:
            require_grantable(profile, ruling)
        except InvalidRequest:
            continue
        if refused is None:
            taken.append(failures)
            task = replace(task, review=None, grants=task.grants + 1, total_granted=task.total_granted + failures)
    assert len(taken) <= profile.ceilings.grants_per_task
    assert all(one <= profile.ceilings.failures for one in taken)
    assert task.total_granted <= profile.ceilings.grants_per_task * profile.ceilings.failures
