"""A part of the guest: a cell, which makes a world of its own around each program."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import struct
import sys
from typing import TYPE_CHECKING

from sandbox.guest_counters import CGROUP
from sandbox.guest_fork import get_ready
from sandbox.guest_program import Program
from sandbox.guest_protection import PR_SET_DUMPABLE
from sandbox.guest_protocol import HOME
from sandbox.guest_supervisor import Supervisor
from sandbox.guest_tools import TOLD_DESCRIPTOR, give_back, need, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.guest_protocol import Terms

_PR_SET_SECCOMP, _PR_CAPBSET_DROP = 22, 24
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000
NEW_NAMESPACES = _NEWUSER | _NEWPID | _NEWNS | _NEWIPC
CELL_CLONE = NEW_NAMESPACES | int(signal.SIGCHLD)
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_SAFE = _NOSUID | _NODEV | _NOEXEC
_MOST_CAPABILITIES = 64
_PRACTICE = 20  # more than the interpreter waits for
_MOST_COUNTED = (1 << 31) - 1  # users of an object that is not immortal
# How the interpreter deals out memory for small objects, from 3.10 on; where it is otherwise, `_filling` gives up.
_SMALLEST_BYTES, _STEP_BYTES, _SMALL_BYTES, _POOL_BYTES, _POOL_BEGINS_BYTES = 16, 16, 512, 1 << 14, 48
_OF_BYTES = sys.getsizeof(b"") + 7  # an object of this many and a few more takes the next step
_MOST_GAPS = 20_000  # of one size that are filled
# In the kernel's numbers of each architecture: its name, then the calls capset, mount, clone.
_NUMBERS = {"x86_64": (0xC000003E, 126, 165, 56), "aarch64": (0xC00000B7, 91, 40, 220)}


class Cell:
    """One box for many programs of one owner, one after the other. Each gets namespaces that end with it."""

    def __init__(self, said: str) -> None:
        terms: Terms = json.loads(said)
        self.libc = ctypes.PyDLL(None, use_errno=True)  # which holds the interpreter's lock, as a fork has to
        self.numbers = _NUMBERS[os.uname().machine]
        user, group = os.getuid(), os.getgid()
        maps = (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1"))
        self.maps = [(f"/proc/self/{name}", text.encode()) for name, text in maps]
        self.mounts = [tuple(None if one is None else _bytes(one) for one in mount) for mount in _mounts(terms)]
        self.filter = _filter(*self.numbers)
        get_ready()
        need("files")
        for name in terms["preload"]:
            try:
                __import__(name)
            except Exception as error:  # noqa: BLE001 - the image's code may raise anything
                sys.exit(f"the image cannot preload {name}: {type_name(error)}: {error}")
        _end_threads()

    def serve(self) -> None:
        """Make one run after the other; returns only in a run's first process."""
        _practise()
        gc.unfreeze()
        gc.collect()
        _make_immortal()
        give_back()
        self.filling = list(_filling())
        gc.freeze()
        while True:
            told = os.pipe()
            if self._clone():  # nobody has to wait for it: SIGCHLD is ignored
                os.dup2(told[1], TOLD_DESCRIPTOR, inheritable=False)
                os.close(told[0])
                os.close(told[1])
                self._settle()
                return
            os.close(told[1])
            if not os.read(told[0], 1):
                os._exit(1)  # it died: the gateway is gone, or this host cannot do it
            os.close(told[0])

    def _clone(self) -> bool:
        """Fork into new namespaces, which `os.fork` cannot; whether this is the new process."""
        python = ctypes.pythonapi
        python.PyOS_BeforeFork()
        process: int = self.libc.syscall(self.numbers[3], CELL_CLONE, None, None, None, None)
        if process == 0:
            python.PyOS_AfterFork_Child()
            return True
        python.PyOS_AfterFork_Parent()
        if process < 0:
            sys.exit(f"this host cannot make cells: clone: {os.strerror(ctypes.get_errno())}")
        return False

    def _settle(self) -> None:
        """Make this world its own, and give up the power to change it."""
        self._do("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # or its own files in /proc are root's
        for path, text in self.maps:
            descriptor = os.open(path, os.O_WRONLY)
            os.write(descriptor, text)
            os.close(descriptor)
        self._do("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
        for mount in self.mounts:
            self._do("mount", *mount)
        os.chdir(HOME)
        for number in range(_MOST_CAPABILITIES):
            if self.libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
                break  # past the last one that this kernel knows
        self._do("capset", struct.pack("Ii", 0x20080522, 0), bytes(24))
        program = struct.pack("HxxxxxxP", len(self.filter) // 8, ctypes.addressof(self.filter))
        self._do("prctl", _PR_SET_SECCOMP, 2, program, 0, 0)

    def _do(self, name: str, *arguments: object) -> None:
        """Call the C library; what it cannot do here, no cell can do on this host."""
        if getattr(self.libc, name)(*arguments) != 0:
            said = os.strerror(ctypes.get_errno())
            sys.exit(f"this host cannot make cells: {name} {arguments[1]!r}: {said}")


def _end_threads() -> None:
    """Fork once, as libraries expect it: those with threads of their own end them then, and begin anew when they are needed.

    Of a bare clone they hear nothing: in there each would wait for threads that there are not, at the first fork.
    """
    if os.fork() == 0:
        os._exit(0)


def _practise() -> None:
    """Do what every run does, until the interpreter has made its code as fast as it can: it does so by writing to it."""
    reading, writing = os.pipe()
    program, supervisor = Program(writing), Supervisor()
    supervisor.wake_descriptor = supervisor.report_descriptor = reading
    supervisor.output_descriptors = (reading, reading)
    supervisor.poll.register(reading)
    for _ in range(_PRACTICE):
        program.rehearse()
        supervisor.rehearse()
    os.close(reading)
    os.close(writing)


def _make_immortal() -> None:
    """Let the objects that all runs share never be counted: to count one's users is to write to it, and to copy its page.

    Where the interpreter knows immortal objects, None is one, and shows how they are marked. Streams stay mortal: what
    is written to one while the interpreter ends is flushed by its end.
    """
    marked: int = ctypes.c_uint32.from_address(id(None)).value
    if sys.version_info < (3, 12) or marked <= _MOST_COUNTED:
        return
    left = gc.get_objects()
    born_so: set[int] = set()  # with others inside: the interpreter's own classes
    while left:
        one = left.pop()
        count = ctypes.c_uint32.from_address(id(one))
        if type(one).__module__ == "_io":
            continue
        if count.value <= _MOST_COUNTED:
            count.value = marked
        elif issubclass(type(one), type) and id(one) not in born_so:
            born_so.add(id(one))
        else:
            continue
        left += gc.get_referents(one)


def _filling() -> Iterator[object]:
    """Objects of every small size, until the next of each begins a pool of the interpreter's.

    So what a run makes lies side by side in pools of its own, not in the gaps of a hundred pages that it would have to copy.
    """
    for size in range(_SMALLEST_BYTES, _SMALL_BYTES + 1, _STEP_BYTES):
        for _ in range(_MOST_GAPS):
            one = _one_of(size)
            yield one
            if id(one) % _POOL_BYTES == _POOL_BEGINS_BYTES:
                break
        else:
            return


def _one_of(size: int) -> object:
    if size == _SMALLEST_BYTES:
        return object()
    return float(size) if size == 2 * _STEP_BYTES else bytes(size - _OF_BYTES)


def _mounts(terms: Terms) -> Iterator[tuple[str, str, str | None, int, str | None]]:
    """What makes everything that can be written to, and all that tells of processes, a run's own; as mount(2) takes it.

    Of the box's own masks those outside /proc hold; /proc is made anew in each pid namespace.
    """
    files, shared = terms["most_files"], terms["shared_memory_bytes"]
    disk = resource.getrlimit(resource.RLIMIT_FSIZE)[0]  # one number for a file and for all of them
    nothing = "size=0,nr_inodes=1"
    yield "none", "/", None, _REC | _PRIVATE, None
    yield "proc", "/proc", "proc", _SAFE, None
    for path in filter(os.path.exists, terms["masked"]):
        if os.path.isdir(path):
            yield "tmpfs", path, "tmpfs", _SAFE | _RDONLY, nothing
        else:
            yield "/dev/null", path, None, _BIND, None
    for path in filter(os.path.exists, terms["readonly"]):
        yield path, path, None, _BIND | _REC, None
        yield "none", path, None, _BIND | _REMOUNT | _RDONLY | _SAFE, None
    yield "tmpfs", CGROUP, "tmpfs", _SAFE | _RDONLY, nothing
    yield "tmpfs", HOME, "tmpfs", _SAFE, f"size={disk},nr_inodes={files},mode=1777"
    yield "tmpfs", "/dev/shm", "tmpfs", _SAFE, f"size={shared},nr_inodes={files},mode=1777"  # noqa: S108 - as HOME


def _filter(architecture: int, capset: int, mount: int, clone: int) -> ctypes.Array[ctypes.c_char]:
    """A system-call filter against what makes cells; all other calls are the box's filter's to judge, as before.

    In the kernel's own instructions: code, jump if true, jump if false, operand.
    """
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    yes, no = 0x7FFF0000, 0x00050001  # allowed; EPERM
    rules = (
        (load, 0, 0, 4),
        (equal, 0, 6, architecture),
        (load, 0, 0, 0),
        (equal, 4, 0, capset),
        (equal, 3, 0, mount),
        (equal, 0, 3, clone),
        (load, 0, 0, 16),  # its flags
        (any_bit, 0, 1, NEW_NAMESPACES),
        (answer, 0, 0, no),
        (answer, 0, 0, yes),
    )
    return ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules), 8 * len(rules))


def _bytes(argument: str | int) -> bytes | int:
    return argument.encode() if isinstance(argument, str) else argument
