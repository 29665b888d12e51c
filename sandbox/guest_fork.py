"""A part of the guest: how a fork of it becomes what a fresh `python3 main.py` is, and waits for its order."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import select
import sys
import time
from typing import TYPE_CHECKING

from sandbox.guest_program import Program
from sandbox.guest_protection import become_expendable, signals
from sandbox.guest_protocol import HOME, SOURCE, read_one
from sandbox.guest_tools import CELL, need

if TYPE_CHECKING:
    import signal as _signal

    from sandbox.guest_protocol import Order
else:
    import _signal

REPORT_DESCRIPTOR = 200  # far from the numbers that a program expects to get for its own files
ENVIRONMENT = {"HOME": HOME, "LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
GUEST_FRAMES = 2  # that stay below the program: the guest's, and that of the text that it came in
IDLE_SECONDS = 1.0  # that a program's process waits before it uses the time
USUAL = ("json", "traceback")  # what many programs import, and what is needed to tell of those that fail

_imported = list(sys.modules)
BEFORE = frozenset(_imported[: _imported.index("_ast")])  # what any interpreter has imported before it begins


def become_program(orders: int, stdio: tuple[int, int, int], report: int) -> Program:
    """Turn this fork of the guest into what a fresh `python3 main.py` is, as soon as there is an order for it."""
    _signal.set_wakeup_fd(-1)
    for number in signals():
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)  # as CPython starts
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    os.setsid()
    for target, descriptor in enumerate(stdio):
        os.dup2(descriptor, target)
    own = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, REPORT_DESCRIPTOR)
    orders = fcntl.fcntl(orders, fcntl.F_DUPFD_CLOEXEC, REPORT_DESCRIPTOR)
    os.closerange(3, own)
    os.closerange(own + 1, orders)
    os.closerange(orders + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    become_expendable()
    os.chdir(HOME)
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # `random` does so by itself in every fork
    sys.setrecursionlimit(sys.getrecursionlimit() + GUEST_FRAMES)
    program = Program(own)
    program.rehearse()
    order = _await_order(orders)
    if order["env"]:
        os.environ.update(order["env"])
        time.tzset()
    sys.argv = [SOURCE, *order["args"]]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = ["python3", *sys.argv]
    sys.path.insert(0, HOME)
    for name in os.listdir(HOME):  # a module of its own is the one that it imports
        if (module := name.partition(".")[0]) not in BEFORE:
            sys.modules.pop(module, None)
    program.take(order)
    sys.modules["__main__"] = program.main
    return program


def _await_order(orders: int) -> Order:
    """Wait for the order. Where that takes long there is time for what many programs would have to do themselves."""
    waiting = select.poll()
    waiting.register(orders, select.POLLIN)
    if not CELL and not waiting.poll(IDLE_SECONDS * 1000):
        get_ready()
        gc.freeze()
    order = read_one(orders)
    os.close(orders)
    return order


def get_ready() -> None:
    """Import what many programs do, and compile all that is told of one; while nobody waits."""
    for name in USUAL:
        try:
            __import__(name)
        except Exception:  # noqa: BLE001, S112 - an image whose library is broken: whoever imports it is told
            continue
    need("value")
    need("failure")
