"""Promise: a letter ends, whatever becomes of its tries, and nobody hears of a tenant whose letters they do not get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from gateway.letters import Refused
from gateway.mailing import send_mail
from gateway.mails import MailTarget
from gateway.policy_notices import Tls
from gateway.records import StoredLetter
from tests.conftest import Server
from tests.service.gateways import eventually, policy
from tests.service.receiver import SECRET, Receiver
from tests.service.test_mail import KEYS, dead, fail


def test_what_cannot_even_be_tried_is_a_dead_letter_and_not_tried_for_ever(make_server: Callable[..., Server]) -> None:
    """A port that no machine has, and a host that no name system knows a form for."""
    hook = {"name": "far", "url": "http://127.0.0.1:99999/", "secret_env": "AIRLOCK_SECRET_ALERTS"}
    pace = "base: 10ms, cap: 20ms, attempts: 2"
    hooks = f"webhooks: [{{{json.dumps(hook)[1:-1]}, {pace}}}]\n"
    mail = f"mail: {{host: a..b, tls: none, from: a@b.example, {pace}}}\n"
    review = "budget: {failures_in_a_row: 1}, review: {notify: [far, ann@team.example]}"
    server = make_server(policy(KEYS, review) + hooks + mail, AIRLOCK_SECRET_ALERTS=SECRET)
    fail(server, "t")
    eventually(lambda: {one["webhook"] or one["mail"] for one in dead(server)} == {"far", "ann@team.example"})
    assert {one["attempts"] for one in dead(server)} == {2}
    assert "99999" not in json.dumps(dead(server)), "an address may hold a token"


def test_a_webhook_of_some_tenants_hears_of_no_other_also_where_a_profile_names_it(
    make_server: Callable[..., Server],
) -> None:
    keys = {**KEYS, "eve": ("b", "agent")}
    text = policy(keys, "budget: {failures_in_a_row: 1}, review: {notify: [alerts]}")
    with Receiver() as receiver:
        server = make_server(
            text + receiver.webhook(events=["task.closed"], tenants=["a"]), AIRLOCK_SECRET_ALERTS=SECRET
        )
        with server.client("key-of-eve") as eve:
            eve.post("/v1/executions", json={"code": "1 / 0", "task_id": "of-b"})
            eve.delete("/v1/tasks/of-b")
        fail(server, "of-a")
        eventually(lambda: bool(receiver.letters))
        assert [(one.type, one.data["task"]) for one in receiver.letters] == [("review.opened", "of-a")]
        assert not dead(server)


HELLO, OK, GO = b"220 hello\r\n", b"250 fine\r\n", b"354 go on\r\n"
SERVERS: dict[str, Sequence[bytes | None]] = {  # what is said to each line that comes; None ends the connection
    "says nothing": [],
    "hangs up": [None],
    "hangs up when it is spoken to": [HELLO, None],
    "speaks another language": [b"HTTP/1.1 400 Bad Request\r\n\r\n", None],
    "never ends a line": [b"2" * (1 << 20)],
    "takes nobody now": [b"421 come later\r\n", None],
    "hangs after the sender": [HELLO, OK, OK],
    "hangs up before the end": [HELLO, OK, OK, OK, GO, None],
    "will not have the text": [HELLO, OK, OK, OK, GO, b"554 \x1b[31mno\r\n", OK],
    "answers in bytes that are no text": [HELLO, b"250 \xff\xfe\x00\r\n", b"451 \xff\r\n", OK],
}


@pytest.mark.parametrize("says", SERVERS.values(), ids=SERVERS.keys())
async def test_a_mail_server_that_misbehaves_is_a_try_that_ends_in_time(says: Sequence[bytes | None]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for said in says:
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
                if said is GO:
                    await reader.readuntil(b"\r\n.\r\n")
                else:
                    await reader.readline()
            else:
                await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    target = MailTarget(
        name="ann@team.example", host="127.0.0.1", port=server.sockets[0].getsockname()[1], tls=Tls.NONE, user=None,
        password=None, sender="a@b.example", public_url=None, attempts=1, base=1, cap=1, timeout=0.5,
    )  # fmt: skip
    data = {"tenant": "a", "task": "t", "review": "rev_1", "reason": "stuck"}
    body = json.dumps({"type": "review.opened", "timestamp": "then", "data": data})
    letter = StoredLetter("msg_1", "ann@team.example", "review.opened", body, "waiting", 0, "2026", "2026")
    async with asyncio.timeout(20 * target.timeout):
        refusal = await send_mail(target, letter)
    server.close()
    assert isinstance(refusal, Refused)
    assert not refusal.for_good
    assert len(refusal.error) <= 200
    assert refusal.error.isprintable()
