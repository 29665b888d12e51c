"""An engine that goes away, hangs, fails and comes back under a whole gateway; an image that is missing or changes."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import docker
import httpx
import pytest
import pytest_asyncio
from docker.models.images import Image

from tests.conftest import Server
from tests.engine_support import IMAGE, EngineProxy, open_proxy
from tests.engine_support import eventually as eventually_async
from tests.service.gateways import boxes, eventually, policy, running, submit_later

pytestmark = pytest.mark.engine

ONE_TRY = "retries: {attempts: 1, base: 10ms, cap: 20ms}"
TOTAL = 12


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[EngineProxy]:
    async with open_proxy() as opened:
        yield opened
    gc.collect()


class Gateway:
    """What is asked of a gateway while its engine is in trouble."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._tasks = 0

    async def submit(self, lane: str) -> httpx.Response:
        self._tasks += 1
        body = {"code": "print('well')", "task_id": f"outage-{self._tasks}", "lane": lane}
        return await self._client.post("/v1/executions", json=body)

    async def works(self) -> None:
        answer = await self.submit("container")
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded"), answer.text

    async def is_in_trouble(self) -> None:
        """Alive, honest about it, useful for what needs no engine, and nobody pays."""
        container, monty, alive = await asyncio.gather(
            self.submit("container"), self.submit("monty"), self._client.get("/healthz")
        )
        assert (alive.status_code, alive.json()) == (200, {"live": True})
        assert (monty.status_code, monty.json()["stdout"]) == (200, "well\n")
        problem = container.json()
        assert (container.status_code, problem["retryable"]) == (503, True)
        assert problem["execution"]["status"] == "platform_error"
        assert problem["execution"]["task"]["budget"]["failures_total"]["left"] == TOTAL
        assert "/" not in problem["execution"]["error"]["message"]

    async def container_lane(self) -> bool:
        ready = (await self._client.get("/readyz")).json()
        available: bool = ready["lanes"]["container"]["available"]
        assert ready["lanes"]["monty"]["available"] is True
        return available

    async def tells(self, *, available: bool) -> None:
        """What was asked of the engine is remembered for a moment."""

        async def told() -> bool:
            return await self.container_lane() is available

        await eventually_async(told, 30)


async def test_an_engine_in_trouble_is_nobodys_fault_and_its_return_is_noticed(
    proxy: EngineProxy, make_server: Callable[..., Server]
) -> None:
    await proxy.up()
    # In a thread, because the engine that it asks is served by this loop.
    server = await asyncio.to_thread(make_server, policy(defaults=ONE_TRY), DOCKER_HOST=proxy.address.url)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        gateway = Gateway(client)
        await gateway.tells(available=True)
        await gateway.works()
        for mode in ("away", "fail", "hang"):
            await proxy.down()
            proxy.mode = mode
            if mode == "away":
                await gateway.tells(available=False)
            else:
                await proxy.up()
            await gateway.is_in_trouble()
            await proxy.down()
            proxy.mode = "through"
            await proxy.up()
            await gateway.works()
        await gateway.tells(available=True)
    assert await asyncio.to_thread(server.stop) == 0


@pytest.fixture
def tag() -> Iterator[tuple[str, Callable[[], str]]]:
    """A name for the guest's image, and a way to have that name mean an image that is the same but for a label."""
    client = docker.from_env()
    name = f"airlock-test-{secrets.token_hex(6)}"
    client.images.get(IMAGE).tag(name, "latest")
    changed: list[Image] = []

    def change() -> str:
        container = client.containers.create(IMAGE)
        changed.append(container.commit(name, "latest", changes=f"LABEL airlock.test={name}"))
        container.remove()
        return str(changed[-1].id)

    yield f"{name}:latest", change
    for image in [f"{name}:latest", *(str(one.id) for one in changed)]:
        _forget(client, image)
    client.close()


def _forget(client: docker.DockerClient, image: str) -> None:
    try:
        client.images.remove(image, force=True)
    except docker.errors.ImageNotFound:
        return


def test_a_missing_image_is_told_and_is_the_platforms_fault(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(defaults=f"{ONE_TRY}, isolation: {{image: 'airlock-nowhere:1'}}"))
    with server.client() as client:
        answer = client.post("/v1/executions", json={"code": "1", "lane": "container", "task_id": "t"})
        execution = answer.json()["execution"]
        assert (answer.status_code, execution["status"]) == (503, "platform_error")
        assert execution["task"]["budget"]["failures_total"]["left"] == TOTAL
        lane = client.get("/readyz").json()["lanes"]["container"]
        assert lane["available"] is False
        assert "airlock-nowhere:1" in lane["detail"]
    assert boxes(server) == []


def test_an_image_that_changes_under_its_name_runs_only_once_it_is_proven(
    make_server: Callable[..., Server], tag: tuple[str, Callable[[], str]]
) -> None:
    name, change = tag
    server = make_server(policy(defaults=f"{ONE_TRY}, isolation: {{image: '{name}'}}"))
    engine = docker.from_env()

    def image_of_a_run() -> str:
        with server.client() as client:
            execution = submit_later(client, code="import time\ntime.sleep(1.5)", lane="container")
            eventually(lambda: running(client, execution) and len(boxes(server)) == 1)
            (box,) = boxes(server)
            found: str = engine.api.inspect_container(box)["Image"]
            client.get(f"/v1/executions/{execution}", params={"wait": 20})
            eventually(lambda: boxes(server) == [])
            return found

    with server.client() as client:
        eventually(lambda: client.get("/readyz").json()["lanes"]["container"]["available"] is True)
        before = engine.images.get(name).id
        eventually(lambda: boxes(server) == [])
        assert image_of_a_run() == before
        after = change()
        assert image_of_a_run() == before != after, "it ran as it was proven"
        eventually(
            lambda: client.get("/readyz").json()["lanes"]["container"]["available"] and image_of_a_run() == after
        )
    engine.close()
