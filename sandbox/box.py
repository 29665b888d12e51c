"""One box from its creation to its removal, whoever uses it in between.

Owns the container and its stream. What it may be is decided before; what is said on the stream is its user's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sandbox.attach import Attachment
from sandbox.engine import Engine, EngineError
from sandbox.profile import ContainerOptions

REMOVAL_PAUSES_SECONDS: Final = (0.0, 1.0, 3.0)  # before each try


@dataclass(slots=True, eq=False)
class Box:
    """A container that was asked for. `owner` is the (execution, attempt) pair of its labels; `gone` is told it once."""

    engine: Engine
    owner: tuple[str, int]
    gone: Callable[[tuple[str, int]], None]
    runs: int = 0
    made_at: float = field(default_factory=time.monotonic)
    _creating: asyncio.Task[str] | None = None
    _attachment: Attachment | None = field(default=None, repr=False)

    async def create(self, options: ContainerOptions) -> Attachment:
        """Create it and open its stream; raises EngineError. A cancellation leaves the rest to `remove`."""
        self._creating = asyncio.create_task(self.engine.create(options))
        container = await asyncio.shield(self._creating)
        self._attachment = await self.engine.attach(container)
        return self._attachment

    async def start(self) -> None:
        """Start it; raises EngineError."""
        await self.engine.start(self.container)

    @property
    def container(self) -> str:
        """The engine's id of it, once it is created."""
        if self._creating is None:
            raise EngineError("the box was never created")
        return self._creating.result()

    @property
    def alive(self) -> bool:
        """Whether its stream is open and silent, as far as this side knows."""
        return self._attachment is not None and not self._attachment.reader.at_eof()

    @property
    def attachment(self) -> Attachment:
        """Its stream, once it is open."""
        if self._attachment is None:
            raise EngineError("the box has no stream")
        return self._attachment

    async def hang_up(self) -> None:
        """Close the stream: before anything else is asked of the engine about this box."""
        if self._attachment is not None:
            await self._attachment.close()

    async def remove(self) -> None:
        """Remove it, however far it got; what the engine will not remove now is left to the janitor."""
        try:
            await self.hang_up()
            if self._creating is not None:
                await self._remove(await self._creating)
        except EngineError:
            return  # never created, as far as anybody knows
        finally:
            self.gone(self.owner)

    async def _remove(self, container: str) -> None:
        for pause in REMOVAL_PAUSES_SECONDS:
            await asyncio.sleep(pause)
            with contextlib.suppress(EngineError):
                await self.engine.remove(container)
                return


class Removals:
    """Boxes on their way out, which nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, box: Box) -> None:
        """Remove a box in the background."""
        self.add(asyncio.create_task(box.remove()))

    def add(self, removal: asyncio.Task[None]) -> None:
        """Count a removal that has begun."""
        self._tasks.add(removal)
        removal.add_done_callback(self._tasks.discard)

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until none of those that have begun is left, or for that long."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    def __bool__(self) -> bool:
        return bool(self._tasks)
