"""The policy's webhooks, as the store and the deliveries need them. Reads their secrets, and nothing else."""

from __future__ import annotations

from gateway.letters import SecretError, Target, secrets_of
from gateway.notices import Subscription
from gateway.policy import Policy, Webhook
from gateway.settings import StartError, secret


def subscriptions(policy: Policy) -> tuple[Subscription, ...]:
    """Who wants to be told what."""
    return tuple(Subscription(one.name, one.events, one.tenants) for one in policy.webhooks)


def webhook_targets(policy: Policy) -> tuple[Target, ...]:
    """Where letters go; raises `StartError` where a secret is missing or is none."""
    return tuple(_target(one) for one in policy.webhooks)


def _target(webhook: Webhook) -> Target:
    try:
        secrets = secrets_of(secret(webhook.secret_env, webhook.secret_file))
    except SecretError as error:
        raise StartError(f"The secret of the webhook {webhook.name!r} is none: {error}.") from None
    return Target(
        name=webhook.name,
        url=webhook.url,
        secrets=secrets,
        attempts=webhook.attempts,
        base=webhook.base,
        cap=webhook.cap,
        timeout=webhook.timeout,
    )
