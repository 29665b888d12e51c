"""How long the platform waits before it tries again. Pure."""

from __future__ import annotations

from gateway.policy_shape import Retries


def backoff_seconds(losses: int, retries: Retries, chance: float) -> float:
    """Full jitter: a uniform share (`chance`, 0 to 1) of the doubling bound, so that lost attempts do not return together."""
    return chance * min(retries.cap, retries.base * 2.0 ** min(losses - 1, 30))
