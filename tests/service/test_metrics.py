"""Promise: what Prometheus reads is true, parses, and is an operator's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Server
from tests.service.gateways import eventually, policy

pytestmark = pytest.mark.engine

KEYS = {"ada": ("team-a", "agent"), "olaf": ("team-a", "operator")}


def samples(text: str) -> dict[tuple[str, str], float]:
    """Values by name and, where there is one, the label's value."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if len(sample.labels) < 2
    }


def test_where_boxes_came_from_is_counted(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS, "lanes: {monty: false}").replace("spares: 0", "spares: 1"))
    with server.client("key-of-ada") as agent, server.client("key-of-olaf") as operator:

        def look() -> dict[tuple[str, str], float]:
            return samples(operator.get("/metrics").text)

        eventually(lambda: look()["airlock_boxes_spare", ""] == 1)
        before = look()
        assert agent.get("/metrics").status_code == 403
        for _ in range(2):
            assert "acquire" in agent.post("/v1/executions", json={"code": "print(1)"}).json()["timings"]
            eventually(lambda: look()["airlock_boxes_spare", ""] == 1)
        after = look()

    def grown(name: str, label: str = "") -> float:
        return after[name, label] - before[name, label]

    assert grown("airlock_boxes_acquired_total", "spare") == 2
    assert grown("airlock_boxes_acquired_total", "new") == 0
    assert grown("airlock_box_acquire_seconds_count") == 2
    assert grown("airlock_box_refill_seconds_count") == 2
    assert grown("airlock_box_refill_seconds_sum") > grown("airlock_box_acquire_seconds_sum") > 0
    assert grown("airlock_checks_total", "remembered") == 1
    assert after["airlock_executions_live", ""] == 0
