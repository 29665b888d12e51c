"""What every answer of the console says to a browser, and which requests a browser may send on whose behalf.

Knows requests and headers; must not know what a page shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from gateway.callers import Caller
from gateway.errors import Forbidden
from gateway.settings import Address

ROOT: Final = "/console"
COOKIE: Final = "airlock_console"
HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
            " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        # not `no-referrer`: with it browsers say `Origin: null` of our own forms, and forms are judged by their origin
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "DENY",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    }
)

READERS: Final = frozenset({"reviewer", "auditor"})
RULERS: Final = frozenset({"reviewer"})
OPERATORS: Final = frozenset({"operator"})
EVERYBODY: Final = READERS | RULERS | OPERATORS


def protected(response: Response) -> Response:
    """The response with what a browser must keep to."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def set_cookie(response: Response, request: Request, token: str | None) -> None:
    """Give the browser a session's token; None takes it away."""
    response.set_cookie(
        COOKIE,
        token or "",
        max_age=None if token else 0,
        path=ROOT,
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )


def is_secure(request: Request) -> bool:
    """Whether the cookie may only travel encrypted: everywhere but on this machine itself."""
    host = _split(f"//{request.headers.get('host', '')}").hostname or ""
    return request.scope["scheme"] == "https" or not Address(host, 0).loopback


def _split(address: str) -> SplitResult:
    """The parts of an address that a request names; what is no address has none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def require_same_origin(request: Request) -> None:
    """Raise `Forbidden` for what another site's page sends. What tells of no origin at all is not let in."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        same = site == "same-origin"
    else:
        origin = _split(request.headers.get("origin", ""))
        same = bool(origin.netloc) and origin.netloc == request.headers.get("host")
    if not same:
        raise Forbidden("This was not sent by a page of this console.")


def roles_of(caller: Caller) -> frozenset[str]:
    """The names of a caller's roles."""
    return frozenset(role.value for role in caller.roles)


def require(caller: Caller, roles: Iterable[str]) -> None:
    """Raise `Forbidden` for one who has none of the roles."""
    wanted = frozenset(roles)
    if wanted.isdisjoint(roles_of(caller)):
        raise Forbidden(f"This page is for {' and '.join(f'{role}s' for role in sorted(wanted))}.")


def next_page(asked: str, fallback: Callable[[], str]) -> str:
    """Where to go after a log-in: a page of the console, whatever was asked."""
    inside = asked.startswith(f"{ROOT}/") and "\\" not in asked and "//" not in asked and asked.isprintable()
    return asked if inside and asked.isascii() else fallback()
