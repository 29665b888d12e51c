"""A part of the probe: it tries files and devices that are not the box's own."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from sandbox.probe_order import WORLD, Breach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.probe_order import Order

MOST_SOCKET_FILES = 20_000  # looked at
DEVICES = frozenset({"full", "null", "ptmx", "random", "tty", "urandom", "zero", "console"})
PLACES = (
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/sys/fs/cgroup",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/lib",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/tmp",  # noqa: S108 - to be refused
)
FACTS = (
    "/proc/keys",
    "/proc/key-users",
    "/proc/kallsyms",
    "/proc/modules",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/partitions",
    "/proc/diskstats",
    "/proc/timer_list",
    "/proc/slabinfo",
    "/proc/kcore",
)
SWITCHES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sysrq-trigger",
    "/proc/1/oom_score_adj",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/cgroup.procs",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/pids/pids.max",
    "/sys/fs/cgroup/pids.max",
    "/sys/kernel/uevent_helper",
)
SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")


def files_root(order: Order) -> None:
    """Write anywhere but where programs may."""
    if not order["own_kernel"] and not os.statvfs("/").f_flag & os.ST_RDONLY:
        raise Breach("the root is mounted writable")
    for place in (*PLACES, os.path.dirname(os.__file__)):
        path = os.path.join(place, f"airlock-probe-{os.getpid()}")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError:
            continue
        os.unlink(path)
        raise Breach(f"wrote into {place}")


def files_facts(_: Order) -> None:
    """Read what the kernel tells of the machine, and of others on it."""
    for path in FACTS:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            if os.read(descriptor, 1):
                raise Breach(f"{path} can be read")
        except OSError:
            continue
        finally:
            os.close(descriptor)


def files_switches(_: Order) -> None:
    """Turn one of the kernel's switches."""
    for path in SWITCHES:
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        if not stat.S_ISCHR(os.stat(path).st_mode):  # masked by /dev/null
            raise Breach(f"opened {path} for writing")


def files_mounts(_: Order) -> None:
    """Find something of the host that is mounted into the box."""
    usual = {"/", WORLD, "/dev", "/dev/shm", "/dev/mqueue", "/dev/pts", "/proc", "/sys"}  # noqa: S108
    given = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split()
            path, options = fields[4], fields[5].split(",")
            if path in given and "ro" in options:
                continue
            if path not in usual and not path.startswith(("/proc/", "/sys/", "/dev/")):
                raise Breach(f"{path} is mounted {options[0]}")


def files_sockets(_: Order) -> None:
    """Find a socket that somebody outside listens at."""
    paths = [*SOCKETS, *_files_below("/run"), *_files_below("/var/run"), *_files_below("/etc"), *_files_below(WORLD)]
    for path in paths:
        try:
            found = stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode)
        except OSError:
            continue
        if found:
            raise Breach(f"{path} is a socket")


def _files_below(top: str) -> Iterator[str]:
    seen = 0
    for folder, _, names in os.walk(top):
        for name in names:
            seen += 1
            if seen > MOST_SOCKET_FILES:
                return
            yield os.path.join(folder, name)


def files_execute(_: Order) -> None:
    """Execute what was written here."""
    for place in (WORLD, "/dev/shm"):  # noqa: S108
        path = os.path.join(place, f"probe-{os.getpid()}")
        with open(path, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 0\n")
        os.chmod(path, 0o700)
        try:
            os.execv(path, [path])  # noqa: S606 - it must not work
        except PermissionError:
            os.unlink(path)
    # reaching this line is what holds; an exec that works ends this process without a word


def devices_open(_: Order) -> None:
    """Open a device that is more than a stream of nothing."""
    for folder, _folders, names in os.walk("/dev"):
        for name in names:
            path = os.path.join(folder, name)
            mode = os.stat(path, follow_symlinks=False).st_mode
            if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and name not in DEVICES:
                try:
                    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                except OSError:
                    continue
                raise Breach(f"opened {path}")


def devices_make(_: Order) -> None:
    """Make a device."""
    for mode, device in ((stat.S_IFCHR, os.makedev(1, 1)), (stat.S_IFBLK, os.makedev(8, 0))):
        path = os.path.join(WORLD, f"device-{os.getpid()}")
        try:
            os.mknod(path, mode | 0o600, device)
        except OSError:
            continue
        raise Breach("made a device")
