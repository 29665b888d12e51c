"""The chart: p50 and p99 of every subject as SVG, on a logarithmic scale, for light and dark pages. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bench.report import milliseconds

_WIDTH: Final = 900
_LEFT: Final = 300
_RIGHT: Final = 110
_ROW: Final = 26
_TOP: Final = 46
_BAR: Final = 14

_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.quiet { fill: #57606a; font-size: 11px }
.grid { stroke: #d0d7de; stroke-width: 1 }
.tail { stroke: #57606a; stroke-width: 1.5 }
.ours { fill: #1a7f37 } .floor { fill: #8c959f } .peer { fill: #bf8700 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .tail { stroke: #9198a1 }
  .ours { fill: #3fb950 } .floor { fill: #6e7681 } .peer { fill: #d29922 }
}
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """One row: seconds, and which of the three colours."""

    title: str
    kind: str
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class _Scale:
    """From seconds to places: whole powers of ten at both ends."""

    low: int
    high: int

    @classmethod
    def over(cls, marks: Sequence[Mark]) -> _Scale:
        """The scale that has room for all marks."""
        lowest, highest = min(mark.p50 for mark in marks), max(mark.p99 for mark in marks)
        low = math.floor(math.log10(lowest))
        return cls(low, max(math.ceil(math.log10(highest)), low + 1))

    def x(self, seconds: float) -> float:
        """Where a time is."""
        share = (math.log10(seconds) - self.low) / (self.high - self.low)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def chart(marks: Sequence[Mark]) -> str:
    """The whole picture, one row for each mark in the order given; raises ValueError where there is none."""
    if not marks:
        raise ValueError("nothing to draw")
    scale = _Scale.over(marks)
    height = _TOP + _ROW * len(marks) + 14
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Milliseconds of one program">',
        f"<style>{_STYLE}</style>",
        *_legend(),
        *_grid(scale, height),
        *(line for number, mark in enumerate(marks) for line in _row(mark, scale, _TOP + _ROW * number)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _legend() -> list[str]:
    lines = []
    for place, (kind, word) in enumerate(
        (("ours", "Airlock"), ("floor", "floor of the machine"), ("peer", "instead of it"))
    ):
        x = 12 + place * 150
        lines += [
            f'<rect class="{kind}" x="{x}" y="8" width="12" height="12" rx="2"/>',
            f'<text x="{x + 18}" y="18">{word}</text>',
        ]
    return [*lines, f'<text class="quiet" x="{_WIDTH - 12}" y="18" text-anchor="end">bar: p50, line: to p99</text>']


def _grid(scale: _Scale, height: int) -> list[str]:
    lines = []
    for power in range(scale.low, scale.high + 1):
        x = scale.x(10.0**power)
        lines += [
            f'<line class="grid" x1="{x}" y1="{_TOP - 6}" x2="{x}" y2="{height - 8}"/>',
            f'<text class="quiet" x="{x}" y="{_TOP - 12}" text-anchor="middle">{10.0 ** (power + 3):g} ms</text>',
        ]
    return lines


def _row(mark: Mark, scale: _Scale, top: int) -> list[str]:
    middle, end, tail = top + _ROW / 2, scale.x(mark.p50), scale.x(mark.p99)
    start = scale.x(10.0**scale.low)
    return [
        f'<text x="{_LEFT - 10}" y="{middle + 4}" text-anchor="end">{escape(mark.title)}</text>',
        f'<rect class="{mark.kind}" x="{start}" y="{middle - _BAR / 2}" width="{max(1.0, round(end - start, 1))}" height="{_BAR}" rx="2"/>',
        f'<line class="tail" x1="{end}" y1="{middle}" x2="{tail}" y2="{middle}"/>',
        f'<text class="quiet" x="{tail + 6}" y="{middle + 4}">{milliseconds(mark.p50)}</text>',
    ]
