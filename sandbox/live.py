"""What a program has written so far, for who watches it run.

Pure. It holds nothing itself: it shows what the transcript keeps anyway, so that a run that nobody watches costs no more
than telling nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

StreamName: TypeAlias = Literal["stdout", "stderr"]

MOST_BYTES: Final = 1 << 14
"""How much is shown at once."""


class Live:
    """The output of one attempt as it comes: of each stream the first part that is kept, never more."""

    __slots__ = ("_heads", "attempt", "changed")

    def __init__(self, attempt: int, changed: Callable[[], None]) -> None:
        self.attempt = attempt
        self.changed = changed
        """Called when there may be more; it must be quick."""
        self._heads: Mapping[StreamName, bytearray] = {}

    def follow(self, heads: Mapping[StreamName, bytearray]) -> None:
        """Show these buffers, which only ever grow."""
        self._heads = heads

    def after(self, stream: StreamName, position: int) -> bytes:
        """What was written after that many bytes, some of it; empty where there is nothing yet."""
        head = self._heads.get(stream)
        return b"" if head is None else bytes(head[position : position + MOST_BYTES])
