"""The byte stream of a container, on the event loop: the engine's attach call, spoken by hand.

The engine's client library reads such a stream with a blocking socket, which costs a thread for
each running box. Owns the upgrade of one HTTP connection (Unix socket, TCP or TLS) and nothing of
what then passes over it. It does not import the library.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sandbox.calls import EngineAddress, connect

READ_BYTES = 1 << 16


class AttachError(OSError):
    """The engine did not hand over the container's stream."""


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
    reader, writer = await connect(address)
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
