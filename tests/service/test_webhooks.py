"""Promise: what happened is told to the operator's webhooks, signed, at least once, whatever goes down in between."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.letters import SecretError, Target, secrets_of, wait_seconds
from tests.conftest import Server
from tests.service.gateways import eventually, policy, submit_later
from tests.service.receiver import SECRET, Letter, Receiver

OTHER = "whsec_" + base64.b64encode(b"another secret, of 32 bytes too.").decode()
KINDS = ("execution.finished", "review.opened", "review.decided", "task.closed")
KEYS = {"ada": ("team-a", "agent"), "bob": ("team-b", "agent"), "olga": ("team-a", "operator")}


def verified(letter: Letter, secret: str = SECRET) -> dict:  # type: ignore[type-arg]
    """What somebody else's implementation of the standard makes of it; raises for a forgery."""
    found = Webhook(secret).verify(letter.body, letter.headers)
    assert isinstance(found, dict)
    return found


def started(make_server: Callable[..., Server], webhook: str, text: str = "") -> Server:
    return make_server((text or policy()) + webhook, AIRLOCK_SECRET_ALERTS=SECRET)


def fail(agent: httpx.Client, task: str) -> dict:  # type: ignore[type-arg]
    """Spend a task's budget."""
    for number in range(3):
        view = agent.post("/v1/executions", json={"code": f"print({number})\n1 / 0", "task_id": task}).json()
    assert isinstance(view, dict)
    return view


def test_every_kind_of_event_is_told_and_signed(make_server: Callable[..., Server]) -> None:
    with Receiver() as receiver:
        server = started(make_server, receiver.webhook())
        with server.client() as agent, server.client(server.reviewer_key) as reviewer:
            view = fail(agent, "hooked")
            review = view["task"]["review"]
            token = reviewer.get(f"/v1/reviews/{review}").json()["token"]
            secret_words = {"token": token, "ruling": "reject", "message": "quoting: a-secret-of-the-program"}
            reviewer.post(f"/v1/reviews/{review}/rulings", json=secret_words)
            eventually(lambda: len(receiver.letters) == 6)
        types = [letter.type for letter in receiver.letters]
        assert {kind: types.count(kind) for kind in KINDS} == dict(zip(KINDS, (3, 1, 1, 1), strict=True))
        for letter in receiver.letters:
            assert verified(letter) == json.loads(letter.body)
            assert (letter.data["tenant"], letter.data["task"]) == ("local", "hooked")
            assert b"secret-of" not in letter.body, "no words of programs or people"
            assert b"1 / 0" not in letter.body
            with pytest.raises(WebhookVerificationError):
                verified(Letter(letter.path, letter.headers, letter.body + b" "))
            with pytest.raises(WebhookVerificationError):
                verified(letter, OTHER)
        assert len({letter.id for letter in receiver.letters}) == 6
        finished = {letter.data["execution"]: letter.data for letter in receiver.of("execution.finished")}
        assert finished[view["id"]]["status"] == "failed"
        assert finished[view["id"]]["href"] == f"/v1/executions/{view['id']}"
        assert receiver.of("review.opened")[0].data["review"] == review
        assert receiver.of("review.decided")[0].data["ruling"] == "reject"
        assert receiver.of("task.closed")[0].data == {
            "tenant": "local",
            "task": "hooked",
            "reason": "rejected",
            "by": "reviewer",
            "withdrawn_review": None,
            "href": "/v1/tasks/hooked",
        }


def test_a_webhook_is_told_what_it_asked_for_and_of_whom(make_server: Callable[..., Server]) -> None:
    with Receiver() as receiver:
        only = receiver.webhook(events=["task.closed"], tenants=["team-b"])
        server = started(make_server, only, policy(KEYS))
        for name in ("ada", "bob"):
            with server.client(f"key-of-{name}") as agent:
                fail(agent, f"task-of-{name}")
                assert agent.delete(f"/v1/tasks/task-of-{name}").status_code == 200
        eventually(lambda: len(receiver.letters) == 1)
        [letter] = receiver.letters
        assert (letter.type, letter.data["task"], letter.data["reason"]) == (
            "task.closed",
            "task-of-bob",
            "closed_by_agent",
        )
        assert letter.data["withdrawn_review"].startswith("rev_")


def test_a_receiver_that_was_down_gets_everything_and_held_up_nobody(make_server: Callable[..., Server]) -> None:
    receiver = Receiver()
    server = started(make_server, receiver.webhook(attempts=20, cap="1s"))
    with server.client() as agent:
        made = [agent.post("/v1/executions", json={"code": str(number)}).json()["id"] for number in range(20)]
        assert all(agent.get(f"/v1/executions/{one}").json()["status"] == "succeeded" for one in made)
        eventually(lambda: "is tried again" in server.log.read_text())
        with receiver:
            receiver.status = 500
            eventually(lambda: len(receiver.letters) >= 20)
            receiver.status = 200
            eventually(lambda: {letter.data["execution"] for letter in receiver.taken} == set(made))
    assert len({letter.id for letter in receiver.taken}) == 20


def test_killed_between_commit_and_delivery_it_delivers_after_the_start(make_server: Callable[..., Server]) -> None:
    receiver = Receiver()
    server = started(make_server, receiver.webhook(cap="500ms", attempts=20))
    with server.client() as agent:
        execution = agent.post("/v1/executions", json={"code": "1"}).json()["id"]
    server.kill()
    with receiver:
        server.start()
        eventually(lambda: bool(receiver.letters))
        assert receiver.letters[0].data["execution"] == execution
        verified(receiver.letters[0])


@pytest.mark.engine
def test_killed_while_a_receiver_thinks_it_sends_the_same_letter_again(make_server: Callable[..., Server]) -> None:
    with Receiver(seconds=3) as receiver:
        server = started(make_server, receiver.webhook())
        with server.client() as agent:
            agent.post("/v1/executions", json={"code": "1"})
            eventually(lambda: bool(receiver.letters))
            running = submit_later(agent, code="import time\ntime.sleep(2)", lane="container")
            server.kill()
        receiver.seconds = 0
        server.start()
        eventually(lambda: len(receiver.letters) >= 3, 60)
        first, second, third = receiver.letters[:3]
        assert (first.id, first.body) == (second.id, second.body), "by its id a receiver knows it"
        assert third.data["execution"] == running


def test_what_nobody_takes_is_a_dead_letter_that_an_operator_can_replay(make_server: Callable[..., Server]) -> None:
    with Receiver(status=503, headers={"Retry-After": "0"}, body=b"x" * 100_000) as receiver:
        server = started(make_server, receiver.webhook(attempts=3, base="50ms"), policy(KEYS))
        with server.client("key-of-ada") as agent, server.client("key-of-olga") as operator:
            execution = agent.post("/v1/executions", json={"code": "1"}).json()["id"]

            def dead() -> list:  # type: ignore[type-arg]
                letters = operator.get("/v1/webhooks/dead-letters").json()["letters"]
                assert isinstance(letters, list)
                return letters

            eventually(lambda: bool(dead()))
            [letter] = dead()
            assert (letter["attempts"], letter["error"], letter["webhook"]) == (3, "HTTP 503", "alerts")
            assert letter["body"]["data"]["execution"] == execution
            assert len(receiver.letters) == 3
            assert {one.id for one in receiver.letters} == {letter["id"]}
            assert "is a dead letter after 3 tries" in server.log.read_text()
            assert "airlock_webhook_dead_letters 1.0" in operator.get("/metrics").text
            path = f"/v1/webhooks/dead-letters/{letter['id']}"
            assert agent.post(f"{path}/replay").status_code == 403
            receiver.status = 200
            assert operator.post(f"{path}/replay").json()["state"] == "waiting"
            eventually(lambda: len(receiver.letters) == 4)
            assert receiver.letters[-1].id == letter["id"], "also after a replay"
            assert dead() == []
            metrics = operator.get("/metrics").text
            assert "airlock_webhook_dead_letters 0.0" in metrics
            assert 'airlock_webhook_tries_total{outcome="refused"} 3.0' in metrics
            assert operator.post(f"{path}/replay").status_code == 404
            receiver.status = 410
            agent.post("/v1/executions", json={"code": "2"})
            eventually(lambda: bool(dead()))
            assert dead()[0]["attempts"] == 1, "who says that it is gone is not asked again"
            assert operator.delete(f"/v1/webhooks/dead-letters/{dead()[0]['id']}").status_code == 200
            assert dead() == []
            server.kill()
            server.start()
            assert dead() == []


def test_a_redirect_is_not_followed_and_a_slow_receiver_not_waited_for(make_server: Callable[..., Server]) -> None:
    with Receiver() as inside, Receiver(status=307, headers={"Location": inside.url}) as receiver:
        server = started(make_server, receiver.webhook(attempts=1, timeout="500ms"), policy(KEYS))
        with server.client("key-of-ada") as agent, server.client("key-of-olga") as operator:
            agent.post("/v1/executions", json={"code": "1"})
            path = "/v1/webhooks/dead-letters"
            eventually(lambda: len(operator.get(path).json()["letters"]) == 1)
            receiver.status, receiver.seconds = 200, 3
            agent.post("/v1/executions", json={"code": "2"})
            eventually(lambda: len(operator.get(path).json()["letters"]) == 2)
            errors = [letter["error"] for letter in operator.get(path).json()["letters"]]
        assert errors == ["HTTP 307, which is not followed", "no answer within 0.5 s"]
        assert not inside.letters


def test_neither_secret_nor_address_is_in_any_log_or_answer(make_server: Callable[..., Server]) -> None:
    receiver = Receiver()
    text = policy(KEYS) + receiver.webhook(attempts=1)
    server = make_server(text, AIRLOCK_SECRET_ALERTS=SECRET, AIRLOCK_LOG="debug")
    with server.client("key-of-ada") as agent, server.client("key-of-olga") as operator:
        agent.post("/v1/executions", json={"code": "import os\nprint(dict(os.environ))", "lane": "auto"})
        path = "/v1/webhooks/dead-letters"
        eventually(lambda: bool(operator.get(path).json()["letters"]))
        told = operator.get(path).text + agent.get("/v1/policy").text
        with receiver:
            agent.post("/v1/executions", json={"code": "3"})
            eventually(lambda: bool(receiver.letters))
    told += server.log.read_text()
    for hidden in (SECRET, SECRET.removeprefix("whsec_"), "token-in-the-path"):
        assert hidden not in told


def test_a_letter_is_signed_by_the_old_secret_and_the_new(make_server: Callable[..., Server]) -> None:
    with Receiver() as receiver:
        server = make_server(policy() + receiver.webhook(), AIRLOCK_SECRET_ALERTS=f"{SECRET} {OTHER}")
        with server.client() as agent:
            agent.post("/v1/executions", json={"code": "1"})
        eventually(lambda: bool(receiver.letters))
        assert verified(receiver.letters[0]) == verified(receiver.letters[0], OTHER)


def test_letters_for_a_webhook_that_is_gone_are_not_lost_in_silence(make_server: Callable[..., Server]) -> None:
    receiver = Receiver()
    server = started(make_server, receiver.webhook(base="1h"), policy(KEYS))
    with server.client("key-of-ada") as agent:
        agent.post("/v1/executions", json={"code": "1"})
    server.stop()
    assert server.policy is not None
    server.policy.write_text(policy(KEYS))
    server.start()
    with server.client("key-of-olga") as operator:
        eventually(lambda: bool(operator.get("/v1/webhooks/dead-letters").json()["letters"]))
        [letter] = operator.get("/v1/webhooks/dead-letters").json()["letters"]
        assert letter["error"] == "the policy has no such webhook or address"
        assert operator.post(f"/v1/webhooks/dead-letters/{letter['id']}/replay").status_code == 409


@pytest.mark.parametrize("value", ["", "hunter2 whsec_c2hvcnQ="])
def test_without_a_sound_secret_it_does_not_start_and_repeats_nothing(
    make_server: Callable[..., Server], value: str
) -> None:
    with pytest.raises(AssertionError, match="secret") as refused:
        make_server(policy() + Receiver().webhook(), AIRLOCK_SECRET_ALERTS=value)
    assert "hunter2" not in str(refused.value)
    assert "c2hvcnQ" not in str(refused.value)


def test_a_secret_may_come_from_a_file(
    make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("secrets") / "alerts"
    path.write_text(SECRET + "\n")
    with Receiver() as receiver:
        server = make_server(
            policy() + receiver.webhook(secret_env=None, secret_file=str(path)).replace('"secret_env": null, ', "")
        )
        with server.client() as agent:
            agent.post("/v1/executions", json={"code": "1"})
        eventually(lambda: bool(receiver.letters))
        verified(receiver.letters[0])


TARGET = Target(name="t", url="http://x", secrets=(b"",), attempts=8, base=5, cap=43200, timeout=10)


def test_the_waits_grow_sixfold_up_to_their_bound() -> None:
    assert [wait_seconds(TARGET, attempts, 1) for attempts in range(1, 9)] == [
        5,
        30,
        180,
        1080,
        6480,
        38880,
        43200,
        43200,
    ]
    assert wait_seconds(TARGET, 3, 0) == 90, "half of it at least"
    assert wait_seconds(TARGET, 10**9, 0.5) == 32400


@pytest.mark.parametrize("text", ["", "  ", "secret", "whsec_" + "A" * 100, f"{SECRET} x"])
def test_what_is_no_secret_is_told_from_one(text: str) -> None:
    with pytest.raises(SecretError):
        secrets_of(text)
