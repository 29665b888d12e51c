"""A server of its own process: the real uvicorn and the real ingress, and behind them a few lines of plain ASGI.

`python -m tests.service.echo_server SECONDS` prints its port; SECONDS is how long headers and bodies may take.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from gateway.ingress import Ingress
from gateway.server import BoundedProtocol, Server, configure_logging, server_config
from gateway.settings import Address, Settings

CONNECTIONS = 40
LARGE = 64 << 20  # more than any buffer between two sockets
SECRET = "the-word-that-must-not-leave"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the number of body bytes; some paths misbehave."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["path"] == "/unread":
        await _answer(send, {"read": False})
        return
    received, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"] == "/large":
        start: Message = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": b"x" * LARGE})
        return
    if scope["path"] == "/late":
        await asyncio.sleep(2.5)
    if scope["path"] == "/never":
        await asyncio.Event().wait()
    if scope["path"] == "/boom":
        raise ZeroDivisionError(SECRET)
    await _answer(send, {"received": received})


async def _answer(send: Send, value: dict[str, object]) -> None:
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    await send(start)
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def _lifespan(receive: Receive, send: Send) -> None:
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})


def main(seconds: float) -> None:
    """Serve until killed."""
    BoundedProtocol.header_seconds = BoundedProtocol.write_seconds = seconds
    BoundedProtocol.most_connections = CONNECTIONS
    settings = Settings(listen=Address("127.0.0.1", 0), data=Path("/nonexistent"))
    configure_logging(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)  # noqa: T201
    config = server_config(Ingress(app, body_seconds=seconds), settings)
    config.timeout_graceful_shutdown = 1
    Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(float(sys.argv[1]))
