"""Who calls: a key becomes a caller. Pure; a key is known by its SHA-256 only."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a caller may do. Nobody is an agent and a reviewer at once: an agent's key can never rule."""

    AGENT = "agent"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"  # reads all of its tenant; runs, rules and changes nothing


@dataclass(frozen=True, slots=True)
class Caller:
    """An agent, a reviewer or an operator. `profile` names the policy profile that binds its programs."""

    name: str
    tenant: str
    profile: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as configuration holds it: its digest (64 hexadecimal digits) and whose it is."""

    sha256: str
    caller: Caller


def digest_of(key: str) -> str:
    """The SHA-256 of a key, hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def identify(key: str, known: Iterable[KnownKey]) -> Caller | None:
    """The key's caller, or None. Compares every digest in constant time, so that time tells nothing of a near miss."""
    presented = digest_of(key)
    found = None
    for candidate in known:
        if hmac.compare_digest(candidate.sha256, presented):
            found = candidate.caller
    return found
