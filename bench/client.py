"""A client that costs little: what is measured is the server, and client and server share the machine's cores.

One keep-alive connection, one request at a time, bodies with a length: all that the measured servers answer with.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import Final

_LIMIT: Final = 1 << 20


class HttpError(Exception):
    """The server did not answer as HTTP, or not with a success."""


@dataclass(slots=True)
class Connection:
    """One client of the server at `port` on this machine."""

    port: int
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def prepare(self) -> None:
        """Be connected: to be called before a clock is started. A server lets go of connections that were idle."""
        if self._reader is None or self._reader.at_eof():
            await self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=_LIMIT)

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def post(self, path: str, body: bytes) -> bytes:
        """Send JSON, return the answer's body; raises `HttpError`."""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self._ask(head.encode() + body)

    async def get(self, path: str) -> bytes:
        """As `post`."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    async def _ask(self, request: bytes) -> bytes:
        await self.prepare()
        if self._reader is None or self._writer is None:
            raise HttpError("not connected")
        self._writer.write(request)
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            answer = await self._reader.readexactly(_length(head))
        except (asyncio.IncompleteReadError, OSError) as error:
            await self.close()
            raise HttpError(f"the server hung up: {error}") from error
        if not head.startswith(b"HTTP/1.1 200"):
            status = head.split(b"\r\n", 1)[0].decode("latin-1")
            raise HttpError(f"{status}: {answer[:500].decode('utf-8', 'replace')}")
        return answer


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise HttpError("an answer without a length")


async def timed_post(connection: Connection, path: str, body: bytes) -> tuple[float, bytes]:
    """Seconds from the first byte out to the last byte in, and the answer."""
    await connection.prepare()
    began = time.perf_counter()
    answer = await connection.post(path, body)
    return time.perf_counter() - began, answer


def as_object(body: bytes) -> dict[str, object]:
    """A body that is a JSON object; raises `HttpError`."""
    value: object = json.loads(body)
    if not isinstance(value, dict):
        raise HttpError("not an object")
    return value
