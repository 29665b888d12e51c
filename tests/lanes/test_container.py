"""The container driver on the real engine: the port's promises, what a program is given, and an engine that fails."""

from __future__ import annotations

import asyncio
import gc
import io
import tarfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import docker
import pytest
import pytest_asyncio

from sandbox.calls import EngineAddress
from sandbox.container import ContainerDriver
from sandbox.engine import address_from_environment
from sandbox.job import Cell, InputFile, Job
from sandbox.outcome import Ending, Fault, Result
from tests.engine_support import (
    IMAGE,
    LIMITS,
    SDK_LEAKS,
    SESSION,
    EngineProxy,
    Lab,
    eventually,
    limited,
    make_job,
    open_lab,
    open_proxy,
)
from tests.guest_python import run_all
from tests.lanes.contract import DriverContract

pytestmark = pytest.mark.engine


@dataclass
class ContainerWorld:
    lab: Lab

    @property
    def driver(self) -> ContainerDriver:
        return self.lab.driver

    def succeeding(self) -> Job:
        return make_job("print(1)")

    def failing(self) -> Job:
        return make_job("1 / 0")

    def endless(self) -> Job:
        return make_job("import time\ntime.sleep(60)", limited(wall_seconds=60))

    async def present(self) -> set[tuple[str, int]]:
        return await self.lab.boxes()

    async def leave_behind(self, execution: str, attempt: int) -> None:
        await self.lab.leave_behind(execution, attempt)


class TestContainerDriver(DriverContract):
    @pytest_asyncio.fixture
    async def world(self, lab: Lab) -> ContainerWorld:
        await lab.driver.reap(frozenset())  # what tests that were killed left on this engine long ago is not counted
        return ContainerWorld(lab)


async def test_a_program_gets_what_its_job_says(lab: Lab) -> None:
    code = """
import os, sys
print(greeting, numbers, sys.argv, os.environ["TOKEN"], os.getcwd(), __name__, __file__)
print(input() + sys.stdin.read().upper(), end="")
open("sub/out.bin", "wb").write(open("sub/in.bin", "rb").read()[::-1])
print("to stderr", file=sys.stderr)
{"sum": sum(numbers)}
"""
    job = make_job(
        code,
        inputs={"greeting": "héllo", "numbers": [1, 2]},
        stdin="line\nrest\n",
        args=["a b", ""],
        env={"TOKEN": "secret"},
        files=[InputFile("sub/in.bin", b"\x00\xff\n")],
        outputs=["**/*.bin"],
    )
    outcome = await lab.driver.run(job)
    assert outcome.stdout.text == "héllo [1, 2] ['main.py', 'a b', ''] secret /tmp __main__ main.py\nlineREST\n"
    assert outcome.stderr.text == "to stderr\n"
    assert outcome.result == Result({"sum": 3}, "json")
    assert (outcome.ending, outcome.exit_code, outcome.signal) == (Ending.SUCCEEDED, 0, None)
    assert {(file.path, file.content) for file in outcome.files} == {
        ("sub/in.bin", b"\x00\xff\n"),
        ("sub/out.bin", b"\n\xff\x00"),
    }
    usage = outcome.usage
    assert usage.wall_seconds is not None
    assert 0 < usage.wall_seconds < 5
    assert usage.cpu_seconds is not None
    assert usage.peak_memory_bytes is not None
    assert 1 << 20 < usage.peak_memory_bytes <= LIMITS.memory_bytes
    assert [phase for phase, _ in outcome.timings] == ["create", "start", "run", "collect"]
    assert outcome.python == "3.13"


FAILURES: Final[list[tuple[str, int | None, str | None, tuple[str, str, int] | None]]] = [
    ("def f():\n    return {}['k']\nf()", 1, None, ("KeyError", "'k'", 2)),
    ("x = = 1", 1, None, ("SyntaxError", "invalid syntax", 1)),
    ("print(1)\nreturn 2", 1, None, ("SyntaxError", "'return' outside function", 2)),
    ("import sys\nsys.exit('told')", 1, None, None),
    ("raise SystemExit(300)", 44, None, None),
    ("import os\nos._exit(3)", 3, None, None),
    ("import os\nos.kill(os.getpid(), 11)", None, "SIGSEGV", None),
    ("import os\nos.kill(os.getpid(), 9)", None, "SIGKILL", None),
    ("raise KeyboardInterrupt", None, "SIGINT", ("KeyboardInterrupt", "", 1)),
    ("import os\nos.execv('/bin/sh', ['sh', '-c', 'exit 7'])", 7, None, None),
    ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", 1, None, ("E", "<unprintable E>", 3)),
    ("bytearray(1 << 62)", 1, None, ("MemoryError", "", 1)),
]


async def test_a_failure_is_told_as_it_happened(lab: Lab) -> None:
    outcomes = await lab.run_all(*(code for code, *_ in FAILURES))
    for outcome, (code, exit_code, signal, error) in zip(outcomes, FAILURES, strict=True):
        assert outcome.ending is Ending.FAILED, code
        assert (outcome.exit_code, outcome.signal) == (exit_code, signal), code
        assert (outcome.error and (outcome.error.type, outcome.error.message, outcome.error.line)) == error, code


async def test_stderr_and_traceback_are_those_of_the_interpreter(lab: Lab) -> None:
    outcome = await lab.run(
        "def half(x):\n    return x / 0\n\ntry:\n    half(1)\nexcept ArithmeticError:\n    exec('unheard_of')"
    )
    expected = """\
Traceback (most recent call last):
  File "main.py", line 5, in <module>
    half(1)
    ~~~~^^^
  File "main.py", line 2, in half
    return x / 0
           ~~^~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "main.py", line 7, in <module>
    exec('unheard_of')
    ~~~~^^^^^^^^^^^^^^
  File "<string>", line 1, in <module>
NameError: name 'unheard_of' is not defined
"""
    assert outcome.stderr.text == expected
    assert outcome.error is not None
    assert outcome.error.traceback == expected


async def test_a_program_ends_as_the_interpreter_ends(lab: Lab) -> None:
    outcome = await lab.run("""
import atexit, threading, time
atexit.register(lambda: print("atexit"))
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
class Last:
    def __del__(self): print("del")
last = Last()
print("main")
""")
    assert outcome.stdout.text == "main\nthread\natexit\ndel\n"


async def test_ordinary_concurrency_works(lab: Lab) -> None:
    outcome = await lab.run("""
import asyncio, multiprocessing, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
def square(n): return n * n
async def child():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    return (await process.communicate(b"ab"))[0].decode()
with multiprocessing.Pool(2) as pool, ThreadPoolExecutor(4) as threads:
    found = [pool.map(square, [2, 3]), list(threads.map(square, [4])), asyncio.run(child())]
found + [subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True, text=True).stdout]
""")
    assert outcome.result == Result([[4, 9], [16], "ab", "5\n"], "json")


async def test_stdin_that_is_not_read_holds_nothing_up(lab: Lab) -> None:
    job = make_job("print('done')", stdin="x" * (4 << 20))
    outcome = await lab.driver.run(job)
    assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "done\n")
    job = make_job("import sys\nlen(sys.stdin.read())", stdin="é" * (1 << 20))
    assert (await lab.driver.run(job)).result == Result(1 << 20, "json")


async def test_no_more_boxes_than_allowed_exist_at_once() -> None:
    async with open_lab(boxes=2) as lab:
        running = asyncio.gather(*(lab.run("import time\ntime.sleep(0.2)") for _ in range(5)))
        most = 0
        while not running.done():
            most = max(most, len(await lab.boxes()))
            await asyncio.sleep(0.02)
        await running
        assert most == 2


async def test_a_job_that_waits_for_a_box_can_be_cancelled() -> None:
    async with open_lab(boxes=1) as lab:
        first = asyncio.create_task(lab.run("import time\ntime.sleep(0.5)"))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(lab.run("print(2)"))
        await asyncio.sleep(0.1)
        second.cancel()
        assert (await first).ending is Ending.SUCCEEDED
        assert (await lab.run("print(3)")).ending is Ending.SUCCEEDED


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.05, 0.15, 0.3])
async def test_cancelling_at_any_moment_leaves_no_box(lab: Lab, delay: float) -> None:
    running = asyncio.create_task(lab.run("import time\ntime.sleep(30)"))
    await asyncio.sleep(delay)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await lab.boxes() == set()


async def test_a_driver_that_is_closed_under_a_job_loses_it_and_leaves_nothing(lab: Lab) -> None:
    running = asyncio.create_task(lab.run("import time\ntime.sleep(30)", limited(wall_seconds=60)))
    await asyncio.sleep(0.1)
    await lab.driver.close()
    assert (await running).ending is Ending.LOST
    assert await lab.boxes() == set()


async def test_the_janitor_leaves_other_instances_alone(lab: Lab) -> None:
    async with open_lab() as other:
        await lab.driver.reap(frozenset())  # as in the world above
        await ContainerWorld(other).leave_behind("others", 1)
        assert await lab.driver.reap(frozenset()) == 0
        assert await other.boxes() == {("others", 1)}
        assert await other.driver.reap(frozenset()) == 1


async def test_an_image_that_is_not_there_is_the_platforms_fault(lab: Lab) -> None:
    outcome = await lab.driver.run(make_job("print(1)", image="airlock-no-such-image:1"))
    assert (outcome.ending, outcome.fault) == (Ending.LOST, Fault.PLATFORM)
    assert "airlock-no-such-image:1" in outcome.evidence.detail
    driver = ContainerDriver(lab.instance, "airlock-no-such-image:1")
    readiness = await driver.ready()
    await driver.close()
    assert not readiness.available
    assert "airlock-no-such-image:1" in readiness.detail


async def test_a_runtime_can_be_named(lab: Lab) -> None:
    outcome = await lab.driver.run(make_job("print(1)", runtime="runc"))
    assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "1\n")


async def test_a_runtime_that_is_not_there_is_the_platforms_fault(lab: Lab) -> None:
    outcome = await lab.driver.run(make_job("print(1)", runtime="no-such-runtime"))
    assert (outcome.ending, outcome.fault) == (Ending.LOST, Fault.PLATFORM)
    assert "no runtime 'no-such-runtime'" in outcome.evidence.detail
    assert "runc" in outcome.evidence.detail
    assert (await lab.run("print(1)")).ending is Ending.SUCCEEDED


async def test_an_image_with_volumes_is_refused(lab: Lab) -> None:
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    client = docker.APIClient(base_url=address_from_environment().url, version="auto")
    reference = f"{SESSION}-volumes:1"
    try:
        client.import_image_from_data(empty.getvalue(), repository=reference, changes=["VOLUME /data"])
        outcome = await lab.driver.run(make_job("print(1)", image=reference))
        assert outcome.ending is Ending.LOST
        assert "/data" in outcome.evidence.detail
    finally:
        client.remove_image(reference)
        client.close()


async def test_an_image_without_a_python_is_the_platforms_fault(lab: Lab) -> None:
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    client = docker.APIClient(base_url=address_from_environment().url, version="auto")
    reference = f"{SESSION}-empty:1"
    try:
        client.import_image_from_data(empty.getvalue(), repository=reference)
        outcome = await lab.driver.run(make_job("print(1)", image=reference))
        assert outcome.ending is Ending.LOST
        assert "python3" in outcome.evidence.detail
    finally:
        await lab.settle()
        client.remove_image(reference)
        client.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[EngineProxy]:
    async with open_proxy() as opened:
        yield opened
    gc.collect()  # what the library left, while this test still forgives it


@SDK_LEAKS
async def test_an_engine_that_is_away_is_the_platforms_fault_until_it_is_back(proxy: EngineProxy) -> None:
    async with open_lab(proxy.address) as lab:
        outcome = await lab.run("print(1)")
        assert (outcome.ending, outcome.fault) == (Ending.LOST, Fault.PLATFORM)
        assert outcome.evidence.detail
        assert not (await lab.driver.ready()).available
        assert await lab.driver.reap(frozenset()) == 0
        assert await lab.driver.python() is None
        await proxy.up()
        assert (await lab.run("print(1)")).ending is Ending.SUCCEEDED
        assert (await lab.driver.ready()).available
        await proxy.down()
        assert (await lab.run("print(1)")).ending is Ending.LOST
        await proxy.up()
        assert (await lab.run("print(1)")).ending is Ending.SUCCEEDED


@SDK_LEAKS
async def test_an_engine_that_dies_under_a_run_loses_it_and_the_box_ends_by_itself(proxy: EngineProxy) -> None:
    await proxy.up()
    async with open_lab(proxy.address) as lab:
        running = asyncio.create_task(lab.run("import time\ntime.sleep(60)", limited(wall_seconds=60)))

        async def exists() -> bool:
            return bool(await lab.boxes())

        await eventually(exists)
        await asyncio.sleep(0.5)
        await proxy.down()
        outcome = await running
        assert (outcome.ending, outcome.fault) == (Ending.LOST, Fault.PLATFORM)
        (container,) = await lab.engine.labelled("airlock.instance", lab.instance)
        assert (await lab.engine.ended(container)).exit_code is not None
        await proxy.up()
        await lab.driver.reap(frozenset())
        await lab.settle()


@SDK_LEAKS
@pytest.mark.parametrize("mode", ["fail", "hang"])
async def test_an_engine_that_fails_or_hangs_is_never_an_exception(proxy: EngineProxy, mode: str) -> None:
    proxy.mode = mode
    await proxy.up()
    async with open_lab(proxy.address) as lab:
        began = time.monotonic()
        outcome, readiness, reaped = await asyncio.gather(
            lab.run("print(1)"), lab.driver.ready(), lab.driver.reap(frozenset())
        )
        assert outcome.ending is Ending.LOST
        assert not readiness.available
        assert reaped == 0
        assert time.monotonic() - began < 15
        await proxy.down()


@SDK_LEAKS
async def test_an_address_that_means_nothing_is_an_outcome_too() -> None:
    async with open_lab(EngineAddress("ssh://nowhere.invalid")) as lab:
        assert (await lab.run("print(1)")).ending is Ending.LOST
        assert not (await lab.driver.ready()).available


async def test_the_default_image_is_the_one_that_is_proven(lab: Lab) -> None:
    assert await lab.driver.python() == "3.13"
    assert IMAGE in (await lab.driver.ready()).detail


async def test_a_module_that_the_caller_sends_is_the_one_that_is_imported(lab: Lab) -> None:
    """Also where the guest had imported the library's meanwhile: in a cell, and in a box that waited."""
    files = (InputFile("json.py", b"mine = 1\n"), InputFile("textwrap/__init__.py", b"mine = 2\n"))
    code = "import json, textwrap\n(json.mine, textwrap.mine)"
    for cell in (None, Cell("with modules")):
        outcome = await lab.driver.run(make_job(code, files=files, cell=cell))
        assert outcome.result == Result([1, 2], "json"), cell


async def test_a_program_has_as_deep_a_stack_as_in_cpython(lab: Lab) -> None:
    """Although the guest stands below it."""
    code = "def down(n):\n    try:\n        return down(n + 1)\n    except RecursionError:\n        return n\nprint(down(0))"
    for cell in (None, Cell("deep")):
        outcome = await lab.driver.run(make_job(code, cell=cell))
        assert outcome.stdout.text == run_all({"deep": code})["deep"].stdout, cell
