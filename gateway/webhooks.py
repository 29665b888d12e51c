"""The policy's webhooks and mail addresses, as the store and the deliveries need them. Reads their secrets, and nothing else."""

from __future__ import annotations

from gateway.letters import SecretError, Target, secrets_of
from gateway.mails import MailTarget
from gateway.notices import Subscription
from gateway.policy import Policy, Webhook
from gateway.policy_flaws import is_address
from gateway.settings import StartError, secret


def subscriptions(policy: Policy) -> tuple[Subscription, ...]:
    """Who wants to be told what."""
    return tuple(Subscription(one.name, one.events, one.tenants) for one in policy.webhooks)


def letter_targets(policy: Policy) -> tuple[Target | MailTarget, ...]:
    """Wherever letters go; raises `StartError` where a secret is missing or is none."""
    return (*webhook_targets(policy), *mail_targets(policy))


def mail_targets(policy: Policy) -> tuple[MailTarget, ...]:
    """The mail addresses that any profile names; raises `StartError` where the password is missing."""
    mail, reviews = policy.mail, [profile.review for profile in policy.profiles.values()]
    told = [one for review in reviews for one in (review.notify, *(level.notify or () for level in review.escalate))]
    addresses = sorted({one for some in told for one in some if is_address(one)})
    if mail is None or not addresses:
        return ()
    password = secret(mail.password_env, mail.password_file).strip() if mail.user is not None else None
    return tuple(
        MailTarget(
            name=address,
            host=mail.host,
            port=mail.port,
            tls=mail.tls,
            user=mail.user,
            password=password,
            sender=mail.sender,
            public_url=policy.public_url,
            attempts=mail.attempts,
            base=mail.base,
            cap=mail.cap,
            timeout=mail.timeout,
        )
        for address in addresses
    )


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
