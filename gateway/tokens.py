"""Callers by JSON Web Tokens (RFC 7519) of the issuers that the policy names.

Owns the issuers' public keys, which lie in files and are read again when these change. What a token says is believed only
after its signature; how it is signed is the policy's and the key's to say, never the token's. Must not know HTTP.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from joserfc import jwk, jws, jwt
from joserfc.errors import BadSignatureError, JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry
from pydantic import JsonValue

from gateway.callers import Caller, Role
from gateway.policy import Key
from gateway.policy_keys import Jwt
from gateway.settings import StartError

LONGEST: Final = 8 << 10
"""Characters of a token that is looked at."""

LEEWAY_SECONDS: Final = 60
"""How far the issuer's clock may be from ours."""

_KINDS: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""Algorithm -> the only kind of key, and curve, that it is taken with."""

_LEAST_BITS: Final = 2048  # of RSA (NIST SP 800-131A)
_LARGEST_FILE: Final = 256 << 10  # bytes
_MOST_KEYS: Final = 64
_REMEMBERED: Final = 1024  # tokens whose signature held: that takes 0.3 ms, and every request brings one
_LOOK_SECONDS: Final = 1.0  # between looks at whether a file changed
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_SUBJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,47}", re.ASCII)  # what a caller's name may have as it is
_LONGEST_SUBJECT: Final = 1024

log = logging.getLogger(__name__)

Claims: TypeAlias = Mapping[str, JsonValue]
"""What a token says."""


class TokenError(Exception):
    """This token opens nothing; the message is for its bearer."""


class _Registry(JWSRegistry):
    """Ours alone are the algorithms, without the library's warning of a name that issuers still use."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in _KINDS:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


_REGISTRY: Final = _Registry(strict_check_header=False)  # RFC 7515: what is unknown and not `crit` is left alone


@dataclass(frozen=True, slots=True)
class _Public:
    """One public key of an issuer."""

    kid: str | None
    kind: tuple[str, str | None]
    key: jwk.RSAKey | jwk.ECKey | jwk.OKPKey


class _KeysFile:
    """A JWKS that is read again when its file changes; what is broken then changes nothing but the log."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path, self._clock = path, clock
        self._keys, self._stamp = _read_keys(path)
        self._known: OrderedDict[bytes, Claims] = OrderedDict()  # what these keys signed, by the token's digest
        self._looked = clock()

    def verified(self, token: str) -> Claims | None:
        """What the token says, where a key signed it that the file has now, or had a second ago. None of it is judged."""
        now = self._clock()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._look()
        name = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        claims = self._known.get(name)
        if claims is None and (claims := _verified(token, self._keys)) is not None:
            self._known[name] = claims
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return claims

    def _look(self) -> None:
        try:
            facts = self._path.stat()
            if _stamp(facts) != self._stamp:
                self._stamp = _stamp(facts)
                self._keys, self._stamp = _read_keys(self._path)
                self._known.clear()
                log.info("the keys of %s were read again", self._path)
        except (OSError, StartError) as error:
            log.error("the keys of %s stay as they were: %s", self._path, error)  # noqa: TRY400  # its trace tells nothing


class Tokens:
    """The entries of a policy that tokens open. `now` is the time of day, `clock` counts seconds and never goes back."""

    def __init__(
        self,
        entries: Iterable[Key],
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = [(entry, entry.jwt) for entry in entries if entry.jwt is not None]
        files = {one.keys_file for _, one in self._entries}
        self._files = {file: _KeysFile(Path(file), clock) for file in sorted(files)}
        self._now = now

    def __bool__(self) -> bool:
        return bool(self._entries)

    def caller(self, token: str) -> Caller:
        """Whose token it is; raises `TokenError` for one that opens nothing."""
        if len(token) > LONGEST:
            raise TokenError("The token is too long.")
        said = {name: file.verified(token) for name, file in self._files.items()}
        signed = [(*one, claims) for one in self._entries if (claims := said[one[1].keys_file]) is not None]
        if not signed:
            raise TokenError("The token is not signed by a key that is known here.")
        return _first(signed, self._now())

    def person(self, claims: Claims, audience: str) -> Caller:
        """Whom the claims of a log-in make, by the entries for this audience; raises `TokenError` where none takes them.

        That the issuer signed them, and when they hold, is the log-in's to judge: what it began outlives its token.
        """
        return _first([(*one, claims) for one in self._entries if one[1].audience == audience], None)


def looks_like_one(text: str) -> bool:
    """Whether it has the form of a token: three parts with a dot between them."""
    return text.count(".") == 2  # noqa: PLR2004  # between three


def _verified(token: str, keys: Sequence[_Public]) -> Claims | None:
    """What the token says, where one of the keys signed it."""
    try:
        header = jws.extract_compact(token.encode(), registry=_REGISTRY).headers()
        algorithm, kid = header.get("alg"), header.get("kid")
        kind = _KINDS.get(algorithm) if isinstance(algorithm, str) else None
        for one in keys:
            if one.kind != kind or (kid is not None and one.kid is not None and one.kid != kid):
                continue
            try:
                claims = jwt.decode(token, one.key, algorithms=[str(algorithm)], registry=_REGISTRY).claims
            except BadSignatureError:
                continue
            return claims
    except (JoseError, ValueError, TypeError, RecursionError):
        return None
    return None


def _first(signed: Iterable[tuple[Key, Jwt, Claims]], now: float | None) -> Caller:
    """Whose the claims are by the first entry that takes them; raises `TokenError` where none does, or two contradict."""
    refused: TokenError | None = None
    found: list[Caller] = []
    for entry, wanted, claims in signed:
        try:
            found.append(_caller(entry, wanted, claims, now))
        except TokenError as error:
            refused = refused or error
    if not found:
        raise refused or TokenError("No entry of the policy is for such tokens.")
    roles = frozenset[Role]().union(*(one.roles for one in found))
    if {Role.AGENT, Role.REVIEWER} <= roles:
        raise TokenError("The token fits an agent's entry of the policy and a reviewer's.")
    return found[0]


def _caller(entry: Key, wanted: Jwt, claims: Claims, now: float | None) -> Caller:
    """The caller, where the claims are what the entry wants; raises `TokenError` with what they are not.

    `now` None asks nothing about time.
    """
    if claims.get("iss") != wanted.issuer:
        raise TokenError("The token is of another issuer.")
    if not _has(claims.get("aud"), wanted.audience):
        raise TokenError("The token is for another audience.")
    if now is not None:
        _in_time(claims, now)
    for name, value in wanted.claims.items():
        if not _has(claims.get(name), value):
            raise TokenError("The token has not the claims that the policy wants.")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise TokenError("The token has no subject (`sub`).")
    tenant = entry.tenant if wanted.tenant_claim is None else claims.get(wanted.tenant_claim)
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise TokenError("The token names no tenant.")
    return Caller(f"{entry.name}.{_named(subject)}", tenant, entry.profile, entry.roles)


def _has(claim: JsonValue, value: str) -> bool:
    return claim == value or (isinstance(claim, list) and value in claim)


def _in_time(claims: Claims, now: float) -> None:
    expires = _time(claims, "exp")
    if expires is None:
        raise TokenError("The token never expires (`exp`).")
    if now >= expires + LEEWAY_SECONDS:
        raise TokenError("The token has expired.")
    for name in ("nbf", "iat"):
        begins = _time(claims, name)
        if begins is not None and begins > now + LEEWAY_SECONDS:
            raise TokenError(f"The token is not yet valid (`{name}`).")


def _time(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1 << 53:
        raise TokenError(f"The token's `{name}` is no time.")
    return float(value)


def _named(subject: str) -> str:
    """A subject as a part of a name: itself, or a digest, which no subject as it is can be mistaken for."""
    if _SUBJECT.fullmatch(subject):
        return subject
    return f"@{hashlib.sha256(subject.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _stamp(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _read_keys(path: Path) -> tuple[Sequence[_Public], tuple[int, int, int]]:
    """The keys of a file, and what tells that it changed; raises `StartError` for one that cannot be trusted or used."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or stat.S_IMODE(facts.st_mode) & 0o022:
                raise StartError(
                    f"{path} must be a file that nobody but its owner can write: whoever does lets anybody in."
                )
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise StartError(f"The policy wants the keys of an issuer in {path}: {error.strerror}.") from None
    if len(data) > _LARGEST_FILE:
        raise StartError(f"{path} is larger than {_LARGEST_FILE} bytes.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise StartError(f'{path} is no JWKS: it must be {{"keys": [...]}}, with {_MOST_KEYS} keys at most.')
    keys = [key for one in listed for key in _public(path, one)]
    if not keys:
        raise StartError(f"{path} has no key for signatures by RS256 ({_LEAST_BITS} bits), ES256 or EdDSA (Ed25519).")
    return keys, _stamp(facts)


def _public(path: Path, described: object) -> Iterator[_Public]:
    """The key, where it is one for signatures that are taken; what else an issuer publishes is left alone."""
    if not isinstance(described, dict):
        raise StartError(f"{path} is no JWKS: a key must be an object.")
    if {"d", "k"} & set(described):
        raise StartError(f"{path} holds a secret key; an issuer publishes public ones.")
    kind = (str(described.get("kty")), described.get("crv"))
    algorithms = {name for name, wanted in _KINDS.items() if wanted == kind}
    if not algorithms or described.get("use", "sig") != "sig":
        return
    if (meant := described.get("alg")) is not None and str(meant) not in algorithms:
        return
    try:
        if kind[0] == "RSA" and len(urlsafe_b64decode(described["n"] + "==")) * 8 < _LEAST_BITS:
            return
        key = jwk.import_key({name: value for name, value in described.items() if isinstance(value, str)})
    except (JoseError, ValueError, TypeError, KeyError):
        raise StartError(f"{path} has a key that cannot be read.") from None
    if isinstance(key, jwk.RSAKey | jwk.ECKey | jwk.OKPKey):
        kid = described.get("kid")
        yield _Public(kid if isinstance(kid, str) else None, kind, key)
