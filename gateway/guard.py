"""The way of a request to its route: the caller is known before any of the body is read, and the body is read strictly.

Must not know what a route does.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Final, TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import JsonValue, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gateway import strict_json
from gateway.auth import Authenticator, require
from gateway.callers import Caller, Role
from gateway.errors import InvalidRequest, Unauthorized
from gateway.ingress import CALLER
from gateway.requests import ExecutionRequest
from gateway.service import Service

KEY: Final = r"^[!-~]+$"
"""What an idempotency key may consist of."""

LONGEST_KEY: Final = 255
"""How many characters of it there may be."""

_SUBMISSIONS: Final = "/v1/executions"
_IDEMPOTENCY_KEY: Final = re.compile(rf"[!-~]{{1,{LONGEST_KEY}}}")
_GENERATION: Final = "airlock.generation"  # where a request's state has under whose keys it was let in
_PARSED: Final = "airlock.parsed"  # where a request stands in its scope that was let in and read before

_Handler: TypeAlias = Callable[[Request], Coroutine[None, None, Response]]
_Submit: TypeAlias = Callable[
    [Service, Caller, ExecutionRequest, str | None, list[str] | None, list[str] | None], Awaitable[Response]
]


class StrictRoute(APIRoute):
    """Refuses query parameters that it does not know: a misspelt one would be a wish that nobody heard."""

    def get_route_handler(self) -> _Handler:
        """Look at the parameters' names before the framework looks at their values."""
        handle = super().get_route_handler()
        known = sorted(one.alias for one in self.dependant.query_params)

        async def strict(request: Request) -> Response:
            unknown = [name for name in dict.fromkeys(request.query_params.keys()) if name not in known]
            if unknown:
                there = f"there are {', '.join(known)}" if known else "there is none here"
                raise InvalidRequest(fields=tuple((name, f"there is no such parameter; {there}") for name in unknown))
            return await handle(request)

        return strict


class GuardedRoute(StrictRoute):
    """Knows the caller before it reads any of the body, and reads the body strictly."""

    def get_route_handler(self) -> _Handler:
        """Guard what the framework makes of the route. Who came by the express way is let in already."""
        handle = super().get_route_handler()
        reads_body = self.body_field is not None

        async def guarded(request: Request) -> Response:
            if isinstance(request.scope.get(_PARSED), ParsedRequest):
                answer = await handle(request.scope[_PARSED])
                require_still_in(request.scope, request.app)
                return answer
            let_in(request.scope, request.app)
            if reads_body:
                body = await request.body()
                let_in_now(request.scope, request.app)
                request = ParsedRequest(request.scope, request.receive, body, strict_json.parse(body))
            answer = await handle(request)
            require_still_in(request.scope, request.app)
            return answer

        return guarded


def let_in(scope: Scope, app: FastAPI) -> Caller:
    """The request's caller; raises for one who is not known, or asks too often."""
    authenticator: Authenticator = app.state.authenticator
    caller = authenticator.caller(scope["headers"])
    state = scope.setdefault("state", {})
    state["caller"], state[_GENERATION] = caller, authenticator.generation
    app.state.limiter.admit(caller)
    state[CALLER] = caller.name
    return caller


def let_in_now(scope: Scope, app: FastAPI) -> Caller:
    """The caller of a request that was let in and came whole; raises where a reload took their key meanwhile."""
    authenticator: Authenticator = app.state.authenticator
    state = scope["state"]
    if state[_GENERATION] != authenticator.generation:
        state["caller"] = authenticator.caller(scope["headers"])
        state[_GENERATION] = authenticator.generation
    caller: Caller = state["caller"]
    return caller


def require_still_in(scope: Scope, app: FastAPI) -> None:
    """Refuse the answer to a request whose key a reload took, or gave to somebody else, while it was worked on."""
    before: Caller = scope["state"]["caller"]
    caller = let_in_now(scope, app)
    if caller is not before and replace(caller, profile=before.profile) != before:
        raise Unauthorized("The key is somebody else's now.")


def cut_off(pieces: AsyncGenerator[bytes, None], scope: Scope, app: FastAPI) -> AsyncGenerator[bytes, None]:
    """The pieces of an answer that goes on, up to the first that its caller may not have any more."""

    async def let_through() -> AsyncGenerator[bytes, None]:
        try:
            async for piece in pieces:
                require_still_in(scope, app)
                yield piece
        except Unauthorized:
            return
        finally:
            await pieces.aclose()

    return let_through()


class ParsedRequest(Request):
    """A request whose body is read; its JSON is ours, not the framework's."""

    def __init__(self, scope: Scope, receive: Receive, body: bytes, value: JsonValue) -> None:
        super().__init__(scope, receive)
        self._bytes = body
        self._value = value

    async def body(self) -> bytes:
        """Return the bytes that were read already."""
        return self._bytes

    async def json(self) -> JsonValue:
        """Return the value that was read strictly."""
        return self._value


def _is_submission(scope: Scope) -> bool:
    """Whether it is one without a query, of which there is none that a submission knows."""
    return scope["path"] == _SUBMISSIONS and not scope["query_string"]


class Express:
    """Takes the request that everybody waits for past the framework, in a fifth of its time, where it is in order.

    What is not in order goes on to the framework, which tells what is wrong.
    """

    def __init__(self, app: FastAPI, submit: _Submit) -> None:
        self._app = app
        self._submit = submit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a submission; pass everything else on."""
        if scope["type"] == "http" and scope["method"] == "POST" and _is_submission(scope):
            response = await self._answer(scope, receive)
            if response is not None:
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        let_in(scope, self._app)
        body = await _whole(receive)
        caller = let_in_now(scope, self._app)
        value = strict_json.parse(body)
        keys = _header(scope, b"idempotency-key")
        try:
            asked = ExecutionRequest.model_validate(value)
        except ValidationError:
            asked = None
        if asked is None or len(keys) > 1 or not all(_IDEMPOTENCY_KEY.fullmatch(key) for key in keys):
            scope[_PARSED] = ParsedRequest(scope, receive, body, value)
            return None
        require(caller, Role.AGENT)
        service: Service = self._app.state.service
        told = _header(scope, b"prefer"), _header(scope, b"cache-control")
        answer = await self._submit(service, caller, asked, keys[0] if keys else None, *told)
        require_still_in(scope, self._app)
        return answer


async def _whole(receive: Receive) -> bytes:
    """The body; raises `ClientDisconnect` where it does not come to its end."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
