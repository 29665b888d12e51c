"""Under which request, and about which execution, something is done: what lines of the log and spans refer to.

Context variables, since whoever logs deep down knows neither. Nothing is decided by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.types import Scope

from gateway.tracing import Span, TraceContext, Tracer, Value, context_in
from gateway.work import Work

_TRACED: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SUBMISSIONS: Final = "/v1/executions"


@dataclass(slots=True)
class Request:
    """An HTTP request. `trace` is our place in its trace, or the caller's where we draw none; `work` is what it submitted."""

    id: str
    trace: TraceContext | None = None
    work: Work | None = None
    span: Span | None = None

    def end(self, scope: Scope, status: int | None) -> None:
        """It is answered; None: its caller has gone."""
        if self.span is None:
            return
        route = _route(scope)
        found: dict[str, Value] = {}
        if route is not None:
            self.span.rename(f"{scope['method']} {route}")
            found["http.route"] = route
            if "{" not in route:  # a path with an id in it may hold an agent's words
                found["url.path"] = route
        if status is not None:
            found["http.response.status_code"] = status
        if status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            found["error.type"] = str(status)
            self.span.fail(str(status))
        self.span.tell(found)
        self.span.end()


REQUEST: Final[ContextVar[Request | None]] = ContextVar("airlock_request", default=None)
"""The request that is served, or that began what is done."""

WORK: Final[ContextVar[Work | None]] = ContextVar("airlock_work", default=None)
"""The execution that is driven."""


def arrives(scope: Scope, request_id: str, tracer: Tracer | None) -> Request:
    """A request arrives: from here on this task, and those that it starts, know it. One that only looks is not drawn."""
    request = Request(request_id, context_in(scope["headers"]))
    if tracer is not None and scope["method"] in _TRACED:
        about: Mapping[str, Value] = {
            "http.request.method": scope["method"],
            "url.scheme": "http",
            "network.protocol.version": scope.get("http_version", "1.1"),
            "airlock.request.id": request_id,
        }
        request.span = tracer.begin(scope["method"], about, parent=request.trace, kind="server")
        request.trace = request.span.context
    REQUEST.set(request)
    return request


def submits(work: Work) -> None:
    """The request that is served made an execution."""
    request = REQUEST.get()
    if request is not None:
        request.work, work.trace = work, request.trace


def _route(scope: Scope) -> str | None:
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    return _SUBMISSIONS if scope["path"] == _SUBMISSIONS else None  # which goes past the framework
