"""The gate in front of everything: what a request may weigh, how long it may take to come, what every answer says.

Plain ASGI, so that nothing is read before it is bounded. Only a body's arrival has a deadline: an answer may take as
long as a program runs. Must not know routes, keys or what a body means.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.circumstances import arrives
from gateway.console.door import is_console
from gateway.errors import (
    BodyTooLarge,
    GatewayError,
    MalformedRequest,
    RequestTimeout,
    Unavailable,
    UnsupportedMediaType,
)
from gateway.problems import InternalError, problem
from gateway.tracing import Tracer

MAX_BODY_BYTES: Final = 8 << 20
MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 16 << 10
BODY_SECONDS: Final = 10.0
ALWAYS: Final = MappingProxyType({b"x-content-type-options": b"nosniff", b"cache-control": b"no-store"})
CALLER: Final = "caller_name"
"""Where a route leaves its caller's name in the request's state, for the log."""

# How much of a body that nobody wants is read and dropped: closing on unread bytes resets the connection, and a reset
# can overtake the answer.
_LINGER_SECONDS: Final = 0.5
_LINGER_BYTES: Final = 16 << 20
_CLIENT_GONE: Final = 499
_JSON: Final = (b"application/json",)
_FORM: Final = (b"application/x-www-form-urlencoded", *_JSON)
_LOOKS: Final = frozenset({"GET", "HEAD"})  # they change nothing, so that they can be left off at any point
_PROCESS: Final = secrets.token_hex(
    4
)  # a request's id is this and a number: it tells requests apart, and keeps no secret
_requests: Final = itertools.count(1)
_log = logging.getLogger("airlock.http")

_Headers: TypeAlias = list[tuple[bytes, bytes]]


class HeadersTooLarge(GatewayError):
    """The headers are too many or too large."""

    id, status = "headers-too-large", 431


class Ingress:
    """Wraps the application whole, so that its own mistakes pass here too."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        body_seconds: float = BODY_SECONDS,
        tracer: Callable[[], Tracer | None] = lambda: None,
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through, and log one line about it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._body_seconds
        announced = _announces_body(scope["headers"])
        body = _Body(receive, self._max_body_bytes, deadline, complete=not announced)
        answer = _Answer(scope, send, body)
        request = arrives(scope, answer.request_id, self._tracer())
        try:
            _admit(scope["headers"], self._max_body_bytes)
            if announced:
                _admit_body(scope["method"], scope["headers"], _FORM if is_console(scope["path"]) else _JSON)
            if scope["method"] in _LOOKS:
                await self._look(scope, body, answer)
            else:
                await self._app(scope, body.receive, answer.send)
        except GatewayError as error:
            await answer.tell(error)
        except ClientDisconnect:
            answer.status = _CLIENT_GONE
        except asyncio.CancelledError:
            if answer.status is not None:
                raise
            # Only a server that stops cancels a request. Told so, its client is answered, and nothing is amiss.
            await answer.tell(Unavailable("The gateway is stopping.", retry_after_seconds=5))
        except Exception:  # noqa: BLE001  # the last wall: nothing of it leaves but the id under which the log has it
            _log.exception("%s failed", answer.request_id)
            await answer.tell(InternalError())
        finally:
            answer.log(time.perf_counter() - began)
            request.end(scope, answer.status)

    async def _look(self, scope: Scope, body: _Body, answer: _Answer) -> None:
        """Work for a caller only as long as there is one: who asks for a long wait and leaves must not hold a place."""
        working = asyncio.ensure_future(self._app(scope, body.receive, answer.send))
        leaving = asyncio.ensure_future(body.gone())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnect
            working.result()
        finally:
            leaving.cancel()
            working.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)


@dataclass(slots=True)
class _Body:
    """The request's body as it arrives: counted, and in time."""

    _receive: Receive
    _max_bytes: int
    _deadline: float
    complete: bool
    _bytes: int = 0

    async def receive(self) -> Message:
        """The next message. Once the body is complete it is waited for without a deadline."""
        try:
            async with asyncio.timeout_at(None if self.complete else self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout("The body did not arrive in time.") from None
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._max_bytes:
                raise _too_large(self._max_bytes)
            self.complete = not message.get("more_body", False)
        return message

    async def gone(self) -> None:
        """Return when the caller has left. Only for requests whose body nobody reads."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def drain(self) -> None:
        """Drop what is left, for a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                until = self._bytes + _LINGER_BYTES
                while not self.complete and self._bytes < until:
                    message = await self._receive()
                    self._bytes += len(message.get("body", b""))
                    self.complete = message["type"] == "http.disconnect" or not message.get("more_body", False)


@dataclass(slots=True)
class _Answer:
    """The answer as it leaves."""

    _scope: Scope
    _send: Send
    _body: _Body
    request_id: str = field(default_factory=lambda: f"{_PROCESS}{next(_requests) & 0xFFFFFFFF:08x}")
    status: int | None = None
    _closing: bool = False

    async def send(self, message: Message) -> None:
        """Pass a message on. The connection ends with an answer that did not wait for the whole body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._closing = not self._body.complete
            message = {**message, "headers": self._headers(message.get("headers", ()))}
        elif self._closing and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.drain()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def tell(self, error: GatewayError) -> None:
        """Answer with the error, unless an answer is on its way already."""
        if self.status is None:
            await problem(error)(self._scope, self._body.receive, self.send)

    def log(self, seconds: float) -> None:
        """One line for one request. The query is left out: it could hold what nobody should read."""
        path = self._scope.get("raw_path", b"").decode("ascii", "backslashreplace")
        caller = self._scope.get("state", {}).get(CALLER, "-")
        method = self._scope["method"]
        fields = {
            "caller": caller,
            "method": method,
            "path": path,
            "status": self.status,
            "seconds": round(seconds, 6),
        }
        _log.info(
            "%s %s %s %s %s %.1fms",
            *(self.request_id, caller, method, path, self.status, seconds * 1e3),
            extra={"event": "request", "fields": fields},
        )

    def _headers(self, headers: _Headers) -> _Headers:
        names = {name.lower() for name, _ in headers}
        also = [(name, value) for name, value in ALWAYS.items() if name not in names]
        close = [(b"connection", b"close")] if self._closing else []
        return [*headers, *also, *close, (b"x-request-id", self.request_id.encode())]


def _admit(headers: _Headers, max_body_bytes: int) -> None:
    """Refuse by the headers alone what cannot become a request."""
    weight = sum(len(name) + len(value) + 4 for name, value in headers)
    if len(headers) > MAX_HEADERS or weight > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them are read.")
    lengths = _values(headers, b"content-length")
    if len(lengths) > 1 or (lengths and _values(headers, b"transfer-encoding")):
        raise MalformedRequest("The headers tell two lengths for one body.")
    if lengths and not lengths[0].isdigit():
        raise MalformedRequest("Content-Length must be a number.", fields=(("Content-Length", "must be a number"),))
    if lengths and (len(lengths[0]) > len(str(max_body_bytes)) or int(lengths[0]) > max_body_bytes):
        raise _too_large(max_body_bytes)


def _admit_body(method: str, headers: _Headers, wanted: tuple[bytes, ...]) -> None:
    """Refuse a body of another kind: the API takes JSON, which no form of another site's can send; the console takes forms."""
    if any(value.strip().lower() != b"identity" for value in _values(headers, b"content-encoding")):
        raise UnsupportedMediaType("The body must not be compressed.")
    types = [value.partition(b";")[0].strip().lower() for value in _values(headers, b"content-type")]
    if method in {"POST", "PUT", "PATCH"} and (len(types) != 1 or types[0] not in wanted):
        raise UnsupportedMediaType


def _announces_body(headers: _Headers) -> bool:
    lengths = _values(headers, b"content-length")
    return any(length.strip(b"0") for length in lengths) or bool(_values(headers, b"transfer-encoding"))


def _values(headers: _Headers, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def _too_large(max_body_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body must not be larger than {max_body_bytes} bytes.", fields=(("body", "too large"),))
