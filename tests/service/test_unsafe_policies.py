"""A policy that would weaken a box, or that says what nobody understands, starts no gateway."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from gateway.policy_file import PolicyError, parse_policy
from tests.conftest import ROOT, Server

UNSAFE: Final = {
    "network": "defaults: {isolation: {network: host}}",
    "privileged": "defaults: {isolation: {privileged: true}}",
    "capabilities": "defaults: {isolation: {cap_add: [SYS_ADMIN]}}",
    "mounts": "defaults: {isolation: {volumes: ['/:/host']}}",
    "a writable root": "defaults: {isolation: {read_only: false}}",
    "the user": "defaults: {isolation: {user: root}}",
    "seccomp": "defaults: {isolation: {seccomp: unconfined}}",
    "an image that is an option": "defaults: {isolation: {image: '--privileged'}}",
    "an image with a space": "defaults: {isolation: {image: 'a b'}}",
    "an unknown key": "defaults: {limits: {memroy: {default: 1Mi}}}",
    "an unknown section": "plugins: []",
    "no limit": "defaults: {limits: {time: {default: 0s}}}",
    "infinite": "defaults: {limits: {memory: {default: .inf}}}",
    "not a number": "defaults: {limits: {cpu: {default: .nan}}}",
    "negative": "defaults: {limits: {pids: {default: -1}}}",
    "above the ceiling": "ceilings: {memory: 1Gi}\ndefaults: {limits: {memory: {max: 2Gi}}}",
    "a key that is agent and reviewer": f"keys: [{{name: a, sha256: {'0' * 64}, tenant: t, profile: default,"
    " roles: [agent, reviewer]}]",
    "a key of nothing": "keys: [{name: a, sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855,"
    " tenant: t, profile: default, roles: [agent]}]",
    "another version": "version: 2",
    "twice": "engine: {boxes: 1}\nengine: {boxes: 1000}",
    "a tag": "engine: !!python/object/apply:os.system ['true']",
    "nothing understood": "{{{",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_value_is_an_error_even_for_operators(name: str) -> None:
    text = UNSAFE[name] if name == "another version" else f"version: 1\n{UNSAFE[name]}\n"
    with pytest.raises(PolicyError) as refused:
        parse_policy(text, file="policy.yaml")
    assert all(problem.line >= 1 and problem.message for problem in refused.value.problems)


@pytest.mark.parametrize("name", ["network", "privileged"])
def test_with_an_unsafe_policy_no_gateway_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "policy.yaml").write_text(f"version: 1\n{UNSAFE[name]}\n")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRLOCK_")},  # noqa: TID251
        "AIRLOCK_LISTEN": "127.0.0.1:0",
        "AIRLOCK_DATA": str(tmp_path / "data"),
        "AIRLOCK_POLICY": str(tmp_path / "policy.yaml"),
    }
    command = [sys.executable, "-c", "from gateway.cli import app; app()", "serve"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert re.search(rf"policy\.yaml:2:\d+: defaults\.isolation\.{name}: unknown key", ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data" / "airlock.db").exists()


def test_a_policy_that_breaks_while_it_runs_changes_nothing_until_the_next_start(
    make_server: Callable[..., Server],
) -> None:
    server = make_server("version: 1\n")
    with server.client() as client:
        before = client.get("/v1/policy").json()
        assert server.policy is not None
        server.policy.write_text(f"version: 1\n{UNSAFE['network']}\n")
        assert server.process is not None
        server.process.send_signal(signal.SIGWINCH)  # no signal reloads it
        assert client.get("/v1/policy").json() == before
        assert client.post("/v1/executions", json={"code": "1"}).status_code == 200
    server.stop()
    with pytest.raises(AssertionError, match="unknown key"):
        server.start()
