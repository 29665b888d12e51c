"""A connection to the gateway: kept open, one request at a time, little work for each.

What the gateway answers has a length, so this is all of HTTP/1.1 that an agent needs; a general client costs ten times as
much of the processor that the gateway could use.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_LIMIT: Final = 1 << 20  # bytes of headers
_SECONDS: Final = 120.0  # longer than a long-poll and than a program may take


class Away(Exception):
    """Nobody answers there now, or the answer broke off: whether the request was taken is not known."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, how long to wait before asking again if it says so, and its JSON."""

    status: int
    retry_after: float | None
    body: dict[str, object]


@dataclass(slots=True)
class Connection:
    """One agent's connection to the gateway at `url` (http only: it is on this machine, or behind a proxy of yours)."""

    url: str
    key: str | None = None
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None
    _common: str = field(init=False)

    def __post_init__(self) -> None:
        authorization = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        self._common = f"Host: {urlsplit(self.url).netloc}\r\nAccept: application/json\r\n{authorization}"

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def ask(self, method: str, path: str, body: bytes = b"", idempotency_key: str | None = None) -> Reply:
        """Send a request and wait for its answer; raises `Away`."""
        once = f"Idempotency-Key: {idempotency_key}\r\n" if idempotency_key else ""
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\n{self._common}{once}{length}\r\n"
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._exchange(head.encode("ascii") + body)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
            await self.close()
            raise Away(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            await self.close()  # the rest of the answer would be taken for the next one's
            raise

    async def _exchange(self, request: bytes) -> Reply:
        reader, writer = await self._connected()
        writer.write(request)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            await self.close()
        told: object = json.loads(content) if content else {}
        wait = headers.get("retry-after")
        return Reply(
            int(status.split(" ", 2)[1]), float(wait) if wait else None, told if isinstance(told, dict) else {}
        )

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The open connection; the gateway lets go of connections that were idle."""
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self.close()
            where = urlsplit(self.url)
            self._reader, self._writer = await asyncio.open_connection(where.hostname, where.port or 80, limit=_LIMIT)
        return self._reader, self._writer
