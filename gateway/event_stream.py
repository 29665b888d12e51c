"""A response that goes on for as long as there is something to tell (`text/event-stream`). Must not know what is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPE: Final = "text/event-stream"


class EventStream(Response):
    """Sends each piece when the client took the one before: what is not read yet waits where it comes from."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self.status_code = HTTPStatus.OK
        self.background = None
        # The format knows one charset and names none; a proxy that buffers would keep it all until the end.
        self.init_headers({"Content-Type": MEDIA_TYPE, "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end. Who leaves before is noticed by the ingress, which cancels this."""
        del scope, receive
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._pieces.aclose()
