"""What a caller can get wrong, and what the platform can: one class each, its status and its default words.

What untrusted code does is never one of these; it is an answer. Knows no HTTP framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue


class GatewayError(Exception):
    """Something is wrong."""

    id: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(
        self,
        detail: str | None = None,
        *,
        fields: tuple[tuple[str, str], ...] = (),
        extra: Mapping[str, JsonValue] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        self.title = (type(self).__doc__ or "").strip().splitlines()[0]
        self.detail = detail or self.title
        self.fields = fields
        self.extra = dict(extra or {})
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class MalformedRequest(GatewayError):
    """The request is not what its headers say."""

    id, status = "malformed-request", 400


class Unauthorized(GatewayError):
    """A valid key is needed: `Authorization: Bearer <key>`."""

    id, status = "unauthorized", 401


class Forbidden(GatewayError):
    """This key may not do that."""

    id, status = "forbidden", 403


class NotFound(GatewayError):
    """There is no such thing, or it is not yours."""

    id, status = "not-found", 404


class RequestTimeout(GatewayError):
    """The request did not arrive in time."""

    id, status = "request-timeout", 408


class NotYourTurn(GatewayError):
    """The task waits for somebody else."""

    id, status = "not-your-turn", 409


class TaskClosed(GatewayError):
    """The task is over."""

    id, status = "task-closed", 409


class ReviewDecided(GatewayError):
    """The review is decided already."""

    id, status = "review-decided", 409


class Conflict(GatewayError):
    """This cannot be done now."""

    id, status = "conflict", 409


class StaleReview(GatewayError):
    """The review changed since it was looked at: look again."""

    id, status = "stale-review", 412


class BodyTooLarge(GatewayError):
    """The request body is too large."""

    id, status = "body-too-large", 413


class UnsupportedMediaType(GatewayError):
    """The body must be `application/json`."""

    id, status = "unsupported-media-type", 415


class InvalidRequest(GatewayError):
    """The request has wrong fields."""

    id, status = "invalid-request", 422


class RefusedByChecks(GatewayError):
    """The checks refuse this version: the review stays open, with the same token."""

    id, status = "refused-by-checks", 422


class IdempotencyMismatch(GatewayError):
    """This idempotency key was used for another request."""

    id, status = "idempotency-mismatch", 422


class PolicyRefused(GatewayError):
    """The policy file cannot be used; the policy before stays in force."""

    id, status = "policy-refused", 422


class RateLimited(GatewayError):
    """This key asks too much at once: wait, then send it again."""

    id, status = "rate-limited", 429


class QuotaSpent(GatewayError):
    """This key has used up its share of the day: wait for the next one."""

    id, status = "quota-spent", 429


class QueueFull(GatewayError):
    """Too many programs wait for a box: wait, then send it again."""

    id, status = "queue-full", 429


class Unavailable(GatewayError):
    """The platform cannot answer now; the program is not at fault."""

    id, status = "unavailable", 503


class StorageUnavailable(Unavailable):
    """Nothing can be recorded now; the program is not at fault, and was not taken."""

    id = "storage-unavailable"
