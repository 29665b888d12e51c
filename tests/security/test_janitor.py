"""Promise: a box that nobody can want any more is removed, whoever left it; nothing else ever is, whatever its labels."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from sandbox.janitor import CLOCK_SKEW_SECONDS, abandoned
from sandbox.outcome import Ending, Fault
from sandbox.profile import EngineFacts, container_options
from tests.conftest import Server
from tests.engine_support import IMAGE, Lab, eventually, limited, make_job
from tests.private_engine import PrivateEngine

NOW = 1_800_000_000
LONG_AGO = str(NOW - CLOCK_SKEW_SECONDS - 1)
ENDLESS = "import time\nprint('begun', flush=True)\ntime.sleep(100)"
_numbers = itertools.count(1)

# The client library leaves the socket of a connection that failed to the garbage collector.
_SDK_LEAKS = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)


def labels(
    instance: str = "other", execution: str = "e", attempt: str = "1", deadline: str = LONG_AGO
) -> dict[str, str]:
    return {
        "airlock.instance": instance,
        "airlock.execution": execution,
        "airlock.attempt": attempt,
        "airlock.deadline": deadline,
    }


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in labels().items() if key != f"airlock.{name}"}


def judged(given: Mapping[str, str]) -> bool:
    return abandoned(given, instance="mine", owned=lambda owner: owner == ("owned", 2), now=NOW) is not None


@pytest.mark.parametrize(
    ("given", "removed"),
    [
        (labels("mine", "owned", "2"), False),  # however late it is: its owner knows
        (labels("mine", "owned", "1"), True),
        (labels("mine", "owned", "2 "), True),  # ours by its instance, and of no attempt of ours
        ({"airlock.instance": "mine"}, True),
        (labels("mine", deadline=str(NOW + 10**6)), True),
        (labels(), True),
        (labels("owned", "owned", "2"), True),
        (labels(deadline=str(NOW - CLOCK_SKEW_SECONDS)), False),
        (labels(deadline=str(NOW + 60)), False),
    ],
)
def test_a_box_goes_when_its_owner_is_gone_or_its_time_is_long_past(given: dict[str, str], removed: object) -> None:
    assert judged(given) is removed


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"com.example": "1"},
        *(without(name) for name in ("instance", "execution", "attempt", "deadline")),
        labels(instance=""),
        labels(execution=""),
        *(labels(attempt=text) for text in ("", "-1", "1.0", "1\n", "x", "٣", "9" * 5000)),
        *(labels(deadline=text) for text in ("", "-1", "0x1", "1e3", "nan", " 1", "1\n", "٣", "²", "9" * 5000)),
    ],
)
def test_what_is_not_labelled_as_a_box_stays(given: dict[str, str]) -> None:
    assert not judged(given)


async def leave(lab: Lab, given: Mapping[str, str]) -> str:
    """A running container with these labels, as whoever wrote them left it."""
    options = container_options(
        replace(make_job(""), image=IMAGE),
        engine=EngineFacts(cgroup_version=2),
        instance="",
        deadline=0,
        guest="input()",
    )
    options.config["Labels"] = dict(given)
    container = await lab.engine.create(replace(options, name=f"left-{next(_numbers)}"))
    await lab.engine.start(container)
    return container


def present(engine: PrivateEngine) -> set[str]:
    with engine.client() as client:
        return {one["Id"] for one in client.containers(all=True)}


@pytest.mark.engine
async def test_the_janitor_removes_what_nobody_can_want_and_nothing_else(
    private_lab: Lab, private_engine: PrivateEngine
) -> None:
    past, soon = str(int(time.time()) - CLOCK_SKEW_SECONDS - 60), str(int(time.time()) + 60)
    gone = [
        await leave(private_lab, given)
        for given in (
            labels(deadline=past),
            labels(private_lab.instance, deadline=soon),
            labels("x\n\x1b[2J", deadline=past),
        )
    ]
    kept = [
        await leave(private_lab, given)
        for given in (
            {},
            {"com.example": "1"},
            labels(deadline=soon),
            labels(deadline="-1"),
            labels(deadline="9" * 5000),
        )
    ]
    owned = await leave(private_lab, labels(private_lab.instance, "mine", "3", past))
    try:
        assert await private_lab.driver.reap(frozenset({("mine", 3)})) == len(gone)
        assert present(private_engine) == {*kept, owned}
    finally:
        for container in [*kept, owned]:
            await private_lab.engine.remove(container)


def chattr(change: str, path: Path) -> bool:
    return subprocess.run(["chattr", change, str(path)], check=False, capture_output=True).returncode == 0


@pytest.mark.engine
async def test_a_box_that_the_engine_will_not_remove_holds_up_no_other(
    private_lab: Lab, private_engine: PrivateEngine, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [await leave(private_lab, labels(private_lab.instance)) for _ in range(4)]
    stuck = private_engine.folder / "data" / "containers" / boxes[1] / "stuck"
    stuck.touch()
    if not await asyncio.to_thread(chattr, "+i", stuck):
        pytest.skip("NOT TESTED: this file system has no immutable files")
    try:
        assert await private_lab.driver.reap(frozenset()) == 3
        assert present(private_engine) <= {boxes[1]}
    finally:
        await asyncio.to_thread(chattr, "-i", stuck)
    assert f"could not remove box {boxes[1][:12]}" in caplog.text
    assert "removed 3 of 4 leftover boxes: 4 because nobody owns it" in caplog.text
    assert await private_lab.driver.reap(frozenset()) == 1
    assert present(private_engine) == set()


@pytest.mark.engine
@_SDK_LEAKS
@pytest.mark.parametrize("live_restore", [False, True])
async def test_an_engine_that_is_killed_and_restarted_loses_the_run_and_keeps_no_box(
    private_lab: Lab, private_engine: PrivateEngine, *, live_restore: bool
) -> None:
    await restart(private_engine, live_restore=live_restore)
    assert (await private_lab.run("print(1)")).ending is Ending.SUCCEEDED
    running = asyncio.create_task(private_lab.run(ENDLESS, limited(wall_seconds=100)))

    async def begun() -> bool:
        return bool(await private_lab.boxes())

    await eventually(begun)
    await asyncio.sleep(1)
    await asyncio.to_thread(private_engine.kill)
    outcome = await running
    assert (outcome.ending, outcome.fault) == (Ending.LOST, Fault.PLATFORM)
    assert await private_lab.driver.reap(frozenset()) == 0
    assert (await private_lab.run("print(1)")).ending is Ending.LOST
    await restart(private_engine, live_restore=live_restore)
    await private_lab.driver.reap(frozenset())
    await private_lab.settle()
    assert present(private_engine) == set()
    assert (await private_lab.run("print(2)")).stdout.text == "2\n"
    assert (await private_lab.driver.ready()).available


async def restart(engine: PrivateEngine, *, live_restore: bool) -> None:
    await asyncio.to_thread(engine.kill)
    await asyncio.to_thread(engine.start, **{"live-restore": live_restore})


POLICY = (
    "version: 1\nengine: {spares: 0}\ndefaults: {lanes: {monty: false}, retries: {attempts: 10, base: 2s, cap: 2s}}\n"
)


@pytest.mark.engine
def test_an_execution_survives_the_restart_of_its_engine(
    private_engine: PrivateEngine, make_server: Callable[..., Server]
) -> None:
    server = make_server(POLICY, DOCKER_HOST=private_engine.address.url)
    with server.client() as client:
        asked = {"code": "import time\ntime.sleep(3)\nprint('through')"}
        accepted = client.post("/v1/executions", json=asked, headers={"Prefer": "respond-async"})
        assert accepted.status_code == 202, accepted.text
        path = accepted.headers["Location"]
        until(lambda: bool(present(private_engine)))
        time.sleep(0.5)
        private_engine.kill()
        private_engine.start(**{"live-restore": True})
        until(lambda: answer(client, path)["status"] == "succeeded")
        told = answer(client, path)
    assert told["stdout"] == "through\n"
    attempts = told["attempts"]
    assert isinstance(attempts, list)
    assert len(attempts) > 1
    until(lambda: not present(private_engine))


def answer(client: httpx.Client, path: str) -> dict[str, object]:
    found = client.get(path).json()
    assert isinstance(found, dict)
    return found


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
