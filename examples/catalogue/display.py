"""How a catalogue looks while it is made: live on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table

from examples.catalogue.tally import Tally

_LINE_SECONDS: Final = 10.0
_PACE_SECONDS: Final = 10.0


@dataclass(slots=True)
class Display:
    """Shows a tally. Use `shown` around the work, and call `look` now and then."""

    console: Console
    tally: Tally
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _said: float = 0.0
    _live: Live | None = None

    def shown(self) -> AbstractContextManager[object]:
        """Show it as long as the context lasts."""
        if not self.console.is_terminal:
            return nullcontext()
        self._live = Live(get_renderable=self.picture, console=self.console, refresh_per_second=4)
        return self._live

    def look(self) -> None:
        """Take note of the pace; off a terminal, say how things stand if that was long ago."""
        now = time.monotonic()
        self._marks.append((now, self.tally.done))
        while now - self._marks[0][0] > _PACE_SECONDS:
            self._marks.popleft()
        if self._live is None and now - self._said >= _LINE_SECONDS:
            self._said = now
            self.console.print(
                ", ".join(f"{name} {value}" for name, value in self._figures()), highlight=False, soft_wrap=True
            )

    def picture(self) -> RenderableType:
        """What a terminal shows."""
        table = Table.grid(padding=(0, 2))
        for name, value in self._figures():
            table.add_row(name, value)
        bar = ProgressBar(total=self.tally.wanted, completed=self.tally.finished, width=60)
        return Group(Padding(bar, (0, 0, 1, 0)), table)

    def _pace(self) -> float:
        (began, before), (ended, after) = self._marks[0], self._marks[-1]
        return (after - before) / (ended - began) if ended > began else 0.0

    def _figures(self) -> list[tuple[str, str]]:
        tally = self.tally
        pace = self._pace() if self._marks else 0.0
        left = (tally.wanted - tally.finished) / pace if pace else None
        lanes = {
            lane: sum(count for name, count in tally.tries.items() if name.startswith(lane))
            for lane in ("monty", "container", "none")
        }
        return [
            ("catalogued", f"{tally.finished} of {tally.wanted}"),
            ("a second", f"{pace:.0f}"),
            ("left", "?" if left is None else f"{left // 60:.0f}m{left % 60:02.0f}s"),
            ("lanes", f"monty {lanes['monty']}, container {lanes['container']}, not run {lanes['none']}"),
            ("mended", str(sum(tally.repaired.values()))),
            ("reviews", str(sum(tally.reviews.values()))),
            ("told to wait", str(sum(tally.waits.values()))),
            ("sent again", str(tally.resent)),
            ("platform errors", str(tally.platform_errors)),
            ("kills", str(tally.kills)),
            ("gateway away", str(tally.outages)),
        ]
