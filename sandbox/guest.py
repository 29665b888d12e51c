"""The guest: first process of a box, and the only one that speaks to the gateway.

Handed to `python3 -I -B -c <this text>` in any image that has a Python (3.9 or newer), so it is
one file of standard library only. It owns the frame format, the wall-clock limit, what is kept of
the output, and the collection of files. It must not know engines or policies, and it must not
trust the program: that runs in a fork of this process, under the same uid (in gVisor another), and
everything that it can write to is its own word.

As a cell it serves one job after the other: each by a fork that makes namespaces of its own around
itself and is the guest in there, while this process only waits (`guest_cell`).

What every box needs is here, and imports only what the interpreter has in itself or nearly so: to import takes longer
than all else that a box does before it is ready. What only some programs need (`guest_value`, `guest_failure`,
`guest_files`) is sent as text and compiled when it is needed.

The gateway sends one job on the attached stream: four bytes of length (big endian), an `Order` as marshal writes it,
the bytes of the files. The guest answers in frames: one byte of kind, four of length, payload:
`started`, output as it comes, `killing` if it has to, `ended`, what was kept back of the output, the
program's report, files, and `end`; or `setup_failed` alone.
"""

from __future__ import annotations

import _ast
import _ctypes  # the whole of ctypes, as that of signal, json, types and weakref, is for those who have the time
import _struct
import _thread
import _weakref
import atexit
import fcntl
import gc
import linecache
import marshal
import os
import resource
import select
import sys
import time

try:
    from _json import encode_basestring, encode_basestring_ascii
except ImportError:  # an interpreter without its faster half of json
    from json.encoder import encode_basestring, encode_basestring_ascii

TYPE_CHECKING = False  # the real one would cost a box the import of typing
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType, ModuleType
    from typing import NoReturn, TypedDict

    from sandbox.guest_cell import Cell  # noqa: TC004 - at run time it is in the same text
    from sandbox.guest_display import Display  # noqa: TC004 - it comes as text, see `need`
    from sandbox.guest_failure import call_hook, error_record  # noqa: TC004 - as above
    from sandbox.guest_files import collect  # noqa: TC004 - as above
    from sandbox.guest_value import encode_result  # noqa: TC004 - as above
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
else:
    import _signal

PARTS: dict[str, str] = {}  # the texts of what only some programs need; put in by `bundle`

HEADER = _struct.Struct(">cI")
STARTED, SETUP_FAILED, KILLING, ENDED, END = b"S", b"F", b"k", b"p", b"z"
STDOUT, STDERR, STDOUT_TAIL, STDERR_TAIL = b"o", b"e", b"O", b"E"
RESULT_JSON, RESULT_REPR, ERROR = b"j", b"r", b"x"
BUNDLES, FIGURE = b"m", b"g"  # the second for the guest alone: a file that it has to bring back unasked
FILE, FILE_DATA, SKIPPED = b"f", b"d", b"s"

SIGKILL = int(_signal.SIGKILL)

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
MOST_FIGURES = 20
BUNDLE_TYPES = (  # what a value may look like besides; of anything else nobody would know how to show it
    "text/plain",
    "text/html",
    "text/markdown",
    "text/latex",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "application/json",
)
RICH = frozenset(  # methods by which a value tells notebooks what it looks like
    (
        "_repr_mimebundle_",
        "_repr_html_",
        "_repr_markdown_",
        "_repr_latex_",
        "_repr_svg_",
        "_repr_png_",
        "_repr_jpeg_",
        "_repr_json_",
    )
)
REPORT_DESCRIPTOR = 200  # far from the numbers that a program expects to get for its own files
TOLD_DESCRIPTOR = 201  # in a cell: the way to say that a run is over
FINALIZERS_LOOKED_FOR = 5_000  # objects that a program may have left; to look at more takes longer than to let them go

HOME = "/tmp"  # noqa: S108 - the box's own, and its only writable place
SOURCE = "main.py"
ENVIRONMENT = {"HOME": HOME, "LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
PROGRAM_ID = 65532  # user and group of the program where the guest is root
CGROUP = "/sys/fs/cgroup"
COUNTERS = (  # each by its name in cgroup v2, then v1, and by the key of its line
    ("oom_kills", "memory.events", b"oom_kill"),
    ("oom_kills", "memory/memory.oom_control", b"oom_kill"),
    ("forks_refused", "pids.events", b"max"),
    ("forks_refused", "pids/pids.events", b"max"),
    ("cpu_microseconds", "cpu.stat", b"usage_usec"),
    ("cpu_nanoseconds", "cpuacct/cpuacct.usage", b""),
    ("peak_memory_bytes", "memory.peak", b""),
    ("peak_memory_bytes", "memory/memory.max_usage_in_bytes", b""),
)
COUNTER_BYTES = 4096
counters: dict[str, tuple[int, bytes]] = {}  # by name: the open file, and the key in it
PR_SET_DUMPABLE = 4
IDLE_SECONDS = 1.0  # that a program's process waits before it uses the time
USUAL = ("json", "traceback")  # what many programs import, and what is needed to tell of those that fail


NOTHING: Order = {  # an order, for rehearsals
    "code": "None",
    "stdin": "",
    "args": [],
    "env": {},
    "inputs": {},
    "files": [],
    "outputs": [],
    "wall_seconds": 0.0,
    "output_bytes": 0,
    "collect_bytes": 0,
}
ITS_ORDER = ("code", "args", "env", "inputs", "output_bytes")  # what of a job the program's own process needs


def type_name(value: object) -> str:
    """The name of its class, whatever that says of itself."""
    return cut(type.__dict__["__name__"].__get__(type(value)), 200)


def cut(text: str, limit: int) -> str:
    """The text as encodable UTF-8 of at most `limit` bytes, its middle left out where it is longer."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    mark = b"[...]"
    half = max((limit - len(mark)) // 2, 0)
    kept = data[: limit - len(mark) - half] + mark + data[len(data) - half :] if limit > len(mark) else data[:limit]
    return kept.decode("utf-8", "ignore")


_imported = list(sys.modules)
BEFORE = frozenset(_imported[: _imported.index("_ast")])  # what any interpreter has imported before it begins
quoted, quoted_ascii = encode_basestring, encode_basestring_ascii
_C = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type] # None is all that is loaded


class _Address(_ctypes._SimpleCData):  # type: ignore[type-arg] # noqa: SLF001 - what ctypes itself is made of
    """A pointer, for the C library."""

    _type_ = "P"


def c_library(name: str, *arguments: object) -> int:
    """Call a function of the C library that takes and returns whole numbers."""
    said: int = _ctypes.call_cdeclfunction(_ctypes.dlsym(_C, name), arguments)
    return said


def need(part: str) -> None:
    """Compile a part that came as text, the first time that it is needed."""
    text = PARTS.pop(part, None)
    if text is not None:
        exec(compile(text, part, "exec", dont_inherit=True), globals())


def library(name: str) -> ModuleType:
    """Import from the library, also where files of the program's have such names: it did not ask for this."""
    path = sys.path
    sys.path = [one for one in path if one != HOME]
    try:
        return __import__(name)
    finally:
        sys.path = path


def as_json(record: Mapping[str, str | float | list[int] | None]) -> bytes:
    """A flat record as JSON."""
    return ("{" + ", ".join([f'"{name}": {_word(value)}' for name, value in record.items()]) + "}").encode()


def _word(value: str | float | list[int] | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted_ascii(value) if isinstance(value, str) else repr(value)


# --- the program's process ------------------------------------------------------------------------


class Program:
    """The program, in its own process: what it runs, and the way to report how that ended."""

    def __init__(self, report: int) -> None:
        self.report = report
        self.report_identity = os.fstat(report).st_ino
        self.process = os.getpid()
        self.streams = (sys.stdout, sys.stderr)
        self.modules = sys.modules
        self.display: Display | None = None

    def rehearse(self) -> None:
        """Do once what every program needs, so that this fork has its own copy of the memory that it takes."""
        self.take(NOTHING)
        body, _ = self.compile()
        exec(body, self.names)
        self.has_something_to_do()
        gc.freeze()  # what is not the program's stays out of the collector's sight

    def take(self, order: Order) -> None:
        """Take on what is to be run. Its names are new, so that the collector finds them at the interpreter's end."""
        self.source = order["code"].removeprefix("\ufeff")
        self.output_bytes = order["output_bytes"]
        self.main: ModuleType = type(sys)("__main__")
        self.names = self.main.__dict__
        self.names.update({"__builtins__": sys.modules["builtins"], "__file__": SOURCE, "__cached__": None})
        if sys.version_info < (3, 14):
            self.names["__annotations__"] = {}
        self.names.update(order["inputs"])
        self.modules.pop("gc", None)  # if it is there at the end, the program imported it

    def compile(self) -> tuple[CodeType, CodeType | None]:
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
            if value is None and self.output_bytes >= len("null"):  # as most programs end
                self._send(RESULT_JSON, b"null")
                return
            need("value")
            form, text = encode_result(value, self.output_bytes)
            self._send(RESULT_JSON if form == "json" else RESULT_REPR, text.encode())
            if form == "repr" and _is_rich(value):
                self._display(lambda display: display.show_value(value, text))

    def show(self) -> None:
        """Report what a notebook would show of a program that ended well; most have nothing of the kind."""
        if os.getpid() == self.process:
            if _has_figures(self.modules):
                self._display(lambda display: display.show_figures())
            if self.display is not None:
                for name in self.display.figures:
                    self._send(FIGURE, name.encode())
                self._send(BUNDLES, self.display.text.encode())

    def _display(self, show: Callable[[Display], None]) -> None:
        try:
            if self.display is None:
                need("value")
                need("display")
                self.display = Display(self.output_bytes, self.modules)
            show(self.display)
        except BaseException:  # noqa: BLE001 - values, figures and all that has a module's name are the program's
            return

    def fail(self, error: BaseException) -> None:
        """Show an uncaught exception as CPython does, and report it.

        The caller raises it again: only the interpreter itself can end as CPython does.
        """
        need("failure")
        own = globals()
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals is own:
            trace = trace.tb_next
        error.__traceback__ = trace
        record = error_record(error, trace)
        call_hook(error, trace)
        sys.excepthook = _nothing
        if os.getpid() == self.process:
            self._send(ERROR, as_json(record))

    def leave(self, status: object) -> None:
        """Exit at once where the interpreter would find nothing to do on its way out; it takes longer than most programs.

        Before that it shows what a notebook would. What the interpreter would have to do: call what was registered, wait for threads, and let go of objects that have something
        to say when they go. Where there may be any, this returns.
        """
        if type(status) is not int or not 0 <= status <= MOST_STATUS:
            return
        if status == 0:
            self.show()
        if self.has_something_to_do():
            return
        try:
            for stream in self.streams:
                stream.flush()
        except BaseException:  # noqa: BLE001 - the interpreter finds it again, and tells it in its own way
            return
        c_library("exit", status)  # with what the C library has to do

    def has_something_to_do(self) -> bool:
        """Whether the interpreter would have to do more than to end."""
        if atexit._ncallbacks() or _thread._count() or sys.gettrace() or sys.getprofile():  # noqa: SLF001 - nothing public tells
            return True
        if sys.stdout is not self.streams[0] or sys.stderr is not self.streams[1]:
            return True
        if "gc" in self.modules:
            return True  # the program may keep objects out of sight; to count them is to look at all there are
        left = gc.get_objects()
        return len(left) > FINALIZERS_LOOKED_FOR or _any_finalizer(left)

    def _send(self, kind: bytes, data: bytes) -> None:
        try:
            if os.fstat(self.report).st_ino != self.report_identity:
                return  # the program closed it, and another file has the number now
            for start in range(0, len(data), CHUNK_BYTES * 3):
                part = memoryview(data)[start : start + CHUNK_BYTES * 3]
                write_all(self.report, HEADER.pack(kind, len(part)) + part)
        except OSError:
            return  # closed by the program: then it reports nothing


def _has_figures(modules: Mapping[str, ModuleType]) -> bool:
    """Whether pyplot has any open, as far as what has its name says."""
    try:
        return bool(modules["matplotlib._pylab_helpers"].Gcf.figs)
    except BaseException:  # noqa: BLE001 - it may be the program's, and most programs have none
        return False


def _is_rich(value: object) -> bool:
    """Whether it tells of itself as values in notebooks do; asks nothing of it."""
    return any(not RICH.isdisjoint(_NAMESPACE(base)) for base in _ANCESTORS(type(value)))


def _any_finalizer(objects: list[object]) -> bool:
    """Whether one of them has something to say when it goes, or is a class whose objects may; asks none of them."""
    silent: set[type] = set()
    for one in objects:
        kind = type(one)
        if issubclass(kind, _weakref.ReferenceType) and not _is_quiet(_CALLBACK(one)):
            return True
        for found in (kind, one) if issubclass(kind, type) else (kind,):
            if found not in silent:
                if any("__del__" in _NAMESPACE(base) for base in _ANCESTORS(found)):
                    return True
                silent.add(found)  # type: ignore[arg-type] # a class, as its own class says
    return False


def _is_quiet(callback: object) -> bool:
    """Whether this callback of a weak reference is none, or that of the cache behind `isinstance`."""
    return callback is None or (type(callback) is type(len) and callback.__name__ == "_destroy")


_CALLBACK = _weakref.ReferenceType.__dict__["__callback__"].__get__
_ANCESTORS = type.__dict__["__mro__"].__get__
_NAMESPACE = type.__dict__["__dict__"].__get__


def errno_of(error: BaseException) -> int | None:
    """The kernel's number of an operating system error, whatever the program made of its attributes."""
    if not issubclass(type(error), OSError):
        return None
    number: object = OSError.__dict__["errno"].__get__(error)
    return number if type(number) is int and 0 < number < ERRNO_END else None


def become_program(orders: int, stdio: tuple[int, int, int], report: int) -> Program:
    """Turn this fork of the guest into what a fresh `python3 main.py` is, as soon as there is an order for it."""
    _signal.set_wakeup_fd(-1)
    for number in _signals():
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
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)  # one frame of the guest stays below the program
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
    order = _read_one(orders)
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


# --- the guest's own process ----------------------------------------------------------------------


def _signals() -> set[int]:
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
    for number in _signals():
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


def read_order() -> tuple[Order, list[bytes]]:
    """The job, and its files' bytes; ends the box when the gateway does not send a whole one."""
    order = _read_one(0)
    return order, [_read_exactly(0, size) for _, size in order["files"]]


def _read_one(descriptor: int) -> Order:
    order: Order = marshal.loads(_read_exactly(descriptor, int.from_bytes(_read_exactly(descriptor, 4), "big")))  # noqa: S302 - the gateway's own words
    return order


def _read_exactly(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, min(size, CHUNK_BYTES))
    if len(data) == size:
        return data
    parts = bytearray(data)
    while len(parts) < size:
        part = os.read(descriptor, min(size - len(parts), CHUNK_BYTES))
        if not part:
            sys.exit("the job ended early")
        parts += part
    return bytes(parts)


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

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waiting = bytearray()  # bounded: only what is kept of the output is ever sent
        self.due = 0.0
        os.set_blocking(descriptor, False)

    def send(self, kind: bytes, data: bytes) -> None:
        """Send one frame: at the latest when it is due and there is room."""
        if not self.waiting:
            self.due = time.monotonic() + LINGER_SECONDS
        self.waiting += HEADER.pack(kind, len(data))
        self.waiting += data
        if len(self.waiting) > CHUNK_BYTES:
            self.flush()

    def send_record(self, kind: bytes, record: Mapping[str, str | float | list[int] | None]) -> None:
        """Send one frame of JSON."""
        self.send(kind, as_json(record))

    def flush(self) -> None:
        """Write what there is room for."""
        try:
            while self.waiting:
                del self.waiting[: os.write(self.descriptor, self.waiting)]
        except BlockingIOError:
            return

    def wait(self) -> None:
        """From now on whatever `flush` finds is written before it returns."""
        os.set_blocking(self.descriptor, True)


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
        self.wall_seconds = 0.0
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
        _signal.signal(_signal.SIGCHLD, _nothing)  # a handler, so that the wake-up pipe is written
        _signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
        self.process = os.fork()
        if self.process == 0:
            return become_program(orders[0], (stdin[0], out[1], err[1]), report[1])
        for descriptor in (orders[0], stdin[0], out[1], err[1], report[1]):
            os.close(descriptor)
        self.orders_descriptor, self.output_descriptors = orders[1], (out[0], err[0])
        self.stdin_descriptor, self.report_descriptor, self.wake_descriptor = stdin[1], report[0], wake[0]
        for descriptor in (0, *self.output_descriptors, self.report_descriptor, self.wake_descriptor):
            self.poll.register(descriptor, select.POLLIN)
        return None

    def rehearse(self) -> None:
        """Tell nobody of a run that there was not, so that this process has its own copy of the memory that this takes."""
        scrap = os.pipe()
        self._take(NOTHING, Channel(scrap[1]))
        for descriptor in (self.wake_descriptor, self.report_descriptor, *self.output_descriptors):
            self.poll.modify(descriptor, select.POLLIN)
        self.channel.send_record(STARTED, {"python": ""})
        self.cpu_seconds = cpu_seconds_of_others()
        self.tell()
        for descriptor in scrap:
            os.close(descriptor)

    def begin(self, order: Order, channel: Channel) -> None:
        """Let the program have its order."""
        its = marshal.dumps({name: order[name] for name in ITS_ORDER})  # type: ignore[literal-required]
        self.cpu_seconds = cpu_seconds_of_others()
        self.began = time.monotonic()
        try:
            write_all(self.orders_descriptor, len(its).to_bytes(4, "big") + its)
        except BrokenPipeError:
            os._exit(
                1
            )  # it died while it waited, of what no program did: the box is lost, and its like takes the order
        os.close(self.orders_descriptor)
        self._take(order, channel)
        self.poll.register(self.stdin_descriptor, select.POLLOUT)

    def _take(self, order: Order, channel: Channel) -> None:
        self.order, self.channel = order, channel
        self.stdin = memoryview(order["stdin"].encode("utf-8", "replace"))
        kept = order["output_bytes"]
        kinds = ((STDOUT, STDOUT_TAIL), (STDERR, STDERR_TAIL))
        self.streams = {one: Stream(*kind, kept) for one, kind in zip(self.output_descriptors, kinds)}  # noqa: B905 - came with 3.10

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
            self.report += data[: 2 * self.order["output_bytes"] + REPORT_SLACK_BYTES - len(self.report)]
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
                os.kill(-1, SIGKILL)
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
        figures: list[str] = []
        for kind, data in take_frames(self.report):
            if kind in (RESULT_JSON, RESULT_REPR, BUNDLES, ERROR):
                self.channel.send(kind, data)
            elif kind == FIGURE and len(figures) < MOST_FIGURES and _is_figure(data):
                figures.append(data.decode())
        self.order["outputs"] += figures
        if self.order["outputs"]:
            need("files")
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


def _is_figure(name: bytes) -> bool:
    """Whether it is a name as `Display` gives them: a program may have said anything."""
    return name.startswith(b"figure-") and name.endswith(b".png") and name[7:-4].isdigit() and len(name) < 20  # noqa: PLR2004 - a number


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
    """How many processes of this box the kernel killed at its memory limit."""
    return counter("oom_kills")


def forks_refused() -> int | None:
    """How many processes and threads the kernel refused this box at its limit."""
    return counter("forks_refused")


def cpu_seconds_of_others() -> float | None:
    """CPU time that this box used so far without that of the guest."""
    micro = counter("cpu_microseconds")
    nano = counter("cpu_nanoseconds") if micro is None else micro * 1000
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
    """The most memory that this box ever had, its files in /tmp included."""
    return counter("peak_memory_bytes")


def counter(name: str) -> int | None:
    """One of the box's own counters, or None where it cannot be read."""
    if name not in counters:
        return None
    descriptor, key = counters[name]
    try:
        text = os.pread(descriptor, COUNTER_BYTES, 0)
    except OSError:
        return None
    return number_in(text, key)


def number_in(text: bytes, key: bytes) -> int | None:
    """The number in the line of this key, or where there is none, the number that is all."""
    for line in text.split(b"\n"):
        name, _, value = line.rpartition(b" ")
        if name == key and value.isdigit():
            return int(value)
    return None


def open_counters() -> None:
    """Open the box's counters, of cgroup v2 or v1, once for all: in a cell their names lead elsewhere later."""
    for name, path, key in COUNTERS:
        try:
            descriptor = os.open(f"{CGROUP}/{path}", os.O_RDONLY)
        except OSError:
            continue
        counters.setdefault(name, (descriptor, key))


def _step(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _nothing(*_: object) -> None:
    """Do nothing, where something has to be called."""


# --- both processes -------------------------------------------------------------------------------


def write_all(descriptor: int, data: bytes) -> None:
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
        Cell(sys.argv[1]).serve()
    supervisor = Supervisor()
    program = supervisor.fork()
    if program is not None:
        return program
    supervisor.rehearse()
    order, contents = read_order()
    channel = Channel(1)
    try:
        _as_program()
        set_up(order, contents)
    except (OSError, ValueError) as error:
        channel.wait()
        message = cut(str(error), MESSAGE_CHARACTERS)
        channel.send_record(SETUP_FAILED, {"type": type_name(error), "message": message, "errno": errno_of(error)})
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
