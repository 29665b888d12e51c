"""The engine's API, spoken by hand on the event loop: for the few calls that every box takes.

The engine's client library takes milliseconds of this process's time for each call, and a thread. Owns the connection of
one call and the framing of its answer, and nothing of what is said. It does not import the library.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_PLAIN_PORT: Final = 2375
_TLS_PORT: Final = 2376
_ANSWER_BYTES: Final = 1 << 20  # of a call whose answer is a few words
_FIRST_FAILURE: Final = 400
_LONGEST_WAIT_SECONDS: Final = 300.0  # that we let anybody make us wait


class CallError(OSError):
    """The engine did not answer as an engine does."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files: what the engine's certificate is checked against, and the gateway's own pair."""

    authority: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where the engine answers: `unix:///path`, `tcp://host:port`, `http://...` or `https://...`."""

    url: str = "unix:///var/run/docker.sock"
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine said: a status of HTTP, and a document or nothing.

    `retry_after_seconds` is what it, or a proxy before it, asks to wait.
    """

    status: int
    body: bytes
    retry_after_seconds: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the engine refused or failed."""
        return self.status >= _FIRST_FAILURE

    @property
    def message(self) -> str:
        """Why it failed, in the engine's words."""
        try:
            said = json.loads(self.body)["message"]
        except (ValueError, KeyError, TypeError):
            said = self.body[:500].decode("utf-8", "replace")
        return f"{self.status}: {said}"


async def connect(address: EngineAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the engine; raises OSError."""
    parts = urlsplit(address.url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path)
    if parts.scheme not in {"tcp", "http", "https"} or parts.hostname is None:
        raise CallError(f"an engine cannot be reached at {address.url!r}")
    tls = address.tls if address.tls is not None or parts.scheme != "https" else TlsFiles()
    if tls is None:
        return await asyncio.open_connection(parts.hostname, parts.port or _PLAIN_PORT)
    return await asyncio.open_connection(parts.hostname, parts.port or _TLS_PORT, ssl=_context(tls))


async def call(address: EngineAddress, method: str, path: str, document: bytes = b"") -> Answer:
    """Make one call over a connection of its own; raises OSError. `document` is JSON."""
    reader, writer = await connect(address)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(document)}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + document)
        return await _answer(reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise CallError(f"the engine did not answer as an engine: {error}") from error
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    kind, status, *_ = (*first.split(" "), "")
    if not kind.startswith("HTTP/1."):
        raise CallError(f"the engine does not speak HTTP: {first[:80]!r}")
    headers = {
        name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines)
    }
    wait = _seconds(headers.get("retry-after", ""))
    if headers.get("transfer-encoding") == "chunked":
        return Answer(int(status), await _chunks(reader), wait)
    length = int(headers.get("content-length", "0"))
    if length > _ANSWER_BYTES:
        raise CallError("the engine said more than it was asked")
    return Answer(int(status), await reader.readexactly(length), wait)


def _seconds(said: str) -> float | None:
    """A number of seconds, as engines' proxies send it; a date is not read."""
    return min(float(said), _LONGEST_WAIT_SECONDS) if said.isascii() and said.isdigit() else None


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        if len(body) + size > _ANSWER_BYTES:
            raise CallError("the engine said more than it was asked")
        body += (await reader.readexactly(size + 2))[:size]
    return bytes(body)


def _context(tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.authority)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
