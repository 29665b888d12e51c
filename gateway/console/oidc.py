"""Logging in at an identity provider: OpenID Connect's authorization code with PKCE, `state` and `nonce`.

Owns what was asked of the provider and how its answer is judged. Nothing that the provider says is believed before the
signature of its ID token, made by a key of its own, over an answer that this browser asked for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from gateway.callers import Caller, Role
from gateway.console.sessions import digest
from gateway.errors import Forbidden, Unauthorized, Unavailable
from gateway.providers import Provider
from gateway.tokens import LONGEST, Claims, TokenError, Tokens

WAIT_SECONDS: Final = 600.0
"""How long somebody may take at the provider."""

_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")  # with public keys only: nobody but the provider can sign
_LEEWAY_SECONDS: Final = 60
_TIMEOUT_SECONDS: Final = 10.0
_LARGEST: Final = 1 << 20  # bytes of an answer
_KEPT_SECONDS: Final = 3600.0  # for the provider's addresses and keys
_REFETCH_SECONDS: Final = 30.0  # between looks for a key that is not known: a forged token costs the provider nothing
_MOST_WAITING: Final = 1_000

log = logging.getLogger(__name__)


class _Addresses(BaseModel):
    model_config = ConfigDict(extra="ignore")

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str

    @property
    def encrypted(self) -> bool:
        return all(
            one.startswith("https:") for one in (self.authorization_endpoint, self.token_endpoint, self.jwks_uri)
        )


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id_token: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one browser was sent to the provider with."""

    until: float
    nonce: str
    verifier: str
    back: str
    after: str


class Oidc:
    """Log-ins at one provider. `tokens` has the policy's entries; `clock` counts seconds and never goes back."""

    def __init__(
        self,
        provider: Provider,
        tokens: Callable[[], Tokens | None],
        clock: Callable[[], float] = time.monotonic,
        client: Callable[[], httpx.AsyncClient] = lambda: httpx.AsyncClient(timeout=_TIMEOUT_SECONDS),
    ) -> None:
        self.provider = provider
        self._tokens = tokens
        self._clock = clock
        self._client = client
        self._waiting: OrderedDict[str, _Asked] = OrderedDict()
        self._addresses: tuple[float, _Addresses] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._looking = asyncio.Lock()

    async def begin(self, back: str, after: str) -> tuple[str, str]:
        """Where to send a browser, and the `state` that it has to come back with; `back` is where it comes back to."""
        addresses = await self._where()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        self._waiting[digest(state)] = _Asked(self._clock() + WAIT_SECONDS, nonce, verifier, back, after)
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": back,
            "scope": " ".join(("openid", *self.provider.scopes)),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in addresses.authorization_endpoint else "?"
        return f"{addresses.authorization_endpoint}{joint}{urlencode(asked)}", state

    async def end(self, state: str, of_browser: str, code: str) -> tuple[Claims, str]:
        """What is said of who came back, and where they wanted to go; raises where anything does not fit together."""
        asked = self._waiting.pop(digest(state), None)
        if asked is None or self._clock() > asked.until or not hmac.compare_digest(state.encode(), of_browser.encode()):
            raise Unauthorized("This log-in was not begun in this browser, or it took too long: begin again.")
        if not code:
            raise Unauthorized("The identity provider did not let you in.")
        token = await self._exchanged(code, asked)
        claims = await self._claims(token)
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), asked.nonce.encode()):
            raise Unauthorized("The identity provider answered another question: begin again.")
        return claims, asked.after

    async def _exchanged(self, code: str, asked: _Asked) -> str:
        addresses = await self._where()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": asked.back,
            "code_verifier": asked.verifier,
        }
        async with self._client() as client:
            try:
                login = (self.provider.client_id, self.provider.client_secret)
                answer = await client.post(addresses.token_endpoint, data=form, auth=login)
            except httpx.HTTPError:
                raise Unavailable("The identity provider does not answer.") from None
        if answer.status_code != httpx.codes.OK:
            log.warning("the identity provider refused a code with %s", answer.status_code)
            raise Unauthorized("The identity provider did not let you in.")
        try:
            return _Answer.model_validate_json(answer.content[:_LARGEST]).id_token
        except ValidationError:
            raise Unauthorized("The identity provider gave no ID token.") from None

    async def _claims(self, token: str) -> Claims:
        """What the token says, once it is the provider's, for us, and of now."""
        wanted = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self.provider.issuer},
            aud={"essential": True, "value": self.provider.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        )
        if len(token) > LONGEST:
            raise Unauthorized("The identity provider's answer is too long.")
        for fresh in (False, True):
            keys = await self._public_keys(fresh=fresh)
            try:
                read = jwt.decode(token, keys, algorithms=list(_ALGORITHMS))
                wanted.validate(read.claims)
            except (JoseError, ValueError) as error:
                problem = type(error).__name__
                continue  # perhaps the provider has new keys
            claims: dict[str, JsonValue] = dict(read.claims)
            audience = claims["aud"]
            if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self.provider.client_id:
                raise Unauthorized("The identity provider's answer is for somebody else.")
            return claims
        log.warning("an ID token was refused: %s", problem)
        raise Unauthorized("The identity provider's answer does not hold.")

    def person(self, claims: Claims) -> Caller:
        """Whom the claims make under the policy in force; raises `Forbidden` for agents, and whom no entry takes."""
        tokens = self._tokens()
        if tokens is None or claims.get("iss") != self.provider.issuer:
            raise Forbidden("You are known to another identity provider than the one that the policy names.")
        try:
            caller = tokens.person(claims, self.provider.client_id)
        except TokenError as error:
            raise Forbidden(f"You are known, and have no role here: ask who keeps the policy. {error}") from None
        if Role.AGENT in caller.roles:
            raise Forbidden("You are known, as an agent. The console is for people.")
        return caller

    async def _where(self) -> _Addresses:
        async with self._looking:
            if self._addresses is None or self._clock() > self._addresses[0]:
                found = await self._fetched(f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration")
                try:
                    addresses = _Addresses.model_validate_json(found)
                except ValidationError:
                    raise Unavailable("The identity provider does not say where to log in.") from None
                if addresses.issuer != self.provider.issuer:
                    raise Unavailable("The identity provider calls itself otherwise than the policy does.")
                if addresses.issuer.startswith("https:") and not addresses.encrypted:
                    raise Unavailable("The identity provider wants to be asked without encryption.")
                self._addresses = (self._clock() + _KEPT_SECONDS, addresses)
            return self._addresses[1]

    async def _public_keys(self, *, fresh: bool) -> KeySet:
        addresses = await self._where()
        async with self._looking:
            now = self._clock()
            age = None if self._keys is None else now - self._keys[0]
            if self._keys is None or age is None or age > (_REFETCH_SECONDS if fresh else _KEPT_SECONDS):
                found = await self._fetched(addresses.jwks_uri)
                try:
                    document = _Jwks.model_validate_json(found)
                    self._keys = (now, KeySet.import_key_set({"keys": document.keys}))  # type: ignore[typeddict-item]  # it judges them
                except (ValidationError, JoseError, ValueError):
                    raise Unavailable("The identity provider's keys cannot be read.") from None
            return self._keys[1]

    async def _fetched(self, address: str) -> bytes:
        async with self._client() as client:
            try:
                answer = await client.get(address)
                answer.raise_for_status()
            except httpx.HTTPError:
                raise Unavailable("The identity provider does not answer.") from None
        return answer.content[:_LARGEST]


class _Jwks(BaseModel):
    model_config = ConfigDict(extra="ignore")

    keys: list[dict[str, JsonValue]]
