"""A part of the guest: the program in its own process, and how that process tells of its end."""

from __future__ import annotations

import _ast
import _thread
import _weakref
import atexit
import gc
import linecache
import os
import sys
from typing import TYPE_CHECKING

from sandbox.guest_display import Display
from sandbox.guest_failure import call_hook, error_record
from sandbox.guest_protocol import (
    BUNDLES,
    CHUNK_BYTES,
    ERROR,
    FIGURE,
    HEADER,
    NOTHING,
    RESULT_JSON,
    RESULT_REPR,
    SOURCE,
    write_all,
)
from sandbox.guest_tools import as_json, c_library, do_nothing, need
from sandbox.guest_value import encode_result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, ModuleType

    from sandbox.guest_protocol import Order

MOST_STATUS = 255
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
FINALIZERS_LOOKED_FOR = 5_000  # objects that a program may have left; to look at more takes longer than to let them go


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
        sys.excepthook = do_nothing
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
