"""The circuit breaker of an engine: after what proves that it is away, nothing is sent there until one probe came back.

Pure: times are arguments, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sandbox.outcome import Loss

FIRST_PAUSE_SECONDS: Final = 1.0  # from trouble to the first probe
LONGEST_PAUSE_SECONDS: Final = 30.0
REFUSALS: Final = 5  # in a row, before an engine that answers counts as away

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]


@dataclass(slots=True)
class Breaker:
    """Closed: programs run. Open: they wait, until `probe_at`. Half open: they wait for the one probe that runs.

    A box that is lost says nothing of its engine: programs can bring that about.
    """

    state: BreakerState = "closed"
    probe_at: float = 0.0
    opened: int = 0
    _refusals: int = 0
    _pause: float = FIRST_PAUSE_SECONDS

    def saw(self, loss: Loss | None, now: float) -> None:
        """An attempt ended; `loss` is what failed under it."""
        if loss is Loss.REFUSED:
            self._refusals += 1
        elif loss is not Loss.ENGINE:
            self._refusals = 0
        if self.state == "closed" and (loss is Loss.ENGINE or self._refusals >= REFUSALS):
            self.opened += 1
            self._pause = FIRST_PAUSE_SECONDS
            self._open(now)

    def begin_probe(self) -> None:
        """It is time: one probe runs."""
        self.state = "half_open"

    def probed(self, *, well: bool, now: float) -> None:
        """The probe came back; each that fails doubles the pause before the next."""
        if well:
            self.state, self._refusals = "closed", 0
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._open(now)

    def _open(self, now: float) -> None:
        self.state, self.probe_at = "open", now + self._pause
