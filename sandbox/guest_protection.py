"""A part of the guest: what keeps it out of the program's reach, and lets its forks be as the program has to be."""

from __future__ import annotations

import _ctypes
import os
import sys
from typing import TYPE_CHECKING

from sandbox.guest_tools import c_library

if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal


SIGKILL = int(_signal.SIGKILL)
PROGRAM_ID = 65532  # user and group of the program where the guest is root
PR_SET_DUMPABLE = 4


class _Address(_ctypes._SimpleCData):  # type: ignore[type-arg] # noqa: SLF001 - what ctypes itself is made of
    """A pointer, for the C library."""

    _type_ = "P"


def signals() -> set[int]:
    """Those that can be ignored."""
    return set(map(int, _signal.valid_signals())) - {SIGKILL, int(_signal.SIGSTOP)}


def protect() -> None:
    """Make this process unreachable for the program, which will have the same uid.

    Not dumpable: its memory, descriptors and environment in /proc are root's, and it cannot be
    traced. All signals ignored, and as first process of its namespace it cannot be killed from
    inside. Its arguments would stay readable for everyone, so they are wiped.

    gVisor holds to none of this, which is why the guest is root there: root of a kernel that is
    the box's own, with the capabilities to give its forks the program's uid and to end them.
    """
    if os.getpid() != 1:
        sys.exit("the guest ends every process that it sees: it runs only as first process of a box")
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    for start, end in ((int(fields[45]), int(fields[46])), (int(fields[47]), int(fields[48]))):
        if 0 < start < end:  # arguments, then environment
            c_library("memset", _Address(start), 0, end - start)
    c_library("clearenv")
    if c_library("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        sys.exit("the guest cannot protect itself")
    for number in signals():
        _signal.signal(number, _signal.SIG_IGN)
    if os.getuid() == 0:
        os.setgroups([PROGRAM_ID])
        os.setresgid(PROGRAM_ID, PROGRAM_ID, PROGRAM_ID)


def become_expendable() -> None:
    """Undo `protect` for a fork: its /proc is its own again, and under memory pressure it goes before the guest."""
    if os.getuid() == 0:
        os.setresuid(PROGRAM_ID, PROGRAM_ID, PROGRAM_ID)  # and with it every capability, for ever
    c_library("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
    score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(score, b"1000")
    os.close(score)


def as_program() -> None:
    """Where the guest is root: make files and pipes as the program's own, until `as_guest`."""
    if os.getuid() == 0:
        os.seteuid(PROGRAM_ID)


def as_guest() -> None:
    """Undo `as_program`."""
    if os.getuid() == 0:
        os.seteuid(0)
