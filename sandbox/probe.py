"""The probe: a program that tries, inside a box, every thing that a box forbids, and says what it achieved.

One file of standard library, sent to a box as a job like any other; its order comes as JSON on stdin, its report leaves
as JSON on stdout. A trial that returns was held; one that achieves something raises `Breach` with what it
achieved. Each runs in a process of its own, so that none spoils the next. It must not know engines or policies.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator

TRIAL_SECONDS = 3.0
UNREACHABLE = ("192.0.2.1", 80)  # reserved for documentation: an answer or a time-out means that a packet left
REFUSED = frozenset({errno.EPERM, errno.ENOSYS})
WORLD = "/tmp"  # noqa: S108 - the box's own, and its only writable place
MIB = 1 << 20
MOST_FORKED = 24  # more would take longer than a trial may, where each is large
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    class Order(TypedDict):
        """What is to be tried: `addresses` must not answer; limits are those of this box; `token` marks the neighbour."""

        role: str
        token: str
        look_seconds: float
        addresses: list[tuple[str, int]]
        pids: int
        memory_bytes: int
        disk_bytes: int
        shared_memory_bytes: int
        own_kernel: bool


class Breach(Exception):
    """Something forbidden worked; the message says what."""


# --- the network ----------------------------------------------------------------------------------


def network_tcp(order: Order) -> None:
    """Connect somewhere: to nowhere, to the engine's bridge, to the gateway."""
    for address in (UNREACHABLE, *order["addresses"]):
        _connect(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, address)


def network_udp(order: Order) -> None:
    """Send a datagram."""
    for address in (UNREACHABLE, *order["addresses"]):
        _send(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, address)


def network_ipv6(_: Order) -> None:
    """Reach out by IPv6."""
    _connect(socket.AF_INET6, ("2001:db8::1", 80))
    _send(socket.AF_INET6, ("2001:db8::1", 80))


def network_dns(_: Order) -> None:
    """Ask the resolvers that the box was given, and the one that engines hide on loopback."""
    servers = ["127.0.0.11", "127.0.0.53"]
    if os.path.exists("/etc/resolv.conf"):
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            servers += [line.split()[1] for line in file if line.startswith("nameserver") and len(line.split()) > 1]
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\7invalid\0\0\1\0\1"
    for server in servers:
        with _socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as asking:
            if asking is None:
                continue
            asking.settimeout(0.3)
            try:
                asking.sendto(query, (server, 53))
                answer = asking.recv(512)
            except OSError:
                continue  # nobody there: on loopback a datagram may be sent to nobody
            raise Breach(f"the resolver {server} answered {len(answer)} bytes")


def network_families(_: Order) -> None:
    """Open sockets that need no network namespace, or speak to the kernel."""
    families = {"netlink": 16, "packet": 17, "alg": 38, "vsock": 40, "bluetooth": 31, "xdp": 44, "can": 29, "nfc": 39}
    for name, family in families.items():
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
            except OSError:
                continue
            raise Breach(f"a {name} socket was opened")


def network_raw(_: Order) -> None:
    """Open sockets that see or forge packets."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.socket(family, socket.SOCK_RAW, 1).close()
        except OSError:
            continue
        raise Breach("a raw socket was opened")


def network_interfaces(_: Order) -> None:
    """Find another interface than loopback."""
    with open("/proc/net/dev", encoding="ascii") as file:
        names = {line.partition(":")[0].strip() for line in file if ":" in line}
    # without a hardware behind them, some kernels put these, which are down, into every namespace
    tunnels = ("tunl", "gre", "erspan", "ip_vti", "ip6_vti", "sit", "ip6tnl", "ip6gre")
    others = sorted(name for name in names - {"lo"} if not name.startswith(tunnels))
    if others:
        raise Breach(f"there are interfaces: {', '.join(others)}")


def network_sockets(_: Order) -> None:
    """Open any socket but a local one."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with _socket(family, kind) as opened:
                if opened is not None:
                    raise Breach("an internet socket was opened")


class _socket:  # noqa: N801 - used as the context manager that a socket is
    """A socket, or None where it is refused."""

    def __init__(self, family: int, kind: int) -> None:
        try:
            self.socket: socket.socket | None = socket.socket(family, kind)
        except OSError:
            self.socket = None

    def __enter__(self) -> socket.socket | None:
        return self.socket

    def __exit__(self, *_: object) -> None:
        if self.socket is not None:
            self.socket.close()


def _connect(family: int, address: tuple[str, int]) -> None:
    with _socket(family, socket.SOCK_STREAM) as outward:
        if outward is None:
            return
        outward.settimeout(0.5)
        try:
            outward.connect(address)
        except TimeoutError:
            raise Breach(f"packets to {address[0]} leave the box") from None
        except ConnectionRefusedError:
            if address[0].startswith("127.") or address[0] == "::1":
                return  # the box's own loopback, where nobody listens
            raise Breach(f"{address[0]} answers, if only with a refusal") from None
        except OSError:
            return
        raise Breach(f"connected to {address[0]} port {address[1]}")


def _send(family: int, address: tuple[str, int]) -> None:
    with _socket(family, socket.SOCK_DGRAM) as outward:
        if outward is None:
            return
        try:
            outward.sendto(b"x", address)
        except OSError:
            return
        if not address[0].startswith("127.") and address[0] != "::1":
            raise Breach(f"a datagram to {address[0]} left the box")


# --- files and devices ----------------------------------------------------------------------------


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


# --- privileges, the guest, other processes -------------------------------------------------------


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


# --- limits ---------------------------------------------------------------------------------------


def limits_pids(order: Order) -> None:
    """Have more processes than allowed; threads count as they do, and take the places above the first few."""
    children: list[int] = []
    _fill_with_threads(order["pids"] - MOST_FORKED)
    try:
        while len(children) <= min(order["pids"], MOST_FORKED):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError:
        return
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    raise Breach(f"{len(children)} processes at once where {order['pids']} are allowed")


def _fill_with_threads(number: int) -> None:
    """Start up to so many threads: where modules were imported before, each process takes 15 ms."""
    with contextlib.suppress(RuntimeError):  # the wall is there already, and the next process finds it too
        for _ in range(number):
            threading.Thread(target=signal.pause, daemon=True).start()


def limits_memory(order: Order) -> None:
    """Hold more memory than allowed."""
    child = os.fork()
    if child == 0:
        held = []
        try:
            for _ in range(order["memory_bytes"] // (8 * MIB) + 4):
                held.append(b"\1" * (8 * MIB))  # noqa: PERF401 - bit by bit, until it ends
        except MemoryError:
            os._exit(2)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1:
        raise Breach(f"held more than {order['memory_bytes']} bytes")


def limits_disk(order: Order) -> None:
    """Write more than allowed, in one file, in many, and in one that claims to be large."""
    _fill(WORLD, order["disk_bytes"])
    path = os.path.join(WORLD, "sparse")
    with open(path, "wb") as file:
        try:
            file.truncate(order["disk_bytes"] * 1024)
        except OSError:
            return
        finally:
            os.unlink(path)
    raise Breach("a sparse file of any size")


def limits_shared_memory(order: Order) -> None:
    """Keep more in shared memory than allowed."""
    _fill("/dev/shm", order["shared_memory_bytes"])  # noqa: S108


def _fill(place: str, most: int) -> None:
    paths: list[str] = []
    written = 0
    try:
        while written <= most:
            paths.append(os.path.join(place, f"fill-{len(paths)}"))
            descriptor = os.open(paths[-1], os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                for _ in range(max(most // MIB // 3, 1)):
                    written += os.write(descriptor, b"\1" * MIB)
            finally:
                os.close(descriptor)
    except OSError:
        return
    finally:
        for path in paths:
            if os.path.exists(path):
                os.unlink(path)
    raise Breach(f"wrote {written} bytes to {place} where {most} are allowed")


def limits_descriptors(_: Order) -> None:
    """Raise a limit of a process."""
    for name in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        hard = resource.getrlimit(name)[1]
        if hard == resource.RLIM_INFINITY:
            raise Breach("a limit of processes is not set")
        try:
            resource.setrlimit(name, (hard + 1, hard + 1))
        except (OSError, ValueError):
            continue
        raise Breach("raised a limit of processes")


# --- the other box --------------------------------------------------------------------------------


def neighbour_sockets(order: Order) -> None:
    """Speak to another box. Looks for a while: that one may still be starting."""
    until = time.monotonic() + order["look_seconds"]
    while time.monotonic() < until:
        with socket.socket(socket.AF_UNIX) as knocking:
            try:
                knocking.connect("\0" + order["token"])
            except OSError:
                time.sleep(0.05)
                continue
        raise Breach("connected to another box")


def neighbour_files(order: Order) -> None:
    """Find what another box wrote."""
    for place in (WORLD, "/dev/shm", "/var/tmp", "/dev/mqueue"):  # noqa: S108
        if os.path.exists(os.path.join(place, order["token"])):
            raise Breach(f"another box's file is in {place}")


def be_neighbour(order: Order) -> None:
    """Leave traces everywhere, ignore every signal, and never end: the box's time limit is its only end."""
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("\0" + order["token"])
    listening.listen()
    for place in (WORLD, "/dev/shm"):  # noqa: S108
        with open(os.path.join(place, order["token"]), "w", encoding="ascii") as file:
            file.write(order["token"])
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(1)
        os._exit(0)
    print(json.dumps({"up_at": time.time()}), flush=True)  # noqa: T201 - its report
    while True:
        sum(range(10_000_000))


# --- running the trials ---------------------------------------------------------------------------


def _call_trial(calls: tuple[tuple[str, int | None, int | None, int], ...]) -> Callable[[Order], None]:
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


# Name -> the trial, and whether it makes sense in a runtime whose kernel is not the machine's.
TRIALS: dict[str, tuple[Callable[[Order], None], bool]] = {
    "neighbour.sockets": (neighbour_sockets, True),
    "neighbour.files": (neighbour_files, True),
    "network.tcp": (network_tcp, True),
    "network.udp": (network_udp, True),
    "network.ipv6": (network_ipv6, True),
    "network.dns": (network_dns, True),
    "network.families": (network_families, False),
    "network.raw": (network_raw, True),
    "network.interfaces": (network_interfaces, True),
    "network.sockets": (network_sockets, False),
    "files.root": (files_root, True),
    "files.facts": (files_facts, False),
    "files.switches": (files_switches, False),
    "files.mounts": (files_mounts, False),
    "files.sockets": (files_sockets, True),
    "files.execute": (files_execute, True),
    "devices.open": (devices_open, False),  # devices of a kernel of its own reach nothing of the machine
    "devices.make": (devices_make, False),
    "privileges.user": (privileges_user, True),
    "privileges.capabilities": (privileges_capabilities, True),
    "privileges.new": (privileges_new, False),
    "kernel.filter": (kernel_filter, False),
    **{name: (_call_trial(calls), False) for name, calls in CALLS.items()},
    "guest.memory": (guest_memory, True),
    "guest.descriptors": (guest_descriptors, True),
    "guest.words": (guest_words, False),
    "guest.trace": (guest_trace, True),
    "processes.visible": (processes_visible, True),
    "environment": (environment, True),
    "limits.descriptors": (limits_descriptors, False),
    "limits.pids": (limits_pids, False),
    "limits.disk": (limits_disk, True),
    "limits.shared_memory": (limits_shared_memory, True),
    "limits.memory": (limits_memory, False),  # there the wall is around all of the box, and would end the probe
}


def expected(*, own_kernel: bool) -> tuple[str, ...]:
    """The trials that a probe must report; `own_kernel`: the runtime brings a kernel of its own."""
    return tuple(name for name, (_, everywhere) in TRIALS.items() if everywhere or not own_kernel)


def attempt(trial: Callable[[Order], None], order: Order) -> dict[str, bool | str | None]:
    """Run one trial in a process of its own; `held` None: it could not be tried."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(_judged(trial, order)).encode()[:4096])
        os._exit(0)
    os.close(writer)
    said = b""
    if select.select([reader], [], [], TRIAL_SECONDS)[0]:
        said = os.read(reader, 4096)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    if not said:
        return {"held": None, "detail": "the trial did not come back"}
    answer: dict[str, bool | str | None] = json.loads(said)
    return answer


def _judged(trial: Callable[[Order], None], order: Order) -> dict[str, bool | str | None]:
    try:
        trial(order)
    except Breach as breach:
        return {"held": False, "detail": str(breach)[:500]}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no proof
        return {"held": None, "detail": f"could not be tried: {type(error).__name__}: {error}"[:500]}
    return {"held": True, "detail": ""}


def main() -> None:
    """Do what the order on stdin says."""
    order: Order = json.load(sys.stdin)
    order["addresses"] = [(host, port) for host, port in order["addresses"]]
    if order["role"] == "neighbour":
        be_neighbour(order)
    began, report, looked = time.time(), {}, time.time()
    for name in expected(own_kernel=order["own_kernel"]):
        report[name] = attempt(TRIALS[name][0], order)
        if name == "neighbour.sockets":
            looked = time.time()
    print(json.dumps({"trials": report, "looked_from": began, "looked_until": looked}))  # noqa: T201 - its report


if __name__ == "__main__":
    main()
