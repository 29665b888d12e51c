"""What a page's handler is given: the parts of the gateway that it may use, and the visit that it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.archive import Archive
from gateway.auth import Authenticator
from gateway.callers import Caller
from gateway.console.guarding import ROOT
from gateway.console.live import Live
from gateway.console.oidc import Oidc
from gateway.console.pages import Pages
from gateway.console.sessions import Session, Sessions
from gateway.gauges import Gauges
from gateway.limiter import Limiter
from gateway.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the console stands on."""

    service: Service
    archive: Archive
    gauges: Gauges
    authenticator: Authenticator
    limiter: Limiter
    sessions: Sessions = field(default_factory=Sessions)
    pages: Pages = field(default_factory=Pages)
    live: Live
    oidc: Callable[[], Oidc | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is logged in. `found` are the parts of the address, `form` what a POST carries."""

    request: Request
    session: Session
    found: Mapping[str, str]
    form: Mapping[str, str]

    @property
    def caller(self) -> Caller:
        """Whose visit it is."""
        return self.session.caller

    def asked(self, name: str, most: int = 200) -> str:
        """A parameter of the address, empty where it is not given."""
        return self.request.query_params.get(name, "")[:most].strip()


Handler: TypeAlias = Callable[[Parts, Visit], Awaitable[Response]]


def to(path: str) -> Response:
    """Go on to another page of the console."""
    return RedirectResponse(f"{ROOT}{path}", 303)
