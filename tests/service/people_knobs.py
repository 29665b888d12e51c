"""The keys about people and agents whom an identity provider knows, with what they do. See `knobs.py`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwk, jwt

from gateway.console.oidc import Oidc
from gateway.errors import Unauthorized
from gateway.policy import Policy
from gateway.providers import provider_of
from gateway.tokens import TokenError, Tokens
from tests.service.knob_effects import Bench, Json, Seen
from tests.service.knobs import Knob

_SIGNERS: Final = {name: jwk.ECKey.generate_key("P-256", {"kid": name}) for name in ("ONE", "TWO")}
JWT: Final[dict[str, Json]] = {
    "name": "agents",
    "tenant": "t",
    "profile": "default",
    "roles": ["agent"],
    "jwt": {"issuer": "https://idp.example", "audience": "airlock", "keys_file": "/ONE"},
}


def opened(bench: Bench, policy: Policy) -> Seen:
    """Whose a token is; the keys of issuers lie in the bench's folder."""
    for name, signer in _SIGNERS.items():
        (bench.folder / name).write_text(json.dumps({"keys": [signer.as_dict(private=False)]}))
        (bench.folder / name).chmod(0o600)
    (key,) = policy.keys
    assert key.jwt is not None
    here = key.jwt.model_copy(update={"keys_file": str(bench.folder / Path(key.jwt.keys_file).name)})
    claims = {
        "iss": "https://idp.example",
        "aud": "airlock",
        "sub": "ada",
        "exp": 1 << 40,
        "role": "integrator",
        "team": "red",
        "org": "blue",
    }
    token = jwt.encode({"alg": "ES256", "kid": "ONE"}, claims, _SIGNERS["ONE"], algorithms=["ES256"])
    try:
        return Tokens([key.model_copy(update={"jwt": here})]).caller(token)
    except TokenError as error:
        return str(error)


async def asked(_: Bench, policy: Policy) -> object:
    """Where a browser is sent, with what, and what the provider is asked afterwards."""
    provider = provider_of(policy)
    assert provider is not None
    heard: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        heard.append((str(request.url), request.headers.get("authorization")))
        if request.method == "POST":
            return httpx.Response(400)
        places = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        return httpx.Response(
            200, json={"issuer": provider.issuer} | {one: f"{provider.issuer}/{one}" for one in places}
        )

    oidc = Oidc(provider, lambda: None, client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    address, state = await oidc.begin("https://here.example/back", "")
    with contextlib.suppress(Unauthorized):
        await oidc.end(state, state, "code")
    said = parse_qs(urlsplit(address).query)
    return heard, urlsplit(address).netloc, said["client_id"], said["scope"]


def _people(name: str, issuer: str, client: str) -> Json:
    opens: Json = {"issuer": issuer, "audience": client, "keys_file": "/k"}
    return {**JWT, "name": name, "roles": ["reviewer"], "jwt": opens}


_ISSUERS: Final = ("https://one.example", "https://two.example")
_KEYS: Final[list[Json]] = [
    _people("one", _ISSUERS[0], "airlock"),
    _people("two", _ISSUERS[1], "airlock"),
    _people("three", _ISSUERS[0], "b"),
]
_NO_SECRET: Final[Mapping[str, Json]] = {
    "keys": _KEYS,
    "console": {"oidc": {"issuer": _ISSUERS[0], "client_id": "airlock"}},
}
_OIDC: Final[Mapping[str, Json]] = {
    "keys": _KEYS,
    "console": {"oidc": {"issuer": _ISSUERS[0], "client_id": "airlock", "client_secret_env": "AIRLOCK_SECRET_ONE"}},
}

PEOPLE_KNOBS: Final[dict[str, Knob]] = {
    "keys[].jwt.issuer": Knob(opened, "https://idp.example", "https://other.example"),
    "keys[].jwt.audience": Knob(opened, "airlock", "other"),
    "keys[].jwt.keys_file": Knob(opened, "/ONE", "/TWO"),
    "keys[].jwt.claims": Knob(opened, {"role": "integrator"}, {"role": "lead"}),
    "keys[].jwt.tenant_claim": Knob(opened, "team", "org"),
    "console.oidc.issuer": Knob(asked, *_ISSUERS, _OIDC),
    "console.oidc.client_id": Knob(asked, "airlock", "b", _OIDC),
    "console.oidc.client_secret_env": Knob(asked, "AIRLOCK_SECRET_ONE", "AIRLOCK_SECRET_TWO", _NO_SECRET),
    "console.oidc.client_secret_file": Knob(asked, "ONE", "TWO", _NO_SECRET),
    "console.oidc.scopes": Knob(asked, [], ["groups"], _OIDC),
}
