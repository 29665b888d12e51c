"""Promise: the gateway says what isolates programs, proves it when asked, and stamps it on every answer."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway.composition import compose
from gateway.readiness import Readiness
from gateway.settings import Settings
from gateway.store import migrate
from sandbox.driver import Readiness as LaneReadiness
from sandbox.job import Lane
from sandbox.testing import ScriptedDriver
from tests.conftest import Server

pytestmark = pytest.mark.engine


def _proven(agent: httpx.Client) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        view: dict[str, object] = agent.get("/v1/isolation").json()
        if view["held"]:
            return view
        time.sleep(0.2)
    raise AssertionError(f"not proven: {view}")


def test_it_is_proven_at_start_without_being_asked(make_server: Callable[..., Server]) -> None:
    with make_server().client() as agent:
        profiles = _proven(agent)["profiles"]
        assert isinstance(profiles, dict)
        proof = profiles["default"]
        assert proof["findings"] == []
        assert len(proof["trials"]) > 40
        assert {trial["held"] for trial in proof["trials"]} == {True}


@pytest.mark.parametrize("lane", ["monty", "container"])
def test_every_answer_names_what_was_in_force_and_that_can_be_read(agent: httpx.Client, lane: str) -> None:
    answer = agent.post("/v1/executions", json={"code": "print(1)", "lane": lane}).json()
    assert answer["status"] == "succeeded"
    posture = agent.get(f"/v1/isolation/{answer['posture']}").json()
    assert posture["document"]["lane"] == lane
    canonical = json.dumps(posture["document"], sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(canonical.encode()).hexdigest() == answer["posture"] == posture["digest"]
    assert (posture["tested_at"] is not None) == (lane == "container")


def test_it_is_proven_again_on_demand_by_an_operator_only(agent: httpx.Client, reviewer: httpx.Client) -> None:
    before = _proven(agent)["profiles"]
    assert agent.post("/v1/isolation/proofs").status_code == 403
    after = reviewer.post("/v1/isolation/proofs").json()
    assert after["held"]
    assert isinstance(before, dict)
    assert after["profiles"]["default"]["tested_at"] > before["default"]["tested_at"]
    assert after["profiles"]["default"]["posture"] == before["default"]["posture"]


def test_what_was_never_in_force_is_not_found(agent: httpx.Client) -> None:
    assert agent.get(f"/v1/isolation/{'0' * 64}").status_code == 404
    assert agent.get("/v1/isolation/nothing").status_code == 422


def test_what_was_in_force_is_known_after_a_restart(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with server.client() as agent:
        posture = agent.post("/v1/executions", json={"code": "1", "lane": "container"}).json()["posture"]
        server.kill()
        server.start()
        assert agent.get(f"/v1/isolation/{posture}").json()["digest"] == posture


async def test_one_finding_and_the_gateway_is_not_ready(tmp_path: Path) -> None:
    """The other lane could still run programs; a platform whose wall has a hole takes none until somebody looked."""
    settings = Settings(data=tmp_path)
    migrate(settings.database)
    gateway = compose(settings)
    store, queue = gateway.base.store, gateway.means.queue
    await store.open()
    broken = LaneReadiness(
        available=False, detail="the self-test found: network.tcp", python="3.13", findings=("network.tcp: connected",)
    )
    lanes = {Lane.MONTY: ScriptedDriver(lane=Lane.MONTY), Lane.CONTAINER: ScriptedDriver(readiness=broken)}
    readiness = Readiness(
        store=store, lanes=lanes, conductor=gateway.conductor, policy=gateway.base.in_force, queue=queue
    )
    view = await readiness.view()
    await gateway.lanes.monty.close()
    await store.close()
    assert not view.ready
    assert view.findings == ["network.tcp: connected"]
    assert view.lanes[Lane.MONTY].available
