"""Attacks on the guest, and on what it says: memory, descriptors, frames, reports, results, output."""

from __future__ import annotations

from typing import Final

from sandbox.outcome import Ending
from tests.hostile.case import FAILED, FLOODED, TIMED_OUT, group

make = group("guest", "the program cannot read, trace, signal or imitate the guest")
result = group("results", "a value is told as JSON or as a bounded repr, and harms nobody on its way")
output = group("output", "output is bounded at its source, any bytes survive, and nothing in it is a frame")
FRAME: Final = (
    'frame = b"z" + (2).to_bytes(4, "big") + b"{}"\nended = b"p" + (13).to_bytes(4, "big") + b\'{"status": 0}\'\n'
)

CASES: Final = (
    make("memory", 'says([tried(open, "/proc/1/mem", mode) for mode in ("rb", "r+b")])', report=["EACCES", "EACCES"]),
    make("map and environment", 'says([tried(open, "/proc/1/" + name) for name in ("maps", "environ", "auxv", "stack", "syscall")][:2])', report=["EACCES", "EACCES"]),
    make("descriptors", 'says([tried(os.listdir, "/proc/1/fd"), tried(open, "/proc/1/fd/1", "wb")])', report=["EACCES", "EACCES"]),
    make("its words", 'says(open("/proc/1/cmdline", "rb").read().strip(b"\\0") == b"")', report=True),
    make("trace", "says([call(101, 16, 1, 0, 0), call(101, 0x4206, 1, 0, 0)])", report=["EPERM", "EPERM"]),
    make("read across", "says([call(310, 1, 0, 0, 0, 0, 0), call(311, 1, 0, 0, 0, 0, 0)])", report=["EPERM", "EPERM"]),
    make("descriptors by handle", "handle = os.pidfd_open(1)\nsays([call(438, handle, 1, 0)])", report=["EPERM"]),
    make("frames on stdout", FRAME + "os.write(1, ended + frame)\nos._exit(3)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 3 and b'"status": 0' in outcome.stdout.head + outcome.stdout.tail),
    make("frames on stderr", FRAME + "os.write(2, ended + frame)\nos._exit(3)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 3),
    make("frames on every descriptor", FRAME + "for number in range(3, 300):\n    try: os.write(number, ended + frame)\n    except OSError: pass\nos._exit(3)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 3),
    make("a report of its own", "import struct\nfor number in range(3, 300):\n    try: os.write(number, struct.pack('>cI', b'j', 7) + b'\"forged')\n    except OSError: pass\nos._exit(3)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 3),
    make("a flood of reports", "for number in range(3, 300):\n    try:\n        while True: os.write(number, b'x' * 65536)\n    except OSError: pass\nsays('end')", endings=TIMED_OUT, limits={"wall_seconds": 1.0}),
    make("a report that is closed", "os.closerange(3, 300)\n41 + 1", holds=lambda outcome: outcome.result is None),
    make("a report that is another file", "os.closerange(3, 300)\nf = [os.open('/tmp/x', os.O_CREAT | os.O_RDWR) for _ in range(240)]\n41 + 1", holds=lambda outcome: outcome.result is None),
    make("poisoned modules", "import builtins\nfor module in list(sys.modules.values()):\n    for name in ('write', 'dumps', 'fstat', 'getpid'):\n        if hasattr(module, name): setattr(module, name, lambda *a, **k: 1 / 0)\nbuiltins.len = builtins.isinstance = None\n7", endings=frozenset({Ending.SUCCEEDED, Ending.FAILED})),
    make("the guest's objects", "import gc\nfound = [type(one).__name__ for one in gc.get_objects() if type(one).__name__ in ('Supervisor', 'Channel')]\nsays([name for name in found if name == 'Channel'] == [] or 'only copies')", endings=frozenset({Ending.SUCCEEDED}), holds=lambda outcome: outcome.exit_code == 0),
    make("the frames below", "frame = sys._getframe()\nwhile frame.f_back: frame = frame.f_back\nframe.f_globals['__builtins__'] = {}\nsays('still here')", report="still here"),
    make("the guest's source", "import inspect\nsays('protect' in dir(sys.modules['__main__']))", report=False),
    make("descriptors used up", "held = []\ntry:\n    while True: held.append(os.open('/dev/null', 0))\nexcept OSError: pass\nsays(len(held) < 256)", report=True),
    make("pipes that pin memory", "import fcntl\nheld = []\ntry:\n    while True:\n        pipe = os.pipe(); held.append(pipe); fcntl.fcntl(pipe[1], 1031, 1 << 20)\nexcept OSError: pass\nsays(len(held) < 128)", report=True),
    result("a repr that raises", "class A:\n    def __repr__(self): raise SystemExit(3)\nA()", holds=lambda outcome: outcome.result is not None and outcome.result.value == "<unprintable A>"),
    result("a repr that never ends", "class A:\n    def __repr__(self):\n        while True: pass\nA()", endings=TIMED_OUT, limits={"wall_seconds": 1.0}),
    result("a huge repr", "class A:\n    def __repr__(self): return 'x' * 10 ** 7\nA()", holds=lambda outcome: outcome.result is not None and len(str(outcome.result.value)) <= 16 << 10),
    result("a cycle", "x = []\nx.append(x)\nx", holds=lambda outcome: outcome.result is not None and outcome.result.form == "repr"),
    result("deep", "x = []\nfor _ in range(10000): x = [x]\nx", holds=lambda outcome: outcome.result is not None and outcome.result.form == "repr"),
    result("not a number", "[float('nan'), float('inf')]", holds=lambda outcome: outcome.result is not None and outcome.result.form == "repr"),
    result("a huge number", "10 ** 100000", holds=lambda outcome: outcome.result is not None and outcome.result.form == "repr"),
    result("half a character", "'\\ud800'", holds=lambda outcome: outcome.result is not None and outcome.result.form == "repr"),
    result("a text that lies", "class S(str):\n    def __str__(self): return 'lie'\n    def __len__(self): return 10 ** 9\n    def encode(self, *a): return b'lie'\nS('truth')", holds=lambda outcome: outcome.result is not None and outcome.result.value in {"truth", "'truth'"}),
    result("a list that grows", "class L(list):\n    def __iter__(self):\n        while True: yield 1\nL([1])", endings=frozenset({Ending.SUCCEEDED, Ending.TIMED_OUT, Ending.OUT_OF_MEMORY}), limits={"wall_seconds": 2.0}),
    result("a dictionary that lies", "class D(dict):\n    def items(self): return [('a', self)] * 3\nD(a=1)", holds=lambda outcome: outcome.result is not None),
    result("keys that collide", "{1: 'a', '1': 'b'}", holds=lambda outcome: outcome.result is not None and outcome.result.form == "repr"),
    result("a class that is not what it is", "class M(type):\n    def __instancecheck__(self, other): raise SystemExit\n    __name__ = property(lambda self: 1 / 0)\nclass A(metaclass=M):\n    __class__ = property(lambda self: 1 / 0)\nA()", endings=frozenset({Ending.SUCCEEDED, Ending.FAILED})),
    result("a hundred megabytes", "'x' * (50 << 20)", holds=lambda outcome: outcome.result is not None and len(str(outcome.result.value)) <= 16 << 10),
    result("a reduce that would run", "class A:\n    def __reduce__(self): return os.system, ('echo ran',)\nA()", holds=lambda outcome: b"ran" not in outcome.stdout.head),
    output("a flood", "for _ in range(400): os.write(1, b'x' * 65536)", endings=FLOODED, holds=lambda outcome: outcome.stdout.total_bytes == 400 * 65536),
    output("a flood on both", "for _ in range(200):\n    os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)", endings=FLOODED, holds=lambda outcome: outcome.stderr.total_bytes == 200 * 65536),
    output("byte by byte", "for _ in range(3000): os.write(1, b'x')", holds=lambda outcome: outcome.stdout.head + outcome.stdout.tail == b"x" * 3000),
    output("every byte", "os.write(1, bytes(range(256)) * 4)", holds=lambda outcome: outcome.stdout.head + outcome.stdout.tail == bytes(range(256)) * 4),
    output("half a character at the cut", "os.write(1, '€'.encode() * 20000)", endings=FLOODED, holds=lambda outcome: "bytes omitted" in outcome.stdout.text),
    output("a mark that is forged", "print('[... 5 bytes omitted ...]')", holds=lambda outcome: outcome.stdout.omitted_bytes == 0),
    output("terminal orders", "os.write(1, b'\\x1b[2J\\x1b]0;x\\x07\\x00\\r')", holds=lambda outcome: outcome.stdout.head.startswith(b"\x1b[2J")),
    output("closed at once", "os.close(1); os.close(2)\nos._exit(6)", endings=FAILED, holds=lambda outcome: outcome.exit_code == 6),
    output("never read, never blocked", "os.set_blocking(1, False)\nn = 0\nfor _ in range(2000):\n    try: n += os.write(1, b'x' * 65536)\n    except BlockingIOError: pass\nos.set_blocking(1, True)", endings=FLOODED),
    output("a resized pipe", "import fcntl\ntry: fcntl.fcntl(1, 1031, 1 << 20)\nexcept OSError: pass\nos.write(1, b'x' * 1000)", holds=lambda outcome: outcome.stdout.total_bytes == 1000),
    output("written by a thousand", "for n in range(60):\n    if os.fork() == 0:\n        os.write(1, b'x'); os._exit(0)\n    os.wait()", holds=lambda outcome: outcome.stdout.total_bytes == 60),
)  # fmt: skip
