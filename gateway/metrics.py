"""What Prometheus is told, gathered from the parts when it asks: nothing is counted here, and nothing on a program's way.

Names have base units and no ids or tenants as labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.checks import Checker
from gateway.conductor import Conductor
from gateway.deliveries import Deliveries
from gateway.policy import DEFAULT_PROFILE, Policy
from sandbox.pool import Tally
from sandbox.supply import Supply


class Metrics(Collector):
    """One gateway's metrics."""

    def __init__(
        self, *, policy: Policy, supply: Supply, checker: Checker, conductor: Conductor, deliveries: Deliveries
    ) -> None:
        self._policy = policy
        self._supply = supply
        self._checker = checker
        self._conductor = conductor
        self._deliveries = deliveries
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
        supply = self._supply
        sources = {source.value: count for source, count in supply.sources.items()}
        yield _counter("airlock_boxes_acquired", "Boxes that programs got, by where they came from.", "source", sources)
        yield _summary("airlock_box_acquire_seconds", "From asking for a box to having one.", supply.acquisitions)
        yield GaugeMetricFamily("airlock_boxes_spare", "Boxes that wait, started and unused.", supply.pool.spare)
        yield _summary("airlock_box_refill_seconds", "Making one spare box.", supply.pool.refills)
        yield GaugeMetricFamily(
            "airlock_cells_resting", "Cells that wait for their tenant's next program.", supply.cells.resting
        )
        reports = {"remembered": self._checker.remembered, "new": self._checker.judged}
        yield _counter("airlock_checks", "Programs checked, by where the report came from.", "source", reports)
        tries = {"delivered": self._deliveries.delivered, "refused": self._deliveries.refused}
        yield _counter("airlock_webhook_tries", "Tries to deliver a letter, by what came of them.", "outcome", tries)
        yield GaugeMetricFamily(
            "airlock_webhook_dead_letters", "Letters that nobody tries to deliver any more.", self._deliveries.dead
        )


def _counter(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _summary(name: str, about: str, tally: Tally) -> Metric:
    return SummaryMetricFamily(name, about, tally.count, tally.seconds)
