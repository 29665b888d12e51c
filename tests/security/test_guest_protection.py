"""Promise: the program can neither reach, signal, trace, read, starve nor forge anything of the guest."""

from __future__ import annotations

import platform
from typing import Final

import pytest

from sandbox.outcome import Ending
from tests.engine_support import IN_BOTH, Lab, facts, limited

pytestmark = [pytest.mark.engine, IN_BOTH]


async def test_the_guests_memory_descriptors_and_environment_are_closed(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
opened = []
def attempt(name, flags):
    try:
        descriptor = os.open("/proc/1/" + name, flags)
        if flags == os.O_RDONLY or os.write(descriptor, b"1"):  # a few can be opened, but refuse every word
            opened.append(name)
    except OSError:
        pass
for name in os.listdir("/proc/1"):
    attempt(name, os.O_WRONLY)
for name in ("mem", "environ", "maps", "smaps", "auxv", "stack", "syscall", "pagemap", "personality", "io", "fd/0", "fd/1",
             "cwd/x", "root/x", "exe", "map_files", "task/1/mem", "fdinfo/1"):
    attempt(name, os.O_RDONLY)
listed = []
for name in ("fd", "map_files", "cwd", "root"):
    try:
        listed.append([name, os.listdir("/proc/1/" + name)])
    except OSError:
        pass
arguments = open("/proc/1/cmdline").read().strip(chr(0))
print(json.dumps({"opened": opened, "listed": listed, "arguments": arguments}))
""")
    )
    assert found == {"opened": [], "listed": [], "arguments": ""}


async def test_the_guest_takes_no_signal(lab: Lab) -> None:
    outcome = await lab.run("""
import os, signal, time
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError: pass
try:
    descriptor = os.pidfd_open(1)
    for number in (9, 15, 19): signal.pidfd_send_signal(descriptor, number)
except OSError: pass
for _ in range(10_000): os.kill(1, signal.SIGCHLD)
time.sleep(0.1)
print("still here")
""")
    assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "still here\n")


async def test_calls_that_compare_nothing_but_uids_cannot_name_the_guest(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os, resource
refused = {}
def attempt(name, work):
    try:
        work()
        refused[name] = None
    except OSError as error:
        refused[name] = error.errno
attempt("prlimit", lambda: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)))
attempt("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
attempt("setpriority of all", lambda: os.setpriority(os.PRIO_USER, 0, 19))
attempt("affinity", lambda: os.sched_setaffinity(1, {0}))
attempt("group", lambda: os.setpgid(1, 0))
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
os.nice(1)
os.sched_setaffinity(0, os.sched_getaffinity(0))
print(json.dumps(refused))
""")
    )
    assert found == {"prlimit": 1, "setpriority": 1, "setpriority of all": 1, "affinity": 1, "group": 3}


async def test_the_guest_ends_its_program_in_time_although_the_box_is_starved(lab: Lab) -> None:
    outcome = await lab.run(
        """
import os, threading
for _ in range(20):
    if os.fork() == 0: break
while True: os.write(1, bytes(65536))
""",
        limited(wall_seconds=1.0, cpu_cores=0.5),
    )
    assert outcome.ending in {Ending.TIMED_OUT, Ending.OUTPUT_LIMIT_EXCEEDED}
    assert dict(outcome.timings)["run"] < 2.0


async def test_the_program_has_the_descriptors_of_a_program_and_one_of_ours(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
print(json.dumps({name: os.readlink("/proc/self/fd/" + name).split(":")[0] for name in sorted(os.listdir("/proc/self/fd"))
                  if os.path.exists("/proc/self/fd/" + name)}))
""")
    )
    assert found == {"0": "pipe", "1": "pipe", "2": "pipe", "200": "pipe"}


async def test_the_guest_is_left_although_the_program_makes_itself_as_hard_to_kill(lab: Lab) -> None:
    outcome = await lab.run("""
import os
for score in (-1000, 0, 499, 500):
    try:
        with open("/proc/self/oom_score_adj", "w") as file: file.write(str(score))
    except OSError: pass
print(open("/proc/self/oom_score_adj").read().strip(), flush=True)
bytearray(1 << 30)
""")
    assert outcome.ending is Ending.OUT_OF_MEMORY
    assert outcome.stdout.text == "500\n"


# Numbers of x86-64, called with arguments that get as far as possible in a kernel that knows the call.
FORBIDDEN: Final = {
    "ptrace": 101, "syslog": 103, "setuid": 105, "setgid": 106, "setreuid": 113, "setgroups": 116, "capset": 126,
    "personality": 135, "mlock": 149, "modify_ldt": 154, "pivot_root": 155, "adjtimex": 159, "chroot": 161, "acct": 163,
    "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169, "sethostname": 170, "iopl": 172,
    "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "setxattr": 188, "io_setup": 206,
    "remap_file_pages": 216, "mbind": 237, "set_mempolicy": 238, "mq_open": 240, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "ioprio_set": 251, "inotify_init": 253, "migrate_pages": 256, "unshare": 272,
    "splice": 275, "tee": 276, "vmsplice": 278, "move_pages": 279, "inotify_init1": 294, "perf_event_open": 298,
    "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "sched_setattr": 314,
    "seccomp": 317, "memfd_create": 319, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, "pkey_mprotect": 329,
    "io_uring_setup": 425, "io_uring_enter": 426, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432,
    "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "landlock_create_ruleset": 444,
    "memfd_secret": 447, "set_mempolicy_home_node": 450, "shmget": 29, "semget": 64, "msgget": 68, "chown": 92,
    "uselib": 134, "ustat": 136, "vhangup": 153, "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227,
}  # fmt: skip


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
async def test_system_calls_beyond_the_list_are_refused(lab: Lab) -> None:
    found = facts(
        await lab.run(f"""
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
answers = {{}}
for name, number in {FORBIDDEN!r}.items():
    ctypes.set_errno(0)
    answers[name] = [libc.syscall(number, 0, 0, 0, 0, 0, 0), ctypes.get_errno()]
print(json.dumps(answers))
""")
    )
    assert {name: answer for name, answer in found.items() if answer != [-1, 1]} == {}  # EPERM, every one
    assert len(found) == len(FORBIDDEN)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
async def test_allowed_calls_are_refused_what_they_must_not_do(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
def answer(*arguments):
    ctypes.set_errno(0)
    return [libc.syscall(*(ctypes.c_long(argument) for argument in arguments)), ctypes.get_errno()]
CLONE, CLONE3, IOCTL, MKNODAT, SOCKETPAIR = 56, 435, 16, 259, 53
path = ctypes.c_char_p(b"/tmp/device")
answers = {
    **{f"namespace {flag:#x}": answer(CLONE, flag | 17, 0, 0, 0, 0)
       for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)},
    "clone3": answer(CLONE3, 0, 0),
    "push back input": answer(IOCTL, 0, 0x5412, 0),
    "line discipline": answer(IOCTL, 0, 0x5423, 0),
    "clone a file": answer(IOCTL, 0, 0x40049409, 0),
    "device node": answer(MKNODAT, -100, ctypes.cast(path, ctypes.c_void_p).value, 0o020666, 0x103),
    "netlink pair": answer(SOCKETPAIR, 16, 3, 0, 0),
}
print(json.dumps(answers))
""")
    )
    assert found.pop("clone3") == [-1, 38]
    assert {name: answer for name, answer in found.items() if answer != [-1, 1]} == {}
    assert len(found) == 12
