"""The identity provider of a policy, at which people log in to the console. Reads its secret, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.policy import Policy
from gateway.settings import StartError, secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An identity provider, and what this gateway is there. `scopes` are asked for besides `openid`."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...] = ()


def provider_of(policy: Policy) -> Provider | None:
    """The policy's, where it has one; raises `StartError` where the secret is missing."""
    client = policy.console.oidc
    if client is None:
        return None
    found = secret(client.client_secret_env, client.client_secret_file).strip()
    if not found:
        raise StartError("The policy wants a secret for the identity provider, and where it should be there is none.")
    return Provider(issuer=client.issuer, client_id=client.client_id, client_secret=found, scopes=client.scopes)
