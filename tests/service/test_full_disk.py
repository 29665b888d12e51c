"""A disk that is full under the store: what cannot be recorded is not told, and once that is known not run; the rest can be read."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.conftest import Server
from tests.service.gateways import eventually, policy, running, submit_later

pytestmark = pytest.mark.engine

SIZE = 24 << 20
SECRET = "a-word-of-the-callers"
NOISY = "import time, os\ntime.sleep({seconds})\nprint(os.urandom(120000).hex())"  # and its answer as well
LARGE = {"stdin": SECRET + "x" * (5 << 20), "lane": "container"}  # more than the log beside the database has room for


class Elsewhere(Server):
    """A gateway whose own log is on another disk."""

    @property
    def log(self) -> Path:
        return self.data.parent / "server.log"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Server]:
    """A gateway whose data are on a small disk."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can mount the small disk that this needs")
    data = tmp_path / "data"
    data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(data)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"NOT TESTED: no disk can be mounted here: {mounted.stderr.decode()}")
    (tmp_path / "policy.yaml").write_text(policy(defaults="limits: {time: {default: 30s}}"))
    server = Elsewhere(data, tmp_path / "policy.yaml")
    try:
        yield server.start()
    finally:
        if server.process is not None:
            server.kill()
        subprocess.run(["umount", "-l", str(data)], check=True)


def fill(server: Server) -> Path:
    """Leave no byte on the disk."""
    ballast = server.data / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast


def tables(server: Server) -> dict[str, list[tuple[object, ...]]]:
    database = sqlite3.connect(f"file:{server.data / 'airlock.db'}?mode=ro", uri=True)
    try:
        return {
            name: database.execute(f"select * from {name} order by 1, 2").fetchall()
            for name in ("tasks", "events", "executions", "files", "reviews")
        }
    finally:
        database.close()


def executions_with_boxes(server: Server, began: int) -> set[str]:
    """The executions for which the engine made a box since then, whether or not it is still there."""
    engine = docker.from_env()
    label = f"airlock.instance={(server.data / 'instance').read_text().strip()}"
    events = engine.events(
        since=began, until=int(time.time()) + 1, decode=True, filters={"event": "create", "label": label}
    )
    names = {event["Actor"]["Attributes"]["airlock.execution"] for event in events}
    engine.close()
    return {name for name in names if name.startswith("exe_")}


def post(client: httpx.Client, code: str, **fields: object) -> httpx.Response:
    return client.post("/v1/executions", json={"code": code, **fields})


def test_a_full_disk_stops_what_cannot_be_recorded_and_nothing_else(small: Server) -> None:
    with small.client() as client:
        kept = post(client, "print('kept')", lane="container", task_id="kept").json()
        assert kept["status"] == "succeeded", kept
        noisy = submit_later(
            client,
            code=NOISY.format(seconds=4),
            task_id="noisy",
        )
        eventually(lambda: running(client, noisy))
        ballast, before, began = fill(small), tables(small), int(time.time())

        refused = post(client, f"print('{SECRET}')", task_id="refused", **LARGE)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:airlock:problem:storage-unavailable"), (
            refused.text
        )
        assert (refused.json()["reason"], refused.json()["retryable"]) == ("disk_full", True)
        assert "Retry-After" in refused.headers
        assert str(small.data) not in refused.text
        ran = executions_with_boxes(small, began) - {kept["id"], noisy}
        assert len(ran) <= 1, "whoever finds out, but nobody after it"
        again = post(client, f"print('{SECRET}')", task_id="refused", **LARGE)
        assert (again.status_code, again.json()["reason"]) == (503, "disk_full")
        assert executions_with_boxes(small, began) - {kept["id"], noisy} == ran, "it did not run"
        assert client.get("/v1/tasks/refused").status_code == 404, "nothing of it is recorded"
        after = tables(small)
        assert after["executions"] == before["executions"]
        assert after["tasks"] == before["tasks"]

        assert client.get(f"/v1/executions/{kept['id']}").json() == kept, "reading works"
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code in {200, 503}

        time.sleep(4)  # the program that was taken before ends while nothing can be written
        assert client.get(f"/v1/executions/{noisy}").json()["answered_at"] is None
        ballast.unlink()
        answer = client.get(f"/v1/executions/{noisy}", params={"wait": 30}).json()
        assert (answer["status"], len(answer["attempts"])) == ("succeeded", 1), "it is recorded as soon as it can be"
        assert post(client, "print(1)", task_id="refused", **LARGE).json()["status"] == "succeeded"
    assert SECRET not in small.log.read_text(), "errors of the database do not quote what callers wrote"
    assert small.stop() == 0


def test_a_gateway_that_cannot_write_still_ends_when_it_is_told_to(small: Server) -> None:
    with small.client() as client:
        noisy = submit_later(client, code=NOISY.format(seconds=2), lane="container")
        eventually(lambda: running(client, noisy))
        ballast = fill(small)
        time.sleep(2)
        assert small.stop() == 0
        ballast.unlink()
        small.start()
        answer = client.get(f"/v1/executions/{noisy}", params={"wait": 30}).json()
        assert (answer["status"], [one["ending"] for one in answer["attempts"]]) == ("succeeded", ["lost", "succeeded"])


def refused_for(client: httpx.Client, reason: str, **headers: str) -> bool:
    """Whether a program is refused for that reason; one that is not refused is recorded, and can be read."""
    answer = client.post("/v1/executions", json={"code": f"'{'x' * 50_000}'"}, headers=headers)
    if answer.status_code != 503:
        assert answer.json()["status"] == "succeeded", answer.text
        assert client.get(f"/v1/executions/{answer.json()['id']}").json() == answer.json()
        return False
    problem = answer.json()
    assert (problem["type"], problem["retryable"]) == ("urn:airlock:problem:storage-unavailable", True)
    assert problem["reason"] == reason
    assert int(answer.headers["Retry-After"]) > 0
    assert "execution" not in problem, "nothing was taken"
    return True


def readiness(client: httpx.Client) -> tuple[int, dict[str, object]]:
    answer = client.get("/readyz")
    store: dict[str, object] = answer.json()["store"]
    return answer.status_code, store


WELL: tuple[int, dict[str, object]] = (200, {"writable": True, "reason": None})


def verified(server: Server) -> bool:
    done = CliRunner().invoke(app, ["verify", "--database", f"sqlite:///{server.data / 'airlock.db'}"])
    assert done.exit_code == 0, done.output
    return done.exit_code == 0


def test_a_gateway_on_a_full_disk_says_so_still_answers_what_it_knows_and_recovers_by_itself(small: Server) -> None:
    with small.client() as client:
        kept = post(client, "1", task_id="kept").json()
        eventually(lambda: readiness(client) == WELL)
        ballast = fill(small)
        eventually(lambda: refused_for(client, "disk_full"))
        while client.post("/v1/executions", json={"code": "1"}).status_code == 200:
            continue  # smaller ones find room for a while
        eventually(lambda: readiness(client) == (503, {"writable": False, "reason": "disk_full"}))
        assert client.get(f"/v1/executions/{kept['id']}").json() == kept
        assert client.get("/v1/tasks/kept").json()["latest"] == kept
        before = tables(small)
        assert refused_for(client, "disk_full", **{"Idempotency-Key": "k"})
        assert tables(small) == before, "what is refused is not recorded"
        ballast.unlink()
        eventually(lambda: readiness(client) == WELL)
        assert not refused_for(client, "disk_full", **{"Idempotency-Key": "k"}), "its key is free"
        assert verified(small)


def test_a_gateway_that_starts_on_a_full_disk_serves_or_says_why_not_and_serves_when_there_is_space(
    small: Server,
) -> None:
    with small.client() as client:
        kept = post(client, "1", task_id="kept").json()
    assert small.stop() == 0
    ballast = fill(small)
    try:
        small.start()
    except AssertionError:
        said = small.log.read_text()
        assert "The database cannot be opened now" in said
        assert "Traceback" not in said
        ballast.unlink()
        small.start()
    with small.client() as client:
        if ballast.exists():
            eventually(lambda: readiness(client)[0] == 503)
            ballast.unlink()
        eventually(lambda: readiness(client) == WELL)
        assert client.get(f"/v1/executions/{kept['id']}").json() == kept
        assert verified(small)


def test_a_disk_that_fails_is_told_from_a_full_one(make_server: Callable[..., Server]) -> None:
    server = make_server()
    assert server.process is not None
    with server.client() as client:
        kept = post(client, "1", task_id="kept").json()
        eventually(lambda: readiness(client) == WELL)
        # No file of the gateway's may grow any more; the kernel says EFBIG, which no database expects.
        (_, hard) = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        assert hard == resource.RLIM_INFINITY
        assert refused_for(client, "io_error")
        assert readiness(client) == (503, {"writable": False, "reason": "io_error"})
        assert client.get(f"/v1/executions/{kept['id']}").json() == kept
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        eventually(lambda: readiness(client) == WELL)
        assert not refused_for(client, "io_error")
        assert verified(server)
