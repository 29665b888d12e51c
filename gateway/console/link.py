"""The answer to `airlock console`: a way into the console that works once."""

from __future__ import annotations

from gateway.wire import Wire


class Link(Wire):
    """Where to go: `path` below the gateway's address, for `seconds`; `name` is who is then logged in."""

    path: str
    seconds: float
    name: str
