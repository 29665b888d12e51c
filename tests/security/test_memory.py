"""Promise: memory is a wall, and hitting it is told from everything else by the kernel's own count."""

from __future__ import annotations

import asyncio
import resource

import pytest

from sandbox.outcome import Ending
from tests.engine_support import IN_BOTH, LIMITS, Lab, limited

pytestmark = [pytest.mark.engine, IN_BOTH]


async def test_a_gigabyte_under_128_mebibytes_is_out_of_memory(lab: Lab) -> None:
    outcome = await lab.run("print('before', flush=True)\nbytearray(1 << 30)")
    assert outcome.ending is Ending.OUT_OF_MEMORY
    assert (outcome.exit_code, outcome.signal) == (None, None)
    assert outcome.stdout.text == "before\n"
    assert outcome.evidence.oom_kills == 1
    assert outcome.usage.peak_memory_bytes is not None
    assert LIMITS.memory_bytes * 0.9 < outcome.usage.peak_memory_bytes <= LIMITS.memory_bytes


async def test_a_child_out_of_memory_is_the_programs_affair_if_it_copes(lab: Lab) -> None:
    child = "import subprocess, sys\nended = subprocess.run([sys.executable, '-c', 'bytearray(1 << 30)']).returncode\n"
    coped, passed_on = await lab.run_all(child + "print(ended)", child + "sys.exit(1 if ended else 0)")
    assert (coped.ending, coped.stdout.text, coped.evidence.oom_kills) == (Ending.SUCCEEDED, "-9\n", 1)
    assert (passed_on.ending, passed_on.exit_code) == (Ending.OUT_OF_MEMORY, 1)


async def test_other_kills_and_exit_codes_are_not_taken_for_it(lab: Lab) -> None:
    killed, exited = await lab.run_all("import os\nos.kill(os.getpid(), 9)", "raise SystemExit(137)")
    assert (killed.ending, killed.signal, killed.evidence.oom_kills) == (Ending.FAILED, "SIGKILL", 0)
    assert (exited.ending, exited.exit_code) == (Ending.FAILED, 137)


async def test_shared_memory_and_files_are_memory_too(lab: Lab) -> None:
    fill = """
def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError as error:
            print(path, error.errno)
fill("/tmp/a")
fill("/dev/shm/b")
"""
    roomy, tight = await asyncio.gather(
        lab.run(fill), lab.run(fill, limited(memory_bytes=32 << 20, disk_bytes=64 << 20))
    )
    assert (roomy.ending, roomy.stdout.text) == (Ending.SUCCEEDED, "/tmp/a 27\n/dev/shm/b 28\n")
    assert tight.ending is Ending.OUT_OF_MEMORY


async def test_many_processes_share_one_wall_and_the_guest_outlives_them(lab: Lab) -> None:
    outcome = await lab.run("""
import os, signal
for _ in range(20):
    if os.fork() == 0:
        open("/proc/self/oom_score_adj", "w").write("500")
        hoard = [bytearray(1 << 20) for _ in range(20)]
        signal.pause()
open("/proc/self/oom_score_adj", "w").write("500")
hoard = []
while True:
    hoard.append(bytearray(1 << 16))
""")
    assert outcome.ending is Ending.OUT_OF_MEMORY


async def test_a_program_that_has_the_guest_killed_in_its_stead_gains_no_success(lab: Lab) -> None:
    # It makes itself as hard to kill as the guest, stays smaller than it, and fills the memory with a file. With the
    # guest its counter is gone: what is left is the engine's word, and some engines see no such kill.
    outcome = await lab.run(
        """
import os
with open("/proc/self/oom_score_adj", "w") as score: score.write("500")
os.execv("/bin/dd", ["dd", "if=/dev/zero", "of=/tmp/large", "bs=64k"])
""",
        limited(memory_bytes=48 << 20, disk_bytes=96 << 20),
    )
    assert outcome.ending in {Ending.OUT_OF_MEMORY, Ending.LOST}
    assert (outcome.exit_code, outcome.result, outcome.files) == (None, None, ())
    assert outcome.stdout.omitted_bytes in {0, None}
    assert (await lab.run("print('next')")).stdout.text == "next\n"


async def test_the_gateway_pays_nothing_for_it(lab: Lab) -> None:
    await lab.run("print(1)")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await lab.run_all(*["bytearray(1 << 30)"] * 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10
