"""The report: whether the promise was kept, and how fast. Pure but for the ledger that it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from examples.catalogue.audit import Replay, Store
from examples.catalogue.coordinator import Assignment
from examples.catalogue.ledger import Ledger
from examples.catalogue.tally import Tally
from examples.catalogue.world import FIELDS, product

_PARTS: Final = 10
_MEBI: Final = 1 << 20


@dataclass(slots=True)
class Catalogue:
    """The result against the truth."""

    products: int = 0
    absent: int = 0
    wrong_fields: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    charged: int = 0
    charged_otherwise: int = 0  # products whose task was charged another number of failures than their programs had
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A tenth of the run. `seconds` are without those in which the gateway was away."""

    products: int
    seconds: float
    away: float
    memory_bytes: float
    store_bytes: float
    processor_seconds: float

    @property
    def pace(self) -> float:
        """Products a second while the gateway was there."""
        return self.products / self.seconds if self.seconds > 0 else 0.0


@dataclass(slots=True)
class Report:
    """All that is told of a catalogue."""

    assignment: Assignment
    tally: Tally
    catalogue: Catalogue
    parts: Sequence[Part]
    kills: int
    absences: Sequence[float]
    store: Store | None
    replay: Replay

    @property
    def problems(self) -> list[str]:
        """What must not be; empty where the promise was kept."""
        found = {
            "products are not in the result": self.catalogue.absent,
            "fields are not as they truly are": sum(self.catalogue.wrong_fields.values()),
            "products were charged for what was not their programs' fault": self.catalogue.charged_otherwise,
            "programs that were sent again ran again": self.replay.sent - self.replay.same,
        }
        if self.store is not None:
            found |= {
                "executions are lost": self.store.missing,
                "executions changed after they were told": self.store.changed,
                "executions have no answer": self.store.unanswered,
                "executions have two answers": self.store.answered_twice,
                "executions ran again after their result was recorded": self.store.run_after_result,
                "keys stand for two executions": self.store.keys_twice,
            }
        return [f"{count} {what}" for what, count in found.items() if count]

    def markdown(self) -> str:
        """The whole report."""
        first, last = self.parts[0].pace, self.parts[-1].pace
        rows = [
            ("products in the result, each once", f"{self.catalogue.products} of {self.assignment.products}"),
            ("fields that differ from the truth", str(sum(self.catalogue.wrong_fields.values()))),
            ("made by", _counts(self.catalogue.sources)),
            ("programs answered", str(self.catalogue.tries)),
            ("failures charged", f"{self.catalogue.charged}; other than expected: {self.catalogue.charged_otherwise}"),
            ("first programs mended, this run", _counts(self.tally.repaired)),
            ("rulings, this run", _counts(self.tally.reviews)),
            (
                "kill -9 of the gateway",
                f"{self.kills}; away {len(self.absences)} times, {sum(self.absences):.1f} s in all",
            ),
            ("requests sent again for want of an answer, this run", str(self.tally.resent)),
            ("asked to come back later, this run", _counts(self.tally.waits)),
            ("sent again at the end: same execution", f"{self.replay.same} of {self.replay.sent}"),
            ("programs that the platform could not run, this run", str(self.tally.platform_errors)),
            ("coordinator's processor time for each program, this run", f"{self._own_milliseconds():.2f} ms"),
            *self._stored(),
            (
                "products a second, first and last tenth",
                f"{first:.0f}, {last:.0f} ({last / first:.2f})" if first else "-",
            ),
        ]
        problems = "\n".join(f"- {one}" for one in self.problems) or "Nothing lost, nothing run twice, nothing wrong."
        return f"{_table(('', ''), rows)}\n{self._tenths()}\n{problems}\n"

    def _own_milliseconds(self) -> float:
        return 1000 * self.tally.processor_seconds / max(1, sum(self.tally.tries.values()))

    def _stored(self) -> list[tuple[str, str]]:
        if self.store is None:
            return []
        return [
            ("executions on record, by lane and status", _counts(self.store.executions)),
            (
                "executions lost; changed; without an answer",
                f"{self.store.missing}; {self.store.changed}; {self.store.unanswered}",
            ),
            ("executions run again after their result", str(self.store.run_after_result)),
            (
                "executions with two answers; keys with two executions",
                f"{self.store.answered_twice}; {self.store.keys_twice}",
            ),
            ("tries lost by the platform and made again", str(self.store.lost_attempts)),
        ]

    def _tenths(self) -> str:
        rows = [
            (
                str(number),
                str(part.products),
                f"{part.seconds:.1f}",
                f"{part.away:.1f}",
                f"{part.pace:.0f}",
                f"{1000 * part.processor_seconds / part.products:.2f}"
                if part.processor_seconds and part.products
                else "-",
                f"{part.memory_bytes / _MEBI:.0f}" if part.memory_bytes else "-",
                f"{part.store_bytes / _MEBI:.0f}" if part.store_bytes else "-",
            )
            for number, part in enumerate(self.parts, 1)
        ]
        head = (
            "tenth",
            "products",
            "seconds",
            "seconds away",
            "products/s",
            "gateway ms/product",
            "gateway MiB",
            "store MiB",
        )
        return _table(head, rows)


def judge(assignment: Assignment, ledger: Ledger) -> Catalogue:
    """Compare the result with the truth."""
    found, seen = Catalogue(), set()
    for number, source, charged, why, record in ledger.entries():
        one = product(assignment.seed, number, assignment.shares)
        seen.add(number)
        found.sources[source if record is not None else f"nobody: {why}"] += 1
        found.products += record is not None
        found.charged += charged
        found.charged_otherwise += charged != one.charges
        for name in FIELDS if record is not None else ():
            found.wrong_fields[name] += record is None or record.get(name) != one.truth[name]
    found.absent = assignment.products - found.products
    found.tries = sum(1 for _ in ledger.executions())
    return found


def parts(times: Sequence[float], moments: Iterable[tuple[float, str, float]]) -> list[Part]:
    """The tenths. An absence is told when it ends."""
    noted = list(moments)
    worked = list(_worked(noted))
    found, start = [], 0.0
    for number in range(_PARTS):
        here = times[len(times) * number // _PARTS : len(times) * (number + 1) // _PARTS]
        end = here[-1] if here else start
        away = sum(max(0.0, min(end, at) - max(start, at - value)) for at, what, value in noted if what == "away")
        size = {what: value for at, what, value in noted if at <= end and what in {"memory", "store"}}
        found.append(
            Part(
                products=len(here),
                seconds=max(0.0, end - start - away),
                away=away,
                memory_bytes=size.get("memory", 0.0),
                store_bytes=size.get("store", 0.0),
                processor_seconds=sum(used for at, used in worked if start < at <= end),
            )
        )
        start = end
    return found


def _worked(moments: Iterable[tuple[float, str, float]]) -> Iterator[tuple[float, float]]:
    """How much processor time the gateway used since the look before; one that was started again counts from nothing."""
    before = 0.0
    for at, what, value in moments:
        if what == "processor":
            yield at, value - before if value >= before else value
            before = value


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()) if count) or "none"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines, ""])
