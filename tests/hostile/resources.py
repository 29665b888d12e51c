"""Attacks on the limits: memory, time, disk."""

from __future__ import annotations

from typing import Final

from sandbox.outcome import Ending
from tests.hostile.case import FAILED, OUT_OF_MEMORY, SHORT, TIMED_OUT, group

memory = group("memory", "memory is a wall, and what hit it is told from every other end")
clock = group("time", "the wall-clock limit holds whatever the program does")
disk = group("disk", "disk, inodes and file size are walls")
ANY_MEMORY: Final = OUT_OF_MEMORY | FAILED

CASES: Final = (
    memory("a list", "x = []\nwhile True: x.append(b'x' * 2 ** 20)", endings=OUT_OF_MEMORY),
    memory("one allocation", "x = b'x' * 2 ** 30", endings=ANY_MEMORY),
    memory("in a child", "child = os.fork()\nif child == 0:\n    x = []\n    while True: x.append(b'x' * 2 ** 20)\nstatus = os.waitpid(child, 0)[1]\nsays(os.WTERMSIG(status))\nos._exit(1)", endings=OUT_OF_MEMORY, report=9),
    memory("in a child, and all is well", "child = os.fork()\nif child == 0:\n    x = []\n    while True: x.append(b'x' * 2 ** 20)\nos.waitpid(child, 0)\nsays('well')", endings=OUT_OF_MEMORY | {Ending.SUCCEEDED}, report="well"),
    memory("mapped", "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 2 ** 22); m.write(b'x' * 2 ** 22); x.append(m)", endings=OUT_OF_MEMORY),
    memory("shared", "import mmap\nm = mmap.mmap(-1, 2 ** 28, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)\nfor n in range(0, 2 ** 28, 4096): m[n] = 1", endings=OUT_OF_MEMORY),
    memory("caught", "x = []\ntry:\n    x = [0] * 10 ** 12\nexcept MemoryError: says('caught')", report="caught"),
    memory("locked", "libc = ctypes.CDLL(None, use_errno=True)\nsays([libc.mlockall(3), errno.errorcode[ctypes.get_errno()]])", report=[-1, "EPERM"]),
    memory("by many", "for n in range(10):\n    if os.fork() == 0:\n        x = [b'x' * 2 ** 20 for _ in range(20)]; time.sleep(3); os._exit(0)\ntry:\n    while True: os.wait()\nexcept ChildProcessError: os._exit(1)", endings=OUT_OF_MEMORY, limits={"wall_seconds": 30.0}),
    memory("on the stack", "import threading\nthreading.stack_size(2 ** 26)\ndef f(n): return f(n + 1) if n < 900 else n\nt = [threading.Thread(target=f, args=(0,)) for _ in range(5)]\n[one.start() for one in t]\nsays('end')", report="end"),
    memory("a memory error that is raised", "raise MemoryError", endings=FAILED, holds=lambda outcome: outcome.error is not None and outcome.error.type == "MemoryError"),
    memory("in shared memory", "says([tried(open('/dev/shm/x', 'wb').write, b'x' * 2 ** 24)])", report=["ENOSPC"], limits={"disk_bytes": 32 << 20}),
    clock("in Python", "while True: pass", endings=TIMED_OUT, limits=SHORT),
    clock("in C", "sum(range(10 ** 12))", endings=TIMED_OUT, limits=SHORT),
    clock("in one power", "pow(3, 10 ** 9)", endings=TIMED_OUT | OUT_OF_MEMORY, limits=SHORT),
    clock("in one expression", "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')", endings=TIMED_OUT, limits=SHORT),
    clock("asleep", "time.sleep(10 ** 6)", endings=TIMED_OUT, limits=SHORT),
    clock("waiting for a child", "if os.fork() == 0: time.sleep(60)\nos.wait()", endings=TIMED_OUT, limits=SHORT),
    clock("waiting for input", "import select\nselect.select([], [], [])", endings=TIMED_OUT, limits=SHORT),
    clock("deaf to alarms", "signal.signal(signal.SIGALRM, signal.SIG_IGN)\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass", endings=TIMED_OUT, limits=SHORT),
    clock("with many threads", "import threading\nfor _ in range(8): threading.Thread(target=lambda: sum(range(10 ** 12))).start()", endings=TIMED_OUT, limits=SHORT),
    clock("a clock that is set", "says([tried(time.clock_settime, time.CLOCK_REALTIME, 0)])", report=["EPERM"]),
    clock("at the import of the compiler", "compile('(' * 90 + ')' * 90 + '+1' * 5000, 'x', 'eval')\nsays('end')", endings=frozenset({Ending.SUCCEEDED, Ending.FAILED})),
    clock("by hanging in its own output", "import fcntl\nwhile True: os.write(2, b'')", endings=TIMED_OUT, limits=SHORT),
    disk("one file", "says([tried(open('x', 'wb').write, b'x' * 2 ** 26)])", report=["EFBIG"], limits={"memory_bytes": 192 << 20}, holds=lambda outcome: outcome.ending is Ending.SUCCEEDED),
    disk("many files", "n = 0\ntry:\n    while True:\n        open(f'{n}', 'wb').write(b'x' * 2 ** 20); n += 1\nexcept OSError as error: says([n < 9, errno.errorcode[error.errno]])", report=[True, "ENOSPC"]),
    disk("inodes", "n = 0\ntry:\n    while True:\n        os.close(os.open(f'{n}', os.O_CREAT)); n += 1\nexcept OSError as error: says([n < 10000, errno.errorcode[error.errno]])", report=[True, "ENOSPC"]),
    disk("reserved", "handle = os.open('x', os.O_CREAT | os.O_RDWR)\nsays([tried(os.posix_fallocate, handle, 0, 2 ** 30)])", report=["EFBIG"]),
    disk("removed but open", "held = []\ntry:\n    while True:\n        f = open('x', 'wb', buffering=0); os.unlink('x'); f.write(b'x' * 2 ** 20); held.append(f)\nexcept OSError as error: says(errno.errorcode[error.errno])", report="ENOSPC"),
    disk("links without end", "n = 0\nopen('x', 'w')\ntry:\n    while True:\n        os.link('x', f'l{n}'); n += 1\n        if n > 200000: break\nexcept OSError as error: says(errno.errorcode[error.errno])", report="ENOSPC", limits={"wall_seconds": 8.0}),
    disk("folders in folders", "n = 0\ntry:\n    while True:\n        os.mkdir('d'); os.chdir('d'); n += 1\nexcept OSError as error: says([n < 10000, errno.errorcode[error.errno]])", report=[True, "ENOSPC"]),
)  # fmt: skip
