"""What the counters were over the last hour: looked at every few seconds, kept in memory, gone with the process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

SECONDS: Final = 5.0
"""Between two looks."""

_KEPT: Final = 720  # looks: an hour

Labels: TypeAlias = tuple[tuple[str, str], ...]


class _Sample(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def value(self) -> float: ...


class _Family(Protocol):
    @property
    def samples(self) -> Iterable[_Sample]: ...


@dataclass(frozen=True, slots=True)
class Look:
    """All numbers at one moment (`at`: seconds of a clock that never goes back), by name and labels."""

    at: float
    values: Mapping[tuple[str, Labels], float]


class Gauges:
    """The last hour's looks at what `collect` tells."""

    def __init__(self, collect: Callable[[], Iterable[_Family]], clock: Callable[[], float] = time.monotonic) -> None:
        self._collect = collect
        self._clock = clock
        self._looks: deque[Look] = deque(maxlen=_KEPT)

    async def keep(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await asyncio.sleep(SECONDS)

    def look(self) -> None:
        """Look once."""
        values = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self._collect()
            for sample in family.samples
        }
        self._looks.append(Look(self._clock(), values))

    @property
    def looks(self) -> Sequence[Look]:
        """What was seen, oldest first."""
        return tuple(self._looks)
