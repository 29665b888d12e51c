"""Promise: in gVisor a box is the same wall, and its guest as much out of the program's reach, by another uid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest

from sandbox.job import InputFile, Limits
from sandbox.outcome import Ending, Outcome, Result
from tests.conftest import Server
from tests.engine_support import LIMITS, Lab, facts, limited, make_job
from tests.private_engine import RUNSC, PrivateEngine

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(RUNSC is None, reason="NOT TESTED: there is no runsc on this machine"),
]


async def run(lab: Lab, code: str, limits: Limits = LIMITS) -> Outcome:
    return await lab.driver.run(make_job(code, limits, runtime="runsc"))


async def test_a_program_runs_there_as_anywhere(private_lab: Lab) -> None:
    code = """
import os, subprocess, sys
print(open("/proc/version").read().split()[2], greeting, sys.argv, os.environ["TOKEN"], sys.stdin.read().upper())
open("/dev/stderr", "w").write("by its name\\n")
os.remove("sub/in.bin")
open("sub/out.bin", "wb").write(b"\\x00\\xff")
[subprocess.run(["id", "-u"], capture_output=True, text=True).stdout]
"""
    job = make_job(
        code,
        inputs={"greeting": "héllo"},
        stdin="rest",
        args=["a b"],
        env={"TOKEN": "secret"},
        files=[InputFile("sub/in.bin", b"x")],
        outputs=["**/*.bin"],
        runtime="runsc",
    )
    outcome = await private_lab.driver.run(job)
    assert outcome.ending is Ending.SUCCEEDED, outcome
    assert outcome.stdout.text.split(maxsplit=1) == [
        "4.4.0",
        "héllo ['main.py', 'a b'] secret REST\n",
    ]  # gVisor's kernel
    assert outcome.stderr.text == "by its name\n"
    assert outcome.result == Result(["65532\n"], "json")
    assert [(file.path, file.content) for file in outcome.files] == [("sub/out.bin", b"\x00\xff")]


def test_a_profile_that_names_it_gets_it(private_engine: PrivateEngine, make_server: Callable[..., Server]) -> None:
    policy = "version: 1\nprofiles: {default: {lanes: {monty: false}, isolation: {runtime: runsc}}}\n"
    with make_server(policy, DOCKER_HOST=private_engine.address.url).client() as client:
        answer = client.post("/v1/executions", json={"code": "print(open('/proc/version').read())"}).json()
    assert (answer["status"], answer["stdout"].split()[2]) == ("succeeded", "4.4.0")


async def test_its_end_is_told_as_anywhere(private_lab: Lab) -> None:
    outcome = await run(private_lab, "import sys\nsys.exit(7)")
    assert (outcome.ending, outcome.exit_code, outcome.signal) == (Ending.FAILED, 7, None)
    outcome = await run(private_lab, "import os\nos.kill(os.getpid(), 11)")
    assert (outcome.ending, outcome.exit_code, outcome.signal) == (Ending.FAILED, None, "SIGSEGV")
    outcome = await run(private_lab, "1 / 0")
    assert outcome.error is not None
    assert (outcome.ending, outcome.error.type, outcome.error.line) == (Ending.FAILED, "ZeroDivisionError", 1)


async def test_the_program_reaches_nothing_of_the_guest(private_lab: Lab) -> None:
    outcome = await run(
        private_lab,
        """
import json, os, signal
own = {os.fstat(number).st_ino for number in (0, 1, 2, 200)}
reached, sent, gained = [], [], []
names = ["mem", "cwd", "root", "exe", *("fd/" + number for number in os.listdir("/proc/1/fd"))]
for name in names + ["task/1/" + name for name in names]:
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        try:
            descriptor = os.open("/proc/1/" + name, flags | os.O_NONBLOCK)
        except OSError:
            continue
        if os.fstat(descriptor).st_ino not in own:  # the other ends of the program's own pipes
            reached.append([name, flags])
for number in range(1, 65):
    try:
        os.kill(1, number)
        sent.append(number)
    except OSError:
        pass
for gain in (os.setuid, os.setgid, os.seteuid, os.setegid, lambda zero: os.setgroups([zero])):
    try:
        gain(0)
        gained.append(gain.__name__)
    except OSError:
        pass
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"names": len(names), "reached": reached, "sent": sent, "gained": gained,
                  **{name: status[name].split() for name in ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapInh")}}))
""",
    )
    found = facts(outcome)
    number = found.pop("names")
    assert isinstance(number, int)
    assert number > 8  # there is something to be tried
    none, program = ["0000000000000000"], ["65532"]
    assert found == {
        "reached": [], "sent": [], "gained": [],
        "Uid": program * 4, "Gid": program * 4, "Groups": program,
        "CapPrm": none, "CapEff": none, "CapInh": none,
    }  # fmt: skip


async def test_it_has_no_network_and_writes_only_where_it_may(private_lab: Lab) -> None:
    outcome = await run(
        private_lab,
        """
import errno, json, os, socket
refused = {}
def attempt(name, work):
    try:
        work()
        refused[name] = None
    except OSError as error:
        refused[name] = errno.errorcode[error.errno]
for name, family, address in (("v4", socket.AF_INET, ("192.0.2.1", 80)), ("v6", socket.AF_INET6, ("2001:db8::1", 80))):
    attempt(name, lambda: socket.socket(family, socket.SOCK_STREAM).connect(address))
attempt("packets", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
for path in ("/x", "/usr/x", "/etc/hostname", "/dev/x"):
    attempt(path, lambda: open(path, "a").write("x"))
open("run", "w").write("#!/bin/sh\\n")
os.chmod("run", 0o755)
attempt("run", lambda: os.execv("run", ["run"]))
print(json.dumps(refused))
""",
    )
    found = facts(outcome)
    assert {name for name, answer in found.items() if answer is None} == set()
    assert len(found) == 8


WALLS: Final = {
    "time": ("while True: pass", limited(wall_seconds=1.0), {Ending.TIMED_OUT}),
    "processes": (
        "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        limited(wall_seconds=2.0, pids=8),
        {Ending.TIMED_OUT},
    ),
    "disk": ("open('f', 'wb').write(bytes(1 << 25))", LIMITS, {Ending.FAILED}),
    # gVisor ends as a whole, and whether the engine learns why is a race.
    "memory": ("bytearray(1 << 30)", LIMITS, {Ending.OUT_OF_MEMORY, Ending.LOST}),
}


@pytest.mark.parametrize("wall", WALLS)
async def test_limits_are_walls_there_and_the_next_program_runs_as_usual(private_lab: Lab, wall: str) -> None:
    code, limits, endings = WALLS[wall]
    outcome = await run(private_lab, code, limits)
    assert outcome.ending in endings
    assert dict(outcome.timings)["run"] < limits.wall_seconds + 2
    assert (await run(private_lab, "print(1)")).stdout.text == "1\n"


async def test_processes_are_counted_for_each_box_alone(private_lab: Lab) -> None:
    count = """
import os, time
forked = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(100)
        forked += 1
except OSError:
    time.sleep(1)
forked
"""
    limits = limited(pids=8, memory_bytes=256 << 20)
    for outcome in await asyncio.gather(*(run(private_lab, count, limits) for _ in range(2))):
        assert outcome.result in (Result(7, "json"), Result(8, "json")), outcome
