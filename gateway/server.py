"""How the gateway listens: uvicorn with every bound set, and a deadline for headers, which uvicorn lacks.

Must not know what is served.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import ClassVar, Final

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.errors import GatewayError, MalformedRequest, Unavailable
from gateway.ingress import ALWAYS
from gateway.log_lines import JsonFormatter, TextFormatter
from gateway.problems import problem
from gateway.settings import Settings, StartError

# h11 bounds what it has not understood yet; a little more than what the ingress takes, so that the ingress can
# tell of the rest.
_MAX_INCOMPLETE_BYTES: Final = 32 << 10
_HEAD_BYTES: Final = 64 << 10  # of an answer's head: it has less than one
_DESCRIPTORS: Final = 8192  # for connections, those to the engine, and the store
_GRACE_SECONDS: Final = 10
_COLLECT: Final = (5_000, 20, 20)  # objects more than there were, and generations; CPython's own are 700, 10, 10


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 whose requests must have told their headers in time, and whose refusals are problems too."""

    header_seconds: ClassVar[float] = 10.0
    write_seconds: ClassVar[float] = 30.0
    most_connections: ClassVar[int] = 1000
    _headers_due: asyncio.TimerHandle | None = None
    _reading_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request's headers soon; turn the caller away where there are too many already."""
        super().connection_made(transport)
        self.app = self._serve
        transport.set_write_buffer_limits(0)  # so that the first byte that is not taken is noticed
        if len(self.connections) > self.most_connections:
            self._answer(Unavailable("There are too many connections.", retry_after_seconds=1))
        else:
            self._expect_headers()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have an answer's head wait for the beginning of its body: one packet, one call of the system."""

        async def send_whole(message: Message) -> None:
            if not self.transport.is_closing():
                head = message["type"] == "http.response.start"
                self.transport.set_write_buffer_limits(_HEAD_BYTES if head else 0)
            await send(message)

        await self.config.loaded_app(scope, receive, send_whole)

    def pause_writing(self) -> None:
        """The client does not read: for a while that is patience, then it is a hold on memory."""
        super().pause_writing()
        self._expect_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._client_reads()

    def data_received(self, data: bytes) -> None:
        """Watch the time while headers are incomplete: each byte of them would otherwise buy more."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._headers_came()
        elif not self.transport.is_closing():
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._headers_came()
        self._client_reads()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP. Where an answer has begun, it cannot be told any more."""
        self._answer(MalformedRequest(f"{msg} It breaks HTTP/1.1, or its headers are too large."))

    def _answer(self, error: GatewayError) -> None:
        """Answer without the application, and end the connection."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            answer = problem(error)
            headers = [*answer.raw_headers, *ALWAYS.items(), (b"connection", b"close")]
            reason = HTTPStatus(answer.status_code).phrase.encode()
            start = h11.Response(status_code=answer.status_code, headers=headers, reason=reason)
            for event in (start, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:  # the application may be at work on a request whose body turned out wrong
            self.cycle.disconnected = True
        self.transport.close()

    def _expect_reading(self, waiting_bytes: int) -> None:
        self._client_reads()
        self._reading_due = self.loop.call_later(self.write_seconds, self._judge_reading, waiting_bytes)

    def _judge_reading(self, waiting_bytes: int) -> None:
        """Let a client go that took nothing meanwhile; one that is slow but reads may go on."""
        left = self.transport.get_write_buffer_size()
        if left < waiting_bytes:
            self._expect_reading(left)
        else:
            self.transport.abort()

    def _client_reads(self) -> None:
        if self._reading_due is not None:
            self._reading_due.cancel()
            self._reading_due = None

    def _expect_headers(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(self.header_seconds, self.transport.close)

    def _headers_came(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


class Server(uvicorn.Server):
    """A server for which being told to stop is a good end: it returns, where uvicorn's dies of the signal.

    `listening` is called when callers can connect, `stopping` before the end, to end what would otherwise go on for as
    long as its client likes.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        listening: Callable[[], None] = lambda: None,
        stopping: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; raises `StartError` where that fails. The log has the cause by then."""
        try:
            await super().startup(sockets)
        except SystemExit:
            if self.lifespan.should_exit:
                raise StartError("The gateway could not start; the log says why.") from None
            address = f"{self.config.host}:{self.config.port}"
            raise StartError(f"Cannot listen on {address}; AIRLOCK_LISTEN names another address.") from None
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; what runs is waited for."""
        self._stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGINT and SIGTERM; at once on a second SIGINT."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """The server's configuration. Against many slow connections at once, put a proxy in front."""
    return uvicorn.Config(
        app,
        host=settings.listen.host,
        port=settings.listen.port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # the ingress logs, with the request's id
        proxy_headers=False,  # nobody but the peer says who it is
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=_MAX_INCOMPLETE_BYTES,
    )


def allow_descriptors() -> None:
    """Take as many descriptors as the connections need, where the system's usual allowance is less and may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def spare_the_collector() -> None:
    """Have the garbage collector leave alone what was made until now, and come by less often: an execution leaves no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)


def configure_logging(settings: Settings) -> None:
    """Log to stderr, one line each. Libraries speak from warnings on, unless everything is wanted."""
    level = settings.log.upper()
    logging._srcfile = None  # noqa: SLF001  # as its documentation says: no line looks for its caller
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # nor asks for what no line shows
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    quiet = level if settings.log == "debug" else max(logging.WARNING, logging.getLevelName(level))
    for name in ("uvicorn", "docker", "urllib3", "sqlalchemy", "alembic", "opentelemetry"):
        logging.getLogger(name).setLevel(quiet)
    for name in ("httpx", "httpcore"):  # they tell addresses, and in a webhook's there may be a token
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
