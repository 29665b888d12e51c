"""Promise: a caller's trace shows what became of its program, to the end, and tells nothing of what is in it."""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from tests.conftest import ROOT, Server
from tests.service.gateways import eventually, policy, running, submit_later
from tests.service.receiver import SECRET, Receiver
from tests.service.span_receiver import Spans, traced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}
KEYS = {"ada": ("team-a", "agent"), "rita": ("team-a", "reviewer"), "olaf": ("team-a", "operator")}
ONE_FAILURE = (
    "limits: {time: {default: 5s, max: 10s}, memory: {default: 64Mi, max: 256Mi}},"
    " retries: {base: 10ms, cap: 20ms}, budget: {failures_in_a_row: 1}"
)
HUNGRY = "x = bytearray(90 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\nprint('fed')"


def post(client: httpx.Client, code: str, headers: dict[str, str] | None = None, **more: object) -> dict[str, object]:
    answer = client.post("/v1/executions", json={"code": code, **more}, headers=headers or {})
    assert answer.status_code == 200, answer.text
    view: dict[str, object] = answer.json()
    return view


def test_without_an_endpoint_nothing_of_the_sdk_is_loaded() -> None:
    """The framework loads the interface, which does nothing by itself."""
    code = "import gateway.main, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "gateway.observer" in loaded
    assert not any(part in loaded for part in ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto"))


@pytest.mark.engine
def test_attempts_a_review_and_what_it_runs_belong_to_the_trace_of_the_caller(
    make_server: Callable[..., Server],
) -> None:
    with Spans() as spans:
        server = traced(make_server, spans, policy(KEYS, ONE_FAILURE))
        with server.client("key-of-ada") as agent, server.client("key-of-rita") as reviewer:
            failed = post(agent, f"{HUNGRY}\n1/0", CALLER, task_id="traced", lane="container")
            assert failed["status"] == "failed"
            review = failed["task"]["review"]  # type: ignore[index]
            token = reviewer.get(f"/v1/reviews/{review}").json()["token"]
            ruling = {"ruling": "approve_edited", "token": token, "code": "print('mended')"}
            ruled = reviewer.post(f"/v1/reviews/{review}/rulings", json=ruling).json()
            mended = str(ruled["ruled_execution"])
            eventually(lambda: len(spans.named("execution")) == 2)

    request = spans.one("POST /v1/executions")
    assert (request.trace, request.parent, request.state, request.server) == (TRACE, SPAN, CALLER["tracestate"], True)
    assert request.attributes["http.route"] == request.attributes["url.path"] == "/v1/executions"
    assert request.attributes["http.response.status_code"] == 200
    assert spans.service["service.name"] == "airlock"

    first = spans.one("execution", airlock_execution_id=failed["id"])
    assert (first.trace, first.parent) == (TRACE, request.id)
    assert (first.attributes["airlock.outcome"], first.attributes["error.type"]) == ("failed", "exception")
    assert not first.failed, "the program failed, the platform did not"
    assert first.events["airlock.review.opened"]["airlock.review.id"] == review
    assert {"checks", "queue wait", "attempt"} <= set(spans.children(first))

    attempts = sorted(spans.named("attempt", airlock_execution_id=failed["id"]), key=lambda one: one.began)
    assert [one.attributes["airlock.attempt.number"] for one in attempts] == [1, 2]
    assert [one.attributes["airlock.attempt.reason"] for one in attempts] == ["first", "memory_short"]
    assert attempts[0].attributes["error.type"] == "memory_short"
    assert attempts[1].attributes["airlock.usage.peak_memory_bytes"] > 90 << 20  # type: ignore[operator]
    for attempt in attempts:
        phases = spans.children(attempt)
        assert set(phases) == {"box start", "run"}
        assert first.began <= attempt.began <= phases["run"].ended <= attempt.ended <= first.ended
        assert phases["box start"].ended == phases["run"].began

    ruling_request = spans.one("POST /v1/reviews/{review}/rulings")
    assert ruling_request.trace != TRACE, "a reviewer's request is in the reviewer's own trace"
    assert "url.path" not in ruling_request.attributes
    decided = spans.one("review")
    assert (decided.trace, decided.parent) == (TRACE, request.id)
    assert decided.links == {"ruling": (ruling_request.trace, ruling_request.id)}
    assert decided.events["airlock.review.decided"]["airlock.ruling"] == "approve_edited"
    second = spans.one("execution", airlock_execution_id=mended)
    assert (second.trace, second.links) == (TRACE, decided.links)
    assert {one.trace for one in spans.all} == {TRACE, ruling_request.trace}


def test_a_review_that_the_policy_passes_on_is_told_in_the_trace_of_what_it_is_about(
    make_server: Callable[..., Server],
) -> None:
    rules = f"{ONE_FAILURE}, review: {{escalate: [{{after: 100ms, to: [rita]}}]}}"
    with Spans() as spans:
        server = traced(make_server, spans, policy(KEYS, rules))
        with server.client("key-of-ada") as agent:
            failed = post(agent, "nope", CALLER, task_id="t")
        eventually(lambda: bool(spans.named("review")))
        server.stop()
    passed = spans.one("review")
    assert passed.trace == TRACE
    assert passed.attributes["airlock.review.id"] == failed["task"]["review"]  # type: ignore[index]
    assert passed.events["airlock.review.escalated"] == {"airlock.review.level": 1, "airlock.review.by": "policy"}


@pytest.mark.engine
def test_what_a_restart_takes_up_goes_on_in_the_trace_and_links_to_where_it_began(
    make_server: Callable[..., Server],
) -> None:
    with Spans() as spans:
        server = traced(make_server, spans, policy(KEYS))
        with server.client("key-of-ada") as agent:
            agent.headers.update(CALLER)
            execution = submit_later(agent, code="import time; time.sleep(3)", lane="container")
            eventually(lambda: running(agent, execution))
            request = spans.one("POST /v1/executions")
            server.kill()
            server.start()
            assert agent.get(f"/v1/executions/{execution}?wait=60").json()["status"] == "succeeded"
            resumed = spans.one("execution", airlock_execution_id=execution)
            attempt = spans.one("attempt", airlock_execution_id=execution)
    assert (request.trace, request.attributes["http.response.status_code"]) == (TRACE, 202)
    assert (resumed.trace, resumed.links) == (TRACE, {"resumed": (TRACE, request.id)})
    assert attempt.attributes["airlock.attempt.number"] == 2
    assert attempt.attributes["airlock.attempt.reason"] == "gateway_lost"


@pytest.mark.engine
def test_no_exported_byte_holds_code_output_inputs_or_the_name_of_a_task(make_server: Callable[..., Server]) -> None:
    secret = secrets.token_hex(12)
    code = f"# {secret}\nimport sys\nprint('{secret}', inputs)\nprint('{secret}', file=sys.stderr)\nraise ValueError('{secret}')"
    with Spans() as spans:
        server = traced(make_server, spans, policy(KEYS))
        with server.client("key-of-ada") as agent:
            agent.headers.update(CALLER)
            for lane in ("monty", "container"):
                body = {"code": code, "lane": lane, "inputs": {"a": secret}, "task_id": f"t-{secret}-{lane}"}
                agent.post("/v1/executions", json=body)
            agent.get(f"/v1/tasks/t-{secret}-monty")
            agent.delete(f"/v1/tasks/t-{secret}-container")
            agent.post(f"/v1/{secret}", json={})
            spans.one("DELETE /v1/tasks/{task_id}")
            eventually(lambda: len(spans.named("execution")) == 2)
        assert server.stop() == 0
    assert spans.named("POST"), "what has no route has no path either"
    assert not any(secret.encode() in body for body in spans.bodies)
    assert not any(secret[:8].encode() in body for body in spans.bodies)


@pytest.mark.engine
def test_where_the_policy_says_so_spans_carry_the_beginning_of_what_agents_write(
    make_server: Callable[..., Server],
) -> None:
    telling = policy(KEYS, "telemetry: {content: true, content_size: 64}")
    with Spans() as spans:
        server = traced(make_server, spans, telling)
        with server.client("key-of-ada") as agent:
            post(agent, "print('é' * 100)", task_id="told", inputs={"a": 1}, lane="container")
            execution, attempt = spans.one("execution"), spans.one("attempt")
    assert execution.attributes["airlock.code"] == "print('é' * 100)"
    assert execution.attributes["airlock.task.id"] == "told"
    assert execution.attributes["airlock.inputs"] == '{"a": 1}'
    assert attempt.attributes["airlock.stdout"] == "é" * 32


def test_a_receiver_that_is_slow_or_refuses_delays_nobody_and_not_the_end(make_server: Callable[..., Server]) -> None:
    spans = Spans(seconds=60)
    with spans:
        plain, hung = make_server(policy(KEYS)), traced(make_server, spans, policy(KEYS), OTEL_BSP_MAX_QUEUE_SIZE="600")
        took = {}
        for server in (plain, hung):
            with server.client("key-of-ada") as agent:
                post(agent, "1 + 1")
                began = time.monotonic()
                for number in range(100):
                    post(agent, f"{number} + 1")
                took[server.port] = time.monotonic() - began
            began = time.monotonic()
            assert server.stop() == 0
            took[-server.port] = time.monotonic() - began
    assert not spans.all, "nothing was taken"
    assert took[hung.port] < 5 * took[plain.port] + 5, "requests do not wait for an answer that takes a minute"
    assert took[-hung.port] < took[-plain.port] + 3 + 5, "its own limit is three seconds"


def test_a_place_in_a_trace_is_kept_as_long_as_the_code(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS, "retention: {code: 2s}"))

    def kept() -> list[tuple[str, str]]:
        with closing(sqlite3.connect(server.data / "airlock.db")) as store:
            return store.execute("SELECT parent, state FROM traces").fetchall()

    with server.client("key-of-ada") as agent, server.client("key-of-olaf") as operator:
        post(agent, "1", CALLER)
        post(agent, "2")
        assert kept() == [tuple(CALLER.values())]
        time.sleep(2)
        assert operator.post("/v1/retention/passes").json()["deleted"]["code"] == 2
    assert kept() == []


def test_without_an_endpoint_a_callers_trace_is_passed_on_as_it_came(make_server: Callable[..., Server]) -> None:
    with Receiver() as receiver:
        text = policy(KEYS, "budget: {failures_in_a_row: 1}") + receiver.webhook()
        server = make_server(text, AIRLOCK_SECRET_ALERTS=SECRET)
        with server.client("key-of-ada") as agent:
            post(agent, "1/0", CALLER, task_id="passed-on")
            post(agent, "2", {"traceparent": "00-nonsense"})
            eventually(lambda: len(receiver.of("execution.finished")) == 2 and bool(receiver.of("review.opened")))
    first, second = sorted(receiver.of("execution.finished"), key=lambda letter: "traceparent" not in letter.headers)
    for letter in (first, *receiver.of("review.opened")):
        assert {name: letter.headers.get(name) for name in CALLER} == CALLER
    assert "traceparent" not in second.headers
