"""What a mail about a review says: plain text of our own words, with a link. No code, no output, nothing that people wrote.

Pure. It is made of the same letter that a webhook gets, when it is sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from gateway.policy_notices import NoticeKind, Tls


@dataclass(frozen=True, slots=True, kw_only=True)
class MailTarget:
    """A mail address as its letters need it, with the server that takes them. Times are seconds; `name` is the address."""

    name: str
    host: str
    port: int
    tls: Tls
    user: str | None
    password: str | None = field(repr=False)
    sender: str
    public_url: str | None
    attempts: int
    base: float
    cap: float
    timeout: float


_SUBJECTS: Final = {
    NoticeKind.REVIEW_OPENED: "A program waits for you",
    NoticeKind.REVIEW_ESCALATED: "A program still waits, and you are asked now",
}


def mail_of(target: MailTarget, letter: str, kind: NoticeKind, body: str, at: datetime) -> EmailMessage:
    """The mail of a letter, to one address, at a time.

    Nothing of an agent's is in any header. Its name for the task stands in the text, quoted and in ASCII.
    """
    told = json.loads(body)
    data = told["data"]
    review = str(data["review"])
    message = EmailMessage()
    message["From"], message["To"] = target.sender, target.name
    message["Subject"] = f"[airlock] {_SUBJECTS[kind]}"
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{letter}@{target.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    lines = [
        f"{_SUBJECTS[kind]}.",
        "",
        f"Review:  {review}",
        f"Tenant:  {json.dumps(data['tenant'])}",
        f"Task:    {json.dumps(data['task'])}",
        *([f"Reason:  {data['reason']}"] if "reason" in data else []),
        *([f"Level:   {data['level']}"] if "level" in data else []),
        f"Since:   {told['timestamp']}",
        "",
        f"{target.public_url.rstrip('/')}/console/reviews/{review}"
        if target.public_url
        else f"airlock review {review}",
        "",
        "Until somebody decides, nothing of it runs.",
    ]
    message.set_content("\n".join(lines) + "\n")
    return message
