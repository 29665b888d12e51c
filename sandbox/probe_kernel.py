"""A part of the probe: it tries to have rights, and to make calls that no program needs of the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
from typing import TYPE_CHECKING

from sandbox.probe_order import Breach

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.probe_order import Order

REFUSED = frozenset({errno.EPERM, errno.ENOSYS})

# Trial -> calls: (name, number on x86-64, number on arm64, first argument). A number None: not on that machine.
CALLS: dict[str, tuple[tuple[str, int | None, int | None, int], ...]] = {
    "kernel.io_uring": (("io_uring_setup", 425, 425, 0), ("io_uring_enter", 426, 426, 0), ("aio", 206, 0, 0)),
    "kernel.bpf": (("bpf", 321, 280, 0),),
    "kernel.userfaultfd": (("userfaultfd", 323, 282, 1),),
    "kernel.keys": (("add_key", 248, 217, 0), ("request_key", 249, 218, 0), ("keyctl", 250, 219, 0)),
    "kernel.perf": (("perf_event_open", 298, 241, 0),),
    "kernel.kexec": (("kexec_load", 246, 104, 0), ("kexec_file_load", 320, 294, 0)),
    "kernel.modules": (("init_module", 175, 105, 0), ("finit_module", 313, 273, -1), ("delete_module", 176, 106, 0)),
    "kernel.mount": (
        ("mount", 165, 40, 0),
        ("umount2", 166, 39, 0),
        ("pivot_root", 155, 41, 0),
        ("chroot", 161, 51, 0),
        ("open_tree", 428, 428, 0),
        ("move_mount", 429, 429, 0),
        ("fsopen", 430, 430, 0),
        ("mount_setattr", 442, 442, 0),
    ),
    "kernel.namespaces": (
        ("unshare user", 272, 97, 0x10000000),
        ("unshare mount", 272, 97, 0x00020000),
        ("unshare pid", 272, 97, 0x20000000),
        ("unshare net", 272, 97, 0x40000000),
        ("unshare ipc", 272, 97, 0x08000000),
        ("unshare uts", 272, 97, 0x04000000),
        ("unshare cgroup", 272, 97, 0x02000000),
        ("unshare time", 272, 97, 0x00000080),
        ("setns", 308, 268, -1),
        ("clone user", 56, 220, 0x10000000 | int(signal.SIGCHLD)),
        ("clone3", 435, 435, 0),
    ),
    "kernel.tracing": (
        ("ptrace", 101, 117, 0),
        ("process_vm_readv", 310, 270, 1),
        ("process_vm_writev", 311, 271, 1),
        ("kcmp", 312, 272, 1),
        ("pidfd_getfd", 438, 438, -1),
    ),
    "kernel.handles": (("open_by_handle_at", 304, 265, -1), ("name_to_handle_at", 303, 264, -1)),
    "kernel.memory_files": (("memfd_create", 319, 279, 0), ("memfd_secret", 447, 447, 0)),
    "kernel.system": (
        ("reboot", 169, 142, 0),
        ("swapon", 167, 224, 0),
        ("syslog", 103, 116, 0),
        ("quotactl", 179, 60, 0),
        ("sethostname", 170, 161, 0),
        ("settimeofday", 164, 170, 0),
        ("clock_settime", 227, 112, 0),
        ("ioperm", 173, None, 0),
        ("iopl", 172, None, 3),
        ("modify_ldt", 154, None, 0),
    ),
    "kernel.queues": (
        ("shmget", 29, 194, 0),
        ("semget", 64, 190, 0),
        ("msgget", 68, 186, 0),
        ("mq_open", 240, 180, 0),
        ("inotify_init1", 294, 26, 0),
        ("fanotify_init", 300, 262, 0),
    ),
    "kernel.identity": (("setuid", 105, 146, 0), ("setgid", 106, 144, 0), ("setgroups", 116, 159, 0)),
}


def _status(name: str) -> str:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(name + ":"):
                return line.partition(":")[2].strip()
    raise LookupError(f"the kernel does not tell {name}")


def privileges_user(_: Order) -> None:
    """Be, or become, somebody with rights."""
    if 0 in {*os.getresuid(), *os.getresgid(), *os.getgroups()}:
        raise Breach("root, or in its group")


def privileges_capabilities(order: Order) -> None:
    """Have a capability, or be able to get one back."""
    # Another kernel may not know the last one; what it lets its programs have reaches nothing outside it.
    for name in ("CapInh", "CapPrm", "CapEff", *(() if order["own_kernel"] else ("CapBnd", "CapAmb"))):
        if int(_status(name), 16):
            raise Breach(f"{name} is {_status(name)}")


def privileges_new(_: Order) -> None:
    """Get rights from a set-uid file."""
    if _status("NoNewPrivs") != "1":
        raise Breach("set-uid files work")


def kernel_filter(_: Order) -> None:
    """Run without a filter of system calls."""
    if _status("Seccomp") != "2":
        raise Breach("system calls are not filtered")


def call_trial(calls: tuple[tuple[str, int | None, int | None, int], ...]) -> Callable[[Order], None]:
    """A trial that makes these calls, and is held where the kernel refuses them all."""

    def trial(_: Order) -> None:
        call = ctypes.CDLL(None, use_errno=True).syscall
        for name, intel, arm, first in calls:
            number = arm if platform.machine() == "aarch64" else intel
            if number is None:
                continue
            ctypes.set_errno(0)
            zeros = (ctypes.c_long(0),) * 5
            value = call(ctypes.c_long(number), ctypes.c_long(first), *zeros)
            if value == 0 and name.startswith("clone"):
                os._exit(0)
            if value != -1 or ctypes.get_errno() not in REFUSED:
                answer = "works" if value != -1 else errno.errorcode.get(ctypes.get_errno(), "unknown error")
                raise Breach(f"{name} reaches the kernel ({answer})")

    return trial
