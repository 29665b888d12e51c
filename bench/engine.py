"""The container engine as the measurements see it: raw calls through its Docker SDK, and who owns which box."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import docker
from docker.errors import APIError, DockerException

from sandbox.job import Job, Limits
from sandbox.profile import EXECUTION_LABEL, INSTANCE_LABEL, SPARE, ContainerOptions, EngineFacts, container_options

IMAGE: Final = "airlock-guest:latest"
LIMITS: Final = Limits(  # as the default policy's
    cpu_cores=1.0, memory_bytes=256 << 20, wall_seconds=30.0, pids=64, disk_bytes=64 << 20, output_bytes=256 << 10
)
BOX_SECONDS: Final = 3600.0
QUIET_SECONDS: Final = 0.25  # after the last change among a gateway's boxes: a guest's Python has started by then
SETTLE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.03


class EngineMissing(Exception):
    """No engine answers, or it lacks the image of the boxes."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """A gateway's containers at one moment: `spare` of them run and wait for a program."""

    total: int
    spare: int


@dataclass(slots=True)
class RawEngine:
    """One client, closed by whoever made it. `made` are containers to remove at the end."""

    client: docker.DockerClient = field(default_factory=docker.from_env)
    token: str = field(default_factory=lambda: f"bench-{secrets.token_hex(6)}")
    made: set[str] = field(default_factory=set)
    cgroup_version: int = 1

    @classmethod
    async def open(cls) -> RawEngine:
        """Connect; raises `EngineMissing`."""
        try:
            engine = await asyncio.to_thread(cls)
            await asyncio.to_thread(engine.client.images.get, IMAGE)
            info = await asyncio.to_thread(engine.client.info)
        except DockerException as error:
            raise EngineMissing(str(error)) from error
        engine.cgroup_version = 2 if info.get("CgroupVersion") == "2" else 1
        return engine

    async def close(self) -> None:
        """Remove what was made and hang up."""
        for container in list(self.made):
            await asyncio.to_thread(self.remove, container)
        await asyncio.to_thread(self.client.close)

    def options(self, guest: str) -> ContainerOptions:
        """A box as a gateway would ask for it, with another program as its first process."""
        name = f"{self.token}-{secrets.token_hex(6)}"
        job = Job(execution=name, attempt=1, code="", limits=LIMITS, image=IMAGE)
        facts = EngineFacts(cgroup_version=self.cgroup_version)
        return container_options(
            job, engine=facts, instance=self.token, deadline=time.time() + BOX_SECONDS, guest=guest
        )

    def create(self, options: ContainerOptions) -> str:
        """Create a container; blocking, as all that follows."""
        created = self.client.api.create_container_from_config(options.config, options.name)  # type: ignore[no-untyped-call] # its stub has no types
        container = str(created["Id"])
        self.made.add(container)
        return container

    def remove(self, container: str) -> None:
        """Remove a container, running or not."""
        try:
            self.client.api.remove_container(container, force=True)
        except APIError as error:
            if error.status_code not in {404, 409}:  # gone, or on its way
                raise
        self.made.discard(container)

    def one_box(self) -> None:
        """The least that a single-use container can be: create, attach, start, read to its end, remove."""
        container = self.create(self.options("print(1)"))
        stream = self.client.api.attach_socket(container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        connection: socket.socket = stream._sock  # noqa: SLF001  # the library's way to its socket
        try:
            self.client.api.start(container)
            while connection.recv(1 << 16):
                pass
        finally:
            stream.close()
            self.remove(container)

    def boxes(self, instance: str) -> Boxes:
        """The boxes of one gateway."""
        found = self.client.api.containers(all=True, filters={"label": f"{INSTANCE_LABEL}={instance}"})
        spare = [one for one in found if one["Labels"][EXECUTION_LABEL].startswith(SPARE) and one["State"] == "running"]
        return Boxes(len(found), len(spare))

    def box_ids(self, instance: str) -> list[str]:
        """The ids of a gateway's boxes."""
        found = self.client.api.containers(all=True, filters={"label": f"{INSTANCE_LABEL}={instance}"})
        return [str(one["Id"]) for one in found]

    def process_of(self, container: str) -> int:
        """The id of a container's first process, 0 where it does not run; of this machine only if the engine is here."""
        found = self.client.api.inspect_container(container)
        return int(found["State"]["Pid"])

    async def settled(self, instance: str, *, spares: int) -> None:
        """Wait until a gateway has had nothing but its spare boxes, at least `spares`, for a moment; raises TimeoutError."""
        deadline = time.monotonic() + SETTLE_SECONDS
        before: Boxes | None = None
        since = time.monotonic()
        while time.monotonic() < deadline:
            boxes = await asyncio.to_thread(self.boxes, instance)
            now = time.monotonic()
            if boxes != before:
                before, since = boxes, now
            elif boxes.total == boxes.spare >= spares and now - since >= QUIET_SECONDS:
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise TimeoutError(f"waited {SETTLE_SECONDS:g} s for {spares} spare boxes, there are {before}")


def in_threads(work: Callable[[], None], count: int, threads: int) -> list[float]:
    """Do `work` so often in some threads; returns when each ended, on the performance counter. What one raises is raised here."""
    left = iter(range(count))
    lock = threading.Lock()
    ends: list[float] = []
    failures: list[Exception] = []

    def loop() -> None:
        while not failures:
            with lock:
                if next(left, None) is None:
                    return
            try:
                work()
            except (DockerException, OSError) as error:
                failures.append(error)
            ends.append(time.perf_counter())

    crew = [threading.Thread(target=loop) for _ in range(threads)]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    if failures:
        raise failures[0]
    return ends
