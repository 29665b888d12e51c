"""Gateways that die at a chosen step: a parent that has everything imported forks one per line of JSON that it reads.

The steps are seen from outside the product: the entry and the exit of whatever has an effect are wrapped here, written
to a trail one by one, and at the step that the order names the process kills itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx  # noqa: F401  # of webhooks, which import it late
import uvicorn.protocols.http.h11_impl  # noqa: F401  # imported late as well
import uvloop  # noqa: F401
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import gateway.deliveries
import gateway.main
import sandbox.engine
import sandbox.proven
from gateway.events import Event
from gateway.records import StoredTask
from gateway.session import Session
from gateway.settings import Settings, read
from gateway.store import Store
from gateway.writer import Writer
from sandbox.calls import Answer, EngineAddress
from sandbox.container import ContainerDriver
from sandbox.conversation import Conversation
from sandbox.engine import Engine
from sandbox.monty import MontyDriver

_DIES_WITH_ITS_PARENT = 1  # PR_SET_PDEATHSIG
_ON_ITS_WAY_SECONDS = 0.005  # into a call of the engine's
_HEARD_SECONDS = 0.02  # after an answer: it has left the process by then
_JANITOR_SECONDS = 1.0


@dataclass
class Steps:
    """The steps of one process from its first request that changes something, each with its number among its like."""

    trail: int
    last: str | None
    seen: Counter[str] = field(default_factory=Counter)
    counting: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, name: str) -> None:
        """Write down that the step was reached; it may be the last one."""
        if not self.counting:
            return
        with self.lock:
            self.seen[name] += 1
            step = f"{name} #{self.seen[name]}"
            os.write(self.trail, f"{step}\n".encode())
            if step == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)

    def around(self, owner: object, function: str, name: str) -> None:
        """Make steps of a coroutine function's entry and exit."""
        original: Callable[..., Awaitable[object]] = getattr(owner, function)

        @functools.wraps(original)
        async def wrapped(*args: object, **named: object) -> object:
            self.at(f"{name}: before")
            result = await original(*args, **named)
            self.at(f"{name}: after")
            return result

        setattr(owner, function, wrapped)


def put(owner: object, **parts: object) -> None:
    """Replace parts of a module or a class."""
    for name, part in parts.items():
        setattr(owner, name, part)


def install(steps: Steps, python: str | None) -> None:
    """Wrap every effect; let no self-test run, which is another promise's affair and half of a start's time."""
    for call in ("create", "attach", "start", "ended", "kill", "remove"):
        steps.around(Engine, call, f"engine {call}")
    steps.around(MontyDriver, "run", "Monty")
    steps.around(Conversation, "listen", "listening")
    steps.around(Store, "write", "write")
    steps.around(gateway.deliveries, "_send", "letter")
    _see_calls(steps)
    _see_orders(steps)
    _see_transactions(steps)
    _see_answers(steps)

    async def nothing(*_: object) -> tuple[tuple[()], frozenset[str]]:
        return (), frozenset()

    put(sandbox.proven, try_everything=nothing)
    if python is not None:

        async def proven(self: ContainerDriver, image: Any) -> str:
            self._proven[image.identity] = python
            return python

        put(ContainerDriver, _prove=proven)
    put(gateway.main, _JANITOR_SECONDS=_JANITOR_SECONDS)


def _see_calls(steps: Steps) -> None:
    """The middle of a call: the engine is at work on it, and nobody here will hear what comes of it."""
    original: Callable[..., Coroutine[None, None, Answer]] = vars(sandbox.engine)["call"]

    async def wrapped(address: EngineAddress, method: str, path: str, document: bytes = b"") -> Answer:
        calling = asyncio.ensure_future(original(address, method, path, document))
        try:
            await asyncio.wait({calling}, timeout=_ON_ITS_WAY_SECONDS)
            verb = "remove" if method == "DELETE" else path.partition("?")[0].rpartition("/")[2]
            steps.at(f"engine {verb}: on its way")
            return await calling
        finally:
            calling.cancel()

    put(sandbox.engine, call=wrapped)


def _see_orders(steps: Steps) -> None:
    original = Conversation.__init__

    def wrapped(self: Conversation, *args: Any) -> None:
        steps.at("order: before")
        original(self, *args)
        steps.at("order: after")

    put(Conversation, __init__=wrapped)


def _see_transactions(steps: Steps) -> None:
    """What the store's writer does: its thread says everything that is ever written."""
    say, change, add, append = Session.say, Session.change, Session.add, Writer.append
    events: list[str] = []

    def writing() -> bool:
        return threading.current_thread().name == "store-writer"

    def said(self: Session, words: str) -> None:
        what = f"commit of {'+'.join(events) or 'no event'}"
        if writing() and words == "COMMIT":
            steps.at(f"{what}: before")
        say(self, words)
        if writing() and words == "COMMIT":
            events.clear()
            steps.at(f"{what}: after")
        elif writing() and words.startswith("BEGIN"):
            events.clear()
            steps.at("transaction: begun")

    def changed(self: Session, statement: Any, values: Any) -> int:
        count = change(self, statement, values)
        _stated(steps, self, statement)
        return count

    def added(self: Session, statement: Any, rows: Any) -> None:
        add(self, statement, rows)
        _stated(steps, self, statement)

    def appended(
        self: Writer, stored: StoredTask, new: Sequence[Event], at: datetime, told: Sequence[str] = ()
    ) -> StoredTask:
        events.extend(type(event).__name__ for event in new)
        return append(self, stored, new, at, told)

    put(Session, say=said, change=changed, add=added)
    put(Writer, append=appended)


def _stated(steps: Steps, session: Session, statement: Any) -> None:
    words = session._prepare(statement).words.split()  # noqa: SLF001  # what it says to the database
    steps.at(f"{words[0]} {words[1 if words[0] == 'UPDATE' else 2]}: after")


def _see_answers(steps: Steps) -> None:
    """Requests that change something, from their arrival to the last byte of their answer."""
    original: Callable[..., object] = vars(gateway.main)["server_config"]

    def wrapped(app: ASGIApp, settings: Settings) -> object:
        async def seen(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["method"] not in {"POST", "DELETE"}:
                await app(scope, receive, send)
                return

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    steps.at(f"{request}: before its answer")
                await send(message)
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    await asyncio.sleep(_HEARD_SECONDS)
                    steps.at(f"{request}: answered")

            steps.counting = True
            request = f"{scope['method']} {scope['path'].split('/')[2]}"
            steps.at(f"{request}: arrived")
            await app(scope, receive, sending)

        return original(seen, settings)

    put(gateway.main, server_config=wrapped)


def fork(order: Mapping[str, Any]) -> int:
    """A gateway of its own process; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        ctypes.CDLL(None).prctl(_DIES_WITH_ITS_PARENT, signal.SIGKILL)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(order["environment"])  # noqa: TID251  # a test's own
        trail = os.open(order["trail"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        install(Steps(trail, order["last"]), order["python"])
        gateway.main.serve(read(Settings))
    except BaseException:  # noqa: BLE001  # nothing of it may get back into the parent's loop
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int, *, wait: bool) -> int | None:
    """How a gateway ended, as `waitpid` says it; None while it runs."""
    found, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return status if found else None


def main() -> None:
    """Do what each line orders, and say what came of it."""
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads must not fork"
    gc.collect()
    gc.freeze()  # what is shared with a child stays shared
    for line in sys.stdin:
        order = json.loads(line)
        done = fork(order) if "log" in order else ended(order["pid"], wait=order["wait"])
        print(json.dumps(done), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
