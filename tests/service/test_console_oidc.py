"""Logging in at an identity provider: a small real one, that signs what it says, and lies where a test wants it to."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.callers import Role
from gateway.console.oidc import WAIT_SECONDS, Oidc, Provider
from gateway.errors import Forbidden, GatewayError, Unauthorized, Unavailable

BACK = "http://127.0.0.1:8080/console/oidc/back"


@dataclass
class Idp:
    """An identity provider. `says` are claims that replace the honest ones, `key` signs."""

    url: str = ""
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", parameters={"kid": "one"}))
    published: ECKey | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    says: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "ES256", "kid": "one"})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.configuration),
                Route("/keys", self.keys),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def configuration(self, _: Request) -> Response:
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return JSONResponse({"issuer": self.url} | {name: f"{self.url}/{place}" for name, place in places.items()})

    async def keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [(self.published or self.key).as_dict(private=False)]})

    def authorize(self, address: str) -> tuple[str, str]:
        """What a person who agrees comes back with: a code and the state."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        self.codes["the-code"] = asked
        return "the-code", asked["state"]

    async def token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(form["code"], None)
        login = base64.b64decode(request.headers["authorization"].partition(" ")[2]).decode()
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        )
        if asked is None or login != "airlock:the-secret" or challenge != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        honest = {
            "iss": self.url,
            "aud": "airlock",
            "sub": "u-17",
            "iat": now,
            "exp": now + 60,
            "nonce": asked["nonce"],
            "email": "ann@example.org",
            "email_verified": True,
            "groups": ["everybody", "airlock-reviewers"],
        }
        claims = {name: value for name, value in (honest | self.says).items() if value is not None}
        return JSONResponse({"token_type": "Bearer", "id_token": jwt.encode(self.header, claims, self.key)})


@pytest.fixture
def idp() -> Iterator[Idp]:
    provider = Idp()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        provider.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(provider.app(), log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield provider
        server.should_exit = True
        thread.join()


def oidc(idp: Idp, **other: Any) -> Oidc:
    rules: dict[str, Any] = {
        "issuer": idp.url,
        "client_id": "airlock",
        "client_secret": "the-secret",
        "roles_claim": "groups",
        "roles": {"airlock-reviewers": frozenset({Role.REVIEWER}), "airlock-ops": frozenset({Role.OPERATOR})},
        "profile": "default",
        "tenant": "acme",
    }
    return Oidc(Provider(**(rules | other)))


async def log_in(idp: Idp, side: Oidc) -> tuple[str, str, frozenset[Role], str]:
    address, state = await side.begin(BACK, "/console/queue")
    code, told = idp.authorize(address)
    assert told == state
    caller, after = await side.end(state, state, code)
    return caller.name, caller.tenant, caller.roles, after


async def test_who_the_provider_vouches_for_is_let_in_with_the_roles_of_their_groups(idp: Idp) -> None:
    assert await log_in(idp, oidc(idp)) == ("ann@example.org", "acme", frozenset({Role.REVIEWER}), "/console/queue")


async def test_a_tenant_may_come_from_a_claim_and_a_name_that_nobody_verified_does_not_count(idp: Idp) -> None:
    idp.says = {"org": "other", "email_verified": False}
    name, tenant, _, _ = await log_in(idp, oidc(idp, tenant="", tenant_claim="org"))
    assert (name, tenant) == (f"{idp.url}#u-17", "other")


@pytest.mark.parametrize(
    ("says", "refused"),
    [
        ({"groups": ["everybody"]}, Forbidden),
        ({"groups": None}, Forbidden),
        ({"nonce": "another"}, Unauthorized),
        ({"nonce": None}, Unauthorized),
        ({"aud": "somebody-else"}, Unauthorized),
        ({"aud": ["airlock", "somebody-else"]}, Unauthorized),
        ({"iss": "https://evil.example"}, Unauthorized),
        ({"exp": 1_000_000_000}, Unauthorized),
        ({"exp": None}, Unauthorized),
        ({"sub": None}, Unauthorized),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value.__name__,
)
async def test_a_token_that_does_not_fit_lets_nobody_in(
    idp: Idp, says: dict[str, Any], refused: type[GatewayError]
) -> None:
    idp.says = says
    with pytest.raises(refused):
        await log_in(idp, oidc(idp))


async def test_a_token_of_another_key_lets_nobody_in(idp: Idp) -> None:
    idp.published = ECKey.generate_key("P-256", parameters={"kid": "one"})
    with pytest.raises(Unauthorized):
        await log_in(idp, oidc(idp))


async def test_another_browser_another_time_or_another_code_lets_nobody_in(idp: Idp) -> None:
    clock = [0.0]
    side = Oidc(oidc(idp).provider, clock=lambda: clock[0])
    address, state = await side.begin(BACK, "")
    code, _ = idp.authorize(address)
    with pytest.raises(Unauthorized, match="not begun in this browser"):
        await side.end(state, "another", code)
    with pytest.raises(Unauthorized, match="not begun in this browser"):
        await side.end(state, state, code)  # it was used up
    address, state = await side.begin(BACK, "")
    clock[0] += WAIT_SECONDS + 1
    with pytest.raises(Unauthorized, match="took too long"):
        await side.end(state, state, code)
    _, state = await side.begin(BACK, "")
    with pytest.raises(Unauthorized, match="did not let you in"):
        await side.end(state, state, "no-such-code")


async def test_a_provider_that_is_away_or_is_another_is_said_to_be(idp: Idp) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await oidc(idp, issuer="http://127.0.0.1:1").begin(BACK, "")
    with pytest.raises(Unavailable, match="calls itself otherwise"):
        await oidc(idp, issuer=f"{idp.url}/").begin(BACK, "")


async def test_new_keys_of_the_provider_are_learned(idp: Idp) -> None:
    clock = [0.0]
    side = Oidc(oidc(idp).provider, clock=lambda: clock[0])
    await log_in(idp, side)
    idp.key = ECKey.generate_key("P-256", parameters={"kid": "two"})
    idp.header = {"alg": "ES256", "kid": "two"}
    clock[0] += 60
    assert (await log_in(idp, side))[0] == "ann@example.org"
