"""What Prometheus is told, gathered from the parts when it asks: nothing is counted here, and nothing on a program's way.

Names have base units, and no ids or tenants as labels. docs/observability.md has them all; a test compares.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.bodies import Body
from gateway.causes import KINDS
from gateway.checks import Checker
from gateway.conductor import Conductor
from gateway.counts import Counts, Histogram
from gateway.deliveries import Deliveries
from gateway.errors import Unavailable
from gateway.events import EscalationReason, RulingKind, Status, Verdict
from gateway.in_force import InForce
from gateway.policy import DEFAULT_PROFILE
from gateway.policy_programs import CheckMode
from gateway.queue import Queue
from gateway.records import OpenReviews
from gateway.reloading import Reloader
from gateway.retention import Pruner
from gateway.shadow import Shadow
from gateway.store import Store
from gateway.times import now, parse
from sandbox.driver import Readiness
from sandbox.job import Lane
from sandbox.outcome import Fault
from sandbox.pool import Tally
from sandbox.supply import Supply

_LIVE: Final = frozenset({Status.QUEUED, Status.RUNNING})
_SPARED: Final = (Verdict.DENIED, Verdict.FIX_FIRST, Verdict.TOO_COMPLEX)
_BREAKER: Final = MappingProxyType({"closed": 0, "half_open": 1, "open": 2})


@dataclass(frozen=True, slots=True)
class _Asked:
    """What has to be waited for. `reviews` is None where the store cannot be read."""

    at: datetime
    reviews: Sequence[OpenReviews] | None
    lanes: Mapping[Lane, bool]


class Metrics(Collector):
    """One gateway's metrics."""

    def __init__(  # noqa: PLR0913  # the parts that it asks
        self,
        *,
        policy: InForce,
        supply: Supply,
        checker: Checker,
        conductor: Conductor,
        queue: Queue,
        pruner: Pruner,
        store: Store,
        deliveries: Deliveries,
        reloader: Reloader,
        shadow: Shadow,
        counts: Counts,
        lane: Callable[[Lane], Awaitable[Readiness]],
    ) -> None:
        self._policy = policy
        self._supply = supply
        self._checker = checker
        self._conductor = conductor
        self._queue = queue
        self._pruner = pruner
        self._store = store
        self._deliveries = deliveries
        self._reloader = reloader
        self._shadow = shadow
        self._counts = counts
        self._lane = lane
        self._asked = _Asked(now(), None, {})
        self._registry = CollectorRegistry()
        self._registry.register(self)

    async def text(self) -> str:
        """Everything, in Prometheus' text format."""
        try:
            reviews = await self._store.read(lambda reader: reader.open_reviews_by_profile())
        except Unavailable:
            reviews = None
        lanes = {lane: (await self._lane(lane)).available for lane in Lane}
        self._asked = _Asked(now(), reviews, lanes)  # nothing is waited for from here on
        return generate_latest(self._registry).decode()

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: the registry need not collect to know of us."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client`."""
        digest = self._policy.current.resolve(DEFAULT_PROFILE).digest
        yield InfoMetricFamily(
            "airlock",
            "This gateway, and the digest of its default profile.",
            {"version": __version__, "policy": self._policy.current.name, "profile": digest},
        )
        yield from self._reloads()
        yield from self._policies()
        yield from self._executions()
        yield from self._reviews()
        yield GaugeMetricFamily(
            "airlock_executions_live", "Executions without an answer.", len(self._conductor.live_attempts())
        )
        yield from self._troubles()
        yield from self._boxes()
        yield from self._housekeeping()
        yield from self._trust()

    def _boxes(self) -> Iterator[Metric]:
        supply = self._supply
        sources = {source.value: count for source, count in supply.sources.items()}
        yield _counter("airlock_boxes_acquired", "Boxes that programs got, by where they came from.", "source", sources)
        yield _summary("airlock_box_acquire_seconds", "From asking for a box to having one.", supply.acquisitions)
        yield GaugeMetricFamily("airlock_boxes_spare", "Boxes that wait, started and unused.", supply.pool.spare)
        yield _summary("airlock_box_refill_seconds", "Making one spare box.", supply.pool.refills)
        yield GaugeMetricFamily(
            "airlock_cells_resting", "Cells that wait for their tenant's next program.", supply.cells.resting
        )

    def _housekeeping(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "airlock_store_writable",
            "1 where the latest write to the store succeeded.",
            int(self._store.trouble is None),
        )
        bodies = {body.value: self._pruner.rows[body] for body in Body}
        yield _counter("airlock_retention_deleted", "Bodies that retention deleted, by what they were.", "body", bodies)
        yield CounterMetricFamily(
            "airlock_retention_freed_bytes", "Bytes that retention deleted.", self._pruner.freed_bytes
        )
        reports = {"remembered": self._checker.remembered, "new": self._checker.judged}
        yield _counter("airlock_checks", "Programs checked, by where the report came from.", "source", reports)
        tries = {"delivered": self._deliveries.delivered, "refused": self._deliveries.refused}
        yield _counter("airlock_webhook_tries", "Tries to deliver a letter, by what came of them.", "outcome", tries)
        yield GaugeMetricFamily(
            "airlock_webhook_dead_letters", "Letters that nobody tries to deliver any more.", self._deliveries.dead
        )

    def _trust(self) -> Iterator[Metric]:
        """What the rules of the checks, and Monty's answers, were found to be worth."""
        spared = CounterMetricFamily(
            "airlock_checks_spared",
            "Programs that ran although they broke a rule, by mode and by what they would have been refused with.",
            labels=("mode", "verdict"),
        )
        for mode in (CheckMode.WARN, CheckMode.AUDIT):
            for verdict in _SPARED:
                spared.add_metric((mode.value, verdict.value), self._conductor.spared[mode.value, verdict])
        yield spared
        shown = {one.value: count for one, count in self._shadow.counts.items()}
        yield _counter(
            "airlock_shadow_runs", "Executions chosen for a shadow run, by what became of that.", "outcome", shown
        )
        yield GaugeMetricFamily(
            "airlock_monty_lane_off",
            "1 where a difference switched the Monty lane off.",
            int(self._shadow.switch.off is not None),
        )

    def _policies(self) -> Iterator[Metric]:
        profiles = [((one.name, one.digest), 1) for one in self._policy.current.profiles.values()]
        yield _gauge(
            "airlock_policy_info", "1 for each profile in force, with its digest.", ("profile", "hash"), profiles
        )
        lanes = [((lane.value,), int(available)) for lane, available in self._asked.lanes.items()]
        yield _gauge("airlock_lane_available", "1 where the lane can run programs now.", ("lane",), lanes)

    def _executions(self) -> Iterator[Metric]:
        counts = self._counts
        family = CounterMetricFamily(
            "airlock_executions", "Executions that have their answer.", labels=("profile", "outcome")
        )
        outcomes = [status.value for status in Status if status not in _LIVE]
        for labels, count in {**self._by_profile(outcomes), **counts.executions}.items():
            family.add_metric(labels, count)
        yield family
        again = [cause.value for cause, kind in KINDS.items() if kind.again == "gateway"]
        reasons = dict.fromkeys(["first", *again], 0)
        about = "Attempts, by why they were made: `first`, or the cause of the attempt before."
        yield _counter("airlock_attempts", about, "reason", {**reasons, **counts.attempts})
        yield GaugeMetricFamily(
            "airlock_retry_ratio",
            "Share of the newest 1000 attempts that the platform made again.",
            counts.retry_ratio,
        )
        about = "From being admitted to a box to its turn, for each wait."
        yield _histogram("airlock_queue_wait_seconds", about, counts.queue_wait)
        about = "From asking for a box to the program's first step."
        yield _histogram("airlock_box_start_seconds", about, counts.box_start)
        runs = HistogramMetricFamily("airlock_run_seconds", "How long programs ran.", labels=("lane",))
        for lane, histogram in counts.run.items():
            runs.add_metric((lane.value,), list(histogram.buckets()), histogram.total)
        yield runs
        about = "Most memory that a program's box had in use at once."
        yield _histogram("airlock_memory_peak_bytes", about, counts.memory_peak)
        found = {"hit": 0, "miss": 0, **counts.cache}
        yield _counter("airlock_cache_lookups", "Looks into the result cache.", "result", found)

    def _reviews(self) -> Iterator[Metric]:
        counts, asked = self._counts, self._asked
        if asked.reviews is not None:
            open_now = [((one.profile, str(one.level)), one.count) for one in asked.reviews]
            yield _gauge("airlock_reviews_open", "Reviews that wait for a person.", ("profile", "level"), open_now)
            ages = [(asked.at - parse(one.oldest)).total_seconds() for one in asked.reviews]
            about = "How long the oldest of them waits; 0 where there is none."
            yield GaugeMetricFamily("airlock_reviews_oldest_seconds", about, max([0.0, *ages]))
        about = "From asking a person to the end of the review."
        yield _histogram("airlock_review_wait_seconds", about, counts.review_wait)
        verdicts = dict.fromkeys([*(kind.value for kind in RulingKind), "expired", "withdrawn"], 0)
        about = "Reviews that ended: by a ruling, or without one."
        yield _counter("airlock_reviews_decided", about, "verdict", {**verdicts, **counts.decided})
        about = "Programs that a person's earlier yes let run without asking again."
        yield CounterMetricFamily("airlock_reviews_remembered", about, counts.remembered)
        family = CounterMetricFamily(
            "airlock_budget_exhausted", "Reviews opened, by why a person is asked.", labels=("profile", "trigger")
        )
        reasons = [reason.value for reason in EscalationReason]
        for labels, count in {**self._by_profile(reasons), **counts.budget_exhausted}.items():
            family.add_metric(labels, count)
        yield family

    def _by_profile(self, words: Sequence[str]) -> dict[tuple[str, str], int]:
        """Nothing yet, for what could be counted: a series that begins with its first event hides it from `increase`."""
        return {(profile, word): 0 for profile in self._policy.current.profiles for word in words}

    def _reloads(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "airlock_policy_file",
            "The policy in force, and the SHA-256 of its file.",
            {"name": self._policy.current.name, "hash": self._policy.digest},
        )
        yield CounterMetricFamily(
            "airlock_policy_reloads", "Policy files that a reload put in force.", self._reloader.loads
        )
        yield CounterMetricFamily(
            "airlock_policy_reload_failures",
            "Policy files that were refused while another one was in force.",
            self._reloader.failures,
        )

    def _troubles(self) -> Iterator[Metric]:
        conductor, queue = self._conductor, self._queue
        yield GaugeMetricFamily("airlock_queue_executions", "Executions that wait for a box.", queue.turns.waiting)
        yield GaugeMetricFamily(
            "airlock_queue_oldest_seconds", "How long the oldest of them waits.", queue.oldest_seconds
        )
        yield CounterMetricFamily("airlock_queue_refused", "Executions that found the queue full.", queue.refused)
        yield _gauge(
            "airlock_breaker_state",
            "0: closed, programs run; 1: half open, a probe runs; 2: open, programs wait.",
            ("dependency",),
            [(("engine",), _BREAKER[queue.breaker.state])],
        )
        yield CounterMetricFamily("airlock_breaker_opened", "How often it opened.", queue.breaker.opened)
        causes = {cause.value: conductor.causes[cause] for cause in KINDS}
        yield _counter(
            "airlock_attempts_failed", "Attempts without a result, by cause (docs/failures.md).", "cause", causes
        )
        errors = {
            cause.value: conductor.platform_errors[cause] for cause in KINDS if KINDS[cause].fault is Fault.PLATFORM
        }
        yield _counter(
            "airlock_platform_errors", "Executions that the platform gave up, by the last cause.", "cause", errors
        )
        yield CounterMetricFamily(
            "airlock_retries", "Attempts made again because the platform lost one.", conductor.retries
        )
        yield CounterMetricFamily(
            "airlock_late_results",
            "Results of attempts that were not current any more; none counts.",
            conductor.late_results,
        )


def _counter(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _gauge(name: str, about: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], int]]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for value, number in values:
        family.add_metric(value, number)
    return family


def _histogram(name: str, about: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, about, buckets=list(histogram.buckets()), sum_value=histogram.total)


def _summary(name: str, about: str, tally: Tally) -> Metric:
    return SummaryMetricFamily(name, about, tally.count, tally.seconds)
