"""Promise: a profile's programs run in cells where it says so, each tenant's in its own, and that is told."""

from __future__ import annotations

from collections.abc import Callable

import docker
import pytest

from tests.conftest import Server
from tests.service.gateways import boxes, eventually, policy

pytestmark = pytest.mark.engine

CELLS = "isolation: {mode: cell, preload: [decimal]}, lanes: {monty: false}"
KEYS = {"ada": ("team-a", "agent"), "bob": ("team-b", "agent")}


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server(policy(KEYS, CELLS))


def test_a_tenants_programs_share_a_box_one_after_the_other_and_no_other_tenants(server: Server) -> None:
    code = "import os, sys\nprint(os.listdir('/tmp'), 'decimal' in sys.modules)\nopen('/tmp/x', 'w').write('x')"
    answers = {}
    for _ in range(3):
        for key in KEYS:
            with server.client(f"key-of-{key}") as agent:
                answers[key] = agent.post("/v1/executions", json={"code": code}).json()
                assert answers[key]["stdout"] == "[] True\n", answers[key]
    assert all("acquire" in answer["timings"] for answer in answers.values())
    assert len(boxes(server)) == 2


def test_what_is_in_force_is_told_and_kept(server: Server) -> None:
    with server.client("key-of-ada") as agent:
        answer = agent.post("/v1/executions", json={"code": "1 + 1"}).json()
        kept = agent.get(f"/v1/isolation/{answer['posture']}").json()
    assert '"preload": ["decimal"]' in kept["document"]["options"]["Cmd"][0]
    assert {"name": "cell.reuse", "held": True} in [
        {"name": trial["name"], "held": trial["held"]} for trial in kept["trials"]
    ]


def test_a_stopped_gateway_leaves_no_cell_and_a_killed_ones_are_removed(server: Server) -> None:
    with server.client("key-of-ada") as agent:
        agent.post("/v1/executions", json={"code": "1"})
    assert boxes(server)
    server.kill()
    assert boxes(server)
    server.start()
    eventually(lambda: not boxes(server))
    with server.client("key-of-ada") as agent:
        assert agent.post("/v1/executions", json={"code": "1"}).json()["status"] == "succeeded"
    server.stop()
    assert not boxes(server)


def test_what_the_image_cannot_preload_is_named_and_nothing_runs(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(defaults="isolation: {mode: cell, preload: [no_such_module]}, lanes: {monty: false}"))
    with server.client() as agent:

        def named() -> bool:
            lane = agent.get("/readyz").json()["lanes"]["container"]
            return not lane["available"] and "cannot preload no_such_module" in lane["detail"]

        eventually(named)
        answer = agent.post("/v1/executions", json={"code": "1"}).json()
        assert answer["status"] == 503


def test_a_box_of_a_cell_is_what_was_proven(server: Server) -> None:
    """The self-test's cells and the tenants' differ in nothing but their names and deadlines."""
    with server.client("key-of-ada") as agent:
        agent.post("/v1/executions", json={"code": "1"})
    client = docker.from_env()
    try:
        (box,) = [client.api.inspect_container(one) for one in boxes(server)]
    finally:
        client.close()
    assert box["HostConfig"]["NetworkMode"] == "none"
    assert box["HostConfig"]["CapDrop"] == ["ALL"]
    assert box["HostConfig"]["ReadonlyRootfs"] is True
    assert "no-new-privileges:true" in box["HostConfig"]["SecurityOpt"]
    assert box["Config"]["User"] == "65532:65532"
