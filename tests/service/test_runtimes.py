"""A profile's runtime: refused at the start where the engine lacks it, used where it has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Server

POLICY = "version: 1\ndefaults: {{retries: {{attempts: 1}}}}\nprofiles: {{default: {{isolation: {{runtime: {}}}}}}}\n"
NEEDS_A_BOX = "import socket\nprint(1)"


@pytest.mark.engine
def test_a_server_whose_engine_lacks_a_profiles_runtime_does_not_start(make_server: Callable[..., Server]) -> None:
    with pytest.raises(AssertionError) as refusal:
        make_server(POLICY.format("no-such-runtime"))
    told = str(refusal.value)
    assert "The profile 'default' wants the runtime 'no-such-runtime'; this engine has" in told
    assert "runc" in told
    assert "Traceback" not in told


@pytest.mark.engine
def test_a_server_runs_programs_in_the_runtime_that_the_profile_names(make_server: Callable[..., Server]) -> None:
    with make_server(POLICY.format("runc")).client() as client:
        answer = client.post("/v1/executions", json={"code": NEEDS_A_BOX}).json()
    assert (answer["status"], answer["lane"], answer["stdout"]) == ("succeeded", "container", "1\n")


def test_while_the_engine_does_not_answer_nobody_knows_its_runtimes_and_the_other_lane_serves(
    make_server: Callable[..., Server],
) -> None:
    lonely = make_server(POLICY.format("runsc"), DOCKER_HOST="unix:///nonexistent/docker.sock")
    with lonely.client() as client:
        assert client.post("/v1/executions", json={"code": "print(6 * 7)"}).json()["lane"] == "monty"
        assert client.post("/v1/executions", json={"code": NEEDS_A_BOX}).status_code == 503
