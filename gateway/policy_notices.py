"""The sections about who is told: webhooks, what they can be told, and the mail server.

Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr
from pydantic_core import PydanticCustomError

from gateway.policy_words import MAIL_ADDRESS, Closed, File, Matching, Name, Url, Variable
from gateway.quantities import Seconds


def _something(kinds: frozenset[NoticeKind]) -> frozenset[NoticeKind]:
    if not kinds:
        raise PydanticCustomError("events", "a webhook needs at least one kind of event")
    return kinds


_Host = Annotated[StrictStr, Matching(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}", "a host")]
_Address = Annotated[StrictStr, Matching(MAIL_ADDRESS, "a mail address (write ann@example.org)")]


class NoticeKind(StrEnum):
    """What webhooks can be told."""

    EXECUTION_FINISHED = "execution.finished"
    REVIEW_OPENED = "review.opened"
    REVIEW_ESCALATED = "review.escalated"
    REVIEW_DECIDED = "review.decided"
    TASK_CLOSED = "task.closed"


class Webhook(Closed):
    """Where the operator wants to be told what. Either `secret_env` or `secret_file` names where the secret is.

    `attempts` counts the first; `base` and `cap` bound the waits between them, `timeout` each of them (seconds).
    """

    name: Name
    url: Url
    secret_env: Variable | None = None
    secret_file: File | None = None
    events: Annotated[frozenset[NoticeKind], AfterValidator(_something)] = frozenset(NoticeKind)
    tenants: frozenset[Name] | None = None
    attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 8
    base: Seconds = 5.0
    cap: Seconds = 43200.0
    timeout: Seconds = 10.0


class Tls(StrEnum):
    """How the way to the mail server is kept private."""

    STARTTLS = "starttls"  # or nothing is sent
    TLS = "tls"  # from the first byte
    NONE = "none"


class Mail(Closed):
    """The mail server, and how mails look. None are sent without it. Times are as a webhook's."""

    host: _Host
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 587
    tls: Tls = Tls.STARTTLS
    user: Annotated[StrictStr, Matching(r"[!-~]{1,254}", "a user (no blanks, ASCII)")] | None = None
    password_env: Variable | None = None
    password_file: File | None = None
    sender: _Address = Field(alias="from")
    attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 8
    base: Seconds = 5.0
    cap: Seconds = 43200.0
    timeout: Seconds = 30.0
