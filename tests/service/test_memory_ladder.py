"""Memory that runs short is the platform's affair below the policy's maximum, and the agent's at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import policy

pytestmark = pytest.mark.engine

MIB = 1 << 20
ROOMY = "limits: {memory: {default: 256Mi, max: 1Gi}, time: {default: 20s, max: 20s}}"
TOTAL = 12


def needing(mib: int, *imports: str) -> str:
    lines = [f"import {name}" for name in imports]
    return "\n".join(
        [*lines, f"block = bytearray({mib} << 20)", "block[::4096] = b'x' * len(block[::4096])", "len(block)"]
    )


def run(client: httpx.Client, task: str, code: str, **more: object) -> dict[str, object]:
    answer = client.post("/v1/executions", json={"code": code, "lane": "container", "task_id": task, **more})
    assert answer.status_code == 200, answer.text
    view: dict[str, object] = answer.json()
    return view


def attempts(view: dict[str, object]) -> list[tuple[str, str | None, int]]:
    """How each ended, why, and with how many MiB."""
    told = view["attempts"]
    assert isinstance(told, list)
    return [(one["ending"], one["cause"], one["limits"]["memory_bytes"] // MIB) for one in told]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ladder")
    path = folder / "policy.yaml"
    path.write_text(policy(defaults=ROOMY))
    running = Server(folder, path).start()
    yield running
    running.stop()


def test_a_program_that_needs_more_than_the_default_succeeds_at_its_second_attempt_and_nobody_pays(
    server: Server,
) -> None:
    with server.client() as client:
        view = run(client, "ladder", needing(300, "json"))
        assert (view["status"], view["result"], view["cause"]) == ("succeeded", 300 * MIB, None)
        assert attempts(view) == [("out_of_memory", "memory_short", 256), ("succeeded", None, 512)]
        assert view["limits"]["memory_bytes"] == 512 * MIB  # type: ignore[index]
        assert view["limits"]["sources"]["memory"] == "platform"  # type: ignore[index]
        assert view["task"]["budget"]["failures_total"]["left"] == TOTAL  # type: ignore[index]


def test_the_next_program_of_its_kind_begins_with_what_was_enough_also_after_a_restart(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(policy({"a": ("one", "agent"), "b": ("two", "agent")}, ROOMY))
    with server.client("key-of-a") as client:
        assert len(attempts(run(client, "t", needing(300, "csv", "json")))) == 2
        assert attempts(run(client, "t", needing(301, "json", "csv"))) == [("succeeded", None, 512)]
        assert len(attempts(run(client, "t", needing(10, "csv")))) == 1
        assert attempts(run(client, "t", needing(10, "csv")))[0][2] == 256, "other imports are another kind"
    server.kill()
    server.start()
    with server.client("key-of-a") as client:
        assert attempts(run(client, "t", needing(302, "json", "csv"))) == [("succeeded", None, 512)]
    with server.client("key-of-b") as client:
        assert attempts(run(client, "t", needing(10, "json", "csv")))[0][2] == 256, "another tenant's sizes say nothing"


def test_at_the_maximum_it_is_the_programs_failure_and_is_charged_once(server: Server) -> None:
    with server.client() as client:
        view = run(client, "hungry", needing(3000, "zlib"))
        assert (view["status"], view["cause"]) == ("out_of_memory", "out_of_memory")
        assert attempts(view) == [
            ("out_of_memory", "memory_short", 256),
            ("out_of_memory", "memory_short", 512),
            ("out_of_memory", "out_of_memory", 1024),
        ]
        assert view["task"]["budget"]["failures_total"]["left"] == TOTAL - 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("code", "more"),
    [
        (needing(300, "bz2"), {"limits": {"memory": "256Mi"}}),
        ("# /// script\n# [tool.airlock]\n# memory = '256Mi'\n# ///\n" + needing(300, "lzma"), {}),
    ],
    ids=["request", "code"],
)
def test_memory_that_was_asked_for_is_a_wall(server: Server, code: str, more: dict[str, object]) -> None:
    with server.client() as client:
        view = run(client, f"walled-{len(more)}", code, **more)
        assert attempts(view) == [("out_of_memory", "out_of_memory", 256)]
        assert view["task"]["budget"]["failures_total"]["left"] == TOTAL - 1  # type: ignore[index]
