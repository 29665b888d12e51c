"""What a box may be: from a job to the engine's own words for a container.

Owns every hardening decision that is made outside the box. Pure: it knows no engine client,
no clock and no file, so that the whole posture can be read, and tested, as data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, TypedDict

from sandbox.job import Cell, Job
from sandbox.seccomp import profile_json

# The owner of a box is found by its labels alone; nothing is ever removed by name.
INSTANCE_LABEL: Final = "airlock.instance"
EXECUTION_LABEL: Final = "airlock.execution"
ATTEMPT_LABEL: Final = "airlock.attempt"
DEADLINE_LABEL: Final = "airlock.deadline"

CELL: Final = "cell-"  # what the execution's label of a cell begins with, which outlives executions
SPARE: Final = "spare-"  # what the execution's label of a box begins with that no execution has yet

PROGRAM_USER: Final = "65532:65532"
# gVisor lets processes of one uid reach each other's descriptors, whatever these say: there the guest is root of the
# box's own kernel, and gives its program another uid. All that it needs for that, and nothing of the host's.
GVISOR_GUEST_USER: Final = "0:0"
GVISOR_GUEST_CAPABILITIES: Final = ("SETUID", "SETGID", "KILL")
OPEN_FILES: Final = 256  # per process; bounds what pipes can pin as well
STACK_BYTES: Final = 8 << 20
SHARED_MEMORY_BYTES: Final = 8 << 20  # /dev/shm: semaphores of multiprocessing; counted as memory of the box
CPU_PERIOD_MICROSECONDS: Final = 100_000
SMALLEST_CPU_QUOTA_MICROSECONDS: Final = 1_000  # the kernel's floor
GUEST_PIDS: Final = 1
CELL_PIDS: Final = 1  # more: the one that makes each run
# gVisor's own threads count against the box: fewer hang its start, and each process of the program needs about ten.
# What binds the program there is nproc, which its kernel counts for this box alone.
GVISOR_PIDS: Final = 1024
GVISOR_PIDS_EACH: Final = 10
MOST_FILES: Final = 10_000  # what the guest's collector looks at, so that nothing can hide behind it
UNUSED_TMPFS: Final = "ro,noexec,nosuid,nodev,size=4096"  # each program of a cell gets its own over it
# The gateway and the engine die last; the guest dies after its program, which raises itself to 1000.
OOM_SCORE: Final = 500

MASKED_PATHS: Final = (
    # what engines mask by default
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    # facts about the host that are nobody's business in a box
    "/proc/bootconfig",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/modules",
    "/proc/kallsyms",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/partitions",
    "/proc/diskstats",
    "/proc/key-users",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/proc/sysrq-trigger",
    "/proc/pressure",
    # writable by any uid, and a door to the terminal drivers
    "/dev/mqueue",
    "/dev/pts",
    # /sys, but for /sys/fs/cgroup: the guest tells peak memory and OOM kills from the box's own counters
    "/sys/block",
    "/sys/bus",
    "/sys/class",
    "/sys/dev",
    "/sys/devices",
    "/sys/firmware",
    "/sys/hypervisor",
    "/sys/kernel",
    "/sys/module",
    "/sys/power",
    "/sys/fs/bcachefs",
    "/sys/fs/bpf",
    "/sys/fs/btrfs",
    "/sys/fs/erofs",
    "/sys/fs/ext4",
    "/sys/fs/f2fs",
    "/sys/fs/fuse",
    "/sys/fs/nfs",
    "/sys/fs/nilfs2",
    "/sys/fs/ocfs2",
    "/sys/fs/pstore",
    "/sys/fs/resctrl",
    "/sys/fs/selinux",
    "/sys/fs/smackfs",
    "/sys/fs/tmpfs",
    "/sys/fs/xfs",
    "/sys/fs/zonefs",
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What a container's options depend on: `cgroup_version` is 1 or 2, `runtime` None for the engine's default.

    `gvisor_runtimes` are the engine's names of gVisor.
    """

    cgroup_version: int
    runtime: str | None = None
    default_runtime: str = "runc"
    gvisor_runtimes: frozenset[str] = frozenset({"runsc"})

    @property
    def is_gvisor(self) -> bool:
        """Whether the box gets a kernel of its own instead of namespaces and filters."""
        return (self.runtime or self.default_runtime) in self.gvisor_runtimes


class Ulimit(TypedDict):
    """One resource limit of a process."""

    Name: str
    Soft: int
    Hard: int


class LogConfig(TypedDict):
    """Where the engine writes what a container prints."""

    Type: str
    Config: dict[str, str]


class RestartPolicy(TypedDict):
    """What the engine does when a container ends."""

    Name: str


class Healthcheck(TypedDict):
    """What the engine runs inside a container by itself."""

    Test: list[str]


class HostConfig(TypedDict, total=False):
    """The part of a container's options that concerns the host, in the engine API's words."""

    NetworkMode: str
    Memory: int
    MemorySwap: int
    MemorySwappiness: int
    OomScoreAdj: int
    CpuPeriod: int
    CpuQuota: int
    PidsLimit: int
    Ulimits: list[Ulimit]
    ReadonlyRootfs: bool
    Tmpfs: dict[str, str]
    IpcMode: str
    ShmSize: int
    CgroupnsMode: str
    CapDrop: list[str]
    CapAdd: list[str]
    SecurityOpt: list[str]
    MaskedPaths: list[str]
    ReadonlyPaths: list[str]
    LogConfig: LogConfig
    RestartPolicy: RestartPolicy
    AutoRemove: bool
    Init: bool
    Privileged: bool
    Runtime: str


class ContainerConfig(TypedDict):
    """A container's options in the engine API's words."""

    Image: str
    Entrypoint: list[str]
    Cmd: list[str]
    User: str
    WorkingDir: str
    Env: list[str]
    Hostname: str
    Labels: dict[str, str]
    NetworkDisabled: bool
    OpenStdin: bool
    StdinOnce: bool
    AttachStdin: bool
    AttachStdout: bool
    AttachStderr: bool
    Tty: bool
    StopSignal: str
    Healthcheck: Healthcheck
    HostConfig: HostConfig


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """What the engine is asked to create, and under which name."""

    name: str
    config: ContainerConfig


def container_options(job: Job, *, engine: EngineFacts, instance: str, deadline: float, guest: str) -> ContainerOptions:
    """Options of the single-use box for `job`.

    `deadline` (seconds since the epoch) is when nobody can be waiting for the box any more;
    `guest` is the source text of the guest, which becomes the box's first process.
    """
    return ContainerOptions(
        name=f"airlock-{job.execution}-{job.attempt}",
        config={
            "Image": job.image,
            "Entrypoint": ["python3", "-I", "-B", "-c", guest],
            "Cmd": [] if job.cell is None else [_terms(job.cell)],
            "User": GVISOR_GUEST_USER if engine.is_gvisor else PROGRAM_USER,
            "WorkingDir": "/tmp",  # noqa: S108 - the box's own, and its only writable place
            "Env": ["LANG=C.UTF-8"],  # as the program's: CPython derives the encoding of its streams from it
            "Hostname": "box",
            "Labels": {
                INSTANCE_LABEL: instance,
                EXECUTION_LABEL: job.execution,
                ATTEMPT_LABEL: str(job.attempt),
                DEADLINE_LABEL: str(int(deadline)),
            },
            # On top of network mode "none": no resolver address of the host inside, and a faster start.
            "NetworkDisabled": True,
            # The box's stdin ends when its owner's connection does, and the guest ends with it.
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "StopSignal": "SIGKILL",  # the guest takes no other, and an engine that stops would wait for it
            "Healthcheck": {"Test": ["NONE"]},  # an image's own would run beside the guest
            "HostConfig": _host_config(job, engine),
        },
    )


def _host_config(job: Job, engine: EngineFacts) -> HostConfig:
    limits = job.limits
    pids = limits.pids + GUEST_PIDS + (0 if job.cell is None else CELL_PIDS)
    quota = round(limits.cpu_cores * CPU_PERIOD_MICROSECONDS)
    host: HostConfig = {
        "NetworkMode": "none",
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,  # memory and swap together: equal means no swap
        "OomScoreAdj": OOM_SCORE,
        "CpuPeriod": CPU_PERIOD_MICROSECONDS,
        "CpuQuota": max(quota, SMALLEST_CPU_QUOTA_MICROSECONDS),
        "PidsLimit": GVISOR_PIDS + GVISOR_PIDS_EACH * pids if engine.is_gvisor else pids,
        "Ulimits": _ulimits(job, engine),
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": _tmpfs_options(limits.disk_bytes) if job.cell is None else UNUSED_TMPFS},  # noqa: S108 - as above
        "IpcMode": "private",
        "ShmSize": SHARED_MEMORY_BYTES,
        "CgroupnsMode": "private",
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={profile_json(cell=job.cell is not None)}"],
        # The kernel makes no new /proc where the old one is covered in parts: a cell's guest covers each new one.
        "MaskedPaths": [path for path in MASKED_PATHS if job.cell is None or not _is_made_anew(path)],
        "ReadonlyPaths": [path for path in READONLY_PATHS if job.cell is None or not _is_made_anew(path)],
        "LogConfig": {"Type": "none", "Config": {}},  # any other driver lets a program fill the host's disk
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,  # the end of a box is evidence; its owner removes it after reading
        "Init": False,  # the guest is the first process
        "Privileged": False,
    }
    if engine.cgroup_version == 1 and not engine.is_gvisor:
        host["MemorySwappiness"] = 0  # refused by cgroup v2
    if engine.is_gvisor:
        host["CapAdd"] = list(GVISOR_GUEST_CAPABILITIES)
    if engine.runtime is not None:
        host["Runtime"] = engine.runtime
    return host


def _ulimits(job: Job, engine: EngineFacts) -> list[Ulimit]:
    limits = {
        "nofile": OPEN_FILES,
        "core": 0,
        "fsize": job.limits.disk_bytes,  # the tmpfs does not stop a sparse file
        "msgqueue": 0,
        "memlock": 0,
        "stack": STACK_BYTES,
        "rtprio": 0,
    }
    if engine.is_gvisor:
        limits["nproc"] = job.limits.pids  # elsewhere it counts a uid over all boxes: one could starve the others
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in limits.items()]


def _is_made_anew(path: str) -> bool:
    return path.startswith("/proc/")


def _terms(cell: Cell) -> str:
    """What the guest of a cell has to know; see `guest_protocol.Terms`."""
    return json.dumps(
        {
            "masked": [path for path in MASKED_PATHS if _is_made_anew(path)],
            "readonly": [path for path in READONLY_PATHS if _is_made_anew(path)],
            "shared_memory_bytes": SHARED_MEMORY_BYTES,
            "most_files": MOST_FILES,
            "preload": list(cell.preload),
        }
    )


def _tmpfs_options(disk_bytes: int) -> str:
    return f"rw,noexec,nosuid,nodev,size={disk_bytes},nr_inodes={MOST_FILES},mode=1777"
