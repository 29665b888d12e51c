"""The guest: first process of a box, and the only one that speaks to the gateway.

Handed as one text (`bundle`) to `python3 -I -B -c` in any image that has a Python (3.9 or newer), so it is of
standard library only. It must not know engines or policies, and it must not
trust the program: that runs in a fork of this process, under the same uid (in gVisor another), and
everything that it can write to is its own word.

As a cell it serves one job after the other: each by a fork that makes namespaces of its own around
itself and is the guest in there, while this process only waits (`guest_cell`).

What every box needs is in the parts that are joined with this one, and they import only what the interpreter has in
itself or nearly so: to import takes longer than all else that a box does before it is ready. What only some programs
need (`guest_value`, `guest_failure`, `guest_files`, `guest_display`) is sent as text and compiled when it is needed.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from sandbox.guest_cell import Cell
from sandbox.guest_channel import Channel
from sandbox.guest_counters import open_counters
from sandbox.guest_program import Program
from sandbox.guest_protection import as_guest, as_program, protect
from sandbox.guest_protocol import HOME, MESSAGE_CHARACTERS, SETUP_FAILED, STARTED, read_order, write_all
from sandbox.guest_supervisor import Supervisor
from sandbox.guest_tools import CELL, TOLD_DESCRIPTOR, cut, errno_of, give_back, type_name

if TYPE_CHECKING:
    from typing import NoReturn

    from sandbox.guest_protocol import Order


def set_up(order: Order, contents: list[bytes]) -> None:
    """Write the job's files; OSError or ValueError is the request's fault."""
    for (path, _), content in zip(order["files"], contents):  # noqa: B905 - `strict` came with 3.10
        parts = path.split("/")
        if any(part in {"", ".", ".."} for part in parts):
            raise ValueError(f"not a clean relative path: {path!r}")
        os.makedirs(os.path.join(HOME, *parts[:-1]), exist_ok=True)
        with open(os.path.join(HOME, *parts), "wb", buffering=0) as file:
            write_all(file.fileno(), content)


def serve() -> Program:  # noqa: RET503 - the guest itself exits
    """Be the guest for one job, or in a cell for each one; returns only in a program's process."""
    protect()
    open_counters()
    gc.freeze()  # what the forks share stays shared, and what a program left is all that there is to see
    if CELL:
        Cell(sys.argv[1]).serve()
    else:
        give_back()
    supervisor = Supervisor()
    program = supervisor.fork()
    if program is not None:
        return program
    supervisor.rehearse()
    order, contents = read_order()
    channel = Channel(1)
    try:
        as_program()
        set_up(order, contents)
    except (OSError, ValueError) as error:
        channel.wait()
        message = cut(str(error), MESSAGE_CHARACTERS)
        channel.send_record(SETUP_FAILED, {"type": type_name(error), "message": message, "errno": errno_of(error)})
        channel.flush()
        _exit()
    as_guest()
    del contents
    supervisor.begin(order, channel)
    channel.send_record(STARTED, {"python": f"{sys.version_info[0]}.{sys.version_info[1]}"})
    supervisor.watch()
    supervisor.tell()
    _exit()


def _exit() -> NoReturn:
    """End this box; in a cell only this run, with which the kernel ends all that is left of it."""
    if CELL:
        os.write(TOLD_DESCRIPTOR, b".")
    os._exit(0)


if __name__ == "__main__":
    # The program runs directly on this frame, so that its stack is as shallow as in `python3 main.py`,
    # and its process ends as the interpreter ends: threads joined, atexit run, streams flushed.
    _program = serve()
    _failure: BaseException | None = None
    try:
        _body, _last = _program.compile()
        exec(_body, _program.names)
        if _last is not None:
            _program.succeed(eval(_last, _program.names))
    except SystemExit as _exiting:
        _program.leave(0 if _exiting.code is None else _exiting.code)
        del _program  # as below
        raise
    except BaseException as _error:  # noqa: BLE001 - the program may raise anything
        _failure = _error
    if _failure is None:
        _program.leave(0)
    else:
        _program.fail(_failure)
        if isinstance(_failure, Exception):
            _program.leave(1)
    del _program  # what these hold of the program would outlive the collector, which does not look here any more
    try:
        if _failure is not None:
            raise _failure
    finally:
        del _failure
