"""The page: a run in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from bench.bars import MEGABYTE, TIMES, Judged, Verdict
from bench.results import Results
from bench.stats import Summary, flat, median, ratio, summary

_SIZES: Final = {
    "gateway": "gateway, idle with 4 warm boxes, after the load",
    "gateway-workers": "its Monty workers, besides",
    "gateway-fresh": "gateway, idle with 4 warm boxes, after its start",
    "warm-box": "a warm box",
}
_ORDER: Final = ("ours", "floor", "peer")
_SMALL: Final = 10  # below, a figure gets decimals
_INTRO: Final = """# Benchmark

Written by `script/bench`, which measures all of this in one run on one machine: every subject has its turn in every round,
so that noise hits all alike. **Ratios are what counts**; times and rates are those of the machine below. Every program is
`print(1)`: what is measured is the way to it and back.
"""
_METHOD: Final = """## How it is measured

- Ours are real gateways with the default limits, asked over HTTP on keep-alive connections by a client that does as little
  as possible, since it shares the cores with what it measures. Every answer is checked, and recorded before it is sent.
- A ratio is the median, over the rounds, of one round's medians; in brackets its quartiles. p50 and p99 are those of all samples.
- One program at a time: a warm box has its spare boxes back before each sample, and the fork that is its floor gets the same
  rest. Nobody is measured while somebody else's boxes are still removed.
- Boxes per second are those of a steady pace: neither the spare boxes at the beginning nor the end, where less is to do,
  count. The raw floor has the same options for its containers, calls the engine from 1 to 8 threads, and its best counts.
- The fork is one of an interpreter that is warm, in a running box, over its attached stream: no check, no limit of time, no
  record, no isolation between two programs.
- llm-sandbox runs with an image that already has what it would install over the network. About 40 ms of a run in the
  Jupyter kernel gateway are small packets of its server that wait for one another.
- The full store holds copies of one recorded task with ten executions, over 90 days and 20 tenants.
"""


def page(results: Results, judged: Sequence[Judged]) -> str:
    """The whole page."""
    parts = [
        _INTRO,
        _table(("machine", ""), [*(results.machine | results.settings).items(), *_unrest(results)]),
        "## Bars\n",
        bars_table(judged),
        "## One program at a time\n",
        "![p50 and p99 of every subject, on a logarithmic scale](benchmark.svg)\n",
        _latencies(results),
        "## Many at a time\n",
        _rates(results),
        "## Memory and start\n",
        _table(("what", ""), [*_sizes(results), *_starts(results)]),
        *_missing(results),
        _METHOD,
    ]
    return "\n".join(parts)


def _unrest(results: Results) -> list[tuple[str, str]]:
    """How much the machine itself changed during the run: what the slowest round of a floor took against its fastest."""
    found = {name: [median(one) for one in results.latencies.get(name, []) if one] for name in ("bare", "fork")}
    found["raw"] = flat(results.best_rates("raw"))
    words = [
        f"{results.subjects[name].title}: {figure(max(rounds) / min(rounds))}{TIMES}"
        for name, rounds in found.items()
        if rounds
    ]
    return (
        [("slowest round against fastest (a quiet machine has little more than 1)", "; ".join(words))] if words else []
    )


def bars_table(judged: Sequence[Judged]) -> str:
    """Each bar with its verdict."""
    rows = [
        (
            one.bar.what,
            _limit(one.bar.bar, one),
            _limit(one.bar.moonshot, one),
            _found(one),
            _verdict(one),
        )
        for one in judged
    ]
    return _table(("what", "bar", "moonshot", "measured", "verdict"), rows)


def _verdict(one: Judged) -> str:
    words = f"**{one.verdict}**" if one.verdict is Verdict.FAILS else str(one.verdict)
    if not one.known or one.verdict is Verdict.UNKNOWN:
        return words
    return f"{words}, as is known: {one.known}" if one.as_expected else f"{words}: **take it off `bars.KNOWN`**"


def _limit(value: float, one: Judged) -> str:
    return f"{'≤' if one.bar.most else '≥'} {value:g}{one.bar.unit}"


def _found(one: Judged) -> str:
    if one.found is None:
        return "-"
    value, unit = one.found.value, one.bar.unit
    spread = f" ({figure(one.found.low)} to {figure(one.found.high)})" if unit == TIMES else ""
    return f"{figure(value)}{unit}{spread}"


def figure(value: float) -> str:
    """Three digits, as far as that makes sense."""
    return f"{value:.2f}" if abs(value) < _SMALL else f"{value:.1f}" if abs(value) < _SMALL**2 else f"{value:.0f}"


def milliseconds(seconds: float) -> str:
    """A time with its unit."""
    return f"{figure(seconds * 1000)} ms"


def _latencies(results: Results) -> str:
    rows = [
        (
            results.subjects[name].title,
            results.subjects[name].isolation,
            milliseconds(figures.p50),
            milliseconds(figures.p99),
            _against(results, name),
            str(figures.count),
        )
        for name, figures in summaries(results)
    ]
    return _table(("subject", "between two programs", "p50", "p99", "p50 against the fork", "samples"), rows)


def summaries(results: Results) -> list[tuple[str, Summary]]:
    """The subjects that were timed, ours first, then the floors, then the peers, each from fast to slow."""
    found = [
        (name, summary(rounds))
        for name, rounds in results.latencies.items()
        if name in results.subjects and flat(rounds)
    ]
    return sorted(found, key=lambda one: (_ORDER.index(results.subjects[one[0]].kind), one[1].p50))


def _against(results: Results, name: str) -> str:
    floor = results.latencies.get("fork", [])
    alike = len(floor) == len(results.latencies[name])  # measured in the same rounds
    return f"{figure(ratio(results.latencies[name], floor).value)}{TIMES}" if floor and alike else "-"


def _rates(results: Results) -> str:
    levels = sorted({level for rates in results.rates.values() for level in rates})
    rows = []
    for name in sorted(results.rates, key=lambda name: _ORDER.index(results.subjects[name].kind)):
        rates = results.rates[name]
        cells = [f"{figure(median(rates[level]))}/s" if rates.get(level) else "-" for level in levels]
        rows.append((results.subjects[name].title, *cells))
    return _table(("programs per second", *(f"{level} at a time" for level in levels)), rows)


def _sizes(results: Results) -> Iterable[tuple[str, str]]:
    return [
        (what, f"{figure(results.sizes[name] / MEGABYTE)} MB") for name, what in _SIZES.items() if name in results.sizes
    ]


def _starts(results: Results) -> Iterable[tuple[str, str]]:
    ours, bare = results.latencies.get("start", []), results.latencies.get("start-bare", [])
    if not ours or not bare:
        return []
    words = f"{milliseconds(median(flat(ours)))}, {figure(ratio(ours, bare).value)}{TIMES} that of the bare endpoint"
    return [("from a gateway's start to its first answer", words)]


def _missing(results: Results) -> list[str]:
    rows = [(name, why) for name, why in results.missing.items()]
    return ["## Not measured\n", _table(("what", "why"), rows)] if rows else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"
