"""The sections about who calls: keys and tokens, what one key may have, and how people log in to the console.

Pure.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StrictStr, model_validator
from pydantic_core import PydanticCustomError

from gateway.callers import Role, digest_of
from gateway.policy_words import Closed, File, Matching, Name, Url, Variable, in_order
from gateway.quantities import Count, Seconds


def _of_something(sha256: str) -> str:
    """Refuse the digest of an empty key, which is what hashing an unset variable gives."""
    if sha256 == digest_of(""):
        raise PydanticCustomError("sha256", "this is the SHA-256 of nothing: the key was empty when it was hashed")
    return sha256


def _one_side(roles: frozenset[Role]) -> frozenset[Role]:
    if not roles:
        raise PydanticCustomError("roles", "a key needs at least one role")
    if {Role.AGENT, Role.REVIEWER} <= roles:
        raise PydanticCustomError("roles", "one key cannot be agent and reviewer: an agent's key can never rule")
    return roles


# A value that is not a digest may be the API key itself, so no message repeats it.
_Sha256 = Annotated[
    StrictStr,
    Matching("[0-9a-f]{64}", "the SHA-256 of a key (64 hexadecimal digits, lower case)", secret=True),
    AfterValidator(_of_something),
]
_Word = Annotated[StrictStr, Matching(r"[!-~]([ -~]{0,510}[!-~])?", "a word (1 to 512 visible ASCII characters)")]
_Person = Annotated[
    StrictStr,
    Matching(
        r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}|@[0-9a-f]{40}",
        "a person (64 letters, digits, ., _, @ and - at most), or what follows the dot where the record names their tokens",
    ),
]
"""Whose keys they are: a name, or the subject of their tokens as callers are named by it."""
_Scope = Annotated[StrictStr, Matching(r"[!#-\[\]-~]{1,64}", "a scope (visible ASCII, without blanks and quotes)")]
_Claim = Annotated[StrictStr, Matching(r"[!-~]{1,256}", "the name of a claim (visible ASCII, without blanks)")]


class Rates(Closed):
    """What one key may do: requests a minute, how many at once above that pace; executions and streams at the same time."""

    requests: Count = 60_000
    burst: Count = 2_000
    executions: Count = 256
    streams: Count = 256


class Quotas(Closed):
    """What one key may have in a day of UTC: programs, and seconds of CPU time; None is as much as there is."""

    executions: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None = None
    cpu: Seconds | None = None


class Jwt(Closed):
    """The tokens of an identity provider that open as this key: signed by it, for us, with these claims."""

    issuer: _Word
    audience: _Word
    keys_file: File
    claims: dict[_Claim, _Word] = Field(default_factory=dict)
    tenant_claim: _Claim | None = None


class Key(Closed):
    """A key, known by its SHA-256 only, or the tokens that stand for one; whose it is, and what it may do.

    `owner` is the person behind several keys: nobody rules on a program of another key of theirs.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["sha256"]}, {"required": ["jwt"]}],
            "dependentSchemas": {"sha256": {"required": ["tenant"]}},
        }
    )

    name: Name
    sha256: _Sha256 | None = None
    jwt: Jwt | None = None
    owner: _Person | None = None
    tenant: Name | None = None
    profile: Name
    roles: Annotated[frozenset[Role], AfterValidator(_one_side)]

    @model_validator(mode="after")
    def _whole(self) -> Key:
        if (self.sha256 is None) is (self.jwt is None):
            raise PydanticCustomError("key", "a key needs its sha256, or else jwt: write one of them")
        if (self.tenant is None) is (self.jwt is None or self.jwt.tenant_claim is None):
            raise PydanticCustomError("tenant", "a key needs a tenant, or else jwt.tenant_claim: write one of them")
        return self


class OidcClient(Closed):
    """The identity provider at which people log in to the console, and what the gateway is called there.

    Who somebody is then, the entries of `keys` say that have this issuer and this client as audience. Either
    `client_secret_env` or `client_secret_file` names where the secret is. `scopes` are asked for besides `openid`.
    """

    issuer: Url
    client_id: _Word
    client_secret_env: Variable | None = None
    client_secret_file: File | None = None
    scopes: Annotated[tuple[_Scope, ...], AfterValidator(in_order)] = ()


class Console(Closed):
    """How people come to the console, besides with a key."""

    oidc: OidcClient | None = None
