"""What programs with the same imports were found to need: the memory that a ladder ended at is where the next one begins.

Remembered by tenant and imports; the store has what a restart needs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from gateway.records import StoredSize

MOST: Final = 10_000  # of them, some hundred bytes each
BELIEVED: Final = timedelta(days=90)  # since a program was last found to need that much


class Sizes:
    """Bytes by tenant and digest of imports, the newest `MOST`. Belongs to the event loop."""

    def __init__(self) -> None:
        self._bytes: OrderedDict[tuple[str, str], int] = OrderedDict()

    def load(self, found: Iterable[StoredSize]) -> None:
        """What the store has, oldest first."""
        for one in found:
            self.found(one.tenant, one.imports, one.memory_bytes)

    def of(self, tenant: str, imports: str | None) -> int | None:
        """What such programs were found to need, None where nothing was."""
        return None if imports is None else self._bytes.get((tenant, imports))

    def found(self, tenant: str, imports: str, memory_bytes: int) -> None:
        """A program needed this."""
        self._bytes[tenant, imports] = memory_bytes
        self._bytes.move_to_end((tenant, imports))
        if len(self._bytes) > MOST:
            self._bytes.popitem(last=False)
