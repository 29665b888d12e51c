"""Who waits for a task or an execution to change, by their ids: wake-ups within this process. Loses nothing, because a waiter subscribes before it looks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """Wake-ups by key."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def watch(self, key: str) -> Iterator[asyncio.Event]:
        """An event that is set at every change of `key`; the waiter clears it before it looks again."""
        event = asyncio.Event()
        self._waiting[key].add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def notify(self, key: str) -> None:
        """Wake all who watch `key`."""
        for event in self._waiting.get(key, ()):
            event.set()
