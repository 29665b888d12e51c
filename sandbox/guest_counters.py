"""A part of the guest: what the kernel counted of this box. None is unknown, never zero."""

from __future__ import annotations

import os
import resource

from sandbox.guest_protocol import HOME

CGROUP = "/sys/fs/cgroup"
COUNTERS = (  # each by its name in cgroup v2, then v1, and by the key of its line
    ("oom_kills", "memory.events", b"oom_kill"),
    ("oom_kills", "memory/memory.oom_control", b"oom_kill"),
    ("forks_refused", "pids.events", b"max"),
    ("forks_refused", "pids/pids.events", b"max"),
    ("cpu_microseconds", "cpu.stat", b"usage_usec"),
    ("cpu_nanoseconds", "cpuacct/cpuacct.usage", b""),
    ("peak_memory_bytes", "memory.peak", b""),
    ("peak_memory_bytes", "memory/memory.max_usage_in_bytes", b""),
)
COUNTER_BYTES = 4096
counters: dict[str, tuple[int, bytes]] = {}  # by name: the open file, and the key in it


def oom_kills() -> int | None:
    """How many processes of this box the kernel killed at its memory limit."""
    return counter("oom_kills")


def forks_refused() -> int | None:
    """How many processes and threads the kernel refused this box at its limit."""
    return counter("forks_refused")


def cpu_seconds_of_others() -> float | None:
    """CPU time that this box used so far without that of the guest."""
    micro = counter("cpu_microseconds")
    nano = counter("cpu_nanoseconds") if micro is None else micro * 1000
    own = resource.getrusage(resource.RUSAGE_SELF)
    return None if nano is None else nano / 1e9 - own.ru_utime - own.ru_stime


def disk_full() -> bool | None:
    """Whether the place that can be written has no byte or no inode left; None where it does not say."""
    try:
        left = os.statvfs(HOME)
    except OSError:
        return None
    return None if left.f_blocks == 0 else left.f_bavail == 0 or (left.f_files > 0 and left.f_favail == 0)


def peak_memory_bytes() -> int | None:
    """The most memory that this box ever had, its files in /tmp included."""
    return counter("peak_memory_bytes")


def counter(name: str) -> int | None:
    """One of the box's own counters, or None where it cannot be read."""
    if name not in counters:
        return None
    descriptor, key = counters[name]
    try:
        text = os.pread(descriptor, COUNTER_BYTES, 0)
    except OSError:
        return None
    return number_in(text, key)


def number_in(text: bytes, key: bytes) -> int | None:
    """The number in the line of this key, or where there is none, the number that is all."""
    for line in text.split(b"\n"):
        name, _, value = line.rpartition(b" ")
        if name == key and value.isdigit():
            return int(value)
    return None


def open_counters() -> None:
    """Open the box's counters, of cgroup v2 or v1, once for all: in a cell their names lead elsewhere later."""
    for name, path, key in COUNTERS:
        try:
            descriptor = os.open(f"{CGROUP}/{path}", os.O_RDONLY)
        except OSError:
            continue
        counters.setdefault(name, (descriptor, key))
