"""The console as one application: who is let in, which page answers, and what an error looks like.

Its pages stand in `queueing`, `reviewing`, `looking`, `watching` and `playing`; none of them sees a request that this
room did not let in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.callers import Caller
from gateway.console import forms, looking, playing, queueing, reviewing, watching
from gateway.console.entering import Entrance
from gateway.console.guarding import (
    COOKIE,
    EVERYBODY,
    OPERATORS,
    READERS,
    ROOT,
    RULERS,
    protected,
    require,
    require_same_origin,
)
from gateway.console.sessions import Session
from gateway.console.visits import Handler, Parts, Visit, to
from gateway.errors import Forbidden, GatewayError, NotFound, Unauthorized
from gateway.ingress import CALLER

_ID: Final = r"[A-Za-z0-9_-]{1,64}"
_TASK: Final = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"


@dataclass(frozen=True, slots=True)
class _Page:
    method: str
    path: re.Pattern[str]
    handler: Handler
    roles: frozenset[str]


def _page(method: str, path: str, handler: Handler, roles: frozenset[str]) -> _Page:
    return _Page(method, re.compile(path), handler, roles)


_PAGES: Final = (
    _page("GET", "/", queueing.home, EVERYBODY),
    _page("GET", "/queue", queueing.queue, READERS),
    _page("GET", "/live", queueing.live, READERS),
    _page("GET", f"/reviews/(?P<review>{_ID})", reviewing.review, READERS),
    _page("POST", f"/reviews/(?P<review>{_ID})", reviewing.rule, RULERS),
    _page("GET", f"/reviews/(?P<review>{_ID})/(?P<execution>{_ID})/(?P<part>[a-z]+)", reviewing.raw, READERS),
    _page("GET", "/history", looking.history, READERS),
    _page("GET", f"/tasks/(?P<task>{_TASK})", looking.task, READERS),
    _page("GET", f"/executions/(?P<execution>{_ID})", looking.execution, READERS | OPERATORS),
    _page("GET", f"/executions/(?P<execution>{_ID})/(?P<part>[a-z]+)", looking.raw, READERS | OPERATORS),
    _page(
        "GET",
        f"/executions/(?P<execution>{_ID})/pictures/(?P<number>[0-9]{{1,3}})",
        looking.picture,
        READERS | OPERATORS,
    ),
    _page("GET", "/overview", watching.overview, OPERATORS | READERS),
    _page("GET", "/playground", playing.playground, OPERATORS),
    _page("POST", "/playground", playing.run, OPERATORS),
    _page("GET", "/help", queueing.help_, EVERYBODY),
)


class Console:
    """The pages below `/console`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._entrance = Entrance(parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        response = await self._answer(request)
        await protected(response)(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path: str = request.scope["path"].removeprefix(ROOT)
        session = self._session(request)
        try:
            if not path:
                return RedirectResponse(f"{ROOT}/", HTTPStatus.PERMANENT_REDIRECT)
            if request.method not in {"GET", "POST"}:
                raise NotFound("There is no such page.")
            if path.startswith("/static/"):
                return self._static(path, request)
            if request.method == "POST":
                require_entering = self._entrance.posts.get(path)
                if require_entering is not None:
                    return await require_entering(request)
                return await self._page(request, path, session)
            if (shown := self._entrance.gets.get(path)) is not None:
                return await shown(request)
            if session is None:
                return await self._entrance.ask(request)
            return await self._page(request, path, session)
        except GatewayError as error:
            return await self._problem(error, session)

    async def _page(self, request: Request, path: str, session: Session | None) -> Response:
        if session is None:
            raise Unauthorized("You are not logged in any more: log in, and send it again.")
        form: Mapping[str, str] = {}
        if request.method == "POST":
            require_same_origin(request)
            form = forms.parse(await request.body())
            if not session.trusts(form.get("csrf", "")):
                raise Forbidden("This form is not of your session: open the page again.")
        self._parts.limiter.admit(session.caller)
        if path == "/logout" and request.method == "POST":
            return self._entrance.leave(request)
        for page in _PAGES:
            if page.method == request.method and (match := page.path.fullmatch(path)):
                require(session.caller, page.roles)
                return await page.handler(self._parts, Visit(request, session, match.groupdict(), form))
        if any(page.path.fullmatch(path) for page in _PAGES):
            return to(path)
        raise NotFound("There is no such page.")

    def _session(self, request: Request) -> Session | None:
        """The session of the browser; one whom the policy in force would not let in has ended."""
        token = request.cookies.get(COOKIE)
        session = self._parts.sessions.find(token) if token else None
        if session is None or token is None:
            return None
        caller = self._caller(session)
        if caller is None:
            self._parts.sessions.end(token)
            return None
        session.caller = caller
        request.scope.setdefault("state", {})[CALLER] = session.caller.name
        return session

    def _caller(self, session: Session) -> Caller | None:
        """Whose session it is under the policy in force; None where it has ended."""
        letting_in = self._parts.authenticator
        if session.key is not None:
            known = next((one for one in letting_in.keys if one.sha256 == session.key), None)
            return known.caller if known else None  # whose roles may be others since
        if session.claims is None:
            return session.caller if session.generation == letting_in.generation else None
        oidc = self._parts.oidc()
        try:
            caller = oidc.person(session.claims) if oidc else None
        except Forbidden:
            return None
        return caller if caller == session.caller else None

    def _static(self, path: str, request: Request) -> Response:
        found = self._parts.pages.static(path.removeprefix("/static/"), request)
        if found is None:
            raise NotFound("There is no such file.")
        return found

    async def _problem(self, error: GatewayError, session: Session | None) -> Response:
        headers = {"Retry-After": str(error.retry_after_seconds)} if error.retry_after_seconds else {}
        page = self._parts.pages.render("problem.html", session, error=error)
        return HTMLResponse(page, error.status, headers)
