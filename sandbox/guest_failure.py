"""A part of the guest: what is shown and told of an uncaught exception, in the program's own process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sandbox.guest_protocol import MESSAGE_CHARACTERS, SOURCE, TRACEBACK_CHARACTERS
from sandbox.guest_tools import cut, errno_of, library, type_name

if TYPE_CHECKING:
    from types import TracebackType

MOST_PLACES = 100


def error_record(error: BaseException, trace: TracebackType | None) -> dict[str, str | int | None]:
    """What is told of an uncaught exception; every word in it is the program's."""
    line: int | None = None
    if trace is None and isinstance(error, SyntaxError):
        line = error.lineno
    text = _rendered(error, trace)
    try:
        message = str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:  # noqa: BLE001 - as above
        message = f"<unprintable {type_name(error)}>"
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == SOURCE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return {
        "type": type_name(error),
        "message": cut(message, MESSAGE_CHARACTERS),
        "line": line,
        "traceback": cut(text, TRACEBACK_CHARACTERS),
        "errno": errno_of(error),
    }


def _rendered(error: BaseException, trace: TracebackType | None) -> str:
    """What CPython would print; only the places, if a program that failed left nothing to import that with."""
    try:
        shown: list[str] = library("traceback").format_exception(type(error), error, trace)
        return "".join(shown)
    except BaseException:  # noqa: BLE001 - the exception's methods are the program's, and its modules may be
        lines = ["Traceback (most recent call last):\n"]
    while trace is not None and len(lines) < MOST_PLACES:
        code = trace.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}\n')
        trace = trace.tb_next
    return "".join(lines) + type_name(error) + "\n"


def call_hook(error: BaseException, trace: TracebackType | None) -> None:
    """Call `sys.excepthook` and survive what it does, as the interpreter would."""
    hook = getattr(sys, "excepthook", sys.__excepthook__)
    if hook is sys.__excepthook__ and sys.version_info < (3, 13):
        hook = library("traceback").print_exception  # the one in C reads the source from the file system
    try:
        hook(type(error), error, trace)
    except SystemExit:
        raise
    except BaseException as failure:  # noqa: BLE001 - the hook is the program's
        if failure.__traceback__ is not None:
            failure.__traceback__ = failure.__traceback__.tb_next
        failure.__context__ = None
        show = library("traceback").print_exception
        sys.stderr.write("Error in sys.excepthook:\n")
        show(type(failure), failure, failure.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        show(type(error), error, trace)
