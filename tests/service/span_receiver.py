"""A receiver of spans: OTLP over HTTP, as the protocol's own definitions read it. Keeps every byte that came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.conftest import Server, free_port
from tests.service.gateways import eventually


@dataclass(frozen=True)
class Span:
    """A span as it came, in words."""

    name: str
    trace: str
    id: str
    parent: str
    state: str
    server: bool
    failed: bool
    began: int
    ended: int
    attributes: dict[str, object]
    events: dict[str, dict[str, object]]
    links: dict[str, tuple[str, str]]  # why -> trace and span


@dataclass
class Spans:
    """`status` is of the answers, `seconds` how long one takes; before the `with` nobody listens."""

    status: int = 200
    seconds: float = 0
    port: int = field(default_factory=free_port)
    bodies: list[bytes] = field(default_factory=list)
    all: list[Span] = field(default_factory=list)
    service: dict[str, object] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a gateway is told to send its spans here."""
        endpoint = f"http://127.0.0.1:{self.port}"
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def named(self, name: str, **attributes: object) -> list[Span]:
        """The spans of a name that have these attributes (`_` for a dot)."""
        return [
            one
            for one in self.all
            if one.name == name
            and all(one.attributes.get(key.replace("_", ".")) == value for key, value in attributes.items())
        ]

    def one(self, name: str, **attributes: object) -> Span:
        """The only span of a name with these attributes, as soon as it came."""
        eventually(lambda: bool(self.named(name, **attributes)))
        (found,) = self.named(name, **attributes)
        return found

    def children(self, of: Span) -> dict[str, Span]:
        return {one.name: one for one in self.all if one.parent == of.id}

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(receiver.seconds)
                receiver.take(body)
                self.send_response(receiver.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.socket.close()

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.service = _attributes(resource.resource.attributes)
            self.all += [_span(one) for scope in resource.scope_spans for one in scope.spans]


def traced(make_server: Callable[..., Server], spans: Spans, policy: str, **more: str) -> Server:
    """A gateway that sends its spans there."""
    return make_server(policy, **spans.environment, **more)


def _span(span: trace_pb2.Span) -> Span:
    return Span(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        server=span.kind == trace_pb2.Span.SPAN_KIND_SERVER,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events={event.name: _attributes(event.attributes) for event in span.events},
        links={
            str(_attributes(link.attributes)["airlock.link"]): (link.trace_id.hex(), link.span_id.hex())
            for link in span.links
        },
    )


def _attributes(pairs: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in pairs:  # type: ignore[attr-defined]  # a repeated field
        assert isinstance(pair, KeyValue)
        kind = pair.value.WhichOneof("value")
        found[pair.key] = getattr(pair.value, kind) if kind else None
    return found
