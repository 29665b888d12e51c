"""A mail server that keeps what it is sent, and answers as it is told to. Before the `with` nobody listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.conftest import free_port


@dataclass
class Mailbox:
    """`answer` is to every recipient: 250 takes the mail."""

    answer: str = "250 OK"
    port: int = field(default_factory=free_port)
    raw: list[bytes] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    tries: int = 0

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(one, policy=policy.default) for one in self.raw]

    def server(self, **more: str) -> str:
        """The policy's section."""
        also = "".join(f", {name}: {value}" for name, value in more.items())
        return f"mail: {{host: 127.0.0.1, port: {self.port}, tls: none, from: airlock@gateway.example, base: 100ms{also}}}\n"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        self.tries += 1
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
        assert isinstance(envelope.content, bytes)
        self.raw.append(envelope.content)
        self.to += envelope.rcpt_tos
        return "250 taken"

    def __enter__(self) -> Self:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
