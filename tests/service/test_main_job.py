"""The main job over HTTP, on real code and real containers: run it, tell the truth, count its failures, ask a person."""

from __future__ import annotations

import concurrent.futures
import time
from typing import Final, TypeAlias

import httpx
import pytest

pytestmark = pytest.mark.engine

Json: TypeAlias = "dict[str, object]"
_counter = iter(range(10**6))
FAILING: Final = ("1 / 0\n", "{}['missing']\n", "raise RuntimeError('third')\n")


def task() -> str:
    return f"main-job-{next(_counter)}"


def post(client: httpx.Client, code: str, **fields: object) -> httpx.Response:
    return client.post("/v1/executions", json={"code": code, "task_id": task(), **fields})


def run(client: httpx.Client, code: str, **fields: object) -> dict:  # type: ignore[type-arg]
    response = post(client, code, **fields)
    assert response.status_code == 200, response.text
    answer: dict = response.json()  # type: ignore[type-arg]
    return answer


@pytest.mark.parametrize("lane", ["monty", "container"])
def test_a_program_is_answered_with_its_output_and_its_value(agent: httpx.Client, lane: str) -> None:
    answer = run(agent, "print('hello')\n6 * 7", lane=lane)
    assert (answer["status"], answer["lane"]) == ("succeeded", lane)
    assert (answer["stdout"], answer["result"], answer["result_form"]) == ("hello\n", 42, "json")
    assert answer["exit_code"] == 0
    assert answer["next_actions"] == ["continue"]


def test_simple_code_runs_in_monty_and_the_rest_in_a_container(agent: httpx.Client) -> None:
    assert run(agent, "print(1 + 1)")["lane"] == "monty"
    assert run(agent, "import socket\nprint(socket.AF_INET)")["lane"] == "container"


@pytest.mark.parametrize("lane", ["monty", "container"])
def test_inputs_are_variables(agent: httpx.Client, lane: str) -> None:
    answer = run(agent, "[name.upper(), count + 1]", inputs={"name": "ada", "count": 2}, lane=lane)
    assert answer["result"] == ["ADA", 3]


def test_what_has_no_json_form_comes_back_as_its_repr(agent: httpx.Client) -> None:
    answer = run(agent, "{1, 2} | {3}")
    assert (answer["result"], answer["result_form"]) == ("{1, 2, 3}", "repr")


def test_stdin_args_env_and_files_go_in_and_files_come_out(agent: httpx.Client) -> None:
    code = (
        "import os, sys, pathlib\n"
        "data = pathlib.Path('in/data.bin').read_bytes()\n"
        "pathlib.Path('out').mkdir()\n"
        "pathlib.Path('out/copy.bin').write_bytes(data[::-1])\n"
        "pathlib.Path('out/note.txt').write_text('ünïcode')\n"
        "print(input(), sys.argv, os.environ['COLOUR'])\n"
    )
    files = [{"path": "in/data.bin", "content": "AAH/", "encoding": "base64"}]
    answer = run(agent, code, stdin="a line\n", args=["x"], env={"COLOUR": "red"}, files=files, outputs=["out/*"])
    assert answer["stdout"] == "a line ['main.py', 'x'] red\n"
    copy, note = answer["files"]
    assert (copy["path"], copy["content"], copy["encoding"]) == ("out/copy.bin", "/wEA", "base64")
    assert (note["path"], note["content"], note["encoding"]) == ("out/note.txt", "ünïcode", "utf8")
    assert agent.get(copy["href"]).content == b"\xff\x01\x00"


def test_an_error_is_shown_as_the_programs_own_source_shows_it(agent: httpx.Client) -> None:
    answer = run(agent, "def inner():\n    return 1 / zero\n\nzero = 0\ninner()\n", lane="container")
    error = answer["error"]
    assert (answer["status"], answer["exit_code"]) == ("failed", 1)
    assert (error["type"], error["message"], error["line"]) == ("ZeroDivisionError", "division by zero", 2)
    assert 'File "main.py", line 5, in <module>' in error["traceback"]
    assert 'File "main.py", line 2, in inner\n    return 1 / zero' in error["traceback"]
    assert answer["stderr"].rstrip() == error["traceback"].rstrip()


def test_a_missing_module_is_told_with_what_to_do(agent: httpx.Client) -> None:
    error = run(agent, "import numpy\n")["error"]
    assert error["type"] == "ModuleNotFoundError"
    assert "network" in error["hint"]


def test_what_is_not_python_costs_a_failure_and_starts_no_box(agent: httpx.Client) -> None:
    answer = run(agent, "def broken(:\n    pass\n")
    assert (answer["status"], answer["error"]["type"], answer["error"]["line"]) == ("rejected", "SyntaxError", 1)
    assert answer["attempts"] == []
    assert answer["task"]["budget"]["failures_in_a_row"]["left"] == 2


def test_a_name_that_cannot_exist_is_fixed_first_unless_forced(agent: httpx.Client) -> None:
    code = "print(undefined_thing)\n"
    answer = run(agent, code)
    assert (answer["status"], answer["error"]["type"]) == ("rejected", "NameError")
    assert "use_force" in answer["next_actions"]
    forced = run(agent, code, force=True)
    assert (forced["status"], forced["error"]["type"]) == ("failed", "NameError")


def test_a_busy_loop_is_stopped_at_its_limit(agent: httpx.Client) -> None:
    answer = run(agent, "print('begun', flush=True)\nwhile True:\n    pass\n", limits={"time": "2s"})
    assert (answer["status"], answer["stdout"]) == ("timed_out", "begun\n")
    assert 2 <= answer["usage"]["wall_seconds"] < 3
    assert answer["exit_code"] is None


def test_too_much_memory_is_told_as_such(agent: httpx.Client) -> None:
    answer = run(agent, "data = bytearray(1 << 30)\n", limits={"memory": "128Mi"}, lane="container")
    assert answer["status"] == "out_of_memory"
    assert "memory" in answer["error"]["hint"]


def test_a_fork_bomb_is_contained_and_the_next_program_is_none_the_worse(agent: httpx.Client) -> None:
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    assert run(agent, bomb, limits={"time": "2s"})["status"] == "timed_out"
    assert run(agent, "print('well')", lane="container")["stdout"] == "well\n"


def test_a_flood_of_output_keeps_its_head_and_tail_and_tells_what_is_missing(agent: httpx.Client) -> None:
    size = 100_000_000
    code = f"import sys\nsys.stdout.write('HEAD' + 'x' * {size - 8} + 'TAIL')\n"
    answer = run(agent, code, limits={"memory": "512Mi"}, lane="container")
    kept = len(answer["stdout"].replace(f"\n[... {answer['stdout_omitted_bytes']} bytes omitted ...]\n", ""))
    assert answer["status"] == "output_limit_exceeded"
    assert answer["stdout"].startswith("HEAD")
    assert answer["stdout"].endswith("TAIL")
    assert kept + answer["stdout_omitted_bytes"] == size == answer["usage"]["stdout_bytes"]


def test_nothing_outside_can_be_reached_and_nothing_of_the_gateway_is_seen(agent: httpx.Client) -> None:
    code = (
        "import os, socket\n"
        "try:\n    socket.create_connection(('192.0.2.1', 80), 2)\n"
        "except OSError as error:\n    print('refused')\n"
        "print(sorted(name for _, name in socket.if_nameindex()) if False else open('/proc/net/dev').read().count(':'))\n"
        "print([name for name in os.environ if 'AIRLOCK' in name or 'DOCKER' in name])\n"
    )
    assert run(agent, code)["stdout"] == "refused\n1\n[]\n"


def test_a_waiting_caller_may_turn_away_and_come_back(agent: httpx.Client) -> None:
    body = {"code": "import time\ntime.sleep(1.5)\nprint('late')", "task_id": task()}
    accepted = agent.post("/v1/executions", json=body, headers={"Prefer": "wait=0"})
    assert accepted.status_code == 202
    assert accepted.json()["status"] in {"queued", "running"}
    answer = agent.get(accepted.headers["Location"], params={"wait": 20}).json()
    assert (answer["status"], answer["stdout"]) == ("succeeded", "late\n")


def test_one_idempotency_key_is_one_execution(agent: httpx.Client) -> None:
    body = {"code": "import os\nos.urandom(8).hex()", "task_id": task()}
    headers = {"Idempotency-Key": task()}

    def send(_: int) -> httpx.Response:
        return agent.post("/v1/executions", json=body, headers=headers)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [response.json() for response in pool.map(send, range(8))]
    assert len({answer["id"] for answer in answers}) == 1
    assert len({answer["result"] for answer in answers}) == 1
    other = agent.post("/v1/executions", json={**body, "code": "1"}, headers=headers)
    assert (other.status_code, other.json()["type"].rpartition(":")[2]) == (422, "idempotency-mismatch")


def test_a_cancelled_execution_ends_at_once_and_costs_nothing(agent: httpx.Client) -> None:
    name = task()
    body = {"code": "import time\ntime.sleep(25)", "task_id": name}
    accepted = agent.post("/v1/executions", json=body, headers={"Prefer": "wait=1"}).json()
    began = time.monotonic()
    answer = agent.delete(f"/v1/executions/{accepted['id']}").json()
    assert answer["status"] == "cancelled"
    assert time.monotonic() - began < 5
    assert agent.get(f"/v1/tasks/{name}").json()["budget"]["failures_total"]["left"] == 12


def test_the_same_failing_program_is_answered_from_the_record_and_charged(agent: httpx.Client) -> None:
    name = task()
    first = run(agent, "1 / 0\n", task_id=name)
    again = run(agent, "1 / 0\n", task_id=name)
    assert (again["source"], again["repeats"], again["error"]) == ("record", first["id"], first["error"])
    assert again["task"]["budget"]["failures_total"]["left"] == 10


def test_a_success_in_between_resets_the_row(agent: httpx.Client) -> None:
    name = task()
    run(agent, FAILING[0], task_id=name)
    run(agent, FAILING[1], task_id=name)
    budget = run(agent, "print('better')", task_id=name)["task"]["budget"]
    assert budget["failures_in_a_row"] == {"left": 3, "limit": 3}
    assert budget["failures_total"]["left"] == 10


def fail_until_review(agent: httpx.Client, name: str) -> dict:  # type: ignore[type-arg]
    *_, last = (run(agent, code, task_id=name) for code in FAILING)
    return last


def test_the_spent_budget_opens_a_review_and_the_task_waits_for_the_reviewer(agent: httpx.Client) -> None:
    name = task()
    last = fail_until_review(agent, name)
    assert (last["status"], last["task"]["state"], last["task"]["turn"]) == ("failed", "in_review", "reviewer")
    assert last["next_actions"] == ["wait", "close_task"]
    fourth = post(agent, "print('please')", task_id=name)
    problem = fourth.json()
    assert (fourth.status_code, problem["turn"], problem["review"]) == (409, "reviewer", last["task"]["review"])


def test_a_reviewers_edit_runs_and_reaches_the_agent_that_waits(agent: httpx.Client, reviewer: httpx.Client) -> None:
    name = task()
    review_id = fail_until_review(agent, name)["task"]["review"]
    review = reviewer.get(f"/v1/reviews/{review_id}").json()
    assert [one["code"] for one in review["tries"]] == list(FAILING)
    assert review["tries"][2]["diff"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.get, f"/v1/tasks/{name}", params={"wait": 30})
        time.sleep(0.3)
        assert not waiting.done()
        ruling = {"token": review["token"], "ruling": "approve_edited", "code": "print('mended')\n[1]"}
        ruled = reviewer.post(f"/v1/reviews/{review_id}/rulings", json=ruling)
        assert ruled.status_code == 200, ruled.text
        view = waiting.result().json()
    assert (view["state"], view["turn"]) == ("open", "agent")
    assert (view["latest"]["stdout"], view["latest"]["result"]) == ("mended\n", [1])
    assert view["latest"]["of"] == review["execution"]
    assert view["budget"]["failures_in_a_row"]["left"] == 3


def test_a_stale_token_is_412_and_a_second_ruling_409(agent: httpx.Client, reviewer: httpx.Client) -> None:
    review_id = fail_until_review(agent, task())["task"]["review"]
    rulings = f"/v1/reviews/{review_id}/rulings"
    token = reviewer.get(f"/v1/reviews/{review_id}").json()["token"]
    stale = reviewer.post(rulings, json={"token": "0" * 64, "ruling": "approve"})
    assert stale.status_code == 412
    assert reviewer.post(rulings, json={"token": token, "ruling": "grant", "failures": 1}).status_code == 200
    assert reviewer.post(rulings, json={"token": token, "ruling": "grant", "failures": 1}).status_code == 409


def test_of_many_reviewers_at_once_one_wins(agent: httpx.Client, reviewer: httpx.Client) -> None:
    review_id = fail_until_review(agent, task())["task"]["review"]
    token = reviewer.get(f"/v1/reviews/{review_id}").json()["token"]

    def rule(_: int) -> int:
        ruling = {"token": token, "ruling": "reject", "message": "no"}
        return reviewer.post(f"/v1/reviews/{review_id}/rulings", json=ruling).status_code

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(rule, range(10))) == [200, *[409] * 9]


def test_a_rejection_reaches_the_agent_and_ends_the_task(agent: httpx.Client, reviewer: httpx.Client) -> None:
    name = task()
    review_id = fail_until_review(agent, name)["task"]["review"]
    token = reviewer.get(f"/v1/reviews/{review_id}").json()["token"]
    ruling = {"token": token, "ruling": "reject", "message": "Use the other data."}
    reviewer.post(f"/v1/reviews/{review_id}/rulings", json=ruling)
    view = agent.get(f"/v1/tasks/{name}").json()
    assert (view["state"], view["closed_reason"], view["message"]) == ("closed", "rejected", "Use the other data.")
    assert post(agent, "print()", task_id=name).status_code == 409


def test_an_answer_of_a_person_is_marked_as_such(agent: httpx.Client, reviewer: httpx.Client) -> None:
    name = task()
    review_id = fail_until_review(agent, name)["task"]["review"]
    token = reviewer.get(f"/v1/reviews/{review_id}").json()["token"]
    ruling = {"token": token, "ruling": "answer", "result": {"total": 7}}
    reviewer.post(f"/v1/reviews/{review_id}/rulings", json=ruling)
    latest = agent.get(f"/v1/tasks/{name}").json()["latest"]
    assert (latest["status"], latest["source"], latest["result"]) == ("succeeded", "human", {"total": 7})


def test_no_ruling_passes_the_ceilings(agent: httpx.Client, reviewer: httpx.Client) -> None:
    review_id = fail_until_review(agent, task())["task"]["review"]
    rulings = f"/v1/reviews/{review_id}/rulings"
    token = reviewer.get(f"/v1/reviews/{review_id}").json()["token"]
    high = {"token": token, "ruling": "raise_limits", "limits": {"memory": "900Gi"}}
    refused = reviewer.post(rulings, json=high)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "limits.memory")
    assert reviewer.post(rulings, json={"token": token, "ruling": "grant", "failures": 999}).status_code == 422
    raised = {"token": token, "ruling": "raise_limits", "limits": {"memory": "2Gi"}}
    assert reviewer.post(rulings, json=raised).status_code == 200


def test_people_can_let_a_task_go_on_only_so_often(agent: httpx.Client, reviewer: httpx.Client) -> None:
    name = task()
    review_id = fail_until_review(agent, name)["task"]["review"]
    for number in range(2):
        token = reviewer.get(f"/v1/reviews/{review_id}").json()["token"]
        ruling = {"token": token, "ruling": "grant", "failures": 1}
        assert reviewer.post(f"/v1/reviews/{review_id}/rulings", json=ruling).status_code == 200
        review_id = run(agent, f"raise ValueError('again {'x' * number}')\n", task_id=name)["task"]["review"]
    review = reviewer.get(f"/v1/reviews/{review_id}").json()
    assert (review["grants_left"], review["rulings"]) == (0, ["reject", "answer"])
    ruling = {"token": review["token"], "ruling": "approve"}
    assert reviewer.post(f"/v1/reviews/{review_id}/rulings", json=ruling).status_code == 403


def test_an_agent_cannot_rule(agent: httpx.Client) -> None:
    review_id = fail_until_review(agent, task())["task"]["review"]
    assert agent.get(f"/v1/reviews/{review_id}").status_code == 403
    ruling = {"token": "x", "ruling": "approve"}
    assert agent.post(f"/v1/reviews/{review_id}/rulings", json=ruling).status_code == 403


def test_a_closed_task_withdraws_its_review(agent: httpx.Client, reviewer: httpx.Client) -> None:
    name = task()
    review_id = fail_until_review(agent, name)["task"]["review"]
    view = agent.delete(f"/v1/tasks/{name}").json()
    assert (view["state"], view["closed_reason"]) == ("closed", "closed_by_agent")
    assert reviewer.get(f"/v1/reviews/{review_id}").json()["state"] == "withdrawn"


def test_what_cannot_be_had_is_refused_with_its_field_and_nothing_is_recorded(agent: httpx.Client) -> None:
    name = task()
    refused = post(agent, "print()", task_id=name, limits={"memory": "900Gi", "time": "2s"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "limits.memory")
    assert agent.get(f"/v1/tasks/{name}").status_code == 404


def test_a_bool_among_the_inputs_is_as_good_a_key_as_its_number(agent: httpx.Client) -> None:
    code = "d = {1: 'a'}\nd[x] = 'b'\nprint(d)"
    auto = run(agent, code, inputs={"x": True})
    assert auto["stdout"] == run(agent, code, inputs={"x": True}, lane="container")["stdout"] == "{1: 'b'}\n"
