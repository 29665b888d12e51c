"""Cells: one box for many programs of one owner, and nothing of one program in the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import docker
import pytest
import pytest_asyncio

from sandbox import cells, profile
from sandbox.container import ContainerDriver
from sandbox.job import Cell, Job
from sandbox.outcome import Ending, Outcome
from sandbox.profile import INSTANCE_LABEL, ContainerOptions, EngineFacts, container_options
from tests.engine_support import IMAGE, LIMITS, SESSION, Lab, eventually, facts, limited, make_job, open_lab
from tests.lanes.contract import DriverContract

pytestmark = pytest.mark.engine

OWNER = Cell("owner")


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with open_lab(cell=OWNER) as opened:
        yield opened


def reused(outcome: Outcome) -> bool:
    return "acquire" in dict(outcome.timings)


class World:
    """Jobs in cells, for the contract."""

    def __init__(self, lab: Lab) -> None:
        self.driver = lab.driver
        self._lab = lab

    def succeeding(self) -> Job:
        return make_job("print(1)", cell=OWNER)

    def failing(self) -> Job:
        return make_job("1 / 0", cell=OWNER)

    def endless(self) -> Job:
        """In a box of its own, so that its name is seen: a cell's is its own."""
        return make_job("import time\ntime.sleep(60)", limited(wall_seconds=60))

    async def present(self) -> set[tuple[str, int]]:
        return {name for name in await self._lab.boxes() if not name[0].startswith(profile.CELL)}

    async def leave_behind(self, execution: str, attempt: int) -> None:
        await self._lab.leave_behind(execution, attempt)


class TestContract(DriverContract):
    """What a driver promises, it promises with cells too."""

    @pytest.fixture
    def world(self, lab: Lab) -> World:
        return World(lab)


async def test_an_owners_programs_follow_each_other_in_one_box(lab: Lab) -> None:
    outcomes = [await lab.run(f"print({number})") for number in range(5)]
    assert [outcome.stdout.text for outcome in outcomes] == [f"{number}\n" for number in range(5)]
    assert [reused(outcome) for outcome in outcomes] == [False, True, True, True, True]
    assert len(await lab.boxes()) == 1


async def test_programs_at_the_same_time_have_boxes_of_their_own(lab: Lab) -> None:
    """One that is paused for a second would hold up the other, if they shared one."""
    both = await lab.run_all("import time\ntime.sleep(1)", "import time\ntime.sleep(1)")
    assert {outcome.ending for outcome in both} == {Ending.SUCCEEDED}
    assert len(await lab.boxes()) == 2


async def test_no_box_is_ever_shared_by_two_owners(lab: Lab) -> None:
    for owner in ("a", "b", "a", "b"):
        assert (await lab.driver.run(make_job("print(1)", cell=Cell(owner)))).ending is Ending.SUCCEEDED
    assert len(await lab.boxes()) == 2
    assert lab.driver.supply.cells.resting == 2


LEAVE = """
import ctypes, os, resource, socket, sys, threading, time
open("/tmp/trace", "w").write("x" * 1000)
open("/dev/shm/trace", "w").write("x")
os.mkfifo("/tmp/fifo")
os.environ["TRACE"] = "1"
sys.modules["trace_of_it"] = sys
import json
json.trace = True
for name in ("\\0airlock-trace", "/tmp/socket"):
    server = socket.socket(socket.AF_UNIX)
    server.bind(name)
    server.listen()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.umask(0o77)
os.nice(5)
hoard = bytearray(48 << 20)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 32):
            try: __import__("signal").signal(number, 1)
            except (OSError, ValueError): pass
        time.sleep(60)
    os._exit(0)
print(1)
"""
LOOK = """
import json, os, resource, socket, sys
def connects(name):
    try:
        socket.socket(socket.AF_UNIX).connect(name)
        return True
    except OSError:
        return False
def read(path):
    try:
        return open(path).read()
    except OSError:
        return None
print(json.dumps({
    "tmp": os.listdir("/tmp"), "shm": os.listdir("/dev/shm"), "TRACE": os.environ.get("TRACE"),
    "module": "trace_of_it" in sys.modules, "json": hasattr(json, "trace"),
    "sockets": [connects("\\0airlock-trace"), connects("/tmp/socket")],
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "umask": os.umask(0), "nice": os.nice(0),
    "processes": sorted(int(one) for one in os.listdir("/proc") if one.isdigit()) == [1, os.getpid()],
    "counters": os.listdir("/sys/fs/cgroup"),
}))
"""


async def test_nothing_of_a_program_is_there_for_the_next_one(lab: Lab) -> None:
    assert (await lab.run(LEAVE)).stdout.text == "1\n"
    outcome = await lab.run(LOOK)
    assert reused(outcome)
    assert facts(outcome) == {
        "tmp": [], "shm": [], "TRACE": None, "module": False, "json": False, "sockets": [False, False], "files": 256,
        "umask": 0o22, "nice": 0, "processes": True, "counters": [],
    }  # fmt: skip


EXHAUST = """
import ctypes, fcntl, os, signal, socket, sys, time
held = [os.open(sys.executable, os.O_RDONLY)]
fcntl.flock(held[0], fcntl.LOCK_EX)
for _ in range(3):  # beyond the reach of whoever ends only children
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
        try:
            while True: os.kill(os.getpid(), 40)
        except OSError: pass
        one, other = socket.socketpair()
        socket.send_fds(one, [b"x"], [other.fileno(), one.fileno()])  # a ring that only the kernel can find
        try:
            while True: held.append(os.dup(held[0]))
        except OSError: pass
        os.close(held.pop())
        try:
            while True: os.fork()
        except OSError: pass
        time.sleep(60)
libc = ctypes.CDLL(None)
libc.shmget(7, 4096, 0o1666); libc.semget(7, 1, 0o1666); libc.msgget(7, 0o1666)
time.sleep(0.3)
print(len(held))
"""
USE = """
import ctypes, fcntl, json, os, signal, sys
own = [int(name) for name in os.listdir("/proc/self/fd")]
lock = os.open(sys.executable, os.O_RDONLY)
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
for _ in range(100): os.kill(os.getpid(), 40)
taken = [os.dup(lock) for _ in range(200)]
for one in taken: os.close(one)
children = []
for _ in range(20):
    children.append(os.fork())
    if children[-1] == 0:
        signal.pause()
for child in children:
    os.kill(child, 9)
libc = ctypes.CDLL(None)
found = [call >= 0 for call in (libc.shmget(7, 4096, 0o666), libc.semget(7, 1, 0o666), libc.msgget(7, 0o666))]
print(json.dumps({"descriptors": [one for one in own if one > 3], "children": len(children), "found": found}))
"""


async def test_what_a_program_used_up_is_there_for_the_next_one(lab: Lab) -> None:
    """Locks, signals that wait, descriptors in flight, processes: held by orphans of a session of their own."""
    assert (await lab.run(EXHAUST)).stdout.text == "1\n"
    outcome = await lab.run(USE)
    assert reused(outcome)
    assert facts(outcome) == {
        "descriptors": [200],
        "children": 20,
        "found": [False] * 3,
    }  # 200 is the way for its result


async def test_memory_of_files_is_free_again(lab: Lab) -> None:
    """Each of them fills its /tmp, which counts as memory: nine such would not fit into one box."""
    for _ in range(9):
        outcome = await lab.run("open('/tmp/x', 'wb').write(bytes(15 << 20))", limited(memory_bytes=64 << 20))
        assert outcome.ending is Ending.SUCCEEDED
    assert len(await lab.boxes()) == 1


async def test_a_program_that_is_ended_at_its_limit_takes_nobody_with_it(lab: Lab) -> None:
    outcome = await lab.run("import time\ntime.sleep(60)", limited(wall_seconds=0.5))
    assert outcome.ending is Ending.TIMED_OUT
    assert reused(await lab.run("print(1)", limited(wall_seconds=0.5)))


async def test_a_cell_in_which_memory_ran_out_is_not_used_again(lab: Lab) -> None:
    assert (await lab.run("bytearray(1 << 30)")).ending in {Ending.OUT_OF_MEMORY, Ending.FAILED}
    outcome = await lab.run("x = [bytearray(1 << 20) for _ in range(1000)]")
    assert outcome.ending is Ending.OUT_OF_MEMORY
    assert not reused(await lab.run("print(1)"))


async def test_a_program_in_a_cell_that_died_meanwhile_gets_another_one(lab: Lab) -> None:
    await lab.run("print(1)")
    (container,) = await lab.engine.labelled(INSTANCE_LABEL, lab.instance)
    await lab.engine.kill(container)
    assert (await lab.run("print(2)")).stdout.text == "2\n"


async def test_how_the_process_died_that_waited_for_a_program_is_not_told_as_how_the_program_did(lab: Lab) -> None:
    """A host that is short of memory ends waiting programs first: their score says that they are expendable."""
    await lab.run("print(1)")
    (container,) = await lab.engine.labelled(INSTANCE_LABEL, lab.instance)
    await asyncio.to_thread(_end_the_newest_process, container)
    assert (await lab.run("print(2)")).stdout.text == "2\n"


def _end_the_newest_process(container: str) -> None:
    code = "import os\nos.kill(max(int(one) for one in os.listdir('/proc') if one.isdigit() and int(one) < os.getpid()), 9)"
    with contextlib.closing(docker.from_env()) as client:
        ended = client.containers.get(container).exec_run(["python3", "-c", code], user="65532:65532")
    assert ended.exit_code == 0, ended.output


async def test_peak_memory_is_told_where_it_is_known(lab: Lab) -> None:
    """The kernel keeps one mark for the box: what did not reach the highest one so far is unknown, not small."""
    peaks = [(await lab.run(f"x = bytearray({size} << 20)")).usage.peak_memory_bytes for size in (8, 64, 8, 80)]
    assert peaks[2] is None
    assert peaks[0] is not None
    assert peaks[1] is not None
    assert peaks[3] is not None
    assert 64 << 20 < peaks[1] < peaks[3]


async def test_counts_are_of_one_program(lab: Lab) -> None:
    code = "import os\nfor _ in range(60):\n    try:\n        if os.fork() == 0: __import__('time').sleep(9)\n    except OSError: print('full'); break"
    first, second = await lab.run(code), await lab.run("sum(range(10 ** 6))")
    assert first.evidence.forks_refused
    assert second.evidence.forks_refused == 0
    assert second.usage.cpu_seconds is not None
    assert second.usage.cpu_seconds < 1


async def test_programs_may_have_as_many_processes_as_in_a_box(lab: Lab) -> None:
    code = """
import os, time
count = 1
try:
    while True:
        if os.fork() == 0: time.sleep(9)
        count += 1
except OSError:
    print(count)
"""
    alone = await lab.driver.run(make_job(code))
    await lab.run("print(1)")
    again = await lab.run(code)
    assert alone.stdout.text == again.stdout.text == f"{LIMITS.pids}\n"


async def test_what_is_preloaded_is_there_before_the_program(lab: Lab) -> None:
    cell = Cell("owner", ("decimal", "random"))
    code = "import sys\nprint('decimal' in sys.modules)\nimport random\nprint(random.random())"
    first, second = [(await lab.driver.run(make_job(code, cell=cell))).stdout.text.split() for _ in range(2)]
    assert first[0] == second[0] == "True"
    assert first[1] != second[1], "programs share modules, not their luck"
    assert (await lab.run("import sys\nprint('decimal' in sys.modules)")).stdout.text == "False\n"


async def test_what_cannot_be_preloaded_is_said(lab: Lab) -> None:
    outcome = await lab.driver.run(make_job("print(1)", cell=Cell("owner", ("no_such_module",))))
    assert outcome.ending is Ending.LOST
    assert "the image cannot preload no_such_module: ModuleNotFoundError" in outcome.evidence.detail


async def test_a_spare_cell_becomes_its_first_users(lab: Lab) -> None:
    driver = ContainerDriver(f"{SESSION}-spare-cells", IMAGE, 4, spares=1)
    await driver.expect(IMAGE, None, OWNER, LIMITS)

    async def ready() -> bool:
        return driver.supply.pool.spare == 1

    await eventually(ready)
    assert reused(await driver.run(make_job("print(1)", cell=Cell("a"))))
    assert driver.supply.cells.resting == 1
    assert (await driver.run(make_job("print(1)", cell=Cell("a")))).stdout.text == "1\n"
    await driver.close()
    assert await lab.engine.labelled(INSTANCE_LABEL, f"{SESSION}-spare-cells") == {}


async def test_cells_wear_out_and_do_not_rest_for_ever(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "CELL_RUNS", 2)
    assert [reused(await lab.run("print(1)")) for _ in range(4)] == [False, True, False, True]
    monkeypatch.setattr(cells, "CELL_RUNS", 1000)
    await lab.run("print(1)")
    monkeypatch.setattr(cells, "REST_SECONDS", 0)
    await lab.driver.reap(frozenset())
    assert await lab.boxes() == set()


async def test_no_more_cells_rest_than_may_run(lab: Lab) -> None:
    for number in range(6):
        await lab.driver.run(make_job("print(1)", cell=Cell(f"owner-{number}")))
    assert lab.driver.supply.cells.resting == lab.driver.boxes == 4


async def test_a_host_that_cannot_make_cells_says_so() -> None:
    async with open_lab(cell=OWNER, harden=_without_new_namespaces) as lab:
        outcome = await lab.run("print(1)")
        assert outcome.ending is Ending.LOST
        assert "this host cannot make cells: clone" in outcome.evidence.detail


async def test_a_cancelled_program_takes_its_cell_with_it(lab: Lab) -> None:
    running = asyncio.create_task(lab.run("import time\ntime.sleep(60)", limited(wall_seconds=60)))

    async def started() -> bool:
        return bool(await lab.boxes())

    await eventually(started)
    running.cancel()
    await asyncio.wait({running})
    await lab.settle()


def _without_new_namespaces(
    job: Job, *, engine: EngineFacts, instance: str, deadline: float, guest: str
) -> ContainerOptions:
    options = container_options(job, engine=engine, instance=instance, deadline=deadline, guest=guest)
    options.config["HostConfig"]["SecurityOpt"] = container_options(
        replace(job, cell=None), engine=engine, instance=instance, deadline=deadline, guest=guest
    ).config["HostConfig"]["SecurityOpt"]
    return options
