"""Keys and clients for tests of the HTTP side."""

from __future__ import annotations

import hashlib

import httpx

from gateway.api import create_app
from gateway.auth import Authenticator
from gateway.callers import Caller, KnownKey, Role
from gateway.in_force import InForce
from gateway.limiter import Limiter
from gateway.policy_file import read_policy
from gateway.quotas import Quotas
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


def client(
    service: FakeService, key: str | None = AGENT, authenticator: Authenticator = KEYED, host: str = "localhost"
) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(create_app(service, authenticator, LIMITER))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)
