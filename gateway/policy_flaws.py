"""What the parts of a policy that are about reviews and mail can get wrong together. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from gateway.callers import Role
from gateway.policy_notices import Mail
from gateway.policy_reviews import ReviewRules
from gateway.policy_shape import PolicyDocument
from gateway.quantities import format_seconds, shown

Path: TypeAlias = tuple[str | int, ...]

_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Flaw:
    """A contradiction between sound values; `path` is the value to change, as keys and indices from the root."""

    path: Path
    message: str
    suggestion: str | None = None


def review_flaws(review: ReviewRules, document: PolicyDocument) -> Iterator[Flaw]:
    """What one profile's reviews cannot be; paths begin at the profile."""
    before = 0.0
    for index, level in enumerate(review.escalate):
        path: Path = ("review", "escalate", index, "after")
        if level.after <= before:
            message = f"after {format_seconds(level.after)} is not later than the level before it"
            yield Flaw(path, message)
        if level.after >= review.expires:
            message = (
                f"after {format_seconds(level.after)} is not before review.expires {format_seconds(review.expires)}"
            )
            yield Flaw(path, message)
        before = level.after
    yield from _recipient_flaws(review.notify, ("review", "notify"), document)
    for index, level in enumerate(review.escalate):
        yield from _recipient_flaws(level.notify or (), ("review", "escalate", index, "notify"), document)


def _recipient_flaws(recipients: tuple[str, ...], path: Path, document: PolicyDocument) -> Iterator[Flaw]:
    webhooks = [webhook.name for webhook in document.webhooks]
    for one in recipients:
        if is_address(one):
            if document.mail is None:
                yield Flaw(path, f"{shown(one)} is a mail address, and the policy has no mail server (write mail: ...)")
        elif one not in webhooks:
            close = get_close_matches(one.lower(), webhooks, n=1)
            yield Flaw(path, f"{shown(one)} is not a webhook of this policy", close[0] if close else None)


def is_address(recipient: str) -> bool:
    """Whether this is a mail address; names of webhooks have no @."""
    return "@" in recipient


def mail_flaws(mail: Mail | None) -> Iterator[Flaw]:
    """What a mail server cannot be."""
    if mail is None:
        return
    if mail.password_env is not None and mail.password_file is not None:
        yield Flaw(("mail", "password_file"), "write password_env or password_file, one of them")
    if (mail.user is None) is not (mail.password_env is None and mail.password_file is None):
        yield Flaw(("mail",), "a user needs a password (password_env or password_file), and a password a user")
    if mail.user is not None and mail.tls == "none" and mail.host not in _THIS_MACHINE:
        yield Flaw(("mail", "tls"), "a password over a connection that everybody can read (write tls: starttls)")
    if mail.base > mail.cap:
        bounds = f"base {format_seconds(mail.base)} is more than cap {format_seconds(mail.cap)}"
        yield Flaw(("mail", "base"), bounds)


def console_flaws(document: PolicyDocument) -> Iterator[Flaw]:
    """What a log-in at an identity provider cannot be."""
    client, path = document.console.oidc, ("console", "oidc")
    if client is None:
        return
    if (client.client_secret_env is None) is (client.client_secret_file is None):
        yield Flaw(path, "a log-in needs a secret: write client_secret_env or client_secret_file, and one of them")
    address = urlsplit(client.issuer)
    if address.scheme != "https" and address.hostname not in _THIS_MACHINE:
        yield Flaw((*path, "issuer"), "a secret over a connection that everybody can read (write https://host/path)")
    people = [key.jwt for key in document.keys if key.jwt is not None and Role.AGENT not in key.roles]
    if not any(one.issuer == client.issuer and one.audience == client.client_id for one in people):
        message = (
            "nobody could log in: an entry of keys is needed that is no agent's, with jwt.issuer as issuer here, and"
            " jwt.audience as client_id"
        )
        yield Flaw(path, message)
