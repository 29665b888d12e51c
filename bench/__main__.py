"""Measure Airlock against the floors of this machine and against what people would use instead.

Every subject has its turn in every round, so that noise hits all alike. Exits with 1 when a bar does not hold, which is
decided by ratios and sizes, never by times. A short run measures what the bars are made of, without the peers. It widens those bars that noise
can bend (bench/bars.py has by how much), and what comes out otherwise than expected is measured again, up to twice, before all of its rounds decide.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.bars import failed, judge, subjects
from bench.chart import Mark, chart
from bench.report import bars_table, page, summaries
from bench.results import Results
from bench.run import BARRED, NAMES, PEERS, Run
from bench.scale import LONG, SHORT, Scale
from bench.servers import ROOT

DOCS: Final = ROOT / "docs"
_AGAIN: Final = 2  # more runs of what a short one did not expect


def main() -> int:
    """Run from the command line."""
    options = _parser().parse_args()
    scale = SHORT if options.quick else LONG
    if options.rows is not None:
        scale = replace(scale, rows=options.rows)
    wanted = _wanted(options)
    results = _measure(wanted, scale, options.seed)
    judged = judge(results, short=options.quick)
    for more in range(1, _AGAIN + 1):
        if not options.quick or not failed(judged):
            break
        results.add(_measure(wanted & subjects(failed(judged)), scale, options.seed + more))
        judged = judge(results, short=True)
    if options.json is not None:
        found = {"bars": {one.bar.name: str(one.verdict) for one in judged}, **results.plain()}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    docs = options.docs or (None if options.quick or options.only else DOCS)
    if docs is not None:
        docs.mkdir(parents=True, exist_ok=True)
        (docs / "benchmark.md").write_text(page(results, judged), encoding="utf-8")
        (docs / "benchmark.svg").write_text(chart(_marks(results)), encoding="utf-8")
    if options.quick:
        sys.stdout.write("A short run, which widens bars by 1.15 to 1.4 times: only the full one says what holds.\n\n")
    sys.stdout.write(bars_table(judged) + "".join(f"{name}: {why}\n" for name, why in results.missing.items()))
    return 1 if failed(judged) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a minute or so: what the bars are made of, without peers")
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}; can be repeated"
    )
    parser.add_argument("--no-store", action="store_true", help="leave out the store with a long history")
    parser.add_argument("--no-peers", action="store_true", help="leave out what comes from the package index")
    parser.add_argument("--rows", type=int, help="executions in the full store")
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns")
    parser.add_argument("--json", type=Path, help="where to write all samples")
    parser.add_argument(
        "--docs", type=Path, help="where to write benchmark.md and benchmark.svg; by default docs after a full run"
    )
    return parser


def _wanted(options: argparse.Namespace) -> frozenset[str]:
    if options.only:
        return frozenset(options.only)
    wanted = set(BARRED if options.quick else NAMES)
    wanted -= set(PEERS) if options.no_peers else set()
    wanted -= {"store"} if options.no_store else set()
    return frozenset(wanted)


def _measure(wanted: frozenset[str], scale: Scale, seed: int) -> Results:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="airlock-bench-") as folder, Progress(*columns) as progress:
        rows = progress.add_task("rows", total=scale.rows, visible="store" in wanted)
        turns = progress.add_task("turns")
        run = Run(
            wanted=wanted,
            scale=scale,
            folder=Path(folder),
            seed=seed,
            say=lambda what: progress.update(turns, description=what),
            advance=lambda: progress.advance(turns),
            advance_rows=lambda count: progress.advance(rows, count),
        )
        progress.update(turns, total=run.turns)
        results = uvloop.run(run.measure())
        progress.update(turns, description="done", completed=run.turns)
    return results


def _marks(results: Results) -> list[Mark]:
    """What the chart shows: a line for each subject, not for the stores."""
    return [
        Mark(results.subjects[name].title, results.subjects[name].kind, figures.p50, figures.p99)
        for name, figures in summaries(results)
        if not name.endswith(("-empty", "-full"))
    ]


if __name__ == "__main__":
    sys.exit(main())
