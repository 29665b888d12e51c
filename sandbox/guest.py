"""The guest: first process of a box, and the only one that speaks to the gateway.

Handed to `python3 -I -B -c <this text>` in any image that has a Python (3.9 or newer), so it is
one file of standard library only. It owns the frame format, the wall-clock limit, what is kept of
the output, and the collection of files. It must not know engines or policies, and it must not
trust the program: that runs in a fork of this process, under the same uid (in gVisor another), and
everything that it can write to is its own word.

As a cell it serves one job after the other: each by a fork that makes namespaces of its own around
itself and is the guest in there, while this process only waits.

The gateway sends one job on the attached stream: four bytes of length (big endian), JSON (`Order`),
the bytes of the files. The guest answers in frames: one byte of kind, four of length, payload:
`started`, output as it comes, `killing` if it has to, `ended`, what was kept back of the output, the
program's report, files, and `end`; or `setup_failed` alone.
"""

from __future__ import annotations

import _ast
import _thread
import atexit
import ctypes
import fcntl
import gc
import json
import linecache
import os
import resource
import select
import signal
import stat
import struct
import sys
import time
import traceback
import types
import weakref

TYPE_CHECKING = False  # the real one would cost a box the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, NoReturn, TypedDict

    from sandbox.job import JsonValue

    class Order(TypedDict):
        """A job as the gateway sends it; the files' bytes follow in the order of `files`."""

        code: str
        stdin: str
        args: list[str]
        env: dict[str, str]
        inputs: dict[str, JsonValue]
        files: list[tuple[str, int]]
        outputs: list[str]
        wall_seconds: float
        output_bytes: int
        collect_bytes: int

    class Terms(TypedDict):
        """How a cell is to be made around each program."""

        masked: list[str]
        readonly: list[str]
        shared_memory_bytes: int
        most_files: int
        preload: list[str]


HEADER = struct.Struct(">cI")
STARTED, SETUP_FAILED, KILLING, ENDED, END = b"S", b"F", b"k", b"p", b"z"
STDOUT, STDERR, STDOUT_TAIL, STDERR_TAIL = b"o", b"e", b"O", b"E"
RESULT_JSON, RESULT_REPR, ERROR = b"j", b"r", b"x"
FILE, FILE_DATA, SKIPPED = b"f", b"d", b"s"

CHUNK_BYTES = 1 << 16
FRAME_BYTES = 1 << 18  # no payload is longer
STREAM_CEILING_BYTES = 1 << 30  # a program that writes more to one stream is killed
REPORT_SLACK_BYTES = 1 << 19  # what an error record may add to a result
MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS = 4_000, 24_000  # six bytes each in JSON at worst: within a frame
RESULT_DEPTH = 100
MOST_STATUS = 255
ERRNO_END = 4096  # the kernel's own bound
LINGER_SECONDS = 0.002  # that a frame waits for the next one: each write wakes three processes on its way
DRAIN_SECONDS = 0.2
REAP_AT_ONCE = 1_000  # between two looks at the clock, whatever is forked meanwhile
REAP_SECONDS = 5.0
COLLECT_SECONDS = 2.0
COLLECT_FILES, COLLECT_ENTRIES, COLLECT_DEPTH = 100, 10_000, 32
REPORT_DESCRIPTOR = 200  # far from the numbers that a program expects to get for its own files
COUNTERS_DESCRIPTOR = 201  # the directory of the box's counters
TOLD_DESCRIPTOR = 202  # in a cell: the way to say that a run is over
FINALIZERS_LOOKED_FOR = 5_000  # objects that a program may have left; to look at more takes longer than to let them go

HOME = "/tmp"  # noqa: S108 - the box's own, and its only writable place
SOURCE = "main.py"
ENVIRONMENT = {"HOME": HOME, "LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
PROGRAM_ID = 65532  # user and group of the program where the guest is root
CGROUP = "/sys/fs/cgroup"
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 4, 22, 24


ITS_ORDER = ("code", "args", "env", "inputs", "output_bytes")  # what of a job the program's own process needs


# --- the value of the last expression -------------------------------------------------------------


class _NotJsonError(Exception):
    """The value has no JSON form; `too_large` if only for its size."""

    def __init__(self, *, too_large: bool = False) -> None:
        super().__init__()
        self.too_large = too_large


def encode_result(value: object, limit: int) -> tuple[Literal["json", "repr"], str]:
    """The value as JSON text, or as its repr where it has no JSON form; at most `limit` bytes of UTF-8.

    JSON as `json.dumps` means it, save what other readers of JSON could not take: NaN and
    infinities, lone surrogates, keys that collide as text, and nesting deeper than 100. A repr
    that does not fit is cut. Never raises, whatever the value's own methods do.
    """
    try:
        text = json.dumps(_plain(value, [limit], RESULT_DEPTH), ensure_ascii=False, allow_nan=False)
        if len(text.encode()) <= limit:
            return "json", text
        brief = True
    except _NotJsonError as refusal:
        brief = refusal.too_large
    except BaseException:  # noqa: BLE001 - the value's methods are the program's: they may raise anything
        brief = False
    return "repr", _cut(_repr(value, brief=brief), limit)


def _plain(value: object, budget: list[int], depth: int) -> JsonValue:
    """A copy of the value in exact JSON types; raises _NotJsonError as soon as it cannot fit."""
    if value is None or value is True or value is False:
        return _spend(budget, 4, value)
    if isinstance(value, int):
        return _spend(budget, value.bit_length() // 4, int(value))
    if isinstance(value, float):
        return _spend(budget, 3, float(value))
    if isinstance(value, str):
        return _spend(budget, len(value) + 2, str.__str__(value))
    if depth == 0 or not isinstance(value, (list, tuple, dict)):
        raise _NotJsonError
    _spend(budget, 1, None)
    if isinstance(value, dict):
        return _plain_object(value, budget, depth - 1)
    return [_plain(item, budget, depth - 1) for item in value]


def _plain_object(value: dict[object, object], budget: list[int], depth: int) -> dict[str, JsonValue]:
    plain: dict[str, JsonValue] = {}
    for key, item in value.items():
        if key is not None and not isinstance(key, (str, int, float)):
            raise _NotJsonError
        name = str.__str__(key) if isinstance(key, str) else json.dumps(key, allow_nan=False)
        if name in plain:
            raise _NotJsonError
        _spend(budget, len(name) + 3, None)
        plain[name] = _plain(item, budget, depth)
    return plain


def _spend(budget: list[int], size: int, value: JsonValue) -> JsonValue:
    """The value, if its text and a separator still fit."""
    budget[0] -= size + 1
    if budget[0] < -1:  # the last one needs no separator
        raise _NotJsonError(too_large=True)
    return value


def _repr(value: object, *, brief: bool) -> str:
    """The value's repr; with `brief`, of a builtin container only its beginning."""
    try:
        if brief:
            import reprlib  # noqa: PLC0415 - rarely needed, and start-up time is every box's

            short = reprlib.Repr()
            short.maxlist = short.maxtuple = short.maxdict = short.maxstring = short.maxother = short.maxlong = 1_000
            return short.repr(value)
        return repr(value)
    except BaseException:  # noqa: BLE001 - as above
        return f"<unprintable {_type_name(value)}>"


def _type_name(value: object) -> str:
    return _cut(type.__dict__["__name__"].__get__(type(value)), 200)


def _cut(text: str, limit: int) -> str:
    """The text as encodable UTF-8 of at most `limit` bytes, its middle left out where it is longer."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    mark = b"[...]"
    half = max((limit - len(mark)) // 2, 0)
    kept = data[: limit - len(mark) - half] + mark + data[len(data) - half :] if limit > len(mark) else data[:limit]
    return kept.decode("utf-8", "ignore")


# --- the program's process ------------------------------------------------------------------------


class Program:
    """The program, in its own process: what it runs, and the way to report how that ended."""

    def __init__(self, order: Order, report: int) -> None:
        self.source = order["code"].removeprefix("\ufeff")
        self.output_bytes = order["output_bytes"]
        self.report = report
        self.report_identity = os.fstat(report).st_ino
        self.process = os.getpid()
        self.streams = (sys.stdout, sys.stderr)
        self.frozen = gc.get_freeze_count()
        self.main = types.ModuleType("__main__")
        self.names = self.main.__dict__
        self.names.update({"__builtins__": sys.modules["builtins"], "__file__": SOURCE, "__cached__": None})
        if sys.version_info < (3, 14):
            self.names["__annotations__"] = {}
        self.names.update(order["inputs"])

    def compile(self) -> tuple[types.CodeType, types.CodeType | None]:
        """The program's code, and that of its last statement if this is an expression.

        Compiled as text: of bytes, the compiler would let the program choose the encoding.
        """
        # Not in the file system: the working directory holds what the caller put there, nothing else.
        lines = [line + "\n" for line in self.source.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
        linecache.clearcache()
        getattr(linecache, "_interactive_cache", {}).clear()  # this text, which would pass for any "<string>"
        linecache.cache[SOURCE] = (len(self.source), None, lines, SOURCE)
        try:
            flags: int = _ast.PyCF_ONLY_AST
            tree: _ast.Module = compile(self.source, SOURCE, "exec", flags, dont_inherit=True)
            last = tree.body[-1] if tree.body else None
            if not isinstance(last, _ast.Expr):
                return compile(tree, SOURCE, "exec", dont_inherit=True), None
            del tree.body[-1]
            body = compile(tree, SOURCE, "exec", dont_inherit=True)
            return body, compile(_ast.Expression(last.value), SOURCE, "eval", dont_inherit=True)
        except SyntaxError as error:
            if error.text is None and error.filename == SOURCE and 0 < (error.lineno or 0) <= len(lines):
                error.text = lines[(error.lineno or 0) - 1]  # the compiler looked for a file
            raise

    def succeed(self, value: object) -> None:
        """Report the value of the last expression."""
        if os.getpid() == self.process:
            form, text = encode_result(value, self.output_bytes)
            self._send(RESULT_JSON if form == "json" else RESULT_REPR, text.encode())

    def fail(self, error: BaseException) -> None:
        """Show an uncaught exception as CPython does, and report it.

        The caller raises it again: only the interpreter itself can end as CPython does.
        """
        own = globals()
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals is own:
            trace = trace.tb_next
        error.__traceback__ = trace
        record = _error_record(error, trace)
        _call_hook(error, trace)
        sys.excepthook = _nothing
        if os.getpid() == self.process:
            self._send(ERROR, json.dumps(record).encode())

    def leave(self, status: object) -> None:
        """Exit at once where the interpreter would find nothing to do on its way out; it takes longer than most programs.

        What it would have to do: call what was registered, wait for threads, and let go of objects that have something
        to say when they go. Where there may be any, this returns.
        """
        if type(status) is not int or not 0 <= status <= MOST_STATUS or self.has_something_to_do():
            return
        try:
            for stream in self.streams:
                stream.flush()
        except BaseException:  # noqa: BLE001 - the interpreter finds it again, and tells it in its own way
            return
        ctypes.CDLL(None).exit(status)  # with what the C library has to do

    def has_something_to_do(self) -> bool:
        """Whether the interpreter would have to do more than to end."""
        if atexit._ncallbacks() or _thread._count() or sys.gettrace() or sys.getprofile():  # noqa: SLF001 - nothing public tells
            return True
        if sys.stdout is not self.streams[0] or sys.stderr is not self.streams[1]:
            return True
        if gc.get_freeze_count() > self.frozen:
            return True  # the program keeps objects out of sight
        left = gc.get_objects()
        return len(left) > FINALIZERS_LOOKED_FOR or _any_finalizer(left)

    def _send(self, kind: bytes, data: bytes) -> None:
        try:
            if os.fstat(self.report).st_ino != self.report_identity:
                return  # the program closed it, and another file has the number now
            for start in range(0, len(data), CHUNK_BYTES * 3):
                part = memoryview(data)[start : start + CHUNK_BYTES * 3]
                _write_all(self.report, HEADER.pack(kind, len(part)) + part)
        except OSError:
            return  # closed by the program: then it reports nothing


def _any_finalizer(objects: list[object]) -> bool:
    """Whether one of them has something to say when it goes, or is a class whose objects may; asks none of them."""
    silent: set[type] = set()
    for one in objects:
        kind = type(one)
        if issubclass(kind, weakref.ReferenceType) and not _is_quiet(_CALLBACK(one)):
            return True
        for found in (kind, one) if issubclass(kind, type) else (kind,):
            if found not in silent:
                if any("__del__" in _NAMESPACE(base) for base in _ANCESTORS(found)):
                    return True
                silent.add(found)  # type: ignore[arg-type] # a class, as its own class says
    return False


def _is_quiet(callback: object) -> bool:
    """Whether this callback of a weak reference is none, or that of the cache behind `isinstance`."""
    return callback is None or (type(callback) is types.BuiltinFunctionType and callback.__name__ == "_destroy")


_CALLBACK = weakref.ReferenceType.__dict__["__callback__"].__get__
_ANCESTORS = type.__dict__["__mro__"].__get__
_NAMESPACE = type.__dict__["__dict__"].__get__


def _error_record(error: BaseException, trace: types.TracebackType | None) -> dict[str, str | int | None]:
    """What is told of an uncaught exception; every word in it is the program's."""
    line: int | None = None
    if trace is None and isinstance(error, SyntaxError):
        line = error.lineno
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:  # noqa: BLE001 - the exception's methods are the program's
        text = ""
    try:
        message = str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:  # noqa: BLE001 - as above
        message = f"<unprintable {_type_name(error)}>"
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == SOURCE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return {
        "type": _type_name(error),
        "message": _cut(message, MESSAGE_CHARACTERS),
        "line": line,
        "traceback": _cut(text, TRACEBACK_CHARACTERS),
        "errno": _errno(error),
    }


def _errno(error: BaseException) -> int | None:
    """The kernel's number of an operating system error, whatever the program made of its attributes."""
    if not issubclass(type(error), OSError):
        return None
    number: object = OSError.__dict__["errno"].__get__(error)
    return number if type(number) is int and 0 < number < ERRNO_END else None


def _call_hook(error: BaseException, trace: types.TracebackType | None) -> None:
    """Call `sys.excepthook` and survive what it does, as the interpreter would."""
    hook = getattr(sys, "excepthook", sys.__excepthook__)
    if hook is sys.__excepthook__ and sys.version_info < (3, 13):
        hook = traceback.print_exception  # the one in C reads the source from the file system
    try:
        hook(type(error), error, trace)
    except SystemExit:
        raise
    except BaseException as failure:  # noqa: BLE001 - the hook is the program's
        if failure.__traceback__ is not None:
            failure.__traceback__ = failure.__traceback__.tb_next
        failure.__context__ = None
        sys.stderr.write("Error in sys.excepthook:\n")
        traceback.print_exception(type(failure), failure, failure.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        traceback.print_exception(type(error), error, trace)


def become_program(orders: int, stdio: tuple[int, int, int], report: int) -> Program:
    """Turn this fork of the guest into what a fresh `python3 main.py` is, as soon as there is an order for it."""
    signal.set_wakeup_fd(-1)
    for number in _signals():
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as CPython starts
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    for target, descriptor in enumerate(stdio):
        os.dup2(descriptor, target)
    own = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, REPORT_DESCRIPTOR)
    orders = fcntl.fcntl(orders, fcntl.F_DUPFD_CLOEXEC, REPORT_DESCRIPTOR)
    os.closerange(3, own)
    os.closerange(own + 1, orders)
    os.closerange(orders + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    _become_expendable()
    os.chdir(HOME)
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    _rehearse(own)
    order: Order = json.loads(_read_all(orders))
    if order["env"]:
        os.environ.update(order["env"])
        time.tzset()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # `random` does so by itself in every fork
    sys.argv = [SOURCE, *order["args"]]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = ["python3", *sys.argv]
    sys.path.insert(0, HOME)
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)  # one frame of the guest stays below the program
    program = Program(order, own)
    sys.modules["__main__"] = program.main
    return program


def _rehearse(report: int) -> None:
    """Do once what every program needs, so that this fork has its own copy of the memory that it takes."""
    nothing: Order = json.loads(json.dumps({"code": "None", "inputs": {}, "output_bytes": 0}))
    rehearsal = Program(nothing, report)
    body, _ = rehearsal.compile()
    exec(body, rehearsal.names)
    rehearsal.has_something_to_do()
    gc.freeze()


def _read_all(descriptor: int) -> bytes:
    data = bytearray()
    while part := os.read(descriptor, CHUNK_BYTES):
        data += part
    os.close(descriptor)
    return bytes(data)


# --- the guest's own process ----------------------------------------------------------------------


def _signals() -> set[int]:
    return {int(number) for number in signal.valid_signals()} - {int(signal.SIGKILL), int(signal.SIGSTOP)}


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
    libc = ctypes.CDLL(None)
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    for start, end in ((int(fields[45]), int(fields[46])), (int(fields[47]), int(fields[48]))):
        if 0 < start < end:  # arguments, then environment
            ctypes.memset(start, 0, end - start)
    libc.clearenv()
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        sys.exit("the guest cannot protect itself")
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)
    if os.getuid() == 0:
        os.setgroups([PROGRAM_ID])
        os.setresgid(PROGRAM_ID, PROGRAM_ID, PROGRAM_ID)


def _become_expendable() -> None:
    """Undo `protect` for a fork: its /proc is its own again, and under memory pressure it goes before the guest."""
    if os.getuid() == 0:
        os.setresuid(PROGRAM_ID, PROGRAM_ID, PROGRAM_ID)  # and with it every capability, for ever
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("1000")


def read_order() -> tuple[Order, list[bytes]]:
    """The job, and its files' bytes; ends the box when the gateway does not send a whole one."""
    order: Order = json.loads(_read_exactly(struct.unpack(">I", _read_exactly(4))[0]))
    return order, [_read_exactly(size) for _, size in order["files"]]


def _read_exactly(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(0, min(size - len(data), CHUNK_BYTES))
        if not part:
            sys.exit("the job ended early")
        data += part
    return bytes(data)


def set_up(order: Order, contents: list[bytes]) -> None:
    """Write the job's files; OSError or ValueError is the request's fault."""
    for (path, _), content in zip(order["files"], contents):  # noqa: B905 - `strict` came with 3.10
        parts = path.split("/")
        if any(part in {"", ".", ".."} for part in parts):
            raise ValueError(f"not a clean relative path: {path!r}")
        os.makedirs(os.path.join(HOME, *parts[:-1]), exist_ok=True)
        with open(os.path.join(HOME, *parts), "wb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]


def _as_program() -> None:
    """Where the guest is root: make files and pipes as the program's own, until `_as_guest`."""
    if os.getuid() == 0:
        os.seteuid(PROGRAM_ID)


def _as_guest() -> None:
    if os.getuid() == 0:
        os.seteuid(0)


class Channel:
    """Frames to the gateway. While the program runs, a slow reader must not hold up the guest."""

    def __init__(self) -> None:
        self.waiting = bytearray()  # bounded: only what is kept of the output is ever sent
        self.due = 0.0
        os.set_blocking(1, False)

    def send(self, kind: bytes, data: bytes) -> None:
        """Send one frame: at the latest when it is due and there is room."""
        if not self.waiting:
            self.due = time.monotonic() + LINGER_SECONDS
        self.waiting += HEADER.pack(kind, len(data))
        self.waiting += data
        if len(self.waiting) > CHUNK_BYTES:
            self.flush()

    def send_record(self, kind: bytes, record: dict[str, JsonValue]) -> None:
        """Send one frame of JSON."""
        self.send(kind, json.dumps(record).encode())

    def flush(self) -> None:
        """Write what there is room for."""
        try:
            while self.waiting:
                del self.waiting[: os.write(1, self.waiting)]
        except BlockingIOError:
            return

    def wait(self) -> None:
        """From now on whatever `flush` finds is written before it returns."""
        os.set_blocking(1, True)


class Stream:
    """One output stream: its first half is passed on at once, the last half is kept back, the rest is counted."""

    def __init__(self, kind: bytes, tail_kind: bytes, kept_bytes: int) -> None:
        self.kind = kind
        self.tail_kind = tail_kind
        self.head_left = kept_bytes // 2
        self.tail_bytes = kept_bytes - self.head_left
        self.tail = bytearray()
        self.total = 0

    def take(self, data: bytes) -> bytes:
        """Account for what the program wrote; return the part to be passed on."""
        self.total += len(data)
        head = data[: self.head_left]
        self.head_left -= len(head)
        self.tail += memoryview(data)[len(head) :]
        if len(self.tail) > 2 * self.tail_bytes:
            self._trim()
        return head

    def send_tail(self, channel: Channel) -> None:
        """Pass on what was kept back."""
        self._trim()
        for start in range(0, len(self.tail), CHUNK_BYTES):
            channel.send(self.tail_kind, bytes(self.tail[start : start + CHUNK_BYTES]))

    def _trim(self) -> None:
        del self.tail[: max(len(self.tail) - self.tail_bytes, 0)]


class Supervisor:
    """One program's run, seen from the guest's process. The program's own waits for its order beforehand."""

    def __init__(self) -> None:
        self.report = bytearray()
        self.poll = select.poll()
        self.status: int | None = None
        self.killed_for: str | None = None
        self.oom_kills = oom_kills()
        self.forks_refused = forks_refused()
        self.peak_memory_bytes = peak_memory_bytes() if CELL else 0

    def fork(self) -> Program | None:
        """Fork; return the program in its own process, once it has its order, and None in the guest's."""
        _as_program()
        stdin, out, err, report = (os.pipe() for _ in range(4))
        _as_guest()
        wake, orders = os.pipe(), os.pipe()
        for descriptor in (stdin[1], out[0], err[0], report[0], *wake):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, _nothing)  # a handler, so that the wake-up pipe is written
        signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
        self.process = os.fork()
        if self.process == 0:
            return become_program(orders[0], (stdin[0], out[1], err[1]), report[1])
        for descriptor in (orders[0], stdin[0], out[1], err[1], report[1]):
            os.close(descriptor)
        self.orders_descriptor, self.output_descriptors = orders[1], (out[0], err[0])
        self.stdin_descriptor, self.report_descriptor, self.wake_descriptor = stdin[1], report[0], wake[0]
        return None

    def begin(self, order: Order, channel: Channel) -> None:
        """Let the program have its order."""
        self.order, self.channel = order, channel
        self.stdin = memoryview(order["stdin"].encode("utf-8", "replace"))
        kept = order["output_bytes"]
        kinds = ((STDOUT, STDOUT_TAIL), (STDERR, STDERR_TAIL))
        self.streams = {one: Stream(*kind, kept) for one, kind in zip(self.output_descriptors, kinds)}  # noqa: B905 - came with 3.10
        for descriptor in (0, *self.output_descriptors, self.report_descriptor, self.wake_descriptor):
            self.poll.register(descriptor, select.POLLIN)
        self.poll.register(self.stdin_descriptor, select.POLLOUT)
        self.cpu_seconds = cpu_seconds_of_others()
        its = json.dumps({name: order[name] for name in ITS_ORDER}).encode()  # type: ignore[literal-required]
        self.began = time.monotonic()
        try:
            _write_all(self.orders_descriptor, its)
        except BrokenPipeError:
            pass  # it is dead already, and how it died is told as of any program
        os.close(self.orders_descriptor)

    def watch(self) -> None:
        """Serve the program until it ended or has to be ended; then leave no process behind."""
        deadline = self.began + self.order["wall_seconds"]
        while self.status is None and self.killed_for is None:
            now = time.monotonic()
            if now >= deadline:
                self._condemn("wall")
                break
            late = self.channel.waiting and now >= self.channel.due
            if late:
                self.channel.flush()
            self.poll.register(1, select.POLLOUT if late and self.channel.waiting else 0)
            until = min(deadline, self.channel.due) if self.channel.waiting and not late else deadline
            for descriptor, _ in self.poll.poll((until - now) * 1000 + 1):
                self._serve(descriptor)
        self.wall_seconds = time.monotonic() - self.began
        self._end_all()
        until = time.monotonic() + DRAIN_SECONDS
        for descriptor in (self.report_descriptor, *self.streams):
            while time.monotonic() < until and self._read(descriptor):
                pass

    def _serve(self, descriptor: int) -> None:
        if descriptor == 1:
            self.channel.flush()
        elif descriptor == self.stdin_descriptor:
            self._feed()
        elif descriptor == self.wake_descriptor:
            os.read(descriptor, CHUNK_BYTES)
            self._reap()
        elif descriptor == 0:
            if not os.read(0, CHUNK_BYTES):
                os._exit(1)  # the gateway is gone: nobody can want this box any more
        elif self._read(descriptor) == b"":
            self.poll.unregister(descriptor)

    def _read(self, descriptor: int) -> bytes | None:
        """Take some of what the program wrote there; empty at its end, None when there is nothing yet."""
        try:
            data = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return None
        if descriptor == self.report_descriptor:
            self.report += data[: self.order["output_bytes"] + REPORT_SLACK_BYTES - len(self.report)]
            return data
        stream = self.streams[descriptor]
        head = stream.take(data)
        if head:
            self.channel.send(stream.kind, head)
        if stream.total > STREAM_CEILING_BYTES and self.status is None and self.killed_for is None:
            self._condemn("output")
        return data

    def _condemn(self, reason: str) -> None:
        """Say why the program is going to be killed, before it is: so that the kill has an author whatever follows."""
        self.killed_for = reason
        self.channel.send_record(KILLING, {"reason": reason})
        self.channel.flush()

    def _feed(self) -> None:
        try:
            self.stdin = self.stdin[os.write(self.stdin_descriptor, self.stdin[:CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.stdin = self.stdin[:0]
        if not self.stdin:
            self.poll.unregister(self.stdin_descriptor)
            os.close(self.stdin_descriptor)
            self.stdin_descriptor = -1

    def _reap(self) -> bool:
        """Collect what has ended, orphans too: they count against the box. False when no process is left."""
        for _ in range(REAP_AT_ONCE):
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if process == 0:
                return True
            if process == self.process:
                self.status = status
        return True

    def _end_all(self) -> None:
        """Kill whatever runs, and wait until nothing is left."""
        until = time.monotonic() + REAP_SECONDS
        while True:
            try:
                os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                pass  # nothing is left, or only what has ended
            if not self._reap() or time.monotonic() > until:
                return
            time.sleep(0.001)

    def tell(self) -> None:
        """Send everything that there is to say of a run that has ended."""
        self.channel.wait()
        self.channel.send_record(
            ENDED,
            {
                "status": self.status,
                "wall_seconds": self.wall_seconds,
                "cpu_seconds": self._cpu_seconds(),
                "peak_memory_bytes": self._peak_memory_bytes(),
                "oom_kills": _step(self.oom_kills, oom_kills()),
                "forks_refused": _step(self.forks_refused, forks_refused()),
                "disk_full": disk_full(),
                "written_bytes": [stream.total for stream in self.streams.values()],
            },
        )
        if self.order["outputs"]:
            self.channel.flush()  # to collect may take long
        for stream in self.streams.values():
            stream.send_tail(self.channel)
        for kind, data in take_frames(self.report):
            if kind in (RESULT_JSON, RESULT_REPR, ERROR):
                self.channel.send(kind, data)
        collected = not self.order["outputs"] or collect(self.order, self.channel)
        self.channel.send_record(END, {"collected": collected})
        self.channel.flush()

    def _peak_memory_bytes(self) -> int | None:
        """Unknown in a cell that had as much before: nobody but the host's root can set the mark back."""
        peak = peak_memory_bytes()
        return None if peak is None or self.peak_memory_bytes is None or peak <= self.peak_memory_bytes else peak

    def _cpu_seconds(self) -> float | None:
        """CPU time of the program and of all that it started.

        What `wait` tells leaves out every process whose parent ignored SIGCHLD; the box's own account leaves
        out none, but may be a clock tick behind: the larger of the two is never too much.
        """
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        collected = used.ru_utime + used.ru_stime
        counted = cpu_seconds_of_others()
        if counted is None or self.cpu_seconds is None:
            return None if self.status is None else collected
        return max(counted - self.cpu_seconds, collected)


def take_frames(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take the whole frames off the front of the buffer."""
    while len(buffer) >= HEADER.size:
        kind, length = HEADER.unpack_from(buffer)
        if length > FRAME_BYTES or len(buffer) < HEADER.size + length:
            return
        data = bytes(buffer[HEADER.size : HEADER.size + length])
        del buffer[: HEADER.size + length]
        yield kind, data


def oom_kills() -> int | None:
    """How many processes of this box the kernel killed at its memory limit; cgroup v2, then v1."""
    kills = counter("memory.events", "oom_kill")
    return counter("memory/memory.oom_control", "oom_kill") if kills is None else kills


def forks_refused() -> int | None:
    """How many processes and threads the kernel refused this box at its limit; cgroup v2, then v1."""
    refused = counter("pids.events", "max")
    return counter("pids/pids.events", "max") if refused is None else refused


def cpu_seconds_of_others() -> float | None:
    """CPU time that this box used so far without that of the guest; cgroup v2, then v1."""
    micro = counter("cpu.stat", "usage_usec")
    nano = counter("cpuacct/cpuacct.usage") if micro is None else micro * 1000
    own = resource.getrusage(resource.RUSAGE_SELF)
    return None if nano is None else nano / 1e9 - own.ru_utime - own.ru_stime


def disk_full() -> bool | None:
    """Whether the place that can be written has no byte or no inode left; None where it does not say."""
    try:
        left = os.statvfs(HOME)
    except OSError:
        return None
    return None if left.f_blocks == 0 else left.f_bavail == 0 or (left.f_files > 0 and left.f_favail == 0)


def peak_memory_bytes() -> int | None:
    """The most memory that this box ever had, its files in /tmp included; cgroup v2, then v1."""
    peak = counter("memory.peak")
    return counter("memory/memory.max_usage_in_bytes") if peak is None else peak


def counter(path: str, key: str = "") -> int | None:
    """A number from one of the box's own counters, or None where it cannot be read.

    By the descriptor of their directory: in a cell the name leads elsewhere by then.
    """
    try:
        with open(os.open(path, os.O_RDONLY, dir_fd=COUNTERS_DESCRIPTOR), encoding="ascii") as file:
            for line in file:
                name, _, value = line.strip().rpartition(" ")
                if name == key:
                    return int(value)
    except (OSError, ValueError):
        return None
    return None


def open_counters() -> None:
    """Open the directory of the box's counters; without one, none can be read."""
    try:
        directory = os.open(CGROUP, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return
    os.dup2(directory, COUNTERS_DESCRIPTOR, inheritable=False)
    os.close(directory)


def _step(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _nothing(*_: object) -> None:
    """Do nothing, where something has to be called."""


# --- files out ------------------------------------------------------------------------------------


def collect(order: Order, channel: Channel) -> bool:
    """Pass on the files that match `outputs`; False when that could not be finished in time.

    In a process of its own, so that nothing that the program left behind can hold up the guest.
    """
    read, write = os.pipe()
    try:
        process = os.fork()
    except OSError:
        return False
    if process == 0:
        try:
            _become_expendable()
            Collector(order, write).walk(os.open(HOME, _DIRECTORY), "", 0)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write)
    until = time.monotonic() + COLLECT_SECONDS
    buffer = bytearray()
    poll = select.poll()
    poll.register(read, select.POLLIN)
    whole = False
    while not whole and poll.poll(max(until - time.monotonic(), 0) * 1000):
        data = os.read(read, CHUNK_BYTES)
        whole = not data
        buffer += data
        for kind, payload in take_frames(buffer):
            channel.send(kind, payload)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return whole


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Collector:
    """Walks what the program left, by directory descriptors, and follows no link."""

    def __init__(self, order: Order, pipe: int) -> None:
        import fnmatch  # noqa: PLC0415 - only where files are asked for

        self.matches_name = fnmatch.fnmatchcase
        self.patterns = [_pattern_parts(pattern) for pattern in order["outputs"]]
        self.pipe = pipe
        self.bytes_left = order["collect_bytes"]
        self.files_left = COLLECT_FILES
        self.skips_left = COLLECT_FILES
        self.entries_left = COLLECT_ENTRIES

    def walk(self, directory: int, prefix: str, depth: int) -> None:
        """Collect below one directory, and close it."""
        names = sorted(os.listdir(directory))
        if len(names) > self.entries_left:
            self._skip(prefix.rstrip("/") or ".", "too_many")
        for name in names[: self.entries_left]:
            self.entries_left -= 1
            path = prefix + name
            try:
                mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    self._descend(directory, name, path, depth)
                elif any(self._matches(path.split("/"), pattern) for pattern in self.patterns):
                    self._take(directory, name, path, mode)
            except OSError:
                self._skip(path, "unreadable")
        os.close(directory)

    def _descend(self, directory: int, name: str, path: str, depth: int) -> None:
        if depth == COLLECT_DEPTH:
            self._skip(path, "too_many")
        else:
            self.walk(os.open(name, _DIRECTORY, dir_fd=directory), path + "/", depth + 1)

    def _matches(self, path: list[str], pattern: list[str]) -> bool:
        if not pattern:
            return not path
        if pattern[0] == "**":
            return any(self._matches(path[start:], pattern[1:]) for start in range(len(path) + 1))
        return bool(path) and self.matches_name(path[0], pattern[0]) and self._matches(path[1:], pattern[1:])

    def _take(self, directory: int, name: str, path: str, mode: int) -> None:
        if not stat.S_ISREG(mode):
            self._skip(path, "not_regular")
            return
        with open(os.open(name, _CONTENT, dir_fd=directory), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size  # what a sparse file claims, it is charged for
            if size > self.bytes_left:
                self._skip(path, "too_large")
            elif self.files_left == 0:
                self._skip(path, "too_many")
            elif not _is_text(path):
                self._skip(path, "unreadable")
            else:
                self.files_left -= 1
                self.bytes_left -= size
                self._send(FILE, json.dumps({"path": path, "size": size}).encode())
                for start in range(0, size, CHUNK_BYTES):
                    self._send(FILE_DATA, file.read(min(CHUNK_BYTES, size - start)))

    def _skip(self, path: str, reason: str) -> None:
        if self.skips_left > 0:
            self.skips_left -= 1
            shown = path.encode("utf-8", "backslashreplace").decode()
            self._send(SKIPPED, json.dumps({"path": shown, "reason": reason}).encode())

    def _send(self, kind: bytes, data: bytes) -> None:
        _write_all(self.pipe, HEADER.pack(kind, len(data)) + data)


def _pattern_parts(pattern: str) -> list[str]:
    """The parts of a glob relative to the working directory; one that points elsewhere matches nothing."""
    relative = pattern[len(HOME) + 1 :] if pattern.startswith(HOME + "/") else pattern
    return [part for part in relative.split("/") if part != "."]


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- cells ----------------------------------------------------------------------------------------

_NEWNS, _NEWIPC, _NEWUSER, _NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000
NEW_NAMESPACES = _NEWUSER | _NEWPID | _NEWNS | _NEWIPC
CELL_CLONE = NEW_NAMESPACES | int(signal.SIGCHLD)
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_SAFE = _NOSUID | _NODEV | _NOEXEC
_MOST_CAPABILITIES = 64
# In the kernel's numbers of each architecture: its name, then the calls capset, mount, clone.
_NUMBERS = {"x86_64": (0xC000003E, 126, 165, 56), "aarch64": (0xC00000B7, 91, 40, 220)}


class Cell:
    """One box for many programs of one owner, one after the other. Each gets namespaces that end with it."""

    def __init__(self, terms: Terms) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.syscall = ctypes.PyDLL(None).syscall  # which holds the interpreter's lock, as a fork has to
        self.numbers = _NUMBERS[os.uname().machine]
        user, group = os.getuid(), os.getgid()
        maps = (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1"))
        self.maps = [(f"/proc/self/{name}", text.encode()) for name, text in maps]
        self.mounts = [tuple(None if one is None else _bytes(one) for one in mount) for mount in _mounts(terms)]
        self.filter = _filter(*self.numbers)
        for name in terms["preload"]:
            try:
                __import__(name)
            except Exception as error:  # noqa: BLE001 - the image's code may raise anything
                sys.exit(f"the image cannot preload {name}: {_type_name(error)}: {error}")

    def serve(self) -> None:
        """Make one run after the other; returns only in a run's first process."""
        gc.collect()
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
        process: int = self.syscall(self.numbers[3], CELL_CLONE, None, None, None, None)
        if process == 0:
            python.PyOS_AfterFork_Child()
            return True
        python.PyOS_AfterFork_Parent()
        if process < 0:
            sys.exit(f"this host cannot make cells: clone: {os.strerror(ctypes.get_errno())}")
        return False

    def _settle(self) -> None:
        """Make this world its own, and give up the power to change it."""
        self._do("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)  # or its own files in /proc are root's
        for path, text in self.maps:
            descriptor = os.open(path, os.O_WRONLY)
            os.write(descriptor, text)
            os.close(descriptor)
        self._do("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
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


# --- both processes -------------------------------------------------------------------------------


def _write_all(descriptor: int, data: bytes) -> None:
    """Write to a pipe that blocks, however few bytes it takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def serve() -> Program:  # noqa: RET503 - the guest itself exits
    """Be the guest for one job, or in a cell for each one; returns only in a program's process."""
    protect()
    open_counters()
    gc.freeze()  # what the forks share stays shared, and what a program left is all that there is to see
    if CELL:
        Cell(json.loads(sys.argv[1])).serve()
    supervisor = Supervisor()
    program = supervisor.fork()
    if program is not None:
        return program
    order, contents = read_order()
    channel = Channel()
    try:
        _as_program()
        set_up(order, contents)
    except (OSError, ValueError) as error:
        channel.wait()
        message = _cut(str(error), MESSAGE_CHARACTERS)
        channel.send_record(SETUP_FAILED, {"type": _type_name(error), "message": message, "errno": _errno(error)})
        channel.flush()
        _exit()
    _as_guest()
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


CELL = len(sys.argv) > 1 and __name__ == "__main__"

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
