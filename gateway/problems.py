"""What went wrong, as RFC 9457 says it: `application/problem+json`.

Owns how an error is told; `errors.py` owns what it means, `wire.Problem` the shape. A problem never carries a trace, a path of ours, or more of
the request than a few words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import GatewayError, InvalidRequest, NotFound

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:airlock:problem:"
_MOST_FIELDS = 20
_MOST_IN_DETAIL = 3
_LONGEST = 300  # characters of a field's path, and of a message
_MESSAGES = {
    "extra_forbidden": "there is no such field",
    "missing": "is needed",
}


class MethodNotAllowed(GatewayError):
    """There is no such method here."""

    id, status = "method-not-allowed", 405


class Refused(GatewayError):
    """The request cannot be taken."""

    id = "refused"


class InternalError(GatewayError):
    """Something went wrong here. The log has it under this answer's X-Request-Id."""

    id, status = "internal-error", 500


def problem(error: GatewayError, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells of the error."""
    status = status or error.status
    body: dict[str, JsonValue] = {
        **error.extra,
        "type": _TYPE + error.id,
        "title": error.title,
        "status": status,
        "detail": _detail(error),
    }
    if error.fields:
        body["errors"] = [{"field": _short(field), "message": _short(message)} for field, message in error.fields]
    also = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        also["WWW-Authenticate"] = 'Bearer realm="airlock"'
    if error.retry_after_seconds is not None:
        also["Retry-After"] = str(error.retry_after_seconds)
    return Response(json.dumps(body), status, also, MEDIA_TYPE)


async def on_gateway_error(_request: Request, error: GatewayError) -> Response:
    """What the service or a route refused."""
    return problem(error)


async def on_validation_error(_request: Request, error: RequestValidationError) -> Response:
    """What does not fit the shapes in `requests.py`."""
    fields = tuple((_path(one["loc"]), _message(one["type"], one["msg"])) for one in error.errors()[:_MOST_FIELDS])
    return problem(InvalidRequest(fields=fields))


async def on_http_exception(_request: Request, error: HTTPException) -> Response:
    """What the framework refused: no such route, no such method."""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return problem(NotFound())
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return problem(MethodNotAllowed(), headers=error.headers)
        case status:
            return problem(Refused(), status=status, headers=error.headers)


async def on_unexpected(_request: Request, _error: Exception) -> Response:
    """What nobody expected. The exception itself is for the log."""
    return problem(InternalError())


def _detail(error: GatewayError) -> str:
    """What is wrong in one sentence; where nobody wrote one, what the fields say."""
    if error.detail != error.title or not error.fields:
        return error.detail
    told = "; ".join(f"{_short(field)}: {_short(message)}" for field, message in error.fields[:_MOST_IN_DETAIL])
    return f"{told}; and more" if len(error.fields) > _MOST_IN_DETAIL else told


def _path(location: Sequence[str | int]) -> str:
    """`("body", "files", 0, "path")` as a caller calls it: `files.0.path`."""
    inside = location[1:] or location
    return ".".join(str(part) for part in inside)


def _message(kind: str, message: str) -> str:
    return _MESSAGES.get(kind) or message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
