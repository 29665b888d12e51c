"""How a letter to a webhook is signed, and when it is sent again. Pure; the format is that of Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway import __version__

_PREFIX: Final = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64  # of a secret, as Standard Webhooks has it
_FACTOR: Final = 6.0  # from one wait to the next


class SecretError(ValueError):
    """What was given is no secret; the message repeats nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A webhook as its letters need it. Times are seconds; `attempts` counts the first one too."""

    name: str
    url: str = field(repr=False)  # it may hold a token
    secrets: tuple[bytes, ...] = field(repr=False)
    attempts: int
    base: float
    cap: float
    timeout: float


class Pace(Protocol):
    """How often and how soon letters to somebody are tried again: seconds, and tries with the first one."""

    @property
    def attempts(self) -> int:
        """Tries."""

    @property
    def base(self) -> float:
        """The first wait."""

    @property
    def cap(self) -> float:
        """The longest wait."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a letter was not taken. `for_good`: the receiver wants no more of it; `after` is when it wants it, in seconds."""

    error: str
    for_good: bool = False
    after: float = 0.0


def secrets_of(text: str) -> tuple[bytes, ...]:
    """The secrets in a text, divided by blanks; while one is replaced by another there are two. Raises `SecretError`."""
    secrets = tuple(_secret(word) for word in text.split())
    if not secrets:
        raise SecretError("there is no secret in it")
    return secrets


def _secret(word: str) -> bytes:
    try:
        secret = base64.b64decode(word.removeprefix(_PREFIX), validate=True) if word.startswith(_PREFIX) else b""
    except binascii.Error:
        secret = b""
    if not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        raise SecretError(f"a secret is {_PREFIX} and the base64 of {_LEAST_BYTES} to {_MOST_BYTES} bytes")
    return secret


def headers(target: Target, letter: str, body: bytes, at: int) -> dict[str, str]:
    """What is sent beside the body, at a time in seconds since 1970: with every secret's signature, any of which will do."""
    signed = f"{letter}.{at}.".encode() + body
    digests = [hmac.digest(secret, signed, hashlib.sha256) for secret in target.secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": f"airlock/{__version__}",
        "webhook-id": letter,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def wait_seconds(target: Pace, attempts: int, chance: float) -> float:
    """How long to wait after that many attempts: between half of a growing bound and all of it, by `chance` (0 to 1)."""
    bound = min(target.cap, target.base * _FACTOR ** min(attempts - 1, 30))
    return bound * (0.5 + chance / 2)
