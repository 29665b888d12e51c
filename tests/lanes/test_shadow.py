"""Promise: a share of what Monty ran runs again in a box that nobody wants, and one difference switches the lane off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.checks import Checker
from gateway.monty_switch import OFF, MontySwitch, SwitchedLane
from gateway.policy_file import parse_policy
from gateway.queue import Bounds, Queue
from gateway.requests import ExecutionRequest
from gateway.shadow import Shadow, Shown, differences, is_chosen
from gateway.turns import Ticket
from gateway.work import Work
from sandbox.job import Job, Lane
from sandbox.monty import Monty, MontyDriver
from sandbox.outcome import Ending, Evidence, Loss, Outcome, Output, ProgramError, Result
from sandbox.testing import Script, ScriptedDriver
from tests.works import work_of

CODE = "print('hello')\n[1, 2.5, 'x']"
SAME = Outcome(
    ending=Ending.SUCCEEDED,
    lane=Lane.CONTAINER,
    stdout=Output(b"hello\n"),
    result=Result([1, 2.5, "x"], "json"),
    exit_code=0,
)
OTHER = replace(SAME, stdout=Output(b"HELLO\n"))
LOST = Outcome(ending=Ending.LOST, lane=Lane.CONTAINER, evidence=Evidence(loss=Loss.ENGINE))


@dataclass
class World:
    """A Monty that is real, a queue that is real, and a container lane that says what the test wants."""

    monty: Monty
    path: Path
    places: int = 4
    script: Script = ()
    boxes: ScriptedDriver = field(init=False)
    queue: Queue = field(init=False)
    switch: MontySwitch = field(init=False)
    shadow: Shadow = field(init=False)

    def __post_init__(self) -> None:
        self.boxes = ScriptedDriver(self.script)
        bounds = Bounds(places=self.places, length=10, age_seconds=60, retry_share=0.2)
        self.queue = Queue(bounds, memory_bytes=lambda: None, probe=_never)
        self.switch = MontySwitch(self.path)
        self.shadow = Shadow(self.boxes, self.queue, self.switch)
        self.lane = SwitchedLane(MontyDriver(self.monty), self.switch)

    async def answered(self, code: str = CODE, share: float = 1.0, **more: object) -> Work:
        """A program that was checked and that Monty answered, as the conductor leaves it."""
        profile = parse_policy(f"version: 1\ndefaults: {{lanes: {{shadow: {share}}}}}", file="p").resolve("default")
        request = ExecutionRequest.model_validate({"code": code, **more})
        report = await Checker(self.monty, _python).check(request, profile)
        assert report.lane is Lane.MONTY, report.findings
        work = work_of(profile, request)
        work.deterministic = report.deterministic
        work.outcome = await self.lane.run(work.job(1, Lane.MONTY, work.execution.limits))
        return work

    async def shown(self, work: Work) -> dict[str, int]:
        """What became of a work, once nothing is left to do."""
        before = self.shadow.counts.total()
        self.shadow.saw(work)
        async with asyncio.timeout(30):
            while self.shadow.counts.total() == before:  # noqa: ASYNC110  # a count is all that can be seen
                await asyncio.sleep(0.01)
        return {one.value: count for one, count in self.shadow.counts.items() if count}


async def _python() -> str | None:
    return "3.13"


async def _never() -> bool:
    return False


Make = Callable[..., World]


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    monty = Monty()
    worlds: list[World] = []

    def made(*script: Outcome, places: int = 4, act: Callable[[Job], Awaitable[Outcome]] | None = None) -> World:
        worlds.append(World(monty, tmp_path / "monty-lane.jsonl", places, act or script))
        return worlds[-1]

    yield made
    for world in worlds:
        await world.shadow.close()
    await monty.close()


def test_the_id_alone_decides_and_the_share_is_kept() -> None:
    ids = [f"exe_{number:08}" for number in range(4000)]
    chosen = [one for one in ids if is_chosen(one, 0.25)]
    assert chosen == [one for one in ids if is_chosen(one, 0.25)]
    assert 850 < len(chosen) < 1150
    assert set(chosen) <= {one for one in ids if is_chosen(one, 0.5)}, "a larger share has all of a smaller one"
    assert not any(is_chosen(one, 0.0) for one in ids)
    assert all(is_chosen(one, 1.0) for one in ids)


async def test_what_comes_to_the_same_is_counted_and_nothing_else_happens(make: Make) -> None:
    world = make(SAME)
    work = await world.answered()
    assert await world.shown(work) == {"same": 1}
    assert world.switch.off is None
    (job,) = world.boxes.jobs
    assert job.code == CODE
    assert (job.cell, job.live) == (None, None)
    assert job.execution not in {work.id, ""}, "its box is not the execution's"


@pytest.mark.parametrize(
    ("box", "names"),
    [
        (OTHER, ("stdout",)),
        (replace(SAME, stderr=Output(b"warning\n")), ("stderr",)),
        (replace(SAME, result=Result([1, 2.5, "y"], "json")), ("result",)),
        (replace(SAME, result=Result([True, 2.5, "x"], "json")), ("result",)),
        (replace(SAME, result=Result([1.0, 2.5, "x"], "json")), ("result",)),
        (replace(SAME, result=None), ("result",)),
        (
            replace(
                SAME,
                ending=Ending.FAILED,
                exit_code=1,
                error=ProgramError(type="ValueError", message="", line=1, traceback=""),
            ),
            ("exit_code", "error_type"),
        ),
    ],
    ids=["stdout", "stderr", "result", "a bool for a number", "a float for an int", "no result", "an exception"],
)
async def test_a_difference_that_another_box_confirms_switches_the_lane_off_for_good(
    make: Make, box: Outcome, names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    world = make(box, box)
    work = await world.answered()
    assert await world.shown(work) == {"different": 1}
    assert world.switch.off == OFF
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert work.id in caplog.text
    assert "hello" not in caplog.text, "what a program prints is not the log's"
    refused = await world.lane.run(work.job(1, Lane.MONTY, work.execution.limits))
    assert refused.ending is Ending.UNSUPPORTED
    assert not (await world.lane.ready()).available
    again = MontySwitch(world.path)
    assert again.off == OFF
    assert again.moved is not None
    assert (again.moved.execution, again.moved.differs) == (work.id, names)
    again.switch_on("olga")
    assert MontySwitch(world.path).off is None
    assert len(world.path.read_bytes().splitlines()) == 2


async def test_boxes_that_do_not_agree_with_each_other_accuse_nobody(make: Make) -> None:
    world = make(OTHER, replace(SAME, stdout=Output(b"HeLLo\n")))
    assert await world.shown(await world.answered()) == {"unsteady": 1}
    assert world.switch.off is None


@pytest.mark.parametrize(
    ("box", "shown"),
    [
        (LOST, "no_engine"),
        (replace(OTHER, ending=Ending.TIMED_OUT), "inconclusive"),
        (replace(OTHER, ending=Ending.OUT_OF_MEMORY), "inconclusive"),
        (replace(OTHER, ending=Ending.FAILED, exit_code=None, signal="SIGKILL"), "inconclusive"),
        (replace(OTHER, evidence=Evidence(oom_kills=1)), "inconclusive"),
    ],
    ids=["lost", "time", "memory", "signal", "a child out of memory"],
)
async def test_what_a_limit_or_the_engine_did_accuses_nobody(make: Make, box: Outcome, shown: str) -> None:
    for outcomes in ((box,), (OTHER, box)):
        world = make(*outcomes)
        assert await world.shown(await world.answered()) == {shown: 1}
        assert world.switch.off is None


@pytest.mark.parametrize(
    "code",
    [
        "import random\nrandom.random()",
        "import random\nrandom.seed()\nrandom.random()",
        "import datetime\nstr(datetime.datetime.now())",
        "from datetime import date\ndate.today().year",
    ],
    ids=["chance", "seed of nothing", "clock", "day"],
)
async def test_what_varies_is_never_compared(make: Make, code: str) -> None:
    world = make(OTHER, OTHER)
    assert await world.shown(await world.answered(code)) == {"varies": 1}
    assert world.boxes.jobs == []


@pytest.mark.parametrize(
    "code",
    [
        "import time\nprint(time.time())",
        "print(id(1))",
        "print({'a', 'b', 'c'})",
        "print(hash('x'))",
        "print(object())",
        "class A:\n    pass\nprint(A())",
        "import os\nprint(os.getpid())",
        "import uuid\nuuid.uuid4()",
        "import secrets\nsecrets.token_hex()",
        "print(next(iter({'a', 'b'})))",
        "print(print)",
        "str(lambda: 1)",
        "import random\nrandom.seed('x')\nrandom.random()",
    ],
)
async def test_what_shows_identity_order_or_the_machine_never_runs_in_monty(make: Make, code: str) -> None:
    """So that no shadow run of it can accuse anybody: it varies, and either the guard or the rule of what varies says so."""
    world = make()
    request = ExecutionRequest(code=code)
    profile = parse_policy("version: 1\ndefaults: {lanes: {shadow: 1.0}}", file="p").resolve("default")
    report = await Checker(world.monty, _python).check(request, profile)
    if report.lane is Lane.MONTY and report.deterministic:
        work = await world.answered(code)
        assert work.outcome is not None
        assert work.outcome.ending is Ending.UNSUPPORTED, "what it printed was looked at"
        world.shadow.saw(work)
        assert world.shadow.counts.total() == 0


async def test_it_runs_only_where_nobody_waits_and_a_place_stays_free(make: Make) -> None:
    world = make(SAME, SAME, places=2)
    busy = Ticket("busy", "t", "normal", 1, 0.0)
    assert world.queue.enter(busy, must=False)
    assert await world.shown(await world.answered()) == {"no_room": 1}
    assert world.boxes.jobs == []
    world.queue.leave(busy, ran=False)
    assert await world.shown(await world.answered()) == {"no_room": 1, "same": 1}


async def test_who_needs_the_place_has_it_at_once(make: Make) -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def slow(_: Job) -> Outcome:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            given_up.set()
        return SAME

    world = make(places=1, act=slow)
    world.shadow.saw(await world.answered())
    async with asyncio.timeout(20):
        await begun.wait()
        assert world.queue.foretold_seconds() == 0.0, "who comes now is not told to wait for a shadow"
        real = Ticket("real", "t", "normal", 1, 0.0)
        assert not world.queue.enter(real, must=False)
        await world.queue.turn(real, 20)
        assert given_up.is_set()
    assert world.shadow.counts[Shown.NO_ROOM] == 1
    assert world.switch.off is None


async def test_an_engine_that_is_away_is_left_alone(make: Make) -> None:
    world = make(SAME)
    for _ in range(100):
        world.queue.breaker.saw(Loss.ENGINE, 0.0)
    assert world.queue.breaker.state == "open"
    assert await world.shown(await world.answered()) == {"no_engine": 1}
    assert world.boxes.jobs == []


async def test_too_many_at_once_are_dropped_and_counted(make: Make) -> None:
    async def slow(_: Job) -> Outcome:
        await asyncio.sleep(60)
        return SAME

    world = make(act=slow)
    work = await world.answered()
    for _ in range(100):
        world.shadow.saw(work)
    assert world.shadow.counts[Shown.NO_ROOM] == 100 - world.shadow.pending
    assert world.shadow.pending <= 32


async def test_a_broken_promise_is_compared_as_the_run_that_it_was(make: Make) -> None:
    world = make(SAME)
    work = await world.answered()
    assert work.outcome is not None
    error = ProgramError(type="bad_result", message="", line=None, traceback="")
    work.outcome = replace(work.outcome, ending=Ending.FAILED, error=error)
    assert await world.shown(work) == {"same": 1}


async def test_inputs_go_into_the_shadow_too(make: Make) -> None:
    world = make(replace(SAME, stdout=Output(b""), result=Result(3, "json")))
    work = await world.answered("len(x)", inputs={"x": [1, 2, 3]})
    assert await world.shown(work) == {"same": 1}
    assert world.boxes.jobs[0].inputs == {"x": [1, 2, 3]}


@pytest.mark.parametrize("text", ["{", "", '{"at": "x"', '{"at":"x","on":true}\ngarbage', "\xff"])
def test_a_switch_that_cannot_be_read_is_off_unless_it_is_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "monty-lane.jsonl"
    path.write_text(text, encoding="latin-1")
    switch = MontySwitch(path)
    assert (switch.off is None) == (not text)
    switch.switch_on("olga")
    assert MontySwitch(path).off is None, "a line that was torn does not spoil the next one"
    assert json.loads(path.read_bytes().splitlines()[-1])["by"] == "olga"


def test_a_switch_that_cannot_be_written_is_off_all_the_same(tmp_path: Path) -> None:
    switch = MontySwitch(tmp_path / "gone" / "monty-lane.jsonl")
    switch.switch_off("exe_1", ("stdout",))
    assert switch.off == OFF
    with pytest.raises(OSError, match="monty-lane"):
        switch.switch_on("olga")
    assert switch.off == OFF


def test_what_differs_is_named_and_never_shown() -> None:
    assert list(differences(SAME, SAME)) == []
    assert list(differences(SAME, OTHER)) == ["stdout"]
