"""Spans by OpenTelemetry's SDK, sent by OTLP over HTTP: the only room that knows the SDK.

It is loaded where an endpoint is configured, and nowhere else. What the standard variables say of sampling, batches,
headers and timeouts the SDK reads itself. Sending happens in a thread of its own, from a queue with an end: where the
receiver is slow or gone spans are dropped, and nothing waits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from gateway import __version__
from gateway.tracing import SpanKind as Kind
from gateway.tracing import TraceContext, Value

_CLOSE_SECONDS: Final = 3.0
"""How long a gateway that stops waits for its last spans to be taken."""

_NANO: Final = 1_000_000_000
_RECORDED: Final = 0x01
_KINDS: Final = {"server": SpanKind.SERVER, "internal": SpanKind.INTERNAL}


class OtlpSpan:
    """See `tracing.Span`."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def context(self) -> TraceContext:
        """See `tracing.Span`."""
        context = self._span.get_span_context()
        flags = int(context.trace_flags) & _RECORDED
        return TraceContext(
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}", context.trace_state.to_header()
        )

    def rename(self, name: str) -> None:
        """See `tracing.Span`."""
        self._span.update_name(name)

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """See `tracing.Span`."""
        self._span.set_attributes(dict(attributes))

    def event(self, name: str, attributes: Mapping[str, Value]) -> None:
        """See `tracing.Span`."""
        self._span.add_event(name, dict(attributes))

    def fail(self, kind: str) -> None:
        """See `tracing.Span`."""
        self._span.set_status(Status(StatusCode.ERROR, kind))

    def end(self, ended: float | None = None) -> None:
        """See `tracing.Span`."""
        self._span.end(None if ended is None else int(ended * _NANO))


class OtlpTracer:
    """See `tracing.Tracer`. Needs a running thread from its first moment, so it is made after the last fork."""

    def __init__(self) -> None:
        for name in ("urllib3", "requests"):  # they tell addresses, and in one there may be a token
            logging.getLogger(name).setLevel(logging.WARNING)
        resource = Resource.create({SERVICE_VERSION: __version__})
        if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "airlock"}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("airlock", __version__)

    def begin(  # noqa: PLR0913  # a span's parts
        self,
        name: str,
        attributes: Mapping[str, Value],
        *,
        parent: TraceContext | None,
        kind: Kind = "internal",
        links: Mapping[str, TraceContext] | None = None,
        began: float | None = None,
    ) -> OtlpSpan:
        """See `tracing.Tracer`."""
        around = set_span_in_context(NonRecordingSpan(_remote(parent))) if parent is not None else None
        return OtlpSpan(
            self._tracer.start_span(
                name,
                around,
                kind=_KINDS[kind],
                attributes=dict(attributes),
                links=[Link(_remote(to), {"airlock.link": why}) for why, to in (links or {}).items()],
                start_time=None if began is None else int(began * _NANO),
                record_exception=False,
                set_status_on_exception=False,
            )
        )

    async def close(self) -> None:
        """See `tracing.Tracer`. The thread is left behind where its receiver holds it up: it ends with the process."""
        closing = threading.Thread(target=self._provider.shutdown, name="spans-close", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSE_SECONDS)


def _remote(context: TraceContext) -> SpanContext:
    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(context.flags & _RECORDED),
        trace_state=TraceState.from_header([context.state] if context.state else []),
    )
