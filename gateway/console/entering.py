"""The way in: the form for a key, links that work once, and the way out. Agents stay outside."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.callers import Caller, digest_of
from gateway.console import forms
from gateway.console.guarding import (
    COOKIE,
    EVERYBODY,
    READERS,
    ROOT,
    is_secure,
    next_page,
    require_same_origin,
    roles_of,
    set_cookie,
)
from gateway.console.link import Link
from gateway.console.oidc import WAIT_SECONDS, Oidc
from gateway.console.sessions import LINK_SECONDS, LONGEST_SECONDS
from gateway.console.visits import Parts
from gateway.errors import Forbidden, GatewayError, NotFound, Unauthorized
from gateway.problems import problem
from gateway.tokens import seconds_left

_STATE: Final = "airlock_oidc"
_USED_UP: Final = "This link was used already, or its minute is over. `airlock console` makes another."


class Entrance:
    """Log-in and log-out."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.gets: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/login": self.form,
            "/enter": self.link,
            "/oidc": self.begin,
            "/oidc/back": self.come_back,
        }
        self.posts: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/login": self.log_in,
            "/enter": self.follow,
            "/links": self.make_link,
        }

    async def ask(self, request: Request) -> Response:
        """Send somebody who is not logged in to the form, and back afterwards.

        A link from elsewhere comes without the cookie, which is strict: the page that it meets loads itself once more.
        """
        if request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies:
            return HTMLResponse(self._parts.pages.render("again.html", None, to=_here(request)))
        return RedirectResponse(f"{ROOT}/login?next={quote(_here(request))}", HTTPStatus.SEE_OTHER)

    async def form(self, request: Request) -> Response:
        """The form for a key."""
        return self._form(request.query_params.get("next", ""), request)

    def _form(self, after: str, request: Request, error: GatewayError | None = None) -> Response:
        oidc = self._parts.oidc()
        encrypted = is_secure(request)  # also under a name that another's page gave this machine: it learns no path
        page = self._parts.pages.render(
            "login.html",
            None,
            after=next_page(after, str),
            error=error,
            key_file=None if encrypted else self._parts.authenticator.reviewer_key,
            encrypted=encrypted,
            oidc=urlsplit(oidc.provider.issuer).netloc if oidc else "",
        )
        headers = {"Retry-After": str(error.retry_after_seconds)} if error and error.retry_after_seconds else {}
        return HTMLResponse(page, error.status if error else HTTPStatus.OK, headers)

    async def log_in(self, request: Request) -> Response:
        """Take a key."""
        require_same_origin(request)
        form = forms.parse(await request.body())
        after = form.get("next", "")
        try:
            self._parts.sessions.count_try(request.client.host if request.client else "")
            caller, key, longest = self._caller(form.get("key", "").strip(), request)
        except GatewayError as error:
            return self._form(after, request, error)
        generation = self._parts.authenticator.generation
        token = self._parts.sessions.begin(caller, key, generation=generation, longest=longest)
        return self._let_in(request, token, after)

    def _caller(self, key: str, request: Request) -> tuple[Caller, str | None, float]:
        """Whose key it is, its digest where the policy has it, and how long it holds; raises for an agent's, and for nobody's."""
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise Unauthorized("The key is not known.")
        caller = self._parts.authenticator.caller(_headers(request, key))
        if roles_of(caller).isdisjoint(EVERYBODY):
            raise Forbidden("This key is an agent's. The console is for people: log in with a reviewer's key.")
        known = digest_of(key)
        if any(one.sha256 == known for one in self._parts.authenticator.keys):
            return caller, known, LONGEST_SECONDS
        return caller, None, min(LONGEST_SECONDS, seconds_left(key, time.time()))

    def _let_in(self, request: Request, token: str, after: str) -> Response:
        """Give the browser its new session, in place of an old one."""
        old = request.cookies.get(COOKIE)
        if old:
            self._parts.sessions.end(old)
        response = RedirectResponse(next_page(after, lambda: f"{ROOT}/"), HTTPStatus.SEE_OTHER)
        set_cookie(response, request, token)
        return response

    async def make_link(self, request: Request) -> Response:
        """For `airlock console`: a link that logs the key's owner in, once and soon."""
        try:
            self._parts.sessions.count_try(request.client.host if request.client else "")
            given = request.headers.get("authorization", "").partition(" ")[2].strip()
            caller, key, longest = self._caller(given, request)
        except GatewayError as error:
            return problem(error)
        generation = self._parts.authenticator.generation
        token = self._parts.sessions.link(caller, key, generation=generation, longest=longest)
        made = Link(path=f"{ROOT}/enter?link={token}", seconds=LINK_SECONDS, name=caller.name)
        return Response(made.model_dump_json(), media_type="application/json")

    async def link(self, request: Request) -> Response:
        """What a link opens: whose it is, and a button. Nothing is sent by itself.

        What only looks at a link must not use it up, and nobody may become somebody else by following one.
        """
        link = request.query_params.get("link", "")
        caller = self._parts.sessions.whose(link)
        if caller is None:
            raise Unauthorized(_USED_UP)
        return HTMLResponse(self._parts.pages.render("enter.html", None, link=link, whose=caller))

    async def follow(self, request: Request) -> Response:
        """Use a link."""
        require_same_origin(request)
        form = forms.parse(await request.body())
        self._parts.sessions.count_try(request.client.host if request.client else "")
        token = self._parts.sessions.follow(form.get("link", ""))
        if token is None:
            raise Unauthorized(_USED_UP)
        return self._let_in(request, token, "")

    def _oidc(self) -> Oidc:
        oidc = self._parts.oidc()
        if oidc is None:
            raise NotFound("People log in with their key here: the policy names no identity provider.")
        return oidc

    async def begin(self, request: Request) -> Response:
        """Send a browser to the identity provider. Its cookie is `lax`, since it has to come back from elsewhere."""
        oidc = self._oidc()
        self._parts.sessions.count_try(request.client.host if request.client else "")
        scheme = "https" if is_secure(request) else "http"
        back = f"{scheme}://{request.headers.get('host', '')}{ROOT}/oidc/back"
        address, state = await oidc.begin(back, request.query_params.get("next", ""))
        response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
        response.set_cookie(
            _STATE,
            state,
            max_age=int(WAIT_SECONDS),
            path=f"{ROOT}/oidc",
            secure=is_secure(request),
            httponly=True,
            samesite="lax",
        )
        return response

    async def come_back(self, request: Request) -> Response:
        """Let in whom the provider vouches for, and the policy has an entry for."""
        asked = request.query_params
        oidc = self._oidc()
        of_browser = request.cookies.get(_STATE, "")
        claims, after = await oidc.end(asked.get("state", ""), of_browser, asked.get("code", ""))
        generation = self._parts.authenticator.generation
        token = self._parts.sessions.begin(oidc.person(claims), None, claims, generation=generation)
        response = self._let_in(request, token, after)
        response.delete_cookie(_STATE, path=f"{ROOT}/oidc")
        return response

    def leave(self, request: Request) -> Response:
        """End the session."""
        self._parts.sessions.end(request.cookies.get(COOKIE, ""))
        response = RedirectResponse(f"{ROOT}/login", HTTPStatus.SEE_OTHER)
        set_cookie(response, request, None)
        return response


def lands_on(caller: Caller) -> str:
    """The page that a caller works on."""
    return "/queue" if roles_of(caller) & READERS else "/overview"


def _here(request: Request) -> str:
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _headers(request: Request, key: str) -> Sequence[tuple[bytes, bytes]]:
    """The request's headers, with the key as the API takes it: who is let in is decided in one place."""
    others = [(name, value) for name, value in request.scope["headers"] if name != b"authorization"]
    return [*others, (b"authorization", f"Bearer {key}".encode())]
