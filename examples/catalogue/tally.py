"""What happened so far, counted as it happens: what the display shows and the report tells."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts of one run of the coordinator. `before` are seconds and products of earlier runs on the same folder."""

    wanted: int
    seconds_before: float = 0.0
    done_before: int = 0
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    tries: Counter[str] = field(default_factory=Counter)  # answers by lane and status
    repaired: Counter[str] = field(default_factory=Counter)  # what was wrong with first programs
    reviews: Counter[str] = field(default_factory=Counter)  # rulings
    waits: Counter[str] = field(default_factory=Counter)  # answers that said to come back later
    resent: int = 0  # requests whose answer never came
    platform_errors: int = 0
    given_up: list[str] = field(default_factory=list)  # products that nobody could catalogue, and why
    processor_seconds: float = 0.0  # of the coordinator with all its researchers
    kills: int = 0
    outages: int = 0  # seen by the researchers
    moments: list[tuple[float, str, float]] = field(default_factory=list)  # for the ledger: when, what, how much

    @property
    def seconds(self) -> float:
        """How long the catalogue has been worked on, earlier runs included."""
        return self.seconds_before + time.monotonic() - self.began

    def note(self, what: str, value: float) -> None:
        """Have the ledger remember it."""
        self.moments.append((self.seconds, what, value))

    @property
    def finished(self) -> int:
        """Products in the catalogue, those of earlier runs included."""
        return self.done_before + self.done
