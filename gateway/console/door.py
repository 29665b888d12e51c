"""The door of the console.

The room behind it is entered when somebody first asks for it, since most gateways start for agents alone.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX: Final = "/console"


class Door:
    """Sends requests for the console to the console, and everything else to `others`."""

    def __init__(self, others: ASGIApp, console: Callable[[], ASGIApp]) -> None:
        self._others = others
        self._make = console
        self._console: ASGIApp | None = None
        self._opening = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] == "http" and is_console(scope["path"]):
            await (self._console or await self._open())(scope, receive, send)
        else:
            await self._others(scope, receive, send)

    async def _open(self) -> ASGIApp:
        async with self._opening:
            if self._console is None:
                await asyncio.to_thread(importlib.import_module, "gateway.console.app")  # others are served meanwhile
                self._console = self._make()
            return self._console


def is_console(path: str) -> bool:
    """Whether an address is one of the console's."""
    return path.startswith(PREFIX) and path[len(PREFIX) : len(PREFIX) + 1] in {"", "/"}
