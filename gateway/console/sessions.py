"""Who is logged in: sessions by the SHA-256 of their token, and links that log in once.

In memory, on purpose: a restart logs everybody out, and a copy of the database opens nothing. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from gateway.callers import Caller
from gateway.errors import RateLimited
from gateway.rates import Pace
from gateway.tokens import Claims

IDLE_SECONDS: Final = 8 * 3600.0
LONGEST_SECONDS: Final = 24 * 3600.0
LINK_SECONDS: Final = 60.0

_MOST_SESSIONS: Final = 1_000
_MOST_LINKS: Final = 100
_MOST_ADDRESSES: Final = 1_000
_TRIES_PER_MINUTE, _TRIES_AT_ONCE = 10, 30  # of one address
_ALL_TRIES_PER_MINUTE, _ALL_TRIES_AT_ONCE = 120, 60


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(slots=True)
class Session:
    """One person's log-in, and what it began with, which is held against the policy in force at each visit.

    `key` is the digest of a key, `claims` are what the identity provider said; with neither it was a token, and ends with
    the policy of its log-in, the `generation`, or with the token itself.
    """

    caller: Caller
    key: str | None
    csrf: str
    began: float
    seen: float
    longest: float
    generation: int = 0
    claims: Claims | None = field(default=None, repr=False)
    ended: bool = False
    flash: str = field(default="")
    """What the next page tells once."""

    def trusts(self, token: str) -> bool:
        """Whether a form carries this session's token."""
        return hmac.compare_digest(self.csrf.encode(), token.encode())


class Sessions:
    """One gateway's sessions. `clock` counts seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._links: OrderedDict[str, tuple[float, Caller, Callable[[], str]]] = OrderedDict()
        self._tries: OrderedDict[str, Pace] = OrderedDict()
        self._all_tries = Pace(_ALL_TRIES_PER_MINUTE, _ALL_TRIES_AT_ONCE)

    def begin(
        self,
        caller: Caller,
        key: str | None,
        claims: Claims | None = None,
        *,
        generation: int = 0,
        longest: float = LONGEST_SECONDS,
    ) -> str:
        """Begin a session of at most `longest` seconds; returns its token, which nobody has but the browser."""
        token, now = secrets.token_urlsafe(32), self._clock()
        csrf = secrets.token_urlsafe(32)
        self._open[digest(token)] = Session(caller, key, csrf, now, now, longest, generation, claims)
        while len(self._open) > _MOST_SESSIONS:
            self._open.popitem(last=False)[1].ended = True
        return token

    def find(self, token: str) -> Session | None:
        """The session of a token, which is in use now; None where there is none any more."""
        name, now = digest(token), self._clock()
        session = self._open.get(name)
        if session is None:
            return None
        if not self.lasts(session):
            self.end(token)
            return None
        session.seen = now
        self._open.move_to_end(name)
        return session

    def lasts(self, session: Session) -> bool:
        """Whether a session goes on. To ask is not to use it."""
        now = self._clock()
        too_old = now - session.seen > IDLE_SECONDS or now - session.began > session.longest
        return not session.ended and not too_old

    def end(self, token: str) -> None:
        """End a session."""
        session = self._open.pop(digest(token), None)
        if session is not None:
            session.ended = True

    def link(self, caller: Caller, key: str | None, *, generation: int = 0, longest: float = LONGEST_SECONDS) -> str:
        """A token that begins such a session once, within `LINK_SECONDS`."""
        token = secrets.token_urlsafe(32)
        begin = partial(self.begin, caller, key, generation=generation, longest=longest)
        self._links[digest(token)] = (self._clock() + LINK_SECONDS, caller, begin)
        while len(self._links) > _MOST_LINKS:
            self._links.popitem(last=False)
        return token

    def whose(self, token: str) -> Caller | None:
        """Whom a link would log in; it can still be used. None where it cannot any more."""
        link = self._links.get(digest(token))
        return link[1] if link is not None and self._clock() <= link[0] else None

    def follow(self, token: str) -> str | None:
        """Begin the session of a link, which is used up; returns the session's token. None where it cannot be used."""
        link = self._links.pop(digest(token), None)
        return link[2]() if link is not None and self._clock() <= link[0] else None

    def count_try(self, address: str) -> None:
        """Count a log-in; raises `RateLimited` for one too many, of one address or of all."""
        now = self._clock()
        pace = self._tries.setdefault(address, Pace(_TRIES_PER_MINUTE, _TRIES_AT_ONCE))
        self._tries.move_to_end(address)
        while len(self._tries) > _MOST_ADDRESSES:
            self._tries.popitem(last=False)
        wait = pace.ask(now)
        wait = self._all_tries.ask(now) if wait is None else wait
        if wait is not None:
            raise RateLimited("Too many log-ins were tried: wait, then try again.", retry_after_seconds=wait)
