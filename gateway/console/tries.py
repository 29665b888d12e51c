"""One try of a task as a page shows it: its difference to the one before, its lines with what is said of them, its bars.

Pure. From the API's views, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from markupsafe import Markup

from gateway.console.text import Lines, code_lines, short, tail
from gateway.quantities import format_seconds
from gateway.wire_answers import ExecutionView, Finding
from gateway.wire_reviews import ReviewView, TryView

MOST_FINDINGS: Final = 100
_MOST_ROWS: Final = 600
_HUNK: Final = re.compile(r"^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_SHOWN_RESULT: Final = 4_000


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a row: a line and its number; None of either is an empty place."""

    number: int | None = None
    line: Markup | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a comparison."""

    kind: Literal["same", "changed", "gap"]
    before: Side = Side()
    after: Side = Side()


@dataclass(frozen=True, slots=True)
class Bar:
    """How much of a limit was used. `share` is between 0 and 1; None where it is not known."""

    name: str
    used: str
    limit: str
    share: float | None

    @property
    def level(self) -> str:
        """How near the limit it came."""
        share = self.share or 0.0
        return "full" if share >= 1 else "high" if share >= _HIGH else "low"


_HIGH: Final = 0.8


@dataclass(frozen=True, slots=True)
class Shown:
    """A try, ready for the page. `notes` are findings by the number of their line."""

    number: int
    reviewed: bool
    view: ExecutionView
    code: Lines
    rows: Sequence[Row]
    notes: Mapping[int, Sequence[Finding]]
    findings: Sequence[Finding]
    more_findings: int
    error_line: int | None
    stdout: Lines
    stderr: Lines
    result: Markup | None
    bars: Sequence[Bar]
    expects: str | None


def shown_tries(review: ReviewView) -> list[Shown]:
    """All tries, oldest first; the code of the reviewed one at length."""
    return [_shown(number, one, one.execution.id == review.execution) for number, one in enumerate(review.tries, 1)]


def _shown(number: int, one: TryView, reviewed: bool) -> Shown:  # noqa: FBT001  # its only caller is above
    view = one.execution
    code = code_lines(one.code) if reviewed else code_lines(one.code, 400)
    notes: defaultdict[int, list[Finding]] = defaultdict(list)
    for finding in view.findings[:MOST_FINDINGS]:
        if finding.line is not None:
            notes[finding.line].append(finding)
    return Shown(
        number=number,
        reviewed=reviewed,
        view=view,
        code=code,
        rows=list(rows_of(one.diff)),
        notes=dict(notes),
        findings=[one for one in view.findings[:MOST_FINDINGS] if one.line is None or one.line > len(code.lines)],
        more_findings=max(0, len(view.findings) - MOST_FINDINGS),
        error_line=view.error.line if view.error else None,
        stdout=tail(view.stdout),
        stderr=tail(view.stderr),
        result=result_of(view),
        bars=bars_of(view),
        expects=one.expect.model_dump_json(exclude_defaults=True, indent=2) if one.expect else None,
    )


def result_of(view: ExecutionView) -> Markup | None:
    """The result as text; None where there is none."""
    if view.result_form is None and view.result is None:
        return None
    plain = isinstance(view.result, str) and view.result_form == "repr"
    text = str(view.result) if plain else json.dumps(view.result, indent=2, ensure_ascii=False)
    return short(text, _SHOWN_RESULT)


def rows_of(diff: str) -> Iterator[Row]:
    """A unified diff side by side: what was taken away stands beside what came in its place."""
    left, right, count = 0, 0, 0
    gone: list[Side] = []
    came: list[Side] = []
    begun = False
    for line in diff.split("\n"):
        if count >= _MOST_ROWS:
            break
        if hunk := _HUNK.match(line):
            yield from _paired(gone, came)
            gone, came = [], []
            if begun:
                yield Row("gap")
            left, right, begun = int(hunk[1]), int(hunk[2]), True
        elif not begun:
            continue
        elif line.startswith("-"):
            gone.append(Side(left, short(line[1:])))
            left, count = left + 1, count + 1
        elif line.startswith("+"):
            came.append(Side(right, short(line[1:])))
            right, count = right + 1, count + 1
        else:
            yield from _paired(gone, came)
            gone, came = [], []
            text = short(line[1:])
            yield Row("same", Side(left, text), Side(right, text))
            left, right, count = left + 1, right + 1, count + 1
    yield from _paired(gone, came)


def _paired(gone: Sequence[Side], came: Sequence[Side]) -> Iterator[Row]:
    for place in range(max(len(gone), len(came))):
        before = gone[place] if place < len(gone) else Side()
        after = came[place] if place < len(came) else Side()
        yield Row("changed", before, after)


def bars_of(view: ExecutionView) -> list[Bar]:
    """What the newest attempt used of what it was allowed."""
    if not view.attempts:
        return []
    limits, usage = view.attempts[-1].limits, view.usage
    reached = {str(one) for one in usage.limits_reached} if usage else set()
    written = None
    if usage and usage.stdout_bytes is not None and usage.stderr_bytes is not None:
        written = max(usage.stdout_bytes, usage.stderr_bytes)
    return [
        _bar("time", usage.wall_seconds if usage else None, limits.wall_seconds, format_seconds),
        _bar("memory", usage.peak_memory_bytes if usage else None, limits.memory_bytes, size),
        _bar("output", written, limits.output_bytes, size),
        Bar(
            "processor",
            f"{usage.cpu_seconds:.2g} s" if usage and usage.cpu_seconds else "?",
            f"{limits.cpu_cores:g} cores",
            None,
        ),
        Bar("processes", "reached" if "pids" in reached else "", str(limits.pids), 1.0 if "pids" in reached else None),
        Bar(
            "disk", "reached" if "disk" in reached else "", size(limits.disk_bytes), 1.0 if "disk" in reached else None
        ),
    ]


def _bar(name: str, used: float | None, limit: float, words: object) -> Bar:
    say = words if callable(words) else str
    if used is None:
        return Bar(name, "?", str(say(limit)), None)
    told = f"{used:.2g} s" if name == "time" else str(say(used))
    return Bar(name, told, str(say(limit)), min(1.0, used / limit) if limit else 1.0)


_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(count: float) -> str:
    """Bytes as people say them: `1.5 MiB`."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"
