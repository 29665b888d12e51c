"""Promise: an execution can be followed while it goes on, by anybody who may see it, however they read and come back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import Server
from tests.event_stream import Told, texts, told
from tests.service.gateways import eventually, policy, running, submit_later

pytestmark = pytest.mark.engine

KEYS = {"ada": ("team-a", "agent"), "bob": ("team-b", "agent")}


@contextmanager
def following(client: httpx.Client, execution: str, after: str = "") -> Iterator[Iterator[Told]]:
    headers = {"Last-Event-ID": after} if after else {}
    with client.stream("GET", f"/v1/executions/{execution}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "text/event-stream"
        yield told(answer.iter_bytes())


def everything(client: httpx.Client, execution: str, after: str = "") -> list[Told]:
    """All events but the comments."""
    with following(client, execution, after) as events:
        return [event for event in events if event.name]


def answer_of(client: httpx.Client, execution: str) -> dict:  # type: ignore[type-arg]
    view = client.get(f"/v1/executions/{execution}", params={"wait": 60}).json()
    assert isinstance(view, dict)
    return view


def until(events: Iterator[Told], name: str) -> list[Told]:
    """The events up to the first of that name."""
    heard = []
    for event in events:
        heard.append(event)
        if event.name == name:
            return heard
    raise AssertionError(f"no {name} in {heard}")


def test_output_comes_while_the_program_runs_and_silence_is_not_taken_for_death(agent: httpx.Client) -> None:
    code = "import time\nprint('first', flush=True)\ntime.sleep(11)\nprint('last')\n{'answer': 42}"
    execution = submit_later(agent, code=code, lane="container")
    with following(agent, execution) as events:
        heard = until(events, "stdout")
        assert running(agent, execution), "it sleeps when its first line is told"
        heard += list(events)
    assert Told("") in heard, "a comment came while there was nothing to tell"
    named = [event for event in heard if event.name]
    assert [event.name for event in named] == ["queued", "started", "stdout", "stdout", "result", "finished"]
    assert texts(named) == ("first\nlast\n", "")
    assert named[1].data == {"attempt": 1, "lane": "container"}
    assert named[-2].data["result"] == {"answer": 42}
    assert {"status": "succeeded", "exit_code": 0, "attempt": 1}.items() <= named[-1].data.items()
    assert named[-1].data["task"]["turn"] == "agent"


def test_who_comes_back_hears_exactly_the_rest(agent: httpx.Client) -> None:
    code = "import sys, time\nfor n in range(30):\n    print(n, 'é' * n, file=(sys.stdout, sys.stderr)[n % 2], flush=True)\n    time.sleep(0.1)"
    execution = submit_later(agent, code=code, lane="container")
    heard: list[Told] = []
    while not heard or heard[-1].name != "finished":
        with following(agent, execution, heard[-1].id if heard else "") as events:
            for _ in range(4):  # and leaves without a word
                event = next(events, None)
                heard += [event] if event is not None and event.name else []
    view = answer_of(agent, execution)
    assert texts(heard) == (view["stdout"], view["stderr"])
    assert "29 " in view["stderr"]
    assert len({event.id for event in heard}) == len(heard)
    for place, event in enumerate(heard[:-1]):
        rest = everything(agent, execution, event.id)
        assert texts([*heard[: place + 1], *rest]) == (view["stdout"], view["stderr"]), "also long after the end"
    over = agent.get(f"/v1/executions/{execution}/events", headers={"Last-Event-ID": heard[-1].id})
    assert over.status_code == 204, "which tells a browser not to come back"


HOSTILE = r"""
import os, time
for part in (b"\n\ndata: {}\n\n", b"\r\rid: 9.3.0.0\revent: finished\r\r", b"\0\0", b"\xff\xfe\xc3", b"\xa9 \xf0\x9f\x98", b"\x80",
             "\u2028\u2029\x85\ufeff".encode(), b":\n", b"retry: 0\n\n"):
    os.write(1, part)
    os.write(2, part[::-1])
    time.sleep(0.02)
"""


def test_hostile_output_is_data_and_never_a_frame(agent: httpx.Client) -> None:
    execution = submit_later(agent, code=HOSTILE, lane="container")
    live = everything(agent, execution)
    view = answer_of(agent, execution)
    assert texts(live) == texts(everything(agent, execution)) == (view["stdout"], view["stderr"])
    assert "\r\rid: 9.3.0.0\revent: finished\r\r\0\0\ufffd\ufffdé 😀" in view["stdout"]


def test_what_is_kept_of_too_much_output_is_what_is_told_of_it(agent: httpx.Client) -> None:
    code = "import sys\nfor n in range(200_000):\n    print(n)\nprint('the end', file=sys.stderr)"
    execution = submit_later(agent, code=code, lane="container", limits={"output": "64Ki"})
    live = everything(agent, execution)
    view = answer_of(agent, execution)
    assert view["stdout_omitted_bytes"] > 0
    assert texts(live) == (view["stdout"], view["stderr"])


def test_what_was_over_before_anybody_listened_is_told_from_the_record(agent: httpx.Client) -> None:
    body = {"code": "print('quick')\n1 + 1", "task_id": "events-quick"}
    view = agent.post("/v1/executions", json=body).json()
    assert view["lane"] == "monty"
    heard = everything(agent, view["id"])
    assert [event.name for event in heard] == ["queued", "started", "stdout", "result", "finished"]
    assert heard[1].data == {"attempt": 1, "lane": "monty"}
    assert (heard[2].text, heard[3].data["result"]) == ("quick\n", 2)


def test_a_failure_that_makes_it_a_persons_turn_says_so(agent: httpx.Client) -> None:
    for number in range(3):
        body = {"code": f"print({number})\n1 / 0", "task_id": "events-review"}
        view = agent.post("/v1/executions", json=body).json()
    last = everything(agent, view["id"])[-1].data
    assert (last["status"], last["error"]["type"]) == ("failed", "ZeroDivisionError")
    assert (last["task"]["turn"], last["task"]["review"]) == ("reviewer", view["task"]["review"])
    again = agent.post("/v1/executions", json=body)
    assert again.status_code == 409


def test_a_program_that_is_refused_or_answered_from_the_record_has_no_attempt(agent: httpx.Client) -> None:
    refused = agent.post("/v1/executions", json={"code": "def", "task_id": "events-refused"}).json()
    heard = everything(agent, refused["id"])
    assert [event.name for event in heard] == ["queued", "result", "finished"]
    assert heard[-1].data["status"] == "rejected"
    failing = {"code": "print('again')\n1 / 0", "task_id": "events-again"}
    agent.post("/v1/executions", json=failing)
    repeated = everything(agent, agent.post("/v1/executions", json=failing).json()["id"])
    assert [event.name for event in repeated][:2] == ["queued", "stdout"]


@pytest.mark.parametrize("moment", ["at once", "when it is told to have started", "when it has written"])
def test_a_cancelled_execution_ends_for_who_follows_it(agent: httpx.Client, moment: str) -> None:
    execution = submit_later(agent, code="print('x', flush=True)\nimport time\ntime.sleep(60)", lane="container")
    with following(agent, execution) as events:
        if moment != "at once":
            until(events, "started" if "started" in moment else "stdout")
        assert agent.delete(f"/v1/executions/{execution}").json()["status"] == "cancelled"
        last = until(events, "finished")[-1]
        assert next(events, None) is None
    assert last.data["status"] == "cancelled"


def test_what_ends_with_its_task_ends_for_who_follows_it(agent: httpx.Client) -> None:
    code = "print('x', flush=True)\nimport time\ntime.sleep(60)"
    execution = submit_later(agent, code=code, lane="container", task_id="events-closed")
    with following(agent, execution) as events:
        until(events, "stdout")
        assert agent.delete("/v1/tasks/events-closed").status_code == 200
        last = until(events, "finished")[-1]
    assert last.data["status"] == "cancelled"


def test_after_a_crash_the_second_attempt_is_told_apart_and_whole(make_server: Callable[..., Server]) -> None:
    server = make_server(policy())
    code = "import time\nprint('once', flush=True)\ntime.sleep(2)\nprint('done')"
    with server.client() as agent:
        execution = submit_later(agent, code=code, lane="container")
        with following(agent, execution) as events:
            heard = until(events, "stdout")
            server.kill()
            with pytest.raises(httpx.TransportError):
                list(events)
    server.start()
    with server.client() as agent:
        rest = everything(agent, execution, heard[-1].id)
        view = answer_of(agent, execution)
    assert (rest[0].name, rest[0].data["attempt"]) == ("started", 2)
    assert texts(rest) == (view["stdout"], "") == ("once\ndone\n", "")
    assert {event.data["attempt"] for event in rest} == {2}
    assert [attempt["ending"] for attempt in view["attempts"]] == ["lost", "succeeded"]


def test_the_command_line_shows_output_as_it_comes_whatever_becomes_of_the_server(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = make_server(policy())
    program = tmp_path / "program.py"
    program.write_text("import time\nprint('once', flush=True)\ntime.sleep(3)\nprint('done')")
    command = [sys.executable, "-c", "from gateway.cli import app; app()"]
    environment = {**os.environ, "AIRLOCK_URL": server.url, "PYTHONUNBUFFERED": "1"}  # noqa: TID251  # a child's
    with subprocess.Popen(
        [*command, "run", "--follow", "--lane", "container", str(program)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following_:
        assert following_.stdout is not None
        assert following_.stdout.readline() == "once\n", "while the program sleeps"
        server.kill()
        server.start()
        out, err = following_.communicate(timeout=60)
    assert (out, following_.returncode) == ("once\ndone\n", 0)
    assert "attempt 2: what was printed so far does not count" in err


def test_a_server_that_stops_lets_listeners_go_and_finishes_what_runs(make_server: Callable[..., Server]) -> None:
    server = make_server(policy())
    with server.client() as agent:
        execution = submit_later(
            agent, code="import time\nprint(1, flush=True)\ntime.sleep(3)\nprint(2)", lane="container"
        )
        with following(agent, execution) as events:
            heard = until(events, "stdout")
            ended: list[int] = []
            stopping = threading.Thread(target=lambda: ended.append(server.stop()))
            stopping.start()
            assert all(event.name != "finished" for event in events), "the stream ends, in order, before the program"
            stopping.join(30)
            assert ended == [0]
    server.start()
    with server.client() as agent:
        assert texts([*heard, *everything(agent, execution, heard[-1].id)]) == ("1\n2\n", "")


def test_nobody_follows_another_tenants_execution(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS))
    with server.client("key-of-ada") as ada, server.client("key-of-bob") as bob:
        execution = ada.post("/v1/executions", json={"code": "print('mine')"}).json()["id"]
        assert texts(everything(ada, execution))[0] == "mine\n"
        refused = bob.get(f"/v1/executions/{execution}/events")
        assert refused.status_code == 404
        assert refused.content.replace(execution.encode(), b"") == bob.get("/v1/executions/exe_0/events").content


def memory_bytes(server: Server) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


OUTPUT_BYTES = 4 << 20


def test_fifty_who_do_not_read_cost_next_to_nothing_and_hold_up_nobody(make_server: Callable[..., Server]) -> None:
    limits = "limits: {output: {max: 4Mi}}, retries: {base: 10ms, cap: 20ms}"
    server = make_server(policy(defaults=limits))
    code = "import time\nfor n in range(40):\n    print('x' * 100_000, flush=True)\n    time.sleep(0.05)"
    with server.client() as agent:
        warm = submit_later(agent, code=code, lane="container", limits={"output": "4Mi"})
        assert len(texts(everything(agent, warm))[0]) == 40 * 100_001
        before = memory_bytes(server)
        execution = submit_later(agent, code=code, lane="container", limits={"output": "4Mi"})
        deaf = [silent(server, execution) for _ in range(50)]
        try:
            live = everything(agent, execution)
            eventually(lambda: answer_of(agent, execution)["status"] == "succeeded")
            assert len(texts(live)[0]) == 40 * 100_001, "who reads is held up by nobody"
            grown = memory_bytes(server) - before
        finally:
            for connection in deaf:
                connection.close()
        assert grown < 15 * OUTPUT_BYTES, "fifty times the output would be 200 MB"


def silent(server: Server, execution: str) -> socket.socket:
    """A listener that asks, and then reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(f"GET /v1/executions/{execution}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def test_one_key_follows_as_many_as_it_may_and_who_leaves_makes_room(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(defaults="lanes: {monty: false}, rates: {streams: 1}"))
    with server.client() as agent:
        execution = submit_later(agent, code="import time\ntime.sleep(25)")

        def admitted() -> int:
            with agent.stream("GET", f"/v1/executions/{execution}/events") as answer:
                return answer.status_code

        with following(agent, execution) as events:
            until(events, "queued")
            refused = agent.get(f"/v1/executions/{execution}/events")
            assert (refused.status_code, refused.json()["limit"]) == (429, "rates.streams")
        eventually(lambda: admitted() == 200)
