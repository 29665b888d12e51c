"""Where answers go: into a pipe byte for byte, onto a terminal made harmless, into files below one directory."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TextIO

from rich.console import Console

from gateway import terminal
from gateway.arguments import is_clean
from gateway.following import Heard
from gateway.spelling import visible
from gateway.wire_answers import ExecutionView, FileOut

_PIPE_WIDTH = 160


class SaveError(Exception):
    """A file could not be saved."""


def follow(events: Iterable[Heard]) -> None:
    """Print what a program prints, as it is told of; and where it had to begin anew, that it did."""
    printed = False
    for event in events:
        if event.name in {"stdout", "stderr"}:
            printed = True
            _emit(sys.stdout if event.name == "stdout" else sys.stderr, event.text)
        elif event.name == "started" and printed:
            _emit(sys.stderr, f"\nattempt {event.attempt}: what was printed so far does not count\n")
            printed = False


def show(view: ExecutionView, *, printed: bool = False) -> None:
    """Print what the program printed, unless that was done, its result, and to stderr what else there is to say."""
    if not printed:
        _emit(sys.stdout, view.stdout)
        _emit(sys.stderr, view.stderr)
    if view.result is not None:
        gap = "\n" if view.stdout and not view.stdout.endswith("\n") else ""
        _emit(sys.stdout, f"{gap}{terminal.result_text(view)}\n")
    terminal.show_ending(console(sys.stderr), view)


def save(view: ExecutionView, directory: Path | None, fetch: Callable[[str, str], bytes]) -> None:
    """Write what the program left below the directory; without one, tell of it. Raises `SaveError`."""
    for file in view.files:
        if directory is None:
            _emit(sys.stderr, f"file: {file.path} ({file.size_bytes} bytes; --out DIR saves it)\n")
        elif not is_clean(file.path):
            raise SaveError(f"{file.path!r} would not stay below {directory}.")
        else:
            data = fetch(view.id, file.path) if file.content is None else _content(file)
            _write(directory / file.path, data)


def console(stream: TextIO) -> Console:
    """A console that prints what it is given, and finds no markup in it."""
    wide = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=wide, markup=False, highlight=False, emoji=False)


def spinner() -> AbstractContextManager[object]:
    """Something that moves while a person waits."""
    screen = Console(stderr=True)
    return screen.status("running") if screen.is_terminal else nullcontext()


def _emit(stream: TextIO, text: str) -> None:
    if stream.isatty():
        stream.write(visible(text))
    else:
        stream.flush()
        stream.buffer.write(text.encode("utf-8", "replace"))
    stream.flush()


def _write(target: Path, data: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise SaveError(f"{target} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _content(file: FileOut) -> bytes:
    text = file.content or ""
    return base64.b64decode(text) if file.encoding == "base64" else text.encode()
