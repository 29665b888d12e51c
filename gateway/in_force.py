"""The policy in force: one place that holds it, so that a reload changes it for everybody at once.

Whoever decides reads `current` once and decides by that; nobody keeps it for the next decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gateway.callers import Caller
from gateway.errors import Unavailable
from gateway.policy import Policy, Profile


@dataclass(slots=True)
class InForce:
    """The current policy. `digest` is the SHA-256 of its file, empty where it came from none; `since` when it began."""

    current: Policy
    digest: str = ""
    since: datetime | None = field(default=None, compare=False)

    def profile(self, caller: Caller) -> Profile:
        """The profile that binds a caller who was let in under the current policy.

        One who was let in under another, in the moment of a reload, is asked to come again.
        """
        found = self.current.profiles.get(caller.profile)
        if found is None:
            raise Unavailable("The policy changed while the request came in: send it again.", retry_after_seconds=1)
        return found

    def swap(self, policy: Policy, digest: str, at: datetime) -> None:
        """Put another policy in force."""
        self.current, self.digest, self.since = policy, digest, at
