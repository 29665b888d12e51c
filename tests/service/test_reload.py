"""Reloads of the policy: what an edit of the file does to a gateway at work, over the real server."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from gateway.policy_file import parse_policy
from tests.conftest import Server
from tests.service.gateways import eventually

REQUESTS, RELOADS = 1_000, 20
Make = Callable[..., Server]


def key(name: str, role: str, secret: str | None = None, profile: str = "default") -> str:
    digest = hashlib.sha256((secret or f"key-of-{name}").encode()).hexdigest()
    return f"  - {{name: {name}, sha256: {digest}, tenant: t, profile: {profile}, roles: [{role}]}}\n"


KEYS = key("ada", "agent") + key("olga", "operator")


def policy(name: str = "first", defaults: str = "", keys: str = KEYS, more: str = "") -> str:
    return f"version: 1\nname: {name}\n{more}defaults: {{{defaults}}}\nkeys:\n{keys}"


def digest_of(text: str) -> str:
    return parse_policy(text, file="policy.yaml").resolve("default").digest


def file_of(server: Server) -> Path:
    assert server.policy is not None
    return server.policy


def write(server: Server, text: str) -> None:
    """As an editor does: another file takes the name."""
    beside = file_of(server).with_suffix(".new")
    beside.write_text(text)
    beside.replace(file_of(server))


def ada(server: Server) -> httpx.Client:
    return server.client("key-of-ada")


def olga(server: Server) -> httpx.Client:
    return server.client("key-of-olga")


def reload(server: Server, text: str) -> httpx.Response:
    write(server, text)
    with olga(server) as client:
        return client.post("/v1/policy/reload")


def stamped(server: Server, code: str = "1") -> str:
    with ada(server) as client:
        return str(client.post("/v1/executions", json={"code": code}).json()["policy"])


def in_force(server: Server) -> str:
    with ada(server) as client:
        return str(client.get("/v1/policy").json()["name"])


def test_a_changed_file_is_in_force_within_seconds_without_a_word(make_server: Make) -> None:
    server = make_server(policy())
    write(server, policy("second"))
    eventually(lambda: in_force(server) == "second")


def test_a_link_that_points_elsewhere_counts_as_a_change(make_server: Make, tmp_path: Path) -> None:
    """As Kubernetes swaps the files of a ConfigMap: `..data` points to another directory."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(policy(name))
    data = tmp_path / "..data"
    data.symlink_to("one")
    server = make_server(policy(), AIRLOCK_POLICY=str(data / "policy.yaml"))
    assert in_force(server) == "one"
    beside = tmp_path / "..data_tmp"
    beside.symlink_to("two")
    beside.replace(data)
    eventually(lambda: in_force(server) == "two")


def test_the_same_text_again_is_no_reload(make_server: Make) -> None:
    server = make_server(policy())
    write(server, policy())
    os.utime(file_of(server))
    time.sleep(3.5)  # three looks at the file
    with olga(server) as client:
        assert client.get("/v1/policy").json()["file"]["last_reload"] is None


def test_sighup_reads_the_file_again(make_server: Make) -> None:
    server = make_server(policy())
    write(server, policy("second"))
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: in_force(server) == "second")
    with olga(server) as client:
        assert client.get("/v1/policy").json()["file"]["last_reload"]["loaded"]


def test_an_operator_reloads_and_reads_what_is_in_force(make_server: Make) -> None:
    server = make_server(policy())
    text = policy("second", "limits: {time: {default: 7s}}", more="engine: {boxes: 3, queue: 9}\n")
    done = reload(server, text)
    assert done.status_code == 200
    told = done.json()
    assert (told["name"], told["loaded"], told["why"]) == ("second", True, "request")
    assert told["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert told["restart_needed"] == ["engine.boxes"], "and not engine.queue, which is in force"
    assert stamped(server) == digest_of(text)
    with olga(server) as client, ada(server) as agent:
        assert client.get("/v1/policy").json()["file"]["sha256"] == told["sha256"]
        assert agent.get("/v1/policy").json()["file"] is None
        assert agent.post("/v1/policy/reload").status_code == 403
        hash_ = f'hash="{told["sha256"]}"'
        assert any(
            line.startswith("airlock_policy_file_info{") and hash_ in line
            for line in client.get("/metrics").text.splitlines()
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (policy("cut").partition("keys:")[0], "no keys any more"),
        ("version: 1\ndefaults: {limts: {}}\n", "policy.yaml:2:12: defaults.limts: unknown key (did you mean limits?)"),
        (policy(more='webhooks: [{name: w, url: "https://h/", secret_env: NOBODY_SET_THIS}]\n'), "NOBODY_SET_THIS"),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing_but_what_is_told(make_server: Make, text: str, says: str) -> None:
    server = make_server(policy())
    before = stamped(server)
    refused = reload(server, text)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:airlock:problem:policy-refused"
    assert stamped(server) == before
    with olga(server) as client:
        assert client.get("/readyz").json()["ready"]
        assert "airlock_policy_reload_failures_total 1.0" in client.get("/metrics").text
        last = client.get("/v1/policy").json()["file"]["last_reload"]
    assert (last["loaded"], last["sha256"]) == (False, hashlib.sha256(text.encode()).hexdigest())
    first = last["problems"][0]
    assert str(file_of(server).parent) not in json.dumps(last)
    assert says in server.log.read_text()
    if first["path"]:
        told = f"{first['file']}:{first['line']}:{first['column']}: {first['path']}: {first['message']}"
        assert f"{told} (did you mean {first['suggestion']}?)" == says
        error = refused.json()["errors"][0]
        assert error == {"field": "policy.yaml:2:12", "message": "defaults.limts: unknown key"}


def test_a_policy_whose_own_tests_do_not_hold_is_not_put_in_force(make_server: Make) -> None:
    server = make_server(policy())
    tests = file_of(server).with_name("policy.tests.yaml")
    tests.write_text(
        "version: 1\ncases:\n  - name: nobody opens sockets\n    as: ada\n"
        "    request: {code: import socket}\n    expect: {decision: denied}\n"
    )
    refused = reload(server, policy("second"))
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {
            "field": "policy.tests.yaml:6:24",
            "message": "cases[0].expect.decision: 'nobody opens sockets': it is admitted, not denied",
        }
    ]
    assert in_force(server) == "first"
    assert reload(server, policy("third", "checks: {imports: {deny: [socket]}}")).status_code == 200


def test_a_key_that_is_gone_is_gone_at_once_and_those_that_stay_keep_their_pace(make_server: Make) -> None:
    slow = "rates: {requests: 1, burst: 3}"
    server = make_server(policy(defaults=slow))
    with ada(server) as client:
        while client.get("/v1/policy").status_code == 200:
            pass
        write(server, policy("second", slow, KEYS + key("eve", "operator")))
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        with server.client("key-of-eve") as eve:
            eventually(lambda: eve.get("/v1/policy").status_code != 401)
        refused = client.get("/v1/policy")
        assert (refused.status_code, refused.json()["limit"]) == (429, "rates.requests"), "what was asked counts on"
        write(server, policy("third", slow, key("olga", "operator")))
        with olga(server) as operator:
            assert operator.post("/v1/policy/reload").status_code == 200
        assert client.get("/v1/policy").status_code == 401


def test_new_rates_bind_keys_that_stay(make_server: Make) -> None:
    server = make_server(policy())
    assert in_force(server) == "first"
    assert reload(server, policy("second", "rates: {requests: 1, burst: 1}")).status_code == 200
    with ada(server) as client:
        assert [client.get("/v1/policy").status_code for _ in range(3)][-1] == 429


@pytest.mark.engine
def test_what_a_key_that_is_gone_waits_for_it_does_not_get(make_server: Make) -> None:
    server = make_server(policy(more="engine: {spares: 0}\n"))
    with ada(server) as client, ThreadPoolExecutor() as pool:
        code = "import time\nfor n in range(400):\n    print('tick', flush=True)\n    time.sleep(0.1)"
        made = client.post("/v1/executions", json={"code": code}, headers={"Prefer": "respond-async"}).json()["id"]
        heard: list[str] = []

        def listen() -> None:
            with ada(server) as caller, caller.stream("GET", f"/v1/executions/{made}/events") as stream:
                heard.extend(line for line in stream.iter_lines() if line)

        def poll() -> int:
            with ada(server) as caller:
                return caller.get(f"/v1/executions/{made}", params={"wait": 3}).status_code

        listening = pool.submit(listen)
        polling = pool.submit(poll)
        eventually(lambda: sum("tick" in line for line in heard) > 2)
        assert reload(server, policy("second", keys=key("olga", "operator"))).status_code == 200
        listening.result(30)
        assert not any(line == "event: finished" for line in heard)
        assert polling.result(30) == 401


def test_no_request_fails_because_of_reloads_and_each_is_stamped_with_a_policy_in_force(make_server: Make) -> None:
    """1,000 requests during 20 reloads, a third of them of files that cannot be used."""
    server = make_server(policy("p0", "limits: {time: {default: 1s}}"))
    first = digest_of(file_of(server).read_text())
    spans: list[tuple[float, float, str]] = []  # of time, in which one policy may have been in force, and its digest

    def submit(number: int) -> list[tuple[float, float, httpx.Response]]:
        done = []
        with ada(server) as client:
            for one in range(REQUESTS // 4):
                began = time.monotonic()
                answer = client.post("/v1/executions", json={"code": f"{number} * {one}", "task_id": f"t{number}"})
                done.append((began, time.monotonic(), answer))
        return done

    with ThreadPoolExecutor(4) as pool, olga(server) as operator:
        working = [pool.submit(submit, number) for number in range(4)]
        marks = [(0.0, 0.0, first)]
        for number in range(1, RELOADS + 1):
            text = policy(f"p{number}", f"limits: {{time: {{default: {number + 1}s}}}}")
            bad = number % 3 == 0
            write(server, "version: 1\nnonsense: 1\n" if bad else text)
            began = time.monotonic()
            answer = operator.post("/v1/policy/reload")
            assert answer.status_code == (422 if bad else 200), answer.text
            if not bad:
                marks.append((began, time.monotonic(), digest_of(text)))
        answers = [one for some in working for one in some.result()]
    for (_, _, digest), (_, until, _) in pairwise([*marks, (0.0, float("inf"), "")]):
        since = next(began for began, _, one in marks if one == digest)
        spans.append((since, until, digest))
    assert len(answers) == REQUESTS
    assert {answer.status_code for *_, answer in answers} == {200}
    assert {answer.json()["status"] for *_, answer in answers} == {"succeeded"}
    for began, ended, answer in answers:
        allowed = {digest for since, until, digest in spans if since <= ended and began <= until}
        assert answer.json()["policy"] in allowed
    assert len({answer.json()["policy"] for *_, answer in answers}) > 2, "the requests did not come during the reloads"
