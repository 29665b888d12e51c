"""The gateway's HTTP side, put together: the routes, who is told of errors, and the ingress before them.

No route decides anything. Knows the shapes, the headers and who may ask; must not know how anything is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus

from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from gateway import __version__, openapi, problems, routes_agents, routes_operations, routes_reviews
from gateway.auth import Authenticator
from gateway.console.door import Door
from gateway.errors import GatewayError
from gateway.guard import Express, StrictRoute
from gateway.ingress import Ingress
from gateway.limiter import Limiter
from gateway.route_parts import Port, as_json
from gateway.service import Service
from gateway.tracing import Tracer

health = APIRouter(route_class=StrictRoute)


@health.get("/healthz", responses=openapi.HEALTH, summary="Is the process in order")
async def healthz(service: Port) -> Response:
    """Answer without asking anything outside the process."""
    live = service.live()
    return Response(json.dumps({"live": live}), _health(live), media_type=openapi.JSON)


@health.get("/readyz", responses=openapi.READY, summary="What can the gateway do now")
async def readyz(service: Port) -> Response:
    """Answer with the lanes that can run programs."""
    view = await service.readiness()
    return as_json(view, _health(view.ready))


def create_app(  # noqa: PLR0913  # the parts of a gateway's HTTP side
    service: Service,
    authenticator: Authenticator,
    limiter: Limiter,
    *,
    running: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    tracer: Callable[[], Tracer | None] = lambda: None,
    console: Callable[[], ASGIApp] | None = None,
) -> ASGIApp:
    """The gateway's HTTP side, behind its ingress.

    `running` lasts as long as the server does, `tracer` draws requests, `console` makes its pages.
    """
    app = openapi.DocumentedApp(
        title="Airlock",
        version=__version__,
        summary="Checks, runs, budgets and hands to a person the Python that AI agents write.",
        lifespan=lambda _: running(),
        redirect_slashes=False,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        exception_handlers={
            GatewayError: problems.on_gateway_error,
            RequestValidationError: problems.on_validation_error,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_unexpected,
        },
    )
    app.state.service = service
    app.state.authenticator = authenticator
    app.state.limiter = limiter
    for router in (
        routes_agents.router,
        routes_reviews.router,
        routes_operations.router,
        routes_operations.telemetry,
        health,
    ):
        app.include_router(router)
    routes = Express(app, routes_agents.submit_execution)
    return Ingress(routes if console is None else Door(routes, console), tracer=tracer)


def _health(good: bool) -> int:  # noqa: FBT001  # its only argument
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
