"""Promise: what Prometheus reads is true, parses, and is an operator's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

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


ROW = re.compile(r"^\| `(airlock_\w+)` \| (counter|gauge|histogram|summary) \| (.*?) ?\| .+ \|$", re.MULTILINE)
PAGE = Path(__file__).parents[2] / "docs" / "observability.md"
BUSY = {**KEYS, "rita": ("team-a", "reviewer")}
CACHED = (
    "limits: {time: {default: 5s, max: 10s}, memory: {default: 64Mi, max: 128Mi}}, retries: {base: 10ms, cap: 20ms},"
    " cache: {scope: tenant}, budget: {failures_in_a_row: 1}"
)


def families(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels by the name that is written down; `le` is the histograms' own."""
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, frozenset(labels))
    return found


def test_the_page_has_every_metric_with_its_type_and_labels_and_no_other(make_server: Callable[..., Server]) -> None:
    """One review is left open, since only then there is something to count by level."""
    server = make_server(policy(BUSY, CACHED))
    with server.client("key-of-ada") as agent, server.client("key-of-olaf") as operator:
        reviewed = agent.post("/v1/executions", json={"code": "1/0", "lane": "container", "task_id": "a"}).json()
        assert reviewed["task"]["review"]
        there = families(operator.get("/metrics").text)
    told = {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(PAGE.read_text("utf-8"))
    }
    assert there == told


def test_what_nobody_is_asked_twice_is_counted(make_server: Callable[..., Server]) -> None:
    rules = "review: {when: [always], remember: 1h}"
    server = make_server(policy(BUSY, rules))
    with server.client("key-of-ada") as agent, server.client("key-of-rita") as reviewer:
        first = agent.post("/v1/executions", json={"code": "6 * 7", "task_id": "a"}).json()
        review = first["task"]["review"]
        ruling = {"ruling": "approve", "token": reviewer.get(f"/v1/reviews/{review}").json()["token"]}
        assert reviewer.post(f"/v1/reviews/{review}/rulings", json=ruling).status_code == 200
        again = agent.post("/v1/executions", json={"code": "6 * 7", "task_id": "b"}).json()
        assert again["status"] == "succeeded", again
    with server.client("key-of-olaf") as operator:
        assert "airlock_reviews_remembered_total 1.0\n" in operator.get("/metrics").text


def test_what_happened_is_counted_by_profile_and_by_words_of_our_own(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(BUSY, CACHED))
    names = {"task_id": "task-of-an-agent"}
    with server.client("key-of-ada") as agent, server.client("key-of-olaf") as operator:
        for _ in range(3):
            assert agent.post("/v1/executions", json={"code": "6 * 7"}).json()["status"] == "succeeded"
        hungry = "x = bytearray(90 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\n1/0"
        failed = agent.post("/v1/executions", json={"code": hungry, "lane": "container", **names}).json()
        assert failed["status"] == "failed", failed
        review = failed["task"]["review"]
        with server.client("key-of-rita") as reviewer:
            token = reviewer.get(f"/v1/reviews/{review}").json()["token"]
            ruling = {"ruling": "answer", "token": token, "result": 1}
            assert reviewer.post(f"/v1/reviews/{review}/rulings", json=ruling).status_code == 200
        text = operator.get("/metrics").text

    def value(line: str) -> float:
        found = [one for one in text.splitlines() if one.startswith(f"{line} ")]
        assert len(found) == 1, line
        return float(found[0].split()[-1])

    assert value('airlock_executions_total{outcome="succeeded",profile="default"}') == 3 + 1, "a person's answer too"
    assert value('airlock_executions_total{outcome="failed",profile="default"}') == 1
    assert value('airlock_attempts_total{reason="first"}') == 1 + 1
    assert value('airlock_attempts_total{reason="memory_short"}') == 1
    assert value("airlock_retry_ratio") == pytest.approx(1 / 3)
    assert value('airlock_cache_lookups_total{result="hit"}') == 2
    assert value('airlock_cache_lookups_total{result="miss"}') == 1
    assert value('airlock_run_seconds_count{lane="monty"}') == 1
    assert value('airlock_run_seconds_count{lane="container"}') >= 1
    assert value("airlock_queue_wait_seconds_count") == value("airlock_box_start_seconds_count") == 2
    assert value('airlock_memory_peak_bytes_bucket{le="8388608.0"}') == 0
    assert value('airlock_budget_exhausted_total{profile="default",trigger="budget_exhausted"}') == 1
    assert value('airlock_reviews_decided_total{verdict="answer"}') == 1
    assert value("airlock_review_wait_seconds_count") == 1
    assert value("airlock_reviews_oldest_seconds") == 0
    for secret in ("task-of-an-agent", "team-a", failed["id"], review):
        assert secret not in text
