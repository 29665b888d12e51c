"""Programs with known endings: those that end by themselves as in CPython, and those that a limit ends or marks."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

from sandbox.job import Limits
from sandbox.outcome import Ending, LimitName
from tests.engine_support import LIMITS, limited


@dataclass(frozen=True)
class End:
    """What has to be told of a program. `code` is an exit code, `error` the type of its uncaught exception."""

    code: int | None = None
    signal: str | None = None
    error: str | None = None
    ending: Ending = Ending.FAILED
    reached: tuple[LimitName, ...] = ()


@dataclass(frozen=True)
class Limited:
    """A program that only limits can end, or that runs into one; there is no CPython to compare it with."""

    code: str
    end: End
    limits: Limits = LIMITS


DONE: Final = End(0, ending=Ending.SUCCEEDED)
RAISED: Final = {name: End(1, error=name) for name in (
    "SyntaxError", "IndentationError", "TabError", "ModuleNotFoundError", "ImportError", "RecursionError", "MemoryError",
    "GeneratorExit", "StopIteration", "ExceptionGroup", "ZeroDivisionError", "Mine", "OSError", "TimeoutError",
)}  # fmt: skip

# Each ends here as it does when it is run as `python3 main.py`: code or signal, standard output and error.
BY_THEMSELVES: Final[dict[str, tuple[str, End]]] = {
    **{f"exit code {code}": (f"raise SystemExit({code})", End(code)) for code in (1, 2, 3, 137, 255)},
    "exit code 0": ("import sys\nsys.exit(0)", DONE),
    "exit code 300": ("import sys\nsys.exit(300)", End(44)),
    "exit code 256": ("import sys\nsys.exit(256)", DONE),
    "exit code -1": ("import sys\nsys.exit(-1)", End(255)),
    "an exit code beyond 64 bits": ("import sys\nsys.exit(2 ** 70)", End(255)),
    "exit without a value": ("import sys\nsys.exit()", DONE),
    "exit with None": ("import sys\nsys.exit(None)", DONE),
    "exit with True": ("import sys\nsys.exit(True)", End(1)),
    "exit with a float": ("import sys\nsys.exit(2.5)", End(1)),
    "exit with a text": ("import sys\nsys.exit('told')", End(1)),
    "exit with an empty text": ("import sys\nsys.exit('')", End(1)),
    "exit with a tuple": ("import sys\nsys.exit((3, 4))", End(1)),
    "exit with several values": ("raise SystemExit(3, 4)", End(1)),
    "exit with what cannot be shown": (
        "class A:\n    def __str__(self): raise ValueError\nraise SystemExit(A())", End(1)),
    "exit with a subclass of int": ("class N(int): pass\nraise SystemExit(N(5))", End(5)),
    "exit by the site's helper": ("quit(6)", End(6)),
    "exit in a finally over an exception": ("try: 1 / 0\nfinally: raise SystemExit(4)", End(4)),
    "exit in the last expression": ("import sys\nprint('x', end='')\nsys.exit(9)", End(9)),
    "_exit": ("import os\nprint('lost')\nos._exit(3)", End(3)),
    "_exit 0 out of an exception": ("import os\ntry: 1 / 0\nexcept ZeroDivisionError: os._exit(0)", DONE),
    "_exit 0 in the hook of an exception": (
        "import os, sys\nsys.excepthook = lambda *_: os._exit(0)\n1 / 0", End(0, ending=Ending.SUCCEEDED)),
    "_exit in a child": ("import os\nif os.fork() == 0: os._exit(3)\nprint(os.wait()[1])", DONE),
    "_exit in a thread": (
        "import os, threading\nthreading.Thread(target=os._exit, args=[5]).start()\nthreading.Event().wait()", End(5)),
    "a child's exit code": (
        "import os\nif os.fork() == 0: raise SystemExit(7)\nraise SystemExit(os.wait()[1] >> 8)", End(7)),
    "a child's exception": ("import os\nif os.fork() == 0: 1 / 0\nos.wait()\nprint('parent')", DONE),
    "a child that is killed": (
        "import os, signal\nif not (child := os.fork()): signal.pause()\nos.kill(child, 9)\nprint(os.wait()[1])", DONE),
    "an exit code that hides a killed child": (
        "import os, signal\nif not (child := os.fork()): signal.pause()\nos.kill(child, 9)\nos.wait()\nexit(137)", End(137)),
    "a shell's word for a kill": ("import subprocess\nexit(subprocess.run('kill -9 $$; exit 1', shell=True).returncode % 256)",
                                  End(247)),
    "SIGKILL to itself": ("import os\nos.kill(os.getpid(), 9)", End(signal="SIGKILL")),
    "SIGKILL to its group": ("import os\nos.setpgid(0, 0) if os.getsid(0) != os.getpid() else None\nos.killpg(0, 9)",
                             End(signal="SIGKILL")),
    "a null pointer": ("import ctypes\nctypes.string_at(0)", End(signal="SIGSEGV")),
    "a stack overflow in C": (
        "import ctypes\nctypes.CDLL(None).regcomp(ctypes.create_string_buffer(256), b'(' * 10**6, 1)", End(signal="SIGSEGV")),
    "abort": ("import os\nos.abort()", End(signal="SIGABRT")),
    "a bus error": (("import mmap, os\nfile = open('f', 'w+b')\nfile.truncate(4096)\nplace = mmap.mmap(file.fileno(), 4096)\n"
                    "file.truncate(0)\nplace[0]"), End(signal="SIGBUS")),
    "an endless recursion": ("def f(): f()\nf()", RAISED["RecursionError"]),
    "an impossible allocation": ("bytearray(1 << 62)", RAISED["MemoryError"]),
    "an impossible allocation, caught": ("try: bytearray(1 << 62)\nexcept MemoryError: print('caught')", DONE),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", End(signal="SIGINT", error="KeyboardInterrupt")),
    "a kind of KeyboardInterrupt": (
        "class Mine(KeyboardInterrupt): pass\nraise Mine", End(1, error="Mine")),
    "GeneratorExit": ("raise GeneratorExit", RAISED["GeneratorExit"]),
    "StopIteration": ("next(iter(()))", RAISED["StopIteration"]),
    "a group of exceptions": ("raise ExceptionGroup('all', [ValueError(1), KeyError(2)])", RAISED["ExceptionGroup"]),
    "an exception of its own": ("class Mine(BaseException): pass\nraise Mine('a', 1)", RAISED["Mine"]),
    "an exception out of asyncio": ("import asyncio\nasync def f(): 1 / 0\nasyncio.run(f())", RAISED["ZeroDivisionError"]),
    "time-outs of its own": ("raise TimeoutError('not yours')", RAISED["TimeoutError"]),
    "memory errors of its own": ("raise MemoryError('not yours')", RAISED["MemoryError"]),
    "an exception without a standard error": ("import sys\nsys.stderr = None\n1 / 0", RAISED["ZeroDivisionError"]),
    "an exception with a broken hook": ("import sys\nsys.excepthook = lambda *_: 1 + ''\n1 / 0", RAISED["ZeroDivisionError"]),
    "SystemExit in a thread": (
        "import threading\nthread = threading.Thread(target=exit, args=[3])\nthread.start()\nthread.join()", DONE),
    "an exception in a thread": ("import threading\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()",
                                 DONE),
    "an exception in atexit": ("import atexit\natexit.register(lambda: 1 / 0)\nprint('done')", DONE),
    "an exit in atexit": ("import atexit, os\natexit.register(os._exit, 8)\nprint('done', flush=True)", End(8)),
    "SystemExit in atexit": ("import atexit\natexit.register(exit, 8)\nprint('done')", DONE),
    "an exception in __del__": ("class A:\n    def __del__(self): raise ValueError('late')\nA()\nprint('done')", DONE),
    "closed standard output": ("import os\nos.close(1)\nprint('lost')", End(120)),
    "everything closed": ("import os\nos.closerange(0, 256)\n1 + 1", DONE),
    "a standard output that is gone": ("import sys\nsys.stdout = None\nprint('nowhere')", DONE),
    "exec of a program that fails": ("import os\nos.execv('/bin/sh', ['sh', '-c', 'echo there; exit 7'])", End(7)),
    "exec of a program that succeeds": ("import os\nos.execv('/bin/true', ['true'])", DONE),
    "exec of a program that is killed": ("import os\nos.execv('/bin/sh', ['sh', '-c', 'kill -9 $$'])", End(signal="SIGKILL")),
    "exec of nothing": ("import os\nos.execv('/nowhere', ['nowhere'])", End(1, error="FileNotFoundError")),
    "a syntax error": ("print(1)\nx = = 1", RAISED["SyntaxError"]),
    "a syntax error of the compiler": ("print(1)\nreturn 2", RAISED["SyntaxError"]),
    "a wrong indent": ("if True:\nprint(1)", RAISED["IndentationError"]),
    "tabs and spaces": ("if True:\n        x = 1\n\ty = 2", RAISED["TabError"]),
    "an unknown module": ("import nowhere_at_all", RAISED["ModuleNotFoundError"]),
    "an unknown name of a module": ("from math import nothing", RAISED["ImportError"]),
    "nothing at all": ("", DONE),
    "only a comment": ("# nothing", DONE),
}  # fmt: skip

# Every signal that can be caught, from the program to itself. What it does by default is CPython's affair.
IGNORED: Final = "SIGCHLD SIGCONT SIGURG SIGWINCH SIGPIPE SIGXFSZ SIGTSTP SIGTTIN SIGTTOU".split()  # noqa: SIM905 - a list to read
SIGNALS: Final = {
    f"{number.name} to itself": (
        f"import os\nos.kill(os.getpid(), {int(number)})\nprint('survived')",
        DONE
        if number.name in IGNORED
        else End(signal=number.name, error="KeyboardInterrupt" if number is signal.SIGINT else None),
    )
    for number in signal.Signals
    if number not in {signal.SIGKILL, signal.SIGSTOP}
}

_HOARD: Final = "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))"
_IN_A_CHILD: Final = f"import subprocess, sys\nended = subprocess.run([sys.executable, '-c', {_HOARD!r}]).returncode\n"
_QUICK: Final = limited(wall_seconds=0.5)
_SMALL: Final = limited(memory_bytes=64 << 20)
_FEW: Final = limited(output_bytes=1000)
_TIMED_OUT: Final = End(ending=Ending.TIMED_OUT, reached=("time",))
_OUT_OF_MEMORY: Final = End(ending=Ending.OUT_OF_MEMORY, reached=("memory",))
_THREADS: Final = (
    "import threading, time\nfor _ in range(100): threading.Thread(target=time.sleep, args=[1], daemon=True).start()"
)
_FILL: Final = "file = open('f', 'wb', buffering=0)\nwhile file.write(bytes(1 << 20)): pass"

AT_LIMITS: Final[dict[str, Limited]] = {
    "a loop in Python": Limited("while True: pass", _TIMED_OUT, _QUICK),
    "a power in C": Limited("10 ** 10 ** 9", _TIMED_OUT, _QUICK),
    "a modular power in C": Limited("pow(3, 10 ** 200_000, 10 ** 20_000 + 7)", _TIMED_OUT, _QUICK),
    "a regular expression": Limited("import re\nre.match('(a+)+$', 'a' * 50 + 'b')", _TIMED_OUT, _QUICK),
    "a sum in C": Limited("sum(range(10 ** 12))", _TIMED_OUT, _QUICK),
    "a sleep": Limited("import time\ntime.sleep(100)", _TIMED_OUT, _QUICK),
    "a wait for a child": Limited("import subprocess\nsubprocess.run(['sleep', '100'])", _TIMED_OUT, _QUICK),
    "a wait at its end": Limited("import atexit, time\natexit.register(time.sleep, 100)", _TIMED_OUT, _QUICK),
    "a wait after an exception": Limited("import atexit, time\natexit.register(time.sleep, 100)\n1 / 0",
                                         End(ending=Ending.TIMED_OUT, reached=("time",), error="ZeroDivisionError"), _QUICK),
    "signals ignored": Limited("import signal\nfor n in (15, 14, 2, 1): signal.signal(n, signal.SIG_IGN)\nwhile True: signal.pause()",
                               _TIMED_OUT, _QUICK),
    "stopped by itself": Limited("import os\nos.kill(os.getpid(), 19)", _TIMED_OUT, _QUICK),
    "out of memory": Limited(_HOARD, _OUT_OF_MEMORY, _SMALL),
    "out of memory at once": Limited("bytearray(1 << 30)", _OUT_OF_MEMORY, _SMALL),
    "out of memory in a thread": Limited(
        "import threading\nthread = threading.Thread(target=bytearray, args=[1 << 30])\nthread.start()\nthread.join()",
        _OUT_OF_MEMORY, _SMALL),
    "out of memory at exit": Limited("import atexit\natexit.register(bytearray, 1 << 30)", _OUT_OF_MEMORY, _SMALL),
    "out of memory after exec": Limited(f"import os, sys\nos.execv(sys.executable, ['python3', '-c', {_HOARD!r}])",
                                        _OUT_OF_MEMORY, _SMALL),
    "out of memory by files": Limited("file = open('/tmp/f', 'wb', buffering=0)\nwhile file.write(bytes(1 << 20)): pass",
                                      _OUT_OF_MEMORY, limited(memory_bytes=32 << 20, disk_bytes=64 << 20)),
    # The program saw its child die and ended well all the same: it succeeded, and the kill is told beside that.
    "a child out of memory, coped with": Limited(
        _IN_A_CHILD + "print(ended)", End(0, ending=Ending.SUCCEEDED, reached=("memory",)), _SMALL),
    "a child out of memory, passed on": Limited(
        _IN_A_CHILD + "sys.exit(3)", End(3, ending=Ending.OUT_OF_MEMORY, reached=("memory",)), _SMALL),
    "a child out of memory, then an exception": Limited(
        _IN_A_CHILD + "1 / 0", End(1, ending=Ending.OUT_OF_MEMORY, reached=("memory",), error="ZeroDivisionError"), _SMALL),
    "a child out of memory, then a signal": Limited(
        _IN_A_CHILD + "import os\nos.abort()", End(signal="SIGABRT", ending=Ending.OUT_OF_MEMORY, reached=("memory",)), _SMALL),
    "a child out of memory, then a time-out": Limited(
        _IN_A_CHILD + "while True: pass", End(ending=Ending.TIMED_OUT, reached=("time", "memory")),
        limited(memory_bytes=64 << 20, wall_seconds=3)),
    "as much output as is kept": Limited("print('x' * 999)", DONE, _FEW),
    "one byte more": Limited("print('x' * 1000)", End(0, ending=Ending.OUTPUT_LIMIT_EXCEEDED, reached=("output",)), _FEW),
    "one byte more on standard error": Limited(
        "import sys\nprint('x' * 1000, file=sys.stderr)", End(0, ending=Ending.OUTPUT_LIMIT_EXCEEDED, reached=("output",)), _FEW),
    "a flood and an exit code": Limited(
        "print('x' * 10**6)\nexit(3)", End(3, ending=Ending.OUTPUT_LIMIT_EXCEEDED, reached=("output",)), _FEW),
    "a flood until the time is over": Limited("while True: print('x' * 1000)", End(ending=Ending.TIMED_OUT, reached=("time", "output")),
                                              _QUICK),
    "a flood, then out of memory": Limited("print('x' * 10**6, flush=True)\nbytearray(1 << 30)",
                                           End(ending=Ending.OUT_OF_MEMORY, reached=("memory", "output")), _SMALL),
    "too many processes": Limited("import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(100)",
                                  End(1, error="BlockingIOError", reached=("pids",))),
    "too many threads": Limited(_THREADS, End(1, error="RuntimeError", reached=("pids",))),
    "too many threads, coped with": Limited(
        f"try:\n    {_THREADS.replace(chr(10), chr(10) + '    ')}\nexcept RuntimeError: pass",
        End(0, ending=Ending.SUCCEEDED, reached=("pids",))),
    "too many processes, passed on": Limited("import subprocess\nexit(subprocess.run(['sh', '-c', 'while :; do sleep 9 & done']).returncode)",
                                             End(2, reached=("pids",))),
    "a full disk": Limited(_FILL, End(1, error="OSError", reached=("disk",))),
    "a full disk, emptied at the end": Limited(
        "import tempfile\nwith tempfile.TemporaryFile(buffering=0) as file:\n    while file.write(bytes(1 << 20)): pass",
        End(1, error="OSError", reached=("disk",))),
    "a full disk, told by an exit code": Limited(f"try:\n    {_FILL.replace(chr(10), chr(10) + '    ')}\nexcept OSError: exit(4)",
                                                 End(4, reached=("disk",))),
    "a full disk, emptied and forgotten": Limited(
        f"import os\ntry:\n    {_FILL.replace(chr(10), chr(10) + '    ')}\nexcept OSError: os.unlink('f'), file.close()", DONE),
    "too many files": Limited("for n in range(20_000): open(str(n), 'w').close()", End(1, error="OSError", reached=("disk",))),
    "too large a file": Limited("open('f', 'wb').truncate(1 << 40)", End(1, error="OSError", reached=("disk",))),
    "a disk error of its own making": Limited("raise OSError(30, 'read-only')", End(1, error="OSError")),
    "a daemon that outlives it": Limited(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\nprint('done')", DONE),
    "everything else killed": Limited(
        "import os, signal\nfor _ in range(3):\n    if os.fork() == 0: signal.pause()\nos.kill(-1, 9)", DONE),
}  # fmt: skip
