"""Which system calls a box may make: an allow-list, as data.

Owns the table and its JSON form (the engine's profile format, which a 20.10 engine already
reads). Knows nothing of engines, jobs or Python programs beyond what CPython calls.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from sandbox.guest_cell import CELL_CLONE

ENOSYS: Final = 38


@dataclass(frozen=True, slots=True)
class Allowed:
    """Calls that are allowed whatever their arguments, and why a Python program needs them."""

    reason: str
    names: str


@dataclass(frozen=True, slots=True)
class AllowedWhen:
    """A call that is allowed only when every (index, value) argument matches under its mask."""

    reason: str
    name: str
    arguments: tuple[tuple[int, int], ...]
    mask: int | None = None


# Absent on purpose, although common defaults have them: io_uring and aio, bpf, userfaultfd,
# keyrings, ptrace and process_vm_*, memfd_create (a way round a noexec /tmp), inotify and fanotify
# (budgets shared by all boxes of one uid), System V and POSIX queues, splice and vmsplice, mlock,
# every namespace, mount, module, swap, quota and clock call, and whatever changes an identity:
# the engine sets the identity before the filter is loaded.
ALLOWED: Final = (
    Allowed(
        "files: everything is on a read-only root or a small tmpfs",
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close "
        "close_range lseek stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink "
        "readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir rename renameat renameat2 unlink "
        "unlinkat link linkat symlink symlinkat chmod fchmod fchmodat fchmodat2 umask truncate ftruncate fallocate "
        "fadvise64 readahead fsync fdatasync sync_file_range flock utime utimes utimensat futimesat sendfile "
        "copy_file_range dup dup2 dup3 fcntl getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr",
    ),
    Allowed("memory", "mmap munmap mprotect mremap msync madvise mincore brk membarrier"),
    Allowed(
        "processes and threads; clone and the calls that name another process have rules of their own",
        "fork vfork execve exit exit_group wait4 waitid getpid getppid gettid getpgrp getpgid setpgid getsid setsid "
        "set_tid_address set_robust_list get_robust_list futex futex_waitv rseq sched_yield sched_getaffinity "
        "sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval "
        "getpriority prctl arch_prctl kill tkill tgkill pidfd_open pidfd_send_signal getrusage getrlimit setrlimit "
        "times uname sysinfo getcpu capget",
    ),
    Allowed(
        "signals and timers",
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait rt_sigqueueinfo "
        "rt_tgsigqueueinfo sigaltstack pause restart_syscall signalfd signalfd4 alarm getitimer setitimer "
        "timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime "
        "timerfd_settime time gettimeofday clock_gettime clock_getres nanosleep clock_nanosleep",
    ),
    Allowed("who am I; never who I would like to be", "getuid geteuid getgid getegid getresuid getresgid getgroups"),
    Allowed(
        "waiting and pipes",
        "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 "
        "eventfd eventfd2 pipe pipe2",
    ),
    Allowed(
        "sockets between the program's own processes; which kind can exist at all is the socket rule's business",
        "bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt sendto recvfrom sendmsg "
        "recvmsg sendmmsg recvmmsg shutdown",
    ),
    Allowed("random numbers", "getrandom"),
)

_AF_UNIX = 1
_SELF = 0
_PRIO_PROCESS = 0
_FILE_TYPE, _FIFO = 0o170000, 0o010000
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET

ALLOWED_WHEN: Final = (
    AllowedWhen("AF_UNIX only: no inet, netlink, packet, vsock or kernel-crypto socket", "socket", ((0, _AF_UNIX),)),
    AllowedWhen("as above", "socketpair", ((0, _AF_UNIX),)),
    AllowedWhen("threads and processes, no new namespaces", "clone", ((0, 0),), mask=_NEW_NAMESPACES),
    AllowedWhen("named pipes, no device nodes", "mknod", ((1, _FIFO),), mask=_FILE_TYPE),
    AllowedWhen("as above", "mknodat", ((2, _FIFO),), mask=_FILE_TYPE),
    # The guest has the program's uid, and for these the kernel compares nothing but uids: a program
    # that could name another process could lower the guest's limits until the kernel kills it.
    AllowedWhen("limits, of the caller only", "prlimit64", ((0, _SELF),)),
    AllowedWhen("affinity, of the caller only", "sched_setaffinity", ((0, _SELF),)),
    AllowedWhen("niceness, of the caller only", "setpriority", ((0, _PRIO_PROCESS), (1, _SELF))),
    # ioctl is a door to every driver; these are what the C library and CPython use on pipes and files.
    AllowedWhen("is it a terminal (TCGETS)", "ioctl", ((1, 0x5401),)),
    AllowedWhen("is it a terminal (TCGETS2)", "ioctl", ((1, 0x802C542A),)),
    AllowedWhen("window size (TIOCGWINSZ)", "ioctl", ((1, 0x5413),)),
    AllowedWhen("bytes waiting (FIONREAD)", "ioctl", ((1, 0x541B),)),
    AllowedWhen("non-blocking (FIONBIO)", "ioctl", ((1, 0x5421),)),
    AllowedWhen("inheritable (FIONCLEX)", "ioctl", ((1, 0x5450),)),
    AllowedWhen("not inheritable (FIOCLEX)", "ioctl", ((1, 0x5451),)),
)

# Of a cell's guest, which makes namespaces around each program. It takes these three away from itself, by a filter of its
# own, before it reads anything of a program.
CELL_ALLOWED: Final = (Allowed("what is seen in a cell, and by whom", "mount capset"),)
CELL_ALLOWED_WHEN: Final = (
    AllowedWhen(
        "a process in new user, pid, mount and ipc namespaces, these four at once", "clone", ((0, CELL_CLONE),)
    ),
)


def allowed_names() -> frozenset[str]:
    """Every name that the profile allows a program, with or without a condition."""
    always = {name for group in ALLOWED for name in group.names.split()}
    return frozenset(always | {rule.name for rule in ALLOWED_WHEN})


def profile_json(*, cell: bool = False) -> str:
    """The profile as the engine wants it: JSON text, to be handed over as `seccomp=<text>`.

    What is not allowed answers EPERM, the default of every engine. Only the 64-bit ABIs of
    x86-64 and arm64 are known: a call through another ABI ends its thread.
    """
    rules: list[dict[str, object]] = [
        {"names": group.names.split(), "action": "SCMP_ACT_ALLOW", "args": [], "comment": group.reason}
        for group in (*ALLOWED, *(CELL_ALLOWED if cell else ()))
    ]
    rules += [
        {"names": [rule.name], "action": "SCMP_ACT_ALLOW", "args": _arguments(rule), "comment": rule.reason}
        for rule in (*ALLOWED_WHEN, *(CELL_ALLOWED_WHEN if cell else ()))
    ]
    # Its flags are in memory, where no filter can see them. ENOSYS makes the C library fall back
    # to clone; EPERM would end every thread.
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS, "args": []})
    architectures: list[dict[str, object]] = [
        {"architecture": name, "subArchitectures": []} for name in ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
    ]
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "archMap": architectures, "syscalls": rules})


def _arguments(rule: AllowedWhen) -> list[dict[str, object]]:
    if rule.mask is None:
        return [{"index": index, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"} for index, value in rule.arguments]
    return [
        {"index": index, "value": rule.mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
        for index, value in rule.arguments
    ]
