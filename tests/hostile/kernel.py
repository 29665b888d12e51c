"""Attacks on the kernel: calls that no Python program needs, and facts about the machine."""

from __future__ import annotations

from typing import Final

from tests.hostile.case import FAILED, group

make = group("kernel", "system calls beyond our list are refused before the kernel looks at them")
facts = group("facts", "nothing of the gateway or the host can be read")
source = group("sources", "a program's text is a text: it decides nothing before it runs")


def _calls(*numbers: int) -> dict[str, object]:
    words = ", ".join(f"call({number}, 0, 0, 0, 0, 0, 0)" for number in numbers)
    return {"code": f"says([{words}])", "report": ["EPERM"] * len(numbers)}


CASES: Final = (
    make("io_uring", **_calls(425, 426, 427)),
    make("bpf", **_calls(321)),
    make("userfaultfd", **_calls(323)),
    make("keys", **_calls(248, 249, 250)),
    make("performance events", **_calls(298)),
    make("kexec", **_calls(246, 320)),
    make("modules", **_calls(175, 313, 176)),
    make("mounts", **_calls(165, 166, 155, 428, 429, 430, 431, 432, 442)),
    make("namespaces", "says([call(272, flag) for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000, 0x80)])", report=["EPERM"] * 8),
    make("namespaces by clone", "says([call(56, flag | 17, 0, 0, 0, 0) for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000)])", report=["EPERM"] * 4),
    make("namespaces of others", "handle = os.open('/proc/self/ns/net', 0)\nsays([call(308, handle, 0)])", report=["EPERM"]),
    make("clone with arguments in memory", "says([call(435, 0, 0)])", report=["ENOSYS"]),
    make("files by handle", **_calls(303, 304)),
    make("queues and segments", **_calls(29, 64, 68, 240)),
    make("splicing", **_calls(275, 276, 278)),
    make("swap and quotas", **_calls(167, 168, 179)),
    make("the machine's clock and name", **_calls(164, 227, 170, 171, 169)),
    make("ports and tables", **_calls(172, 173, 154)),
    make("who it is", "says([call(105, 0), call(106, 0), call(116, 0, 0), call(126, 0, 0)])", report=["EPERM"] * 4),
    make("watching files", **_calls(294, 300)),
    make("memory of nodes", **_calls(237, 238, 256, 279)),
    make("a filter of its own", "says([call(317, 1, 0, 0)])", report=["EPERM"]),
    make("another personality", "says([call(135, 8)])", report=["EPERM"]),
    make("the old calls", "child = os.fork()\nif child == 0:\n    import mmap\n    code = mmap.mmap(-1, 4096, prot=7)\n    code.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n    ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()\n    os._exit(0)\nstatus = os.waitpid(child, 0)[1]\nsays(os.WIFSIGNALED(status))", report=True),
    facts("the gateway's environment", "says(sorted(os.environ))", report=["HOME", "LANG", "PATH"]),
    facts("the kernel's command line", "says([len(open(path).read()) for path in ('/proc/cmdline', '/proc/modules', '/proc/partitions', '/proc/kallsyms', '/proc/interrupts') if os.path.exists(path)])", holds=lambda outcome: set(outcome.stdout.text) <= set("[0, ]\n")),
    facts("the machine's devices", "says([os.listdir(path) for path in ('/sys/class', '/sys/block', '/sys/devices', '/sys/firmware') if os.path.exists(path)])", report=[[], [], [], []]),
    facts("its name", "says(socket.gethostname())", report="box"),
    facts("other mounts", "says([line.split()[4] for line in open('/proc/self/mountinfo') if '/var/lib/docker' in line.split()[4] or line.split()[4].startswith(('/host/', '/mnt', '/home', '/root'))])", report=[]),
    facts("the terminal", "says([os.path.exists('/dev/tty') and tried(open, '/dev/tty'), os.listdir('/dev/pts')])", report=["ENXIO", []]),
    facts("the kernel's log", "says([call(103, 3, 0, 0), tried(open, '/dev/kmsg')])", report=["EPERM", "ENOENT"]),
    facts("secrets of mounts", "says([tried(os.listdir, path) for path in ('/run/secrets', '/var/run/secrets', '/proc/1/root')])", report=["ENOENT", "ENOENT", "EACCES"]),
    facts("its privileges", "status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)\nsays([int(status['CapBnd'], 16), status['NoNewPrivs'].strip(), status['Seccomp'].strip()])", report=[0, "1", "2"]),
    source("an encoding in the first line", "# -*- coding: utf-7 -*-\n# +AAo-print('hidden')\nprint('seen')", plain=True, holds=lambda outcome: outcome.stdout.head == b"seen\n"),
    source("a mark at the front", "\ufeffprint('seen')", plain=True, holds=lambda outcome: outcome.stdout.head == b"seen\n"),
    source("a carriage return", "print('a')\rprint('b')", plain=True, holds=lambda outcome: outcome.stdout.head == b"a\nb\n"),
    source("its own file", "import os\nprint(os.path.exists(__file__), os.listdir('.'))", plain=True, holds=lambda outcome: outcome.stdout.head == b"False []\n"),
    source("not Python", "import os\n)(", plain=True, endings=FAILED, holds=lambda outcome: outcome.error is not None and outcome.error.type == "SyntaxError"),
    source("too deep for the compiler", "x = " + "(" * 5000 + ")" * 5000, plain=True, endings=FAILED),
    source("too long a number", "x = 1" + "0" * 10000, plain=True, endings=FAILED),
    source("a future that changes it", "from __future__ import annotations\nimport sys\nprint(sys.argv)", plain=True, holds=lambda outcome: outcome.stdout.head == b"['main.py']\n"),
)  # fmt: skip
