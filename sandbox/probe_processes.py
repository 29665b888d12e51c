"""A part of the probe: it tries the guest, other processes, and the environment."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import TYPE_CHECKING

from sandbox.probe_kernel import CALLS
from sandbox.probe_order import Breach

if TYPE_CHECKING:
    from sandbox.probe_order import Order


def guest_memory(order: Order) -> None:
    """Read or write the guest's memory."""
    ways = [("mem", os.O_RDONLY), ("mem", os.O_RDWR)]
    if not order["own_kernel"]:  # gVisor shows these two of every process, and there is no secret in them
        ways += [("maps", os.O_RDONLY), ("environ", os.O_RDONLY)]
    for name, flags in ways:
        try:
            descriptor = os.open(f"/proc/1/{name}", flags)
        except OSError:
            continue
        if name == "mem" or os.read(descriptor, 1):
            raise Breach(f"opened the guest's {name}")


def guest_descriptors(order: Order) -> None:
    """Get at what the guest speaks through."""
    own = _own_pipes() if order["own_kernel"] else set()  # gVisor lets a program at both ends of its own pipes
    for number in range(20):
        for flags in (os.O_RDONLY, os.O_WRONLY):
            try:
                descriptor = os.open(f"/proc/1/fd/{number}", flags | os.O_NONBLOCK)
            except OSError:
                continue
            if os.fstat(descriptor).st_ino not in own:
                raise Breach(f"opened the guest's descriptor {number}")
            os.close(descriptor)


def _own_pipes() -> set[int]:
    """The inodes of what this process has open."""
    found = set()
    for number in range(256):
        try:
            found.add(os.fstat(number).st_ino)
        except OSError:
            continue
    return found


def guest_words(_: Order) -> None:
    """Read what the guest was started with."""
    with open("/proc/1/cmdline", "rb") as file:
        if file.read().strip(b"\0"):
            raise Breach("the guest's arguments can be read")


def guest_trace(_: Order) -> None:
    """Trace the guest."""
    attach, seize = 16, 0x4206
    _name, intel, arm, _first = CALLS["kernel.tracing"][0]
    number = arm if platform.machine() == "aarch64" else intel
    call = ctypes.CDLL(None, use_errno=True).syscall
    for request in (attach, seize):
        if call(ctypes.c_long(number or 0), ctypes.c_long(request), ctypes.c_long(1), None, None) == 0:
            raise Breach("traced the guest")


def processes_visible(_: Order) -> None:
    """See a process that is not of this box."""
    own = {1, os.getpid(), os.getppid()}
    others = [name for name in os.listdir("/proc") if name.isdecimal() and int(name) not in own]
    if others:
        raise Breach(f"{len(others)} other processes can be seen")


def environment(_: Order) -> None:
    """Find a variable that came from outside."""
    foreign = sorted(set(os.environ) - {"HOME", "LANG", "PATH", "LC_CTYPE"})
    if foreign:
        raise Breach(f"there are variables: {', '.join(foreign)[:200]}")
