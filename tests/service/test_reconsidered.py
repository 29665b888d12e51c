"""What waits for a box while the policy changes is decided anew; what was begun is not. Over the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.exporting import ExportAudit
from gateway.policy_file import parse_policy
from tests.conftest import Server
from tests.service.gateways import eventually, running, submit_later
from tests.service.test_audit_export import airlock, exported
from tests.service.test_reload import key, write

pytestmark = pytest.mark.engine

MIB = 1 << 20
PEOPLE = key("ada", "agent") + key("olga", "operator") + key("rita", "reviewer")
ENGINE = "engine: {spares: 0, boxes: 1, queue: 50, queue_age: 300s}\n"
RETRIES = "retries: {base: 10ms, cap: 20ms}"
OLD = (
    f"version: 1\nname: old\n{ENGINE}"
    "defaults: {limits: {time: {default: 60s, max: 60s}, memory: {default: 64Mi, max: 128Mi}},"
    f" lanes: {{monty: false}}, {RETRIES}}}\n"
    "profiles:\n  asked: {review: {when: [above_default]}}\n"
    f"keys:\n{PEOPLE}{key('bob', 'agent')}{key('eve', 'agent')}{key('gus', 'agent')}{key('kim', 'agent', profile='asked')}"
)
NEW = (
    f"version: 1\nname: new\n{ENGINE}ceilings: {{memory: 110Mi}}\n"
    "defaults: {limits: {time: {default: 9s, max: 60s}, memory: {default: 48Mi, max: 70Mi}},"
    f" lanes: {{monty: true}}, checks: {{imports: {{deny: [socket]}}}}, {RETRIES}}}\n"
    "profiles:\n  asked: {}\n  watched: {review: {when: [always]}}\n"
    "  wide: {limits: {memory: {default: 100Mi, max: 100Mi}}}\n"
    f"keys:\n{PEOPLE}{key('eve', 'agent', profile='watched')}{key('gus', 'agent', profile='wide')}"
    f"{key('kim', 'agent', profile='asked')}"
)
View = dict[str, Any]


def digest_of(text: str, profile: str = "default") -> str:
    return parse_policy(text, file="policy.yaml").resolve(profile).digest


def client(server: Server, name: str) -> httpx.Client:
    return server.client(f"key-of-{name}")


def wait_in_line(server: Server, name: str, task: str, code: str = "print('ran')", **more: object) -> str:
    with client(server, name) as caller:
        return submit_later(caller, **{"lane": "container", "code": code, "task_id": task, **more})


def approved(server: Server, task: str, memory: str) -> str:
    """The execution of a reviewer's ruling that a program may have as much as it asks for."""
    with client(server, "kim") as kim, client(server, "rita") as rita:
        body = {"code": "print('ran')", "lane": "container", "task_id": task, "limits": {"memory": memory}}
        review = kim.post("/v1/executions", json=body).json()["task"]["review"]
        ruling = {"token": rita.get(f"/v1/reviews/{review}").json()["token"], "ruling": "approve"}
        return str(rita.post(f"/v1/reviews/{review}/rulings", json=ruling).json()["ruled_execution"])


def hold_the_box(server: Server, seconds: float) -> str:
    with client(server, "ada") as ada:
        first = submit_later(
            ada, code=f"import time\ntime.sleep({seconds})\nprint('held')", lane="container", task_id="first"
        )
        eventually(lambda: running(ada, first))
    return first


def submit_all(server: Server) -> dict[str, str]:
    return {
        "plain": wait_in_line(server, "ada", "plain"),
        "narrowed": wait_in_line(server, "ada", "narrowed", limits={"memory": "100Mi"}),
        "denied": wait_in_line(server, "ada", "denied", "import socket"),
        "light": wait_in_line(server, "ada", "light", "1 + 1", lane="auto"),
        "gone": wait_in_line(server, "bob", "gone"),
        "held": wait_in_line(server, "eve", "held"),
        "wide": wait_in_line(server, "gus", "wide"),
        "ruled": approved(server, "ruled", "80Mi"),
        "ruled too much": approved(server, "ruled-too-much", "120Mi"),
    }


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, View]]]:
    """One program holds the only box, others wait, and the policy changes."""
    data = tmp_path_factory.mktemp("reconsidered")
    (data / "policy.yaml").write_text(OLD)
    server = Server(data, data / "policy.yaml").start()
    try:
        yield server, changed_under_it(server)
    finally:
        server.stop()


def changed_under_it(server: Server) -> dict[str, View]:
    """Every execution as it was answered."""
    first = hold_the_box(server, 20)
    ids = {"first": first, **submit_all(server)}
    write(server, NEW)
    with client(server, "olga") as olga, client(server, "ada") as ada:
        assert olga.post("/v1/policy/reload").status_code == 200
        assert running(ada, first), "the policy changed too late: nothing waits any more"
        waiting = [ada.get(f"/v1/executions/{one}").json() for one in ids.values()]
        assert {one["policy"] for one in waiting} == {digest_of(OLD), digest_of(OLD, "asked")}
        return {name: ada.get(f"/v1/executions/{one}", params={"wait": 60}).json() for name, one in ids.items()}


def test_what_was_begun_keeps_the_policy_that_took_it(story: tuple[Server, dict[str, View]]) -> None:
    first = story[1]["first"]
    assert (first["status"], first["stdout"]) == ("succeeded", "held\n")
    assert (first["policy"], first["limits"]["wall_seconds"]) == (digest_of(OLD), 60)


def test_what_waited_runs_within_the_new_limits_and_its_answer_names_the_new_policy(
    story: tuple[Server, dict[str, View]],
) -> None:
    server, views = story
    plain = views["plain"]
    assert (plain["status"], plain["policy"], plain["policy_name"]) == ("succeeded", digest_of(NEW), "new")
    assert (plain["limits"]["wall_seconds"], plain["limits"]["memory_bytes"]) == (9, 48 * MIB)
    assert plain["attempts"][0]["limits"]["memory_bytes"] == 48 * MIB
    with client(server, "ada") as ada:
        told = ada.get(f"/v1/executions/{plain['id']}/policy").json()
    assert (told["digest"], told["document"]["limits"]["memory"]["max"]) == (digest_of(NEW), 70 * MIB)


def test_a_wider_policy_gives_what_waited_more(story: tuple[Server, dict[str, View]]) -> None:
    wide = story[1]["wide"]
    assert (wide["status"], wide["policy"]) == ("succeeded", digest_of(NEW, "wide"))
    assert [one["limits"]["memory_bytes"] for one in wide["attempts"]] == [100 * MIB]


def test_what_may_run_in_monty_by_now_does(story: tuple[Server, dict[str, View]]) -> None:
    light = story[1]["light"]
    assert (light["status"], light["lane"], light["result"], light["policy"]) == (
        "succeeded",
        "monty",
        2,
        digest_of(NEW),
    )


@pytest.mark.parametrize(
    ("name", "rule", "policy"),
    [
        ("denied", "import.denied", digest_of(NEW)),
        ("narrowed", "limits.changed", digest_of(NEW)),
        ("gone", "key.gone", digest_of(OLD)),
        ("ruled too much", "limits.changed", digest_of(NEW, "asked")),
    ],
)
def test_what_the_new_policy_refuses_never_runs_and_costs_nothing(
    story: tuple[Server, dict[str, View]], name: str, rule: str, policy: str
) -> None:
    view = story[1][name]
    assert (view["status"], view["cause"], view["attempts"]) == ("denied", "policy_changed", [])
    assert rule in {finding["rule"] for finding in view["findings"]}
    assert view["policy"] == policy
    left = view["task"]["budget"]["failures_total"]
    assert left["left"] == left["limit"]


def test_what_the_new_policy_has_a_person_look_at_waits_for_one(story: tuple[Server, dict[str, View]]) -> None:
    view = story[1]["held"]
    assert (view["status"], view["cause"], view["attempts"]) == ("denied", "held", [])
    assert (view["task"]["state"], view["policy"]) == ("in_review", digest_of(NEW, "watched"))


def test_what_a_person_gave_stays_within_the_new_ceilings(story: tuple[Server, dict[str, View]]) -> None:
    view = story[1]["ruled"]
    assert (view["status"], view["policy"]) == ("succeeded", digest_of(NEW, "asked"))
    assert view["limits"]["memory_bytes"] == 80 * MIB, "more than an agent gets by now, and less than the ceiling"


def test_the_record_of_it_is_whole_and_has_both_policies(story: tuple[Server, dict[str, View]]) -> None:
    server, views = story
    verified = airlock(server, "verify")
    assert verified.returncode == 0, verified.stdout
    text, audit = exported(server), ExportAudit()
    for line in text.splitlines(keepends=True):
        audit.line(line)
    audit.end()
    assert audit.flaws == []
    with client(server, "olga") as olga:
        assert olga.get(f"/v1/policies/{digest_of(OLD)}").status_code == 200
    assert f'\\"policy\\":\\"{digest_of(NEW)}\\"' in text
    assert f'\\"before\\":\\"{digest_of(OLD)}\\"' in text
    assert views["plain"]["policy"] == digest_of(NEW)


def test_what_waited_when_the_gateway_died_is_decided_by_the_policy_of_the_next_start(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(OLD)
    first = hold_the_box(server, 3)
    waits = wait_in_line(server, "ada", "waits")
    denied = wait_in_line(server, "ada", "denied", "import socket")
    server.kill()
    assert isinstance(server.policy, Path)
    server.policy.write_text(NEW)
    server.start()
    with client(server, "ada") as ada:
        views = [ada.get(f"/v1/executions/{one}", params={"wait": 60}).json() for one in (first, waits, denied)]
    assert [one["policy"] for one in views] == [digest_of(OLD), digest_of(NEW), digest_of(NEW)]
    assert [one["status"] for one in views] == ["succeeded", "succeeded", "denied"]
    assert airlock(server, "verify").returncode == 0
