"""The byte stream of a container, on the event loop: the engine's attach call, spoken by hand.

The engine's client library reads such a stream with a blocking socket, which costs a thread for
each running box. Owns the upgrade of one HTTP connection (Unix socket, TCP or TLS) and nothing of
what then passes over it. It does not import the library.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

READ_BYTES = 1 << 16
_PLAIN_PORT, _TLS_PORT = 2375, 2376


class AttachError(OSError):
    """The engine did not hand over the container's stream."""


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
class Attachment:
    """Both directions of a container's stream. What is read is multiplexed, see `frames.StreamReader`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def close(self) -> None:
        """Give the connection back. Has to come before any kill: an unread stream makes the engine hang."""
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


async def attach(address: EngineAddress, api_version: str, container: str) -> Attachment:
    """Attach to all streams of a container that has been created; raises OSError."""
    reader, writer = await _connect(address)
    attachment = Attachment(reader, writer)
    request = (
        f"POST /v{api_version}/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
        "Host: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    )
    try:
        writer.write(request.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        await attachment.close()
        raise AttachError(f"the engine did not answer an attach: {error}") from error
    except asyncio.CancelledError:
        await attachment.close()
        raise
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if " 101 " not in status and " 200 " not in status:
        await attachment.close()
        raise AttachError(f"the engine refused an attach: {status}")
    return attachment


async def _connect(address: EngineAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(address.url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path)
    if parts.scheme not in {"tcp", "http", "https"} or parts.hostname is None:
        raise AttachError(f"an engine cannot be attached to at {address.url!r}")
    tls = address.tls if address.tls is not None or parts.scheme != "https" else TlsFiles()
    if tls is None:
        return await asyncio.open_connection(parts.hostname, parts.port or _PLAIN_PORT)
    return await asyncio.open_connection(parts.hostname, parts.port or _TLS_PORT, ssl=_context(tls))


def _context(tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.authority)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
