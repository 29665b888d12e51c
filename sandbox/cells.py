"""Cells at rest: boxes that wait for the next program of the one owner that they ever had.

Owns who may have which, and for how long. What happens in one is the guest's affair; that it is fit to be used again is
decided by whoever brings it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from sandbox.box import Box, Removals
from sandbox.pool import Kind

REST_SECONDS: Final = 300.0  # that a cell waits for its owner
CELL_SECONDS: Final = 3_600.0  # of one cell's life, and
CELL_RUNS: Final = 1_000  # how many programs it sees: no leak of the kernel's or the guest's grows for ever


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose a cell is, and of which kind."""

    owner: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Resting:
    claim: Claim
    box: Box
    since: float


class Cells:
    """At most `size` cells at rest; the one that rested longest makes room."""

    def __init__(self, size: int, removals: Removals) -> None:
        self._size = size
        self._removals = removals
        self._resting: deque[_Resting] = deque()  # the longest at rest first

    def take(self, claim: Claim) -> Box | None:
        """The owner's own cell that was used last; None where there is none."""
        self.tidy()
        for resting in reversed(self._resting):
            if resting.claim == claim:
                self._resting.remove(resting)
                return resting.box
        return None

    def put(self, claim: Claim, box: Box) -> None:
        """Keep a cell whose program has ended and left nothing, unless it is worn out."""
        if box.runs >= CELL_RUNS or time.monotonic() - box.made_at > CELL_SECONDS:
            self._removals.start(box)
            return
        self._resting.append(_Resting(claim, box, time.monotonic()))
        self.tidy()

    def tidy(self) -> None:
        """Let go of those that rested too long, have died, or are too many."""
        now = time.monotonic()
        for resting in list(self._resting):
            crowded = len(self._resting) > self._size
            if crowded or not resting.box.alive or now - resting.since > REST_SECONDS:
                self._resting.remove(resting)
                self._removals.start(resting.box)

    def empty(self) -> None:
        """Give up all of them."""
        while self._resting:
            self._removals.start(self._resting.popleft().box)

    @property
    def resting(self) -> int:
        """How many are waiting."""
        return len(self._resting)
