"""Promise: who is to hear of a review gets a mail, at least once, whatever is down in between; and nothing of an agent's is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from gateway.mails import MailTarget, mail_of
from gateway.policy_notices import NoticeKind, Tls
from tests.conftest import ROOT, Server
from tests.service.gateways import eventually, policy
from tests.service.mailbox import Mailbox
from tests.service.receiver import SECRET, Receiver

KEYS = {"ada": ("a", "agent"), "ann": ("a", "reviewer"), "olga": ("a", "operator")}
NOTIFY = "budget: {failures_in_a_row: 1}, review: {notify: [ann@team.example]}"
URL = "public_url: https://airlock.example/base\n"


def fail(server: Server, task: str) -> str:
    with server.client("key-of-ada") as agent:
        answer = agent.post("/v1/executions", json={"code": "the_secret = 1\n1 / 0", "task_id": task}).json()
    review: str = answer["task"]["review"]
    return review


def dead(server: Server) -> list[dict]:  # type: ignore[type-arg]
    with server.client("key-of-olga") as operator:
        letters = operator.get("/v1/webhooks/dead-letters").json()["letters"]
    assert isinstance(letters, list)
    return letters


def test_a_review_is_told_by_mail_with_a_link_and_without_a_word_of_the_program(
    make_server: Callable[..., Server],
) -> None:
    with Mailbox() as mailbox:
        server = make_server(policy(KEYS, NOTIFY) + URL + mailbox.server())
        review = fail(server, "task-1")
        eventually(lambda: bool(mailbox.mails))
        [mail] = mailbox.mails
        assert (mail["From"], mail["To"], mailbox.to) == (
            "airlock@gateway.example",
            "ann@team.example",
            ["ann@team.example"],
        )
        assert mail["Subject"] == "[airlock] A program waits for you"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail.get_content_type() == "text/plain"
        text = mail.get_content()
        assert f"https://airlock.example/base/console/reviews/{review}" in text.splitlines()
        assert '"task-1"' in text
        for hidden in (b"the_secret", b"1 / 0", b"ZeroDivision"):
            assert hidden not in mailbox.raw[0]


def test_a_server_that_was_away_or_busy_gets_the_mail_once_and_killed_in_between_after_the_start(
    make_server: Callable[..., Server],
) -> None:
    mailbox = Mailbox("451 try again later")
    server = make_server(policy(KEYS, NOTIFY) + mailbox.server(attempts="20", cap="1s"))
    fail(server, "early")
    eventually(lambda: "is tried again" in server.log.read_text())
    server.kill()
    with mailbox:
        server.start()
        eventually(lambda: mailbox.tries > 1)
        assert not mailbox.raw
        mailbox.answer = "250 OK"
        eventually(lambda: bool(mailbox.raw))
        fail(server, "late")
        eventually(lambda: len(mailbox.raw) == 2)
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 2


def test_an_address_that_is_refused_is_a_dead_letter_beside_those_of_webhooks(
    make_server: Callable[..., Server],
) -> None:
    with Mailbox("550 no such user") as mailbox, Receiver(status=410) as receiver:
        text = policy(KEYS, NOTIFY) + mailbox.server() + receiver.webhook(events=["review.opened"])
        server = make_server(text, AIRLOCK_SECRET_ALERTS=SECRET)
        fail(server, "t")
        eventually(lambda: len(dead(server)) == 2)
        by_mail = next(one for one in dead(server) if one["mail"])
        assert (by_mail["mail"], by_mail["webhook"], by_mail["attempts"]) == ("ann@team.example", None, 1)
        assert by_mail["error"] == "the address is refused: [550]"
        assert mailbox.tries == 1, "who says that it is none is not asked again"
        mailbox.answer = "250 OK"
        with server.client("key-of-olga") as operator:
            replayed = operator.post(f"/v1/webhooks/dead-letters/{by_mail['id']}/replay")
            assert replayed.json()["state"] == "waiting"
        eventually(lambda: len(mailbox.raw) == 1)
        [other] = dead(server)
        assert (other["webhook"], other["mail"]) == ("alerts", None)
        told = subprocess.run(
            [sys.executable, *server.program, "webhooks", "list"],
            env={"PATH": "/usr/bin:/bin", "AIRLOCK_URL": server.url, "AIRLOCK_KEY": "key-of-olga", "COLUMNS": "200"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert other["id"] in told
        assert "alerts" in told


def test_nothing_is_sent_in_the_clear_where_the_policy_wants_it_encrypted(make_server: Callable[..., Server]) -> None:
    with Mailbox() as mailbox:
        text = policy(KEYS, NOTIFY) + mailbox.server(attempts="1").replace("tls: none", "tls: starttls")
        server = make_server(text)
        fail(server, "t")
        eventually(lambda: bool(dead(server)))
        assert not mailbox.raw
        assert mailbox.tries == 0


def test_a_level_tells_its_own_people_and_webhooks_hear_of_it_once(make_server: Callable[..., Server]) -> None:
    with Mailbox() as mailbox, Receiver() as receiver:
        review = "review: {notify: [ann@team.example], escalate: [{after: 1h, to: [ann], notify: [lead@team.example, alerts]}]}"
        text = policy(KEYS, f"budget: {{failures_in_a_row: 1}}, {review}") + mailbox.server()
        server = make_server(text + receiver.webhook(events=["review.escalated"]), AIRLOCK_SECRET_ALERTS=SECRET)
        opened = fail(server, "t")
        with server.client("key-of-ann") as ann:
            token = ann.get(f"/v1/reviews/{opened}").json()["token"]
            ann.post(f"/v1/reviews/{opened}/rulings", json={"token": token, "ruling": "escalate"})
        eventually(lambda: len(mailbox.raw) == 2 and bool(receiver.letters))
        assert sorted(mailbox.to) == ["ann@team.example", "lead@team.example"]
        assert [(one.type, one.data["level"], one.data["by"]) for one in receiver.letters] == [
            ("review.escalated", 1, "ann")
        ]


@pytest.mark.parametrize("task", ["x\r\nBcc: all@team.example", "\u202eevil", "a\0b", "=?utf-8?q?x?=", "x" * 4000])
def test_whatever_a_task_is_called_a_mail_has_the_headers_that_we_wrote(task: str) -> None:
    target = MailTarget(
        name="ann@team.example", host="h", port=25, tls=Tls.NONE, user=None, password=None, sender="a@b.example",
        public_url="https://airlock.example/", attempts=1, base=1, cap=1, timeout=1,
    )  # fmt: skip
    data = {"tenant": "a", "task": task, "review": "rev_1", "reason": "stuck"}
    body = json.dumps({"type": "review.opened", "timestamp": "then", "data": data})
    mail = mail_of(target, "msg_1", NoticeKind.REVIEW_OPENED, body, datetime(2026, 1, 1, tzinfo=UTC))
    usual = {"from", "to", "subject", "date", "message-id", "auto-submitted", "content-type", "mime-version"}
    assert {name.lower() for name in mail.keys()} - {"content-transfer-encoding"} == usual  # noqa: SIM118  # repeated ones too
    assert mail["To"] == "ann@team.example"
    assert "Bcc" not in mail
    assert mail.as_bytes().isascii()
    assert "https://airlock.example/console/reviews/rev_1" in mail.get_content()


def test_a_password_stands_in_no_log_and_no_answer(make_server: Callable[..., Server]) -> None:
    mailbox = Mailbox()
    text = policy(KEYS, NOTIFY) + mailbox.server(attempts="1", user="ann", password_env="AIRLOCK_SECRET_MAIL")
    server = make_server(text, AIRLOCK_SECRET_MAIL="the-password-of-mail", AIRLOCK_LOG="debug")
    fail(server, "t")
    eventually(lambda: bool(dead(server)))
    with httpx.Client(base_url=server.url, headers={"Authorization": "Bearer key-of-ada"}) as agent:
        told = agent.get("/v1/policy").text + server.log.read_text()
    assert "the-password-of-mail" not in told
    assert "ann@team.example" not in agent_policy(server), "agents have no business with addresses"


def agent_policy(server: Server) -> str:
    with server.client("key-of-ada") as agent:
        return agent.get("/v1/policy").text
