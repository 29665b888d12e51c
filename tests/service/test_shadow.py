"""The shadow on a real engine: what Monty ran runs again in boxes, and a box that says otherwise switches the lane off."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator

import docker
import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import boxes, eventually, policy

pytestmark = pytest.mark.engine

KEYS = {"ada": ("team-a", "agent"), "ann": ("team-a", "reviewer"), "olga": ("team-a", "operator")}
SHADOW = "lanes: {shadow: 1.0}, cache: {scope: tenant}"
LYING = "import bisect\nbisect.bisect_left([1, 2, 3], 2)"
PROGRAMS: list[dict[str, object]] = [
    {"code": "print('hello')\n[1, 2.5, 'x', None, True]"},
    {"code": "import json\nprint(json.dumps({'b': 1, 'a': [1.0, 2]}))"},
    {"code": "total = 0\nfor n in range(1000):\n    total += n * n\ntotal"},
    {"code": "sorted(x, key=len)", "inputs": {"x": ["ccc", "a", "bb"]}},
    {"code": "import random\nrandom.seed(7)\n[random.randint(1, 100) for _ in range(5)]"},
    {"code": "x = 1"},
    {"code": "{'text': 'ünïcode', 'n': 10 ** 40}"},
    {"code": "5", "expect": {"result_schema": {"maximum": 4}}},
]


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """A guest in which one module of the standard library says something else."""
    client = docker.from_env()
    name = "airlock-test-bisect:latest"
    append = "RUN echo 'def bisect_left(*_, **__): return 42' >> /usr/lib/python3.13/bisect.py"
    dockerfile = f"FROM airlock-guest:latest\nUSER root\n{append}\nUSER 65534\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        tar.addfile(entry, io.BytesIO(dockerfile))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=name, rm=True, network_mode="none")
    yield name
    client.images.remove(name, force=True)
    client.close()


def run(client: httpx.Client, body: dict[str, object]) -> dict[str, object]:
    answer = client.post("/v1/executions", json=body)
    assert answer.status_code == 200, answer.text
    view: dict[str, object] = answer.json()
    return view


def outcomes(olga: httpx.Client) -> dict[str, int]:
    found: dict[str, int] = olga.get("/v1/lanes/monty").json()["shadow_runs"]
    return {shown: count for shown, count in found.items() if count}


def test_what_monty_ran_comes_to_the_same_in_a_box_and_nobody_notices(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS, "lanes: {shadow: 1.0}"))
    with server.client("key-of-ada") as ada, server.client("key-of-olga") as olga:
        for number, body in enumerate(PROGRAMS):
            view = run(ada, {**body, "task_id": f"t{number}"})
            assert view["lane"] == "monty", view
            assert [one["lane"] for one in view["attempts"]] == ["monty"]  # type: ignore[attr-defined]
            eventually(lambda done=number + 1: outcomes(olga) == {"same": done})  # type: ignore[misc]
            assert ada.get(f"/v1/executions/{view['id']}").json()["attempts"] == view["attempts"], "its record stays"
        assert run(ada, {"code": "import random\nrandom.random()"})["lane"] == "monty"
        assert outcomes(olga) == {"same": len(PROGRAMS), "varies": 1}
        run(ada, {"code": "print(1)", "stdin": "x", "files": [{"path": "a", "content": "b"}]})
        assert outcomes(olga) == {"same": len(PROGRAMS), "varies": 1}, "what a container ran has no shadow"
        metrics = olga.get("/metrics").text
        assert f'airlock_shadow_runs_total{{outcome="same"}} {len(PROGRAMS)}.0' in metrics
        assert "airlock_monty_lane_off 0.0" in metrics
        eventually(lambda: boxes(server) == [])


def test_a_box_that_says_otherwise_switches_monty_off_until_an_operator_trusts_it(
    make_server: Callable[..., Server], image: str
) -> None:
    server = make_server(policy(KEYS, f"{SHADOW}, isolation: {{image: '{image}'}}"))
    with server.client("key-of-ada") as ada, server.client("key-of-olga") as olga:
        kept = run(ada, {"code": "'kept'", "task_id": "kept"})
        assert kept["lane"] == "monty"
        eventually(lambda: outcomes(olga) == {"same": 1})
        told = run(ada, {"code": LYING})
        assert (told["lane"], told["result"]) == ("monty", 1)
        eventually(lambda: outcomes(olga) == {"same": 1, "different": 1})
        assert ada.get(f"/v1/executions/{told['id']}").json()["result"] == 1, "an answer that was given stays"
        assert_off(server, ada, olga, str(told["id"]))
    server.kill()
    server.start()
    with server.client("key-of-ada") as ada, server.client("key-of-olga") as olga:
        assert_off(server, ada, olga, str(told["id"]))
        assert ada.post("/v1/lanes/monty/restorations").status_code == 403
        restored = olga.post("/v1/lanes/monty/restorations").json()
        assert (restored["on"], restored["by"]) == (True, "olga")
        again = run(ada, {"code": "'kept'"})
        assert (again["lane"], again["cached"]) == ("monty", False), "what it said before is trusted no more"
        eventually(lambda: olga.get("/readyz").json()["lanes"]["monty"]["available"] is True)
    assert "CRITICAL" in server.log.read_text()


def assert_off(server: Server, ada: httpx.Client, olga: httpx.Client, execution: str) -> None:
    state = olga.get("/v1/lanes/monty").json()
    assert (state["on"], state["execution"], state["differs"]) == (False, execution, ["result"])
    assert "airlock_monty_lane_off 1.0" in olga.get("/metrics").text
    eventually(lambda: not ada.get("/readyz").json()["lanes"]["monty"]["available"])
    with server.client() as anybody:
        ready = anybody.get("/readyz").json()
    assert execution not in str(ready)
    honest = run(ada, {"code": LYING})
    assert (honest["lane"], honest["result"]) == ("container", 42)
    assert any("switched off" in one["message"] for one in honest["findings"])  # type: ignore[attr-defined]
    assert run(ada, {"code": "'kept'"})["cached"] is False
    refused = run(ada, {"code": "1", "lane": "monty"})
    assert refused["status"] == "rejected"


def test_the_command_shows_the_switch_and_moves_it(make_server: Callable[..., Server]) -> None:
    server = make_server()
    (server.data / "monty-lane.jsonl").write_text(
        '{"at": "2026-01-01T00:00:00.000000Z", "on": false, "differs": ["stdout"]}\n'
    )
    server.kill()
    server.start()

    def airlock(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", "from gateway.cli import app; app()", *words],
            env={"AIRLOCK_URL": server.url, "AIRLOCK_DATA": str(server.data), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    code, said = airlock("monty")
    assert code == 1, said
    assert re.search(r"monty:? OFF", said)
    code, said = airlock("monty", "--on")
    assert code == 0, said
    assert airlock("monty")[0] == 0
