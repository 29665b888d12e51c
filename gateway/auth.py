"""Whose request it is: the keys that are known at start, and the caller behind an `Authorization` header.

Owns the rules for starting without keys, and what a role may ask for. What exists for a caller's tenant is the
service's to know.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from gateway.callers import Caller, KnownKey, Role, digest_of, identify
from gateway.errors import Forbidden, Unauthorized
from gateway.policy import DEFAULT_PROFILE, Key
from gateway.providers import Provider
from gateway.settings import Address, StartError
from gateway.tokens import TokenError, Tokens, looks_like_one

REVIEWER_KEY = "reviewer.key"
_TENANT = "local"
_AGENT, _REVIEWER = "local", "reviewer"
KEYLESS = frozenset({(_AGENT, _TENANT), (_REVIEWER, _TENANT)})
"""The callers, with their tenant, of a policy without keys."""
_SHORTEST_KEY = 32  # characters

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]+)")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+))(?::[0-9]{1,5})?")


class KeysError(StartError):
    """With these keys the gateway would let strangers in."""


@dataclass(slots=True)
class Authenticator:
    """Who is let in. `anonymous` is who calls without a key, where that is allowed; `reviewer_key` a file to tell of.

    `provider` is where people log in to the console, and `tokens` says who they are then.
    `generation` counts the policies that it was made from: who was let in under an earlier one is looked at again.
    """

    keys: tuple[KnownKey, ...]
    anonymous: Caller | None = None
    reviewer_key: Path | None = None
    tokens: Tokens | None = None
    provider: Provider | None = None
    generation: int = field(default=0, compare=False)

    def renew(self, other: Authenticator) -> None:
        """Let in from now on whom `other` lets in, and nobody else."""
        self.keys, self.anonymous, self.reviewer_key = other.keys, other.anonymous, other.reviewer_key
        self.tokens, self.provider = other.tokens, other.provider
        self.generation += 1

    def caller(self, headers: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Return the request's caller; raises `Unauthorized`, or `Forbidden` for a web page that goes astray."""
        if self.anonymous is not None:
            _refuse_foreign_names(headers)
        given = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
        if not given and self.anonymous is not None:
            return self.anonymous
        if len(given) != 1:
            raise Unauthorized("Two Authorization headers came; one is needed." if given else None)
        bearer = _BEARER.fullmatch(given[0].strip(" \t"))
        caller = identify(bearer[1], self.keys) if bearer else None
        if caller is not None:
            return caller
        if bearer and self.tokens and looks_like_one(bearer[1]):
            return self._of_token(bearer[1], self.tokens)
        raise Unauthorized("The key is not known." if bearer else None)

    @staticmethod
    def _of_token(token: str, tokens: Tokens) -> Caller:
        try:
            return tokens.caller(token)
        except TokenError as error:
            raise Unauthorized(str(error)) from None


def authenticator(
    keys: Iterable[Key], *, loopback: bool, data: Path, provider: Provider | None = None
) -> Authenticator:
    """Who may call, given the policy's keys; raises `KeysError` when strangers could."""
    keys = tuple(keys)
    if keys:
        return Authenticator(tuple(_known(keys)), tokens=Tokens(keys), provider=provider)
    if not loopback:
        raise KeysError(
            "The policy has no keys, and other machines can reach this address: anybody could run code here."
            " Add keys to the policy, or set AIRLOCK_LISTEN to a loopback address."
        )
    path = data / REVIEWER_KEY
    reviewer = Caller(_REVIEWER, _TENANT, DEFAULT_PROFILE, frozenset({Role.REVIEWER, Role.OPERATOR}))
    return Authenticator(
        keys=(KnownKey(digest_of(_reviewer_key(path)), reviewer),),
        anonymous=Caller(_AGENT, _TENANT, DEFAULT_PROFILE, frozenset({Role.AGENT})),
        reviewer_key=path,
    )


def _known(keys: Iterable[Key]) -> Iterator[KnownKey]:
    for key in keys:
        if key.sha256 is not None and key.tenant is not None:
            yield KnownKey(key.sha256, Caller(key.name, key.tenant, key.profile, key.roles))


def require(caller: Caller, *roles: Role) -> Caller:
    """Let a caller pass who has one of the roles; raises `Forbidden` for others."""
    if caller.roles.isdisjoint(roles):
        has, needs = ", ".join(sorted(caller.roles)), " or ".join(sorted(roles))
        raise Forbidden(f"This needs a key with the role {needs}; this one has: {has}.")
    return caller


def read_key(path: Path) -> str:
    """Read a key that only its owner can read; raises `OSError`, or `KeysError` where others could have put it there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            raise KeysError(f"{path} must be a file of this user's that nobody else can open (mode 0600).")
        key = file.read(4096).strip()
    if len(key) < _SHORTEST_KEY:
        raise KeysError(f"{path} holds no key; remove it to get a new one.")
    return key


def _reviewer_key(path: Path) -> str:
    """The key in the file, made on the first start."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _existing_key(path)
    key = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        os.fchmod(descriptor, 0o600)  # whatever the umask
        file.write(f"{key}\n")
    return key


def _existing_key(path: Path) -> str:
    try:
        return read_key(path)
    except OSError as error:
        raise KeysError(f"{path} cannot be read as a file of this user's: {error.strerror}.") from None


def _refuse_foreign_names(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Where no key is needed, a web page could point its own name at this machine and call through the browser."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        raise Forbidden("Without keys, the Host header must be a loopback name such as localhost or 127.0.0.1.")


@lru_cache(64)
def _is_loopback(host: bytes) -> bool:
    match = _HOST.fullmatch(host.decode("latin-1"))
    return match is not None and Address(match[1] or match[2], 0).loopback
