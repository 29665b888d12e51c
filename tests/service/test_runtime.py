"""Promise: the runtime that a policy names is the one that is used, or the gateway says why it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Server, free_port

pytestmark = pytest.mark.engine

POLICY = "version: 1\nprofiles:\n  default: {{}}\n  strangers:\n    isolation: {{runtime: {runtime}}}\n"


def _start(tmp_path: Path, runtime: str, **environment: str) -> subprocess.CompletedProcess[str]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(runtime=runtime))
    settings = {
        **os.environ,  # noqa: TID251
        "AIRLOCK_LISTEN": f"127.0.0.1:{free_port()}",
        "AIRLOCK_DATA": str(tmp_path / "data"),
        "AIRLOCK_POLICY": str(policy),
        **environment,
    }
    command = [sys.executable, "-c", "from gateway.cli import app; app()", "serve"]
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60, check=False)


def test_a_runtime_that_the_engine_lacks_is_refused_at_start(tmp_path: Path) -> None:
    ended = _start(tmp_path, "no-such-runtime")
    assert ended.returncode == os.EX_CONFIG
    assert "strangers" in ended.stderr
    assert "no-such-runtime" in ended.stderr
    assert "runc" in ended.stderr  # what it could have been


def test_the_named_runtime_is_used_and_told(make_server: Callable[..., Server]) -> None:
    server = make_server("version: 1\ndefaults:\n  isolation: {runtime: runc}\n")
    with server.client() as agent:
        answer = agent.post("/v1/executions", json={"code": "print(1)", "lane": "container"}).json()
        assert answer["stdout"] == "1\n"
        document = agent.get(f"/v1/isolation/{answer['posture']}").json()["document"]
    assert document["runtime"] == "runc"
    assert json.dumps(document).count("no-new-privileges") == 1


def test_an_engine_that_is_away_is_no_reason_not_to_start(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server(POLICY.format(runtime="runsc"), DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    with server.client() as agent:
        assert agent.post("/v1/executions", json={"code": "print(1)"}).json()["lane"] == "monty"
