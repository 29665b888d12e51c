"""Promise: the whole state of a box, as seen from inside and by the engine, is this and nothing else.

A new mount, descriptor, capability, group, device, variable or system call fails here before
anybody wonders what it is for. Where cgroups or engines differ, both forms are spelled out.
"""

from __future__ import annotations

import asyncio
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from sandbox import profile, seccomp
from sandbox.guest_fork import REPORT_DESCRIPTOR
from tests.data.syscalls import ARGUMENTS, LATE, NAMES, NOT_CALLED, PAST_EVERY_FILTER, REACHED
from tests.engine_support import IN_BOTH, LIMITS, Lab, facts, limited, make_job

pytestmark = pytest.mark.engine

PROBE: Final = """
import json, os, resource
def fields(path, names):
    found = dict(line.split(":", 1) for line in open(path) if ":" in line)
    return {name: found[name].split() for name in names if name in found}
mounts = {}
for line in open("/proc/self/mountinfo"):
    left, right = line.split(" - ")
    options = set(left.split()[5].split(",")) - {"relatime"}
    mounts[left.split()[4]] = [right.split()[0], *sorted(options)]
limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
print(json.dumps({
    "status": fields("/proc/self/status", ["Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff",
                                           "CapBnd", "CapAmb", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "Threads",
                                           "TracerPid"]),
    "mounts": mounts,
    "devices": sorted(set(os.listdir("/dev")) - {"core"}),  # which some engines link to the masked /proc/kcore
    "shm": sorted(os.listdir("/dev/shm")),
    "tmp": sorted(os.listdir("/tmp")),
    "sys": sorted(os.listdir("/sys/fs/cgroup")) and sorted(name for name in os.listdir("/sys") if os.listdir("/sys/" + name)),
    "limits": limits,
    "session": [os.getsid(0) == os.getpid(), os.getppid()],
    "score": open("/proc/self/oom_score_adj").read().strip(),
    "umask": os.umask(0o22),
}))
"""

NO_CAPABILITY: Final = ["0000000000000000"]
NO_SIGNAL: Final = NO_CAPABILITY
USER: Final = ["65532"] * 4
TEMPORARY: Final = ["tmpfs", "nodev", "noexec", "nosuid", "rw"]
SYSTEM: Final = ["nodev", "noexec", "nosuid"]
UNLIMITED: Final = [-1, -1]
# Counted for a uid over all boxes, and left to the engine: a limit of ours would let one box starve another.
ENGINES_LIMITS: Final = ("RLIMIT_NPROC", "RLIMIT_SIGPENDING")


@IN_BOTH
async def test_a_box_seen_from_inside(lab: Lab) -> None:
    found = facts(await lab.run(PROBE))
    assert found.pop("mounts")
    limits = found.pop("limits")
    assert isinstance(limits, dict)
    for name in ENGINES_LIMITS:
        assert limits.pop(name)
    assert limits == {
        "RLIMIT_NOFILE": [256, 256],
        "RLIMIT_OFILE": [256, 256],
        "RLIMIT_CORE": [0, 0],
        "RLIMIT_FSIZE": [LIMITS.disk_bytes, LIMITS.disk_bytes],
        "RLIMIT_MSGQUEUE": [0, 0],
        "RLIMIT_MEMLOCK": [0, 0],
        "RLIMIT_STACK": [8 << 20, 8 << 20],
        "RLIMIT_RTPRIO": [0, 0],
        "RLIMIT_NICE": [0, 0],
        "RLIMIT_AS": UNLIMITED,
        "RLIMIT_CPU": UNLIMITED,
        "RLIMIT_DATA": UNLIMITED,
        "RLIMIT_RSS": UNLIMITED,
        "RLIMIT_RTTIME": UNLIMITED,
    }
    assert found == {
        "status": {
            "Uid": USER,
            "Gid": USER,
            "Groups": ["65532"],
            "NoNewPrivs": ["1"],
            "Seccomp": ["2"],
            "CapInh": NO_CAPABILITY,
            "CapPrm": NO_CAPABILITY,
            "CapEff": NO_CAPABILITY,
            "CapBnd": NO_CAPABILITY,
            "CapAmb": NO_CAPABILITY,
            "SigPnd": NO_SIGNAL,
            "ShdPnd": NO_SIGNAL,
            "SigBlk": NO_SIGNAL,
            "SigIgn": ["0000000001001000"],  # SIGPIPE and SIGXFSZ, as CPython starts
            "SigCgt": ["0000000000000002"],  # SIGINT, as above
            "Threads": ["1"],
            "TracerPid": ["0"],
        },
        "devices": "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split(),  # noqa: SIM905 - a list to read
        "shm": [],
        "tmp": [],
        "sys": ["fs"] if lab.cell is None else [],  # the box's counters, and with them what ran before
        "session": [True, 1],
        "score": "1000",
        "umask": 0o22,
    }


PROCESS: Final = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None)
def read(path):
    with open(path) as file: return file.read().split()
def control(option):
    value = ctypes.c_int()
    return libc.prctl(option, ctypes.byref(value), 0, 0, 0) or value.value
print(json.dumps({
    "descriptors": {name: os.readlink("/proc/self/fd/" + name).split(":")[0] for name in os.listdir("/proc/self/fd")
                    if os.path.exists("/proc/self/fd/" + name)},
    "environment": dict(os.environ),
    "arguments": [sys.argv, sys.orig_argv],
    "shown": ["".join(read("/proc/self/" + name)).strip(chr(0)) for name in ("cmdline", "environ")],
    "directory": os.getcwd(),
    "names": [*os.uname()[:2], *read("/proc/sys/kernel/domainname")],
    "maps": [read("/proc/self/uid_map"), read("/proc/self/gid_map")],
    "cgroups": sorted({line.strip().split(":", 2)[2] for line in open("/proc/self/cgroup")}),
    # dumpable (as any process of its own), kept capabilities, secure bits, seccomp's mode, not new privileges
    "controls": [libc.prctl(option, 0, 0, 0, 0) for option in (3, 7, 27, 21, 39)],
    "parent's death, subreaper": [control(2), control(37)],
    "personality": read("/proc/self/personality"),
    "schedule": [os.sched_getscheduler(0), os.getpriority(0, 0), libc.prctl(30, 0, 0, 0, 0)],
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()) == [1, os.getpid()],
    "threads": len(os.listdir("/proc/self/task")),
}))
"""
WHOLE: Final = ["0", "0", "4294967295"]  # of an engine that does not map users


@IN_BOTH
async def test_the_programs_own_process(lab: Lab) -> None:
    found = facts(await lab.run(PROCESS))
    maps = found.pop("maps")
    assert isinstance(maps, list)
    for one in maps:
        assert isinstance(one, list)
        assert one == ["65532", "65532", "1"] if lab.cell else one == WHOLE or (one[0], one[1] != "0") == ("0", True)
    assert found == {
        "descriptors": {"0": "pipe", "1": "pipe", "2": "pipe", str(REPORT_DESCRIPTOR): "pipe"},
        "environment": {
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        },
        "arguments": [["main.py"], ["python3", "main.py"]],
        "shown": ["", ""],
        "directory": "/tmp",
        "names": ["Linux", "box", "(none)"],
        "cgroups": ["/"],
        "controls": [1, 0, 0, 2, 1],
        "parent's death, subreaper": [0, 0],
        "personality": ["00000000"],
        "schedule": [0, 0, 50_000],
        "processes": True,
        "threads": 1,
    }


@IN_BOTH
async def test_the_namespaces_of_a_box_are_its_own(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
print(json.dumps({name: os.readlink("/proc/self/ns/" + name) for name in os.listdir("/proc/self/ns")}))
""")
    )
    ours = {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in found}  # noqa: ASYNC240 - a link that the kernel makes
    assert {name for name in found if found[name] == ours[name]} <= {"user", "time", "time_for_children"}
    assert {"pid", "net", "ipc", "mnt", "uts", "cgroup"} <= found.keys()


# What any user may read of a kernel's /proc, over kernels and distributions; nothing in it names a process of the host.
PROC: Final = (
    "buddyinfo bus cgroups consoles cpuinfo crypto devices dma driver dynamic_debug execdomains fb filesystems "
    "fs irq loadavg locks mdstat meminfo misc mounts net schedstat self softirqs stat swaps sys sysvipc thread-self tty "
    "uptime version version_signature vmstat zoneinfo"
)


@IN_BOTH
async def test_what_is_shown_of_the_kernel(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
def shows(path):
    try:
        if os.path.isdir(path):
            return bool(os.listdir(path))
        return bool(os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1))
    except OSError:
        return False
print(json.dumps({"shown": [name for name in os.listdir("/proc") if not name.isdigit() and shows("/proc/" + name)]}))
""")
    )
    shown = found["shown"]
    assert isinstance(shown, list)
    assert {"self", "meminfo", "cpuinfo"} <= set(map(str, shown)) <= set(PROC.split())


@IN_BOTH
async def test_the_mounts_of_a_box(lab: Lab) -> None:
    mounts = facts(await lab.run(PROBE))["mounts"]
    assert isinstance(mounts, dict)
    covers = {path: mounts.pop(path) for path in list(mounts) if path.startswith(("/sys/", "/proc/"))}
    root = mounts.pop("/")
    assert isinstance(root, list)
    assert "ro" in root
    for path in ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts"):
        engines_own = mounts.pop(path, ["ro"])  # an engine that sets up no network need not mount them
        assert isinstance(engines_own, list)
        assert "ro" in engines_own
    assert mounts.pop("/dev/mqueue")  # the queue itself, and the empty folder over it
    assert mounts.pop("/dev/pts")
    assert mounts == {
        "/proc": ["proc", *SYSTEM, "rw"],
        "/sys": ["sysfs", *SYSTEM, "ro"],
        "/dev": ["tmpfs", "nosuid", "rw"],
        "/dev/shm": TEMPORARY,
        "/tmp": TEMPORARY,
    }
    for path, cover in covers.items():
        assert isinstance(cover, list)
        if path.startswith("/sys/fs/cgroup"):
            # cgroup v1 hangs its hierarchies into a tmpfs of root's, which cannot be written with this uid
            assert cover[0] in {"cgroup", "cgroup2", "tmpfs"}
            assert "ro" in cover or path == "/sys/fs/cgroup"
        else:
            assert cover[0] in {"proc", "tmpfs"}
            # a folder is covered by an empty read-only tmpfs, a file by /dev/null, the rest is the same but read-only
            assert "ro" in cover or cover == ["tmpfs", "nosuid", "rw"]


def switched_on(settings: Mapping[str, object]) -> dict[str, object]:
    """Without what is off: engines differ in which of it they name, and whether by null, zero or emptiness."""
    off: tuple[object, ...] = (None, False, 0, "", [], {}, [0, 0])
    return {name: value for name, value in settings.items() if value not in off}


@IN_BOTH
async def test_a_box_seen_by_the_engine(lab: Lab) -> None:
    job = make_job("import time\ntime.sleep(20)", limited(wall_seconds=20), cell=lab.cell)
    in_cell = lab.cell is not None
    running = asyncio.create_task(lab.driver.run(job))
    inspected = await lab.sole_box()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    host, config = inspected["HostConfig"], inspected["Config"]
    assert host.pop("Runtime")  # the engine's default, under whatever name
    _, _, filtered = host["SecurityOpt"].pop().partition("seccomp=")
    assert json.loads(filtered) == json.loads(seccomp.profile_json(cell=in_cell))
    assert switched_on(host) == {
        "NetworkMode": "none",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "Tmpfs": {
            "/tmp": "ro,noexec,nosuid,nodev,size=4096"
            if in_cell
            else f"rw,noexec,nosuid,nodev,size={LIMITS.disk_bytes},nr_inodes=10000,mode=1777"
        },
        "ShmSize": 8 << 20,
        "Memory": LIMITS.memory_bytes,
        "MemorySwap": LIMITS.memory_bytes,
        "OomScoreAdj": 500,
        "CpuPeriod": 100_000,
        "CpuQuota": 100_000,
        "PidsLimit": LIMITS.pids + (2 if in_cell else 1),
        "Ulimits": [
            {"Name": name, "Soft": value, "Hard": value}
            for name, value in {
                "nofile": 256, "core": 0, "fsize": LIMITS.disk_bytes, "msgqueue": 0, "memlock": 0, "stack": 8 << 20, "rtprio": 0,
            }.items()
        ],
        **(
            {"MaskedPaths": [path for path in profile.MASKED_PATHS if not path.startswith("/proc/")]}
            if in_cell  # its guest covers each new /proc, as is seen from inside
            else {
                "MaskedPaths": list(profile.MASKED_PATHS),
                "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            }
        ),
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    }  # fmt: skip
    labels = config.pop("Labels")  # the image's own are among them
    assert {
        name: labels[name] for name in (profile.INSTANCE_LABEL, profile.EXECUTION_LABEL, profile.ATTEMPT_LABEL)
    } == {
        profile.INSTANCE_LABEL: lab.instance,
        profile.EXECUTION_LABEL: labels[profile.EXECUTION_LABEL] if in_cell else job.execution,
        profile.ATTEMPT_LABEL: "0" if in_cell else "1",
    }
    assert labels[profile.EXECUTION_LABEL].startswith(profile.CELL) is in_cell
    assert labels[profile.DEADLINE_LABEL].isdecimal()
    assert config.pop("Image").startswith("sha256:")
    assert config["Entrypoint"].pop()  # the guest's source
    terms = config.pop("Cmd")
    assert [json.loads(one).keys() for one in terms or ()] == (
        [{"masked", "readonly", "shared_memory_bytes", "most_files", "preload"}] if in_cell else []
    )
    assert [entry for entry in config.pop("Env") if not entry.startswith("PATH=")] == ["LANG=C.UTF-8"]
    assert switched_on(config) == {
        "Hostname": "box",
        "User": "65532:65532",
        "WorkingDir": "/tmp",
        "Entrypoint": ["python3", "-I", "-B", "-c"],
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "StopSignal": "SIGKILL",
        "NetworkDisabled": True,
        "Healthcheck": {"Test": ["NONE"]},
    }
    assert inspected["Mounts"] == []
    assert not inspected["NetworkSettings"]["Ports"]


SWEEP: Final = """
import ctypes, json, mmap, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def ended(work):
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_REAL, 1)  # whatever waits is ended by SIGALRM
        os._exit(work())
    return os.waitpid(child, 0)[1]
def call(number, arguments):
    ctypes.set_errno(0)
    answer = libc.syscall(*(ctypes.c_long(one) for one in (number, *arguments)))
    return ctypes.get_errno() if answer == -1 else 0
def old_way():
    place = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    place.write(bytes.fromhex("b814000000cd80c3"))  # getpid by int 0x80
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(place)))() and 0
print(json.dumps({
    "calls": {number: ended(lambda: call(number, arguments)) for number, arguments in %r.items()},
    "x32": [ended(lambda: call(0x40000000 | number, (-1,) * 6)) for number in (0, 39, 512, 520)],
    "i386": ended(old_way),
}))
"""
BEYOND: Final = 600  # no kernel has as many calls, and a new one gets the next number
REFUSED: Final = (1 << 8, 38 << 8, 31)  # EPERM, ENOSYS, SIGSYS


@IN_BOTH
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
async def test_the_system_calls_that_a_box_reaches(lab: Lab) -> None:
    calls = {
        number: ARGUMENTS.get(NAMES.get(number, ""), (-1,) * 6)
        for number in range(BEYOND)
        if NAMES.get(number) not in NOT_CALLED
    }
    found = facts(await lab.run(SWEEP % calls))
    statuses = found["calls"]
    assert isinstance(statuses, dict)
    reached = {NAMES.get(int(number), number) for number, status in statuses.items() if status not in REFUSED}
    reached |= NOT_CALLED & seccomp.allowed_names()
    assert reached - REACHED <= PAST_EVERY_FILTER
    assert REACHED - reached <= LATE
    assert found["x32"] == [31] * 4
    assert found["i386"] == 31
