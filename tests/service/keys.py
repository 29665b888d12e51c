"""Keys and clients for tests of the HTTP side."""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from typing import cast

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api import create_app
from gateway.auth import Authenticator
from gateway.callers import Caller, KnownKey, Role
from gateway.in_force import InForce
from gateway.limiter import Limiter
from gateway.policy_file import read_policy
from gateway.quotas import Quotas
from gateway.service import Service
from gateway.settings import Settings
from tests.service.fake_service import FakeService

AGENT, REVIEWER, OPERATOR = "agent-key", "reviewer-key-of-more-than-32-characters", "operator-key"
STRANGER, STRANGE_REVIEWER = "stranger-key", "strange-reviewer-key"


def known(secret: str, name: str, tenant: str, role: Role) -> KnownKey:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return KnownKey(digest, Caller(name, tenant, "default", frozenset({role})))


KEYED = Authenticator(
    (
        known(AGENT, "bot", "acme", Role.AGENT),
        known(REVIEWER, "ann", "acme", Role.REVIEWER),
        known(OPERATOR, "olga", "acme", Role.OPERATOR),
        known(STRANGER, "spy", "other", Role.AGENT),
        known(STRANGE_REVIEWER, "eve", "other", Role.REVIEWER),
    )
)
KEYLESS = Authenticator(
    (known(REVIEWER, "reviewer", "local", Role.REVIEWER),),
    anonymous=Caller("local", "local", "default", frozenset({Role.AGENT})),
)


LIMITER = Limiter(InForce(read_policy(Settings().policy)), Quotas())


_SERVED: ContextVar[FakeService] = ContextVar("served")


class _Front:
    """The service of whichever client asks, so that the application, which takes long to make, is made once."""

    def __getattr__(self, name: str) -> object:
        return getattr(_SERVED.get(), name)


_APPLICATIONS: dict[int, ASGIApp] = {}  # by their authenticators, which they keep alive


def _application(authenticator: Authenticator) -> ASGIApp:
    made = _APPLICATIONS.get(id(authenticator))
    if made is None:
        made = _APPLICATIONS[id(authenticator)] = create_app(cast("Service", _Front()), authenticator, LIMITER)
    return made


def client(
    service: FakeService, key: str | None = AGENT, authenticator: Authenticator = KEYED, host: str = "localhost"
) -> httpx.AsyncClient:
    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        _SERVED.set(service)
        await _application(authenticator)(scope, receive, send)

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url=f"http://{host}", headers=headers)
