"""What routes are made of: who may ask, what stands in an address or a header, and how an answer is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from gateway import openapi
from gateway.auth import require
from gateway.callers import Caller, Role
from gateway.errors import Unauthorized
from gateway.guard import GuardedRoute
from gateway.service import Service

ID: Final = r"^[A-Za-z0-9_-]{1,64}$"
_KEYED: Final = [Depends(HTTPBearer(auto_error=False, description=openapi.KEYS))]


def keyed_router(prefix: str = "") -> APIRouter:
    """A router of what takes a key."""
    return APIRouter(prefix=prefix, route_class=GuardedRoute, dependencies=_KEYED)


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _having(*roles: Role) -> Callable[[Request], Awaitable[Caller]]:
    async def caller(request: Request) -> Caller:
        known = request.state.caller
        if not isinstance(known, Caller):
            raise Unauthorized
        return require(known, *roles)

    return caller


Port = Annotated[Service, Depends(_service)]
Agent = Annotated[Caller, Depends(_having(Role.AGENT))]
Operator = Annotated[Caller, Depends(_having(Role.OPERATOR))]
Reviewer = Annotated[Caller, Depends(_having(Role.REVIEWER))]
Onlooker = Annotated[Caller, Depends(_having(Role.REVIEWER, Role.AUDITOR))]
Anyone = Annotated[Caller, Depends(_having(*Role))]
Page = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(pattern=ID, description="`next` of the page before.")]


def as_json(view: BaseModel, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    """A view as a response."""
    return Response(view.model_dump_json(), status, headers, openapi.JSON)
