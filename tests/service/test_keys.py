"""Who may do what, on a real gateway with keys: tenants do not see each other, agents never rule, strangers stay out."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Server, free_port

KEYS = {
    "ada": ("team-a", "agent"),
    "ann": ("team-a", "reviewer"),
    "bob": ("team-b", "agent"),
    "ben": ("team-b", "reviewer"),
}
POLICY = "version: 1\ndefaults: {budget: {failures_in_a_row: 1}}\nkeys:\n" + "".join(
    f"  - {{name: {name}, sha256: {hashlib.sha256(f'key-of-{name}'.encode()).hexdigest()},"
    f" tenant: {tenant}, profile: default, roles: [{role}]}}\n"
    for name, (tenant, role) in KEYS.items()
)
BROKEN = {"code": "def broken(:\n", "task_id": "one"}


@pytest.fixture
def keyed(make_server: Callable[[str], Server]) -> Server:
    return make_server(POLICY)


def test_without_a_key_or_with_a_wrong_one_nothing_is_answered(keyed: Server) -> None:
    for key in (None, "key-of-nobody", ""):
        with keyed.client(key) as client:
            assert client.post("/v1/executions", json=BROKEN).status_code == 401
            assert client.get("/v1/tasks/one").status_code == 401
            assert client.get("/v1/reviews").status_code == 401
    with keyed.client() as client:
        assert client.get("/v1/reviews?key=key-of-ann").status_code == 401
        assert client.get("/healthz").status_code == 200


def test_tenants_do_not_see_each_other(keyed: Server) -> None:
    with keyed.client("key-of-ada") as ada, keyed.client("key-of-bob") as bob, keyed.client("key-of-ben") as ben:
        mine = ada.post("/v1/executions", json=BROKEN).json()
        review = mine["task"]["review"]
        assert bob.get(f"/v1/executions/{mine['id']}").status_code == 404
        assert bob.delete(f"/v1/executions/{mine['id']}").status_code == 404
        assert bob.get("/v1/tasks/one").status_code == 404
        assert bob.delete("/v1/tasks/one").status_code == 404
        assert ben.get(f"/v1/reviews/{review}").status_code == 404
        assert ben.post(f"/v1/reviews/{review}/rulings", json={"token": "x", "ruling": "approve"}).status_code == 404
        assert ben.get("/v1/reviews").json()["reviews"] == []
        assert bob.post("/v1/executions", json=BROKEN).json()["task"]["id"] == "one", "each has a task of that name"


def test_an_agents_key_never_rules_and_a_reviewers_key_never_runs(keyed: Server) -> None:
    with keyed.client("key-of-ada") as ada, keyed.client("key-of-ann") as ann:
        review = ada.post("/v1/executions", json=BROKEN).json()["task"]["review"]
        assert ada.get("/v1/reviews").status_code == 403
        assert ada.post(f"/v1/reviews/{review}/rulings", json={"token": "x", "ruling": "approve"}).status_code == 403
        assert ann.post("/v1/executions", json=BROKEN).status_code == 403
        token = ann.get(f"/v1/reviews/{review}").json()["token"]
        ruling = {"token": token, "ruling": "answer", "result": [1]}
        ruled = ann.post(f"/v1/reviews/{review}/rulings", json=ruling).json()
        assert (ruled["state"], ruled["decided_by"], ruled["ruling"]) == ("decided", "ann", "answer")


def test_other_machines_can_reach_it_only_with_keys(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRLOCK_")},  # noqa: TID251
        "AIRLOCK_LISTEN": "0.0.0.0:0",
        "AIRLOCK_DATA": str(tmp_path),
    }
    command = [sys.executable, "-c", "from gateway.cli import app; app()", "serve"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "keys" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_broken_policy_stops_the_start_with_its_line(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", tmp_path / "policy.yaml")
    (tmp_path / "policy.yaml").write_text("version: 1\ndefaults:\n  limits:\n    memory: {default: 1GB}\n")
    with pytest.raises(AssertionError, match=r"policy\.yaml:4:\d+: .*1GB"):
        server.start()


def test_an_address_that_another_has_stops_the_start_before_it_is_announced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(tmp_path / "data", port=taken.getsockname()[1])
        with pytest.raises(AssertionError, match=r"Cannot listen on 127\.0\.0\.1:.* AIRLOCK_LISTEN") as ended:
            server.start()
    assert "airlock: http" not in str(ended.value)
    assert "Traceback" not in str(ended.value)


def test_who_reads_the_address_can_connect_to_it(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRLOCK_")},  # noqa: TID251
        "AIRLOCK_LISTEN": f"127.0.0.1:{free_port()}",
        "AIRLOCK_DATA": str(tmp_path),
    }
    command = [sys.executable, "-c", "from gateway.cli import app; app()", "serve"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        told = next(line for line in running.stdout if line.startswith("airlock: "))
        socket.create_connection(("127.0.0.1", int(told.rpartition(":")[2])), timeout=10).close()
        running.terminate()
    assert running.returncode == 0
