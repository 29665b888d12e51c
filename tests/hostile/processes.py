"""Attacks with processes: many of them, lasting ones, deaf ones, and on others."""

from __future__ import annotations

from typing import Final

from sandbox.outcome import Ending
from tests.hostile.case import FAILED, SHORT, TIMED_OUT, group

make = group("processes", "processes are a wall, nothing outlives the run, late output is nobody's")
ending = group("endings", "the ending is told as it was, whatever the program does to itself")

CASES: Final = (
    make("fork bomb", "while True:\n    try: os.fork()\n    except OSError: pass", endings=TIMED_OUT, limits=SHORT),
    make("fork until refused", 'n = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(60)\n        n += 1\nexcept BlockingIOError: says({"refused": n < 24})', report={"refused": True}),
    make("threads until refused", 'import threading\nn = 0\ntry:\n    while True:\n        threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); n += 1\nexcept RuntimeError: says({"refused": n < 24})', report={"refused": True}),
    make("zombies", 'n = 0\ntry:\n    while True:\n        if os.fork() == 0: os._exit(0)\n        n += 1\nexcept BlockingIOError: says({"refused": n < 40})', report={"refused": True}),
    make("a daemon", 'if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(2); print("late", flush=True)\n    os._exit(0)\nsays("gone")', report="gone", holds=lambda outcome: "late" not in outcome.stdout.text and (outcome.usage.wall_seconds or 9) < 2),
    make("a daemon that ignores signals", 'if os.fork() == 0:\n    os.setsid()\n    for number in range(1, 65):\n        try: signal.signal(number, signal.SIG_IGN)\n        except (OSError, ValueError): pass\n    while True: time.sleep(1)\nsays("gone")', report="gone"),
    make("a daemon that keeps the output open", 'import subprocess\nsubprocess.Popen(["sleep", "60"], start_new_session=True)\nsays("gone")', report="gone", holds=lambda outcome: (outcome.usage.wall_seconds or 9) < 4),
    make("a program that ignores every signal", "for number in range(1, 65):\n    try: signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass", endings=TIMED_OUT, limits=SHORT),
    make("forks for ever, one at a time", "while True:\n    if os.fork(): os._exit(0)", endings=frozenset({Ending.SUCCEEDED, Ending.TIMED_OUT}), limits=SHORT),
    make("kills everybody", 'try: os.kill(-1, signal.SIGKILL)\nexcept OSError: pass\nsays("alive")', endings=frozenset({Ending.SUCCEEDED, Ending.FAILED})),
    make("signals to the guest", "says([tried(os.kill, 1, number) for number in (9, 15, 19, 11, 1, 2)])\ntime.sleep(0.1)", report=["worked"] * 6),
    make("stops itself", "os.kill(os.getpid(), signal.SIGSTOP)", endings=TIMED_OUT, limits=SHORT),
    make("stops its children and waits", "child = os.fork()\nif child == 0: time.sleep(60)\nos.kill(child, signal.SIGSTOP)\nos.waitpid(child, 0)", endings=TIMED_OUT, limits=SHORT),
    make("processes of others", 'says(sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()) == [1, os.getpid()])', report=True),
    make("higher priority", "says([tried(os.nice, -5), tried(os.setpriority, os.PRIO_PROCESS, 1, 19), tried(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))])", report=["EPERM", "EPERM", "EPERM"]),
    make("limits of the guest", "import resource\nsays([tried(resource.prlimit, 1, resource.RLIMIT_NOFILE, (1, 1))])", report=["EPERM"]),
    make("first for the OOM killer", 'says([tried(open("/proc/1/oom_score_adj", "w").write, "1000") if tried(open, "/proc/1/oom_score_adj", "w") == "worked" else tried(open, "/proc/1/oom_score_adj", "w")])', report=["EACCES"]),
    ending("exit codes", "os._exit(77)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 77),
    ending("exit beyond a byte", "sys.exit(256 + 3)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 3),
    ending("says that it was killed", "os._exit(137)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 137 and outcome.signal is None),
    ending("kills itself", "os.kill(os.getpid(), signal.SIGKILL)", endings=FAILED, holds=lambda outcome: outcome.signal == "SIGKILL"),
    ending("segmentation fault", "ctypes.string_at(0)", endings=FAILED, holds=lambda outcome: outcome.signal == "SIGSEGV"),
    ending("abort", "os.abort()", endings=FAILED, holds=lambda outcome: outcome.signal == "SIGABRT"),
    ending("becomes another program", 'os.execv("/bin/sh", ["sh", "-c", "echo other; exit 5"])', endings=FAILED, holds=lambda outcome: outcome.exit_code == 5 and "other" in outcome.stdout.text),
    ending("closes everything", "os.closerange(0, 4096)\nos._exit(4)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 4),
    ending("hangs at its end", "import atexit\natexit.register(time.sleep, 60)", endings=TIMED_OUT, limits=SHORT),
    ending("raises at its end", 'import atexit\natexit.register(lambda: 1 / 0)\nsays("end")', report="end"),
    ending("kills at its end", "import atexit\natexit.register(os._exit, 9)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 9),
    ending("a thread that never ends", "import threading\nthreading.Thread(target=lambda: time.sleep(60)).start()", endings=TIMED_OUT, limits=SHORT),
    ending("a deep recursion", "def f(): f()\nf()", endings=FAILED, holds=lambda outcome: outcome.error is not None and outcome.error.type == "RecursionError"),
    ending("a stack that overflows", "sys.setrecursionlimit(10 ** 9)\nclass A:\n    def __repr__(self): return repr([self])\nrepr(A())", endings=FAILED),
    ending("an exit hook that lies", "sys.excepthook = lambda *words: os._exit(0)\n1 / 0", holds=lambda outcome: outcome.exit_code == 0),
    ending("an exception that cannot be shown", "class E(Exception):\n    def __str__(self): raise SystemExit(0)\nraise E", endings=FAILED),
    ending("an exception with a huge message", "raise ValueError('x' * 10 ** 7)", endings=FAILED | {Ending.OUTPUT_LIMIT_EXCEEDED}, holds=lambda outcome: outcome.error is None or len(outcome.error.message) < 10_000),
    ending("a flood of exceptions", "raise ExceptionGroup('g', [ValueError('x' * 1000) for _ in range(1000)])", endings=FAILED | {Ending.OUTPUT_LIMIT_EXCEEDED}),
)  # fmt: skip
