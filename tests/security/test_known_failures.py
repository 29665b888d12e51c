"""Promise: what is known to have gone wrong in systems of this kind does not go wrong here.

Each row is a class of defects that was met in the field, and the tests (below `tests/`) that hold the
promise against it. What has no test elsewhere has one below.

| defect | test |
|---|---|
| a privileged helper writes, owns or removes files where the program laid a link | security/test_files.py::test_only_regular_files_come_out_and_every_other_match_is_named, security/test_files.py::test_links_lead_the_collector_nowhere, security/test_posture.py::test_a_box_seen_by_the_engine |
| files to bring in or out named by absolute paths or `..` | security/test_files.py::test_an_input_file_goes_nowhere_but_below_tmp, security/test_files.py::test_patterns_stay_below_the_working_directory |
| the box shares a network with the service's own stores, or reaches the control plane | security/test_network.py::test_only_local_sockets_can_be_made, security/test_network.py::test_connecting_fails_at_once |
| the default network is the host's or a bridge | security/test_posture.py::test_a_box_seen_by_the_engine |
| the service's environment is visible to programs | security/test_environment.py::test_nothing_of_the_gateways_environment_is_visible |
| programs share a uid and lie about as files: one reads another's | security/test_files.py::test_nothing_is_left_for_the_next_box, security/test_environment.py::test_only_the_boxs_own_processes_exist, security/test_known_failures.py::test_a_program_is_no_file_and_no_argument |
| a set-user-id program of the image gives rights | security/test_known_failures.py::test_no_file_of_the_image_gives_rights |
| something of the caller's runs before the guard is up | security/test_known_failures.py::test_nothing_that_a_caller_sends_runs_in_the_guest |
| the filter refuses ordinary work, so that operators switch it off | security/test_known_failures.py::test_the_standard_library_works_behind_the_filter, lanes/test_container.py::test_ordinary_concurrency_works |
| a reader of syntax, or an interpreter in the service's process, is taken for the wall | security/test_known_failures.py::test_the_wall_stands_without_any_check |
| checking a program executes it | lanes/test_monty.py::test_the_gate_never_runs_the_program, lanes/test_monty.py::test_the_type_check_never_runs_the_program_and_forgets_it |
| the policy's refusal is advice: the program runs all the same | security/test_known_failures.py::test_a_denied_program_does_not_run_whatever_else_is_asked |
| an empty list of what is allowed allows everything | core/test_policy.py::test_imports |
| words of the caller become part of a command line | core/test_profile.py::test_nothing_of_the_job_but_its_limits_and_names_is_told_to_the_engine |
| unauthenticated on every address | service/test_keys.py::test_other_machines_can_reach_it_only_with_keys |
| the engine's socket within reach of a program | security/test_posture.py::test_the_mounts_of_a_box, security/test_network.py::test_only_local_sockets_can_be_made |
| root, capabilities, a writable root, no limits by default | security/test_posture.py::test_a_box_seen_from_inside, security/test_posture.py::test_a_box_seen_by_the_engine |
| hardening that is documented and not applied | security/test_posture.py::test_the_programs_own_process, security/test_posture.py::test_the_namespaces_of_a_box_are_its_own |
| a memory limit that nobody enforces, or that breaks numeric libraries | security/test_memory.py::test_a_gigabyte_under_128_mebibytes_is_out_of_memory |
| out of memory looks like any crash | security/test_memory.py::test_other_kills_and_exit_codes_are_not_taken_for_it, security/test_endings.py::test_the_ending_of_a_program_is_told_as_it_was |
| a process limit that nobody enforces; a bomb starves the janitor and the neighbours | security/test_processes.py::test_the_number_of_processes_is_a_wall, security/test_processes.py::test_everything_ends_at_the_limit_and_the_next_program_runs_as_usual |
| a limit on processes that counts over all boxes of one uid | security/test_known_failures.py::test_a_box_full_of_processes_takes_none_from_another |
| a time-out that ends the waiting and not the program | security/test_processes.py::test_everything_ends_at_the_limit_and_the_next_program_runs_as_usual |
| a time-out told as an exit code | security/test_endings.py::test_the_ending_of_a_program_is_told_as_it_was |
| a child that was forked twice survives | security/test_processes.py::test_a_daemon_ends_with_its_program_and_its_late_output_belongs_to_nobody |
| cleaning up by looking for processes misses those that are quick | security/test_processes.py::test_everything_ends_at_the_limit_and_the_next_program_runs_as_usual |
| nobody reads the output while the program runs: a megabyte is a time-out | security/test_output.py::test_a_hundred_megabytes_are_counted_and_mostly_left_in_the_box |
| unbounded output, or the cut not told | security/test_output.py::test_a_flood_without_end_is_cut_off, security/test_output.py::test_as_much_as_is_kept_is_kept_whole |
| one byte that is not UTF-8 breaks the answer | security/test_output.py::test_any_bytes_come_out_as_they_are |
| the exit code is lost while output is passed on | security/test_endings.py::test_a_program_ends_as_in_cpython |
| a program writes the supervisor's messages | security/test_output.py::test_what_looks_like_a_frame_is_output, security/test_output.py::test_a_forged_report_is_the_programs_own_word_and_bounded |
| a program ends or traces what supervises it | security/test_guest_protection.py::test_the_guest_takes_no_signal, security/test_guest_protection.py::test_the_guests_memory_descriptors_and_environment_are_closed |
| a second box of one name, or boxes that are told apart by a number that wraps | lanes/test_container.py::test_the_janitor_leaves_other_instances_alone, core/test_profile.py::test_a_box_says_whose_it_is_and_for_how_long |
| boxes left behind by a service that died | service/test_crash.py::test_killed_while_ten_run_it_finishes_them_all_after_the_restart |
| a failure of the platform is charged to the program, or called a success | lanes/test_container.py::test_an_engine_that_fails_or_hangs_is_never_an_exception |
| an interpreter in the service's process that was given no limits | lanes/test_monty.py::test_a_bomb_ends_in_time_and_the_next_program_runs |
| an approval that still counts when the code has changed | service/test_main_job.py::test_a_stale_token_is_412_and_a_second_ruling_409 |
| works with one kind of cgroups only | core/test_profile.py::test_cgroups_and_runtimes_differ_only_where_they_must |
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from sandbox.job import InputFile, JsonValue
from sandbox.outcome import Ending
from tests.conftest import Server
from tests.engine_support import IN_BOTH, Lab, facts, limited, make_job

pytestmark = pytest.mark.engine

TESTS: Final = Path(__file__).resolve().parent.parent
ROWS: Final = [line.strip("| ").split(" | ") for line in str(__doc__).splitlines() if "::" in line]


@pytest.mark.parametrize(("defect", "tests"), ROWS, ids=[row[0][:60] for row in ROWS])
def test_every_known_failure_has_a_test_that_exists(defect: str, tests: str) -> None:
    assert defect
    for named in tests.split(", "):
        file, _, name = named.partition("::")
        assert re.search(rf"^\s*(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), named


@IN_BOTH
async def test_no_file_of_the_image_gives_rights(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os, stat
giving, seen = [], 0
for folder, folders, names in os.walk("/"):
    if folder in ("/proc", "/sys"):
        folders.clear()
        continue
    for path in (os.path.join(folder, name) for name in names):
        mode = os.lstat(path).st_mode
        seen += 1
        if stat.S_ISREG(mode) and (mode & 0o6000 or "security.capability" in os.listxattr(path)):
            giving.append(path)
print(json.dumps({"giving": giving, "seen": seen > 1000}))
""")
    )
    assert found == {"giving": [], "seen": True}


@IN_BOTH
async def test_a_program_is_no_file_and_no_argument(lab: Lab) -> None:
    outcome = await lab.run("""
import json, os
canary = "canary-" + "b71c"
paths = [f"/proc/{name}/{file}" for name in os.listdir("/proc") if name.isdigit() for file in ("cmdline", "environ")]
for root in ("/dev/shm", "/etc", "/home", "/root", "/run", "/srv", "/tmp", "/var"):
    paths += [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
read, holding = 0, []
for path in paths:
    try:
        with open(path, "rb") as file: text = file.read()
    except OSError:
        continue
    read += 1
    if canary.encode() in text: holding.append(path)
print(json.dumps({"holding": holding, "read": read > 50}))  # canary-b71c
""")
    assert facts(outcome) == {"holding": [], "read": True}


@IN_BOTH
async def test_nothing_that_a_caller_sends_runs_in_the_guest(lab: Lab) -> None:
    names = ["fnmatch", "reprlib", "json", "traceback", "signal", "sitecustomize", "usercustomize", "encodings/idna"]
    job = make_job(
        "open('kept.txt', 'w').write('mine')\nprint('as usual')\n['x' * 100] * 10_000",
        files=[InputFile(f"{name}.py", b"open('/tmp/ran', 'w')\nraise SystemExit(9)") for name in names],
        env={
            "LD_PRELOAD": "/tmp/kept.txt",
            "LD_LIBRARY_PATH": "/tmp",
            "PYTHONPATH": "/tmp",
            "PYTHONSTARTUP": "/tmp/json.py",
            "PYTHONINSPECT": "1",
            "PYTHONHOME": "/tmp",
            "BASH_ENV": "/tmp/json.py",
        },
        outputs=["*.txt", "ran"],
    )
    outcome = await lab.driver.run(job)
    assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "as usual\n")
    assert [(file.path, file.content) for file in outcome.files] == [("kept.txt", b"mine")]
    assert outcome.result is not None
    assert (outcome.result.form, outcome.evidence.detail) == ("repr", "")


@IN_BOTH
async def test_the_standard_library_works_behind_the_filter(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import contextlib, importlib, io, json, sys
absent = {"_ios_support", "antigravity", "this", "idlelib", "tkinter", "turtle", "turtledemo", "lib2to3", "ensurepip", "__phello__"}
failed = {}
for name in sorted(sys.stdlib_module_names - absent):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module(name)
    except ModuleNotFoundError:
        continue  # of another system, or not in this image
    except BaseException as error:
        failed[name] = repr(error)
def attempt(name, work):
    try:
        work()
    except BaseException as error:
        failed[name] = repr(error)
import asyncio, ctypes, mmap, multiprocessing, os, shutil, socket, sqlite3, subprocess, tempfile, threading, zipfile, zoneinfo
def database():
    with sqlite3.connect("/tmp/base") as base: base.execute("pragma journal_mode=wal"), base.execute("create table t (a)")
def callback():
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    numbers = (ctypes.c_int * 3)(3, 1, 2)
    ctypes.CDLL(None).qsort(numbers, 3, 4, kind(lambda a, b: a[0] - b[0]))
    assert list(numbers) == [1, 2, 3]
def shared():
    from multiprocessing import shared_memory
    block = shared_memory.SharedMemory(create=True, size=4096)
    block.close(), block.unlink()
async def talk():
    server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), "/tmp/socket")
    reader, writer = await asyncio.open_unix_connection("/tmp/socket")
    assert await reader.read() == b""
    server.close()
def folders():
    with tempfile.TemporaryDirectory() as place:
        with zipfile.ZipFile(place + "/a.zip", "w") as archive: archive.writestr("b", b"c")
        shutil.copytree(place, place + "2")
attempt("database", database)
attempt("callback", callback)
attempt("shared memory", shared)
attempt("sockets of its own", lambda: asyncio.run(talk()))
attempt("a lock of many", lambda: multiprocessing.Lock().acquire())
attempt("a child", lambda: subprocess.run(["sh", "-c", "true"], check=True))
attempt("memory maps", lambda: mmap.mmap(-1, 1 << 16))
attempt("folders", folders)
attempt("threads", lambda: [threading.Thread(target=len, args=[""]).start() for _ in range(8)])
attempt("names of hosts", lambda: socket.gethostname())
print(json.dumps(failed))
""")
    )
    assert found == {}


@IN_BOTH
async def test_the_wall_stands_without_any_check(lab: Lab) -> None:
    """The driver is asked directly, so no check has read these; each is written to get past one that would have."""
    codes = [
        "getattr(__builtins__, '__imp' + 'ort__')('socket').create_connection(('192.0.2.1', 80))",
        (
            "kinds = ().__class__.__base__.__subclasses__()\n"
            "[kind for kind in kinds if kind.__name__ == 'BuiltinImporter'][0].load_module('posix').open('/etc/mine', 0o101)"
        ),
        "exec(bytes.fromhex('696d706f7274206f730a6f732e63686f776e28222f746d70222c20302c203029').decode())",
        "import ctypes\nraise PermissionError if ctypes.CDLL(None).setuid(0) else SystemExit",
    ]
    for outcome in await lab.run_all(*codes):
        assert outcome.ending is Ending.FAILED
        assert outcome.error is not None
        assert outcome.error.type in {"PermissionError", "OSError"}, outcome.error


@IN_BOTH
async def test_a_box_full_of_processes_takes_none_from_another(lab: Lab) -> None:
    most = "import os, signal\nchildren = 0\nwhile True:\n    try:\n        if os.fork() == 0: signal.pause()\n    except OSError: break\n    children += 1\n"
    full = asyncio.create_task(
        lab.run(most + "import time\ntime.sleep(100)", limited(pids=256, wall_seconds=3, memory_bytes=512 << 20))
    )
    await asyncio.sleep(1)
    beside = await lab.run(most + "print(children)")
    assert (beside.ending, beside.stdout.text) == (Ending.SUCCEEDED, "31\n")
    assert (await full).limits_reached == ("time", "pids")


def test_a_denied_program_does_not_run_whatever_else_is_asked(make_server: Callable[..., Server]) -> None:
    server = make_server("version: 1\ndefaults:\n  checks: {imports: {deny: [subprocess]}}\n")
    code = "print('ran')\nimport subprocess"
    with server.client() as client:
        asked: list[dict[str, JsonValue]] = [{}, {"force": True}, {"lane": "container"}, {"limits": {"time": "1s"}}]
        for number, more in enumerate(asked):
            answer = client.post("/v1/executions", json={"code": code, "task_id": f"task-{number}"} | more).json()
            told = [answer["status"], answer.get("stdout"), answer.get("attempts"), answer.get("exit_code")]
            assert told == ["denied", "", [], None], answer
