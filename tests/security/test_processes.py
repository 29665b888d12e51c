"""Promise: a box ends at its limit whatever runs in it, and nothing of it outlives its answer."""

from __future__ import annotations

import time

import pytest

from sandbox.outcome import Ending, Outcome
from tests.engine_support import IN_BOTH, Lab, limited, open_lab

pytestmark = pytest.mark.engine

QUICK = limited(wall_seconds=0.5)
ENDLESS = {
    "a busy loop": "while True: pass",
    "sleep": "import time\ntime.sleep(100)",
    "a loop in C": "sum(range(10**12))",
    "one long operation in C": "10 ** 10 ** 9",
    "every signal ignored": """
import signal, time
for number in signal.valid_signals():
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
time.sleep(100)""",
    "a hostile exit": "import atexit, time\natexit.register(time.sleep, 100)",
    "a thread that is never joined": "import threading, time\nthreading.Thread(target=time.sleep, args=[100]).start()",
    "a finally that waits": "import time\ntry: time.sleep(100)\nfinally: time.sleep(100)",
    "a stopped process": "import os\nos.kill(os.getpid(), 19)",
    "reading what never comes": "import os\nread, write = os.pipe()\nos.read(read, 1)",
    "a repr without end": "class A:\n    def __repr__(self):\n        while True: pass\nA()",
    "a fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "a bomb of sessions": """
import os
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: pass""",
    "a bomb of orphans": """
import os
while True:
    try:
        if os.fork() == 0:
            try: os.fork()
            finally: os._exit(0)
        os.wait()
    except OSError: pass""",
    "a bomb of threads": """
import threading, time
while True:
    try: threading.Thread(target=time.sleep, args=[100]).start()
    except RuntimeError: pass""",
}


def assert_timed_out(outcome: Outcome) -> None:
    assert outcome.ending is Ending.TIMED_OUT, outcome
    assert (outcome.exit_code, outcome.signal, outcome.evidence.killed_for) == (None, None, "wall")
    assert outcome.usage.wall_seconds is not None  # the guest's own limit held; the gateway's was not needed
    assert outcome.usage.wall_seconds < 1.0


@pytest.mark.alone
async def test_everything_ends_at_the_limit_and_the_next_program_runs_as_usual() -> None:
    async with open_lab(boxes=2) as lab:
        outcomes = dict(zip(ENDLESS, await lab.run_all(*ENDLESS.values(), limits=QUICK), strict=True))
        for outcome in outcomes.values():
            assert_timed_out(outcome)
        late = {name: run for name, outcome in outcomes.items() if (run := dict(outcome.timings)["run"]) > 1.5}
        assert late == {}  # the limit and a second
        began = time.monotonic()
        assert (await lab.run("print(1)")).stdout.text == "1\n"
        assert time.monotonic() - began < 2
        await lab.settle()


@IN_BOTH
async def test_what_came_before_the_limit_is_kept(lab: Lab) -> None:
    outcome = await lab.run("import time\nprint('early', flush=True)\ntime.sleep(100)", QUICK)
    assert_timed_out(outcome)
    assert outcome.stdout.text == "early\n"


@IN_BOTH
async def test_the_number_of_processes_is_a_wall(lab: Lab) -> None:
    outcome = await lab.run("""
import os, time
children = 0
while True:
    try:
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        children += 1
    except BlockingIOError:
        break
children
""")
    assert outcome.result is not None
    assert outcome.result.value == 31  # of 32: the program itself is one


@IN_BOTH
async def test_orphans_do_not_fill_the_box(lab: Lab) -> None:
    outcome = await lab.run("""
import os, time
for _ in range(200):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
    time.sleep(0.002)
print("done")
""")
    assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "done\n")


@IN_BOTH
async def test_a_daemon_ends_with_its_program_and_its_late_output_belongs_to_nobody(lab: Lab) -> None:
    outcome = await lab.run("""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(0.2)
        print("late", flush=True)
        time.sleep(100)
    os._exit(0)
os.wait()
print("done")
""")
    assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "done\n")
    assert outcome.usage.wall_seconds is not None
    assert outcome.usage.wall_seconds < 0.2


@IN_BOTH
async def test_the_cpu_time_of_children_that_nobody_waits_for_is_counted(lab: Lab) -> None:
    outcome = await lab.run("""
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody can wait for them, and wait adds up nothing
read, write = os.pipe()
for _ in range(2):
    if os.fork() == 0:
        while time.process_time() < 0.5: pass
        os.write(write, b"x")
        os._exit(0)
for _ in range(2): os.read(read, 1)
try: os.wait()
except ChildProcessError: pass
time.process_time()
""")
    assert outcome.ending is Ending.SUCCEEDED
    assert outcome.result is not None
    assert isinstance(outcome.result.value, float)
    assert outcome.usage.cpu_seconds is not None
    assert outcome.usage.cpu_seconds > 0.9 + outcome.result.value


@IN_BOTH
async def test_cpu_time_is_the_programs_and_not_the_guests(lab: Lab) -> None:
    sleeper, worker = await lab.run_all(
        "import time\ntime.sleep(1)", "import time\nwhile time.process_time() < 0.6: pass\ntime.process_time()"
    )
    assert sleeper.usage.cpu_seconds is not None
    assert worker.usage.cpu_seconds is not None
    assert sleeper.usage.cpu_seconds < worker.usage.cpu_seconds / 2
    assert worker.usage.wall_seconds is not None
    assert 0.6 <= worker.usage.cpu_seconds < worker.usage.wall_seconds * 1.5


@IN_BOTH
async def test_a_program_may_end_in_any_way(lab: Lab) -> None:
    kill_all = """
import os, signal
for _ in range(3):
    if os.fork() == 0: signal.pause()
os.kill(-1, 9)
print("only I am left")
"""
    stop_all = kill_all.replace("-1, 9", "-1, 19")
    closed = "import os\nos.closerange(0, 256)\n1 + 1"
    from_a_thread = """
import os, threading
threading.Thread(target=os._exit, args=[5]).start()
threading.Event().wait()
"""
    abort = "import os\nos.abort()"
    killed, stopped, blind, threaded, aborted = await lab.run_all(kill_all, stop_all, closed, from_a_thread, abort)
    assert (killed.ending, killed.stdout.text) == (Ending.SUCCEEDED, "only I am left\n")
    assert (stopped.ending, stopped.stdout.text) == (Ending.SUCCEEDED, "only I am left\n")
    assert (blind.ending, blind.exit_code, blind.result) == (Ending.SUCCEEDED, 0, None)
    assert threaded.exit_code == 5
    assert aborted.signal == "SIGABRT"
