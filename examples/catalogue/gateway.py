"""The gateway as agents see it: it may say "later", and it may be away. What they sent stands until it is answered."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Final

from examples.catalogue.tally import Tally
from examples.catalogue.wire import Away, Connection, Reply

_BUSY: Final = frozenset({429, 503})
_MISTAKES: Final = frozenset({400, 401, 403, 404, 413, 415, 422})
_KNOCK_SECONDS: Final = 0.1
_USUAL_WAIT_SECONDS: Final = 1.0


class Refused(Exception):
    """The gateway does not take a request as it is: a mistake of ours."""


@dataclass(slots=True)
class Gateway:
    """What all share of one gateway: where it is, and whether it is there."""

    url: str
    tally: Tally
    _there: asyncio.Event = field(default_factory=asyncio.Event)
    _looking: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._there.set()

    def connect(self, key: str | None = None) -> Connection:
        """A connection for one agent or one person, who shows that key."""
        return Connection(self.url, key)

    async def ask(
        self, over: Connection, method: str, path: str, body: bytes = b"", idempotency_key: str | None = None
    ) -> Reply:
        """Ask until there is an answer to the question; raises `Refused` where it never will be.

        Who waits longer than told does not come back with all the others at once.
        """
        while True:
            await self._there.wait()
            try:
                reply = await over.ask(method, path, body, idempotency_key)
            except Away:
                self.tally.resent += 1
                await self._look()
                continue
            if reply.status in _BUSY and "execution" not in reply.body:
                self.tally.waits[f"{reply.status} {reply.body.get('limit', '')}".strip()] += 1
                wait = _USUAL_WAIT_SECONDS if reply.retry_after is None else reply.retry_after
                await asyncio.sleep(wait * random.uniform(1.0, 1.25))  # noqa: S311  # to spread, not to hide
                continue
            if reply.status in _MISTAKES and "execution" not in reply.body:
                raise Refused(f"{method} {path}: {reply.status} {reply.body.get('detail')}")
            return reply

    async def _look(self) -> None:
        """Wait until it is there again. One agent knocks, the others wait for it."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._knock())
        await asyncio.shield(self._looking)

    async def _knock(self) -> None:
        began, away = time.monotonic(), False
        knocking = self.connect()
        try:
            while True:
                try:
                    reply = await knocking.ask("GET", "/healthz")
                except Away:
                    if not away:
                        away = True
                        self.tally.outages += 1
                        self._there.clear()
                else:
                    if reply.status == 200:  # noqa: PLR2004
                        return
                await asyncio.sleep(_KNOCK_SECONDS)
        finally:
            await knocking.close()
            self._there.set()
            if away:
                self.tally.note("away", time.monotonic() - began)
