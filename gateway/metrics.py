"""What Prometheus is told, gathered from the parts when it asks: nothing is counted here, and nothing on a program's way.

Names have base units and no ids or tenants as labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.bodies import Body
from gateway.checks import Checker
from gateway.conductor import Conductor
from gateway.deliveries import Deliveries
from gateway.policy import DEFAULT_PROFILE, Policy
from gateway.queue import Queue
from gateway.retention import Pruner
from gateway.shadow import Shadow
from gateway.store import Store
from sandbox.pool import Tally
from sandbox.supply import Supply


class Metrics(Collector):
    """One gateway's metrics."""

    def __init__(  # noqa: PLR0913  # the parts that it asks
        self,
        *,
        policy: Policy,
        supply: Supply,
        checker: Checker,
        conductor: Conductor,
        queue: Queue,
        pruner: Pruner,
        store: Store,
        deliveries: Deliveries,
        shadow: Shadow,
    ) -> None:
        self._policy = policy
        self._supply = supply
        self._checker = checker
        self._conductor = conductor
        self._queue = queue
        self._pruner = pruner
        self._store = store
        self._deliveries = deliveries
        self._shadow = shadow
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> str:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry).decode()

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: the registry need not collect to know of us."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client`."""
        digest = self._policy.resolve(DEFAULT_PROFILE).digest
        yield InfoMetricFamily(
            "airlock",
            "This gateway, and the digest of its default profile.",
            {"version": __version__, "policy": self._policy.name, "profile": digest},
        )
        yield GaugeMetricFamily(
            "airlock_executions_live", "Executions without an answer.", len(self._conductor.live_attempts())
        )
        yield from self._troubles()
        supply = self._supply
        sources = {source.value: count for source, count in supply.sources.items()}
        yield _counter("airlock_boxes_acquired", "Boxes that programs got, by where they came from.", "source", sources)
        yield _summary("airlock_box_acquire_seconds", "From asking for a box to having one.", supply.acquisitions)
        yield GaugeMetricFamily("airlock_boxes_spare", "Boxes that wait, started and unused.", supply.pool.spare)
        yield _summary("airlock_box_refill_seconds", "Making one spare box.", supply.pool.refills)
        yield GaugeMetricFamily(
            "airlock_cells_resting", "Cells that wait for their tenant's next program.", supply.cells.resting
        )
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

        spared = CounterMetricFamily(
            "airlock_checks_spared",
            "Programs that ran although they broke a rule, by mode and by what they would have been refused with.",
            labels=("mode", "verdict"),
        )
        for (mode, verdict), count in self._conductor.spared.items():
            spared.add_metric((mode, verdict.value), count)
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

    def _troubles(self) -> Iterator[Metric]:
        conductor, queue = self._conductor, self._queue
        yield GaugeMetricFamily("airlock_queue_executions", "Executions that wait for a box.", queue.turns.waiting)
        yield GaugeMetricFamily(
            "airlock_queue_oldest_seconds", "How long the oldest of them waits.", queue.oldest_seconds
        )
        yield CounterMetricFamily("airlock_queue_refused", "Executions that found the queue full.", queue.refused)
        yield GaugeMetricFamily(
            "airlock_breaker_open",
            "Whether the engine's circuit breaker keeps programs waiting.",
            queue.breaker.state != "closed",
        )
        yield CounterMetricFamily("airlock_breaker_opened", "How often it opened.", queue.breaker.opened)
        causes = {cause.value: count for cause, count in conductor.causes.items()}
        yield _counter(
            "airlock_attempts_failed", "Attempts without a result, by cause (docs/failures.md).", "cause", causes
        )
        errors = {cause.value: count for cause, count in conductor.platform_errors.items()}
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


def _summary(name: str, about: str, tally: Tally) -> Metric:
    return SummaryMetricFamily(name, about, tally.count, tally.seconds)
