"""The container lane: one hardened, single-use container (a box) per job.

Owns boxes from creation to removal. What a box may be is `profile`'s affair, how the engine is
asked `engine`'s, what is said with the guest `conversation`'s, how a run ended `verdict`'s.
Whatever fails on the way is an outcome (LOST), never an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from sandbox import guest, janitor
from sandbox.attach import EngineAddress
from sandbox.conversation import START_SECONDS, TELL_SECONDS, Conversation, Silence
from sandbox.driver import Readiness, UnfitError
from sandbox.engine import REMOVE_SECONDS, Description, Engine, EngineError, Image, ImageMissingError
from sandbox.job import Job, Lane, Limits
from sandbox.outcome import Ending, Evidence, Outcome
from sandbox.posture import Posture, box_posture
from sandbox.profile import ContainerOptions, EngineFacts, container_options
from sandbox.verdict import outcome_of

READY_SECONDS: Final = 15.0
NEIGHBOUR_PORTS: Final = (22, 2375)  # of remote shells and engines; any port of the bridge must be out of reach
PYTHON_SECONDS: Final = 2.0  # that a check may wait for the guest's version while it is unknown
ABANDONED_SECONDS: Final = 60.0  # past every other limit; then nobody can be waiting for a box
REMOVAL_PAUSES_SECONDS: Final = (0.0, 1.0, 3.0)  # before each try
PROBE_LIMITS: Final = Limits(
    cpu_cores=1.0, memory_bytes=64 << 20, wall_seconds=5.0, pids=16, disk_bytes=1 << 20, output_bytes=4096
)


log = logging.getLogger(__name__)


class Hardening(Protocol):
    """How a job becomes a container's options."""

    def __call__(
        self, job: Job, *, engine: EngineFacts, instance: str, deadline: float, guest: str
    ) -> ContainerOptions:
        """See `profile.container_options`."""
        ...


@dataclass(slots=True)
class _Box:
    """One box while its owner cares for it."""

    job: Job
    creating: asyncio.Task[str] | None = None
    phases: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def phase_ends(self, name: str, at: float | None = None) -> None:
        """Note how long the phase took that ended at `at`, or ends now."""
        now = time.monotonic() if at is None else max(at, self.since)
        self.phases[name] = now - self.since
        self.since = now


class ContainerDriver:
    """Runs each job in a box of its own on one Docker engine.

    `instance` names the owner of boxes, for the janitor; `boxes` is how many exist at once; `harden` decides what a
    box may be, and is there to be weakened by whoever wants to see that noticed.
    `address` None is the engine of the environment (DOCKER_HOST and so on). Needs no engine before the first job.
    """

    def __init__(
        self,
        instance: str,
        default_image: str,
        boxes: int = 8,
        *,
        address: EngineAddress | None = None,
        harden: Hardening = container_options,
    ) -> None:
        self.boxes = boxes
        self._harden = harden
        self._instance = instance
        self._default_image = default_image
        self._slots = asyncio.Semaphore(boxes)
        self._engine = Engine(address, calls=boxes)
        self._guest = inspect.getsource(guest)
        self._description: Description | None = None
        self._images: dict[str, Image] = {}
        self._proven: dict[str, str] = {}  # image id -> version of its Python
        self._asking: asyncio.Task[Readiness] | None = None
        self._live: set[tuple[str, int]] = set()
        self._attempts: set[asyncio.Task[Outcome | None]] = set()
        self._removals: set[asyncio.Task[Outcome | None]] = set()

    async def run(self, job: Job) -> Outcome:
        """Run `job` in a new box; see `Driver.run`. The answer does not wait for the box's removal."""
        await self._slots.acquire()
        box = _Box(job)
        self._live.add((job.execution, job.attempt))
        attempt = asyncio.create_task(self._try(box))
        self._attempts.add(attempt)
        try:
            await asyncio.wait({attempt})
        finally:
            cancelled = attempt.cancel()
            removal = asyncio.create_task(self._remove(box, attempt))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)
            self._attempts.discard(attempt)
            if cancelled:
                await asyncio.shield(removal)
        outcome = None if attempt.cancelled() else attempt.result()
        return outcome if outcome is not None else _lost(box, "the driver was closed under the job")

    async def ready(self) -> Readiness:
        """Ask the engine, look for the image, and prove with a real job, once per image, that the lane runs."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        asking = self._asking
        done, _ = await asyncio.wait({asking}, timeout=READY_SECONDS)
        if not done:
            return Readiness(available=False, detail=f"the engine did not answer within {READY_SECONDS:g} s")
        return asking.result()

    async def python(self) -> str | None:
        """Version of the default image's Python ("3.13"), None while it is unknown."""
        image = self._images.get(self._default_image)
        if image is not None and image.identity in self._proven:
            return self._proven[image.identity]
        try:
            async with asyncio.timeout(PYTHON_SECONDS):
                return (await self.ready()).python
        except TimeoutError:
            return None

    async def posture(self, image: str, runtime: str | None) -> Posture:
        """What is in force around a program in a box of this kind; raises `UnfitError`."""
        job = Job(execution="posture", attempt=0, code="", limits=PROBE_LIMITS, image=image, runtime=runtime)
        try:
            found, description = await self._image(image), await self._described(runtime)
        except EngineError as error:
            raise UnfitError(str(error)) from error
        return box_posture(self._options(job, found, description).config, description.identity)

    async def neighbours(self) -> tuple[tuple[str, int], ...]:
        """Where the engine's machine can be reached by boxes that have a network; none while it is away."""
        try:
            return tuple((address, port) for address in await self._engine.gateways() for port in NEIGHBOUR_PORTS)
        except EngineError:
            return ()

    async def reap(self, live: frozenset[tuple[str, int]]) -> int:
        """Remove boxes that nobody owns (see `janitor`); counts none while the engine is away."""
        if self._removals:
            await asyncio.wait(set(self._removals), timeout=REMOVE_SECONDS)
        try:
            return await janitor.reap(
                self._engine,
                instance=self._instance,
                owned=lambda owner: owner in live or owner in self._live,
            )
        except EngineError:
            self._forget()
            return 0

    async def close(self) -> None:
        """End what runs (as lost), wait until every box is removed, then let go of the engine."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        for attempt in self._attempts:
            attempt.cancel()
        while held := self._attempts | self._removals:
            await asyncio.wait(held)
            await asyncio.sleep(0)  # `run` turns an attempt that has ended into a removal
        await self._engine.close()

    async def _try(self, box: _Box) -> Outcome | None:
        try:
            return await self._attempt(box)
        except EngineError as error:
            self._forget()
            return _lost(box, str(error))
        except UnfitError as error:
            return _lost(box, str(error))

    def _forget(self) -> None:
        """After trouble nothing is known for sure: the engine may come back as another one."""
        self._engine.forget()
        self._description = None
        self._images.clear()

    async def _attempt(self, box: _Box) -> Outcome:
        job = box.job
        image, description = await self._image(job.image), await self._described(job.runtime)
        options = self._options(job, image, description)
        posture = box_posture(options.config, description.identity)
        box.creating = asyncio.create_task(self._engine.create(options))
        try:
            container = await asyncio.shield(box.creating)
        except ImageMissingError:
            self._images.pop(job.image, None)
            raise
        attachment = await self._engine.attach(container)
        box.phase_ends("create")
        try:
            conversation = Conversation(job, attachment)
            await self._engine.start(container)
            silence = await conversation.listen()
            box.phase_ends("start", conversation.started_at)
            box.phase_ends("run", conversation.ended_at)
            box.phase_ends("collect")
        finally:
            await attachment.close()  # before anything else is asked of the engine about this box
        outcome = await self._judge(container, conversation, silence)
        return replace(outcome, posture=posture.digest, timings=tuple(box.phases.items()))

    def _options(self, job: Job, image: Image, description: Description) -> ContainerOptions:
        return self._harden(
            replace(job, image=image.identity),
            engine=replace(description.facts, runtime=job.runtime),
            instance=self._instance,
            deadline=time.time() + START_SECONDS + job.limits.wall_seconds + TELL_SECONDS + ABANDONED_SECONDS,
            guest=self._guest,
        )

    async def _judge(self, container: str, conversation: Conversation, silence: Silence) -> Outcome:
        """The outcome of a conversation; asks the engine only where the guest could not tell."""
        said, problem = conversation.transcript, conversation.problem(silence)
        end = None
        if silence is Silence.FINISHED:
            if said.ended is not None and said.ended.oom_kills is None:
                end = await self._engine.ended(container)
        elif silence is Silence.CLOSED:
            end = await self._engine.ended(container)
        else:
            await self._engine.kill(container)
        return outcome_of(said, timed_out=silence is Silence.WALL, end=end, problem=problem)

    async def _ask(self) -> Readiness:
        try:
            self._description = None
            description = await self._described()
            self._images.pop(self._default_image, None)
            image = await self._image(self._default_image)
            python = self._proven.get(image.identity) or await self._prove(image)
        except EngineError as error:
            self._forget()
            return Readiness(available=False, detail=str(error))
        except UnfitError as error:
            return Readiness(available=False, detail=str(error))
        where = f"Docker {description.version}, cgroup v{description.facts.cgroup_version}"
        return Readiness(available=True, detail=f"Python {python} in {self._default_image} on {where}", python=python)

    async def _prove(self, image: Image) -> str:
        job = Job(
            execution=f"probe-{secrets.token_hex(8)}",
            attempt=1,
            code="1 + 1",
            limits=PROBE_LIMITS,
            image=self._default_image,
        )
        outcome = await self.run(job)
        if outcome.ending is not Ending.SUCCEEDED or outcome.python is None:
            raise UnfitError(f"a probe in {self._default_image} ended as {outcome.ending}: {outcome.evidence.detail}")
        self._proven[image.identity] = outcome.python
        return outcome.python

    async def _described(self, runtime: str | None = None) -> Description:
        if self._description is None:
            self._description = await self._engine.describe()
        described = self._description
        if described.complaints:
            raise UnfitError(f"the engine is unfit: {'; '.join(described.complaints)}")
        if runtime is not None and runtime not in described.runtimes:
            raise UnfitError(f"the engine has no runtime {runtime!r}; it has {', '.join(sorted(described.runtimes))}")
        return described

    async def _image(self, reference: str) -> Image:
        """The image as it was when it was last asked for: the one that was proven is the one that runs."""
        if reference not in self._images:
            try:
                self._images[reference] = await self._engine.image(reference)
            except ImageMissingError as error:
                raise UnfitError(f"the image {reference!r} is not on the engine") from error
        image = self._images[reference]
        if image.volumes:
            raise UnfitError(f"the image {reference!r} declares volumes, which would be writable: {image.volumes}")
        return image

    async def _remove(self, box: _Box, attempt: asyncio.Task[Outcome | None]) -> None:
        """Remove a box, however far it got; what the engine will not remove now is left to the janitor."""
        await asyncio.wait({attempt})
        try:
            if box.creating is not None:
                await self._remove_container(await box.creating)
        except EngineError:
            return  # never created, as far as anybody knows
        finally:
            self._live.discard((box.job.execution, box.job.attempt))
            self._slots.release()

    async def _remove_container(self, container: str) -> None:
        for pause in REMOVAL_PAUSES_SECONDS:
            await asyncio.sleep(pause)
            with contextlib.suppress(EngineError):
                await self._engine.remove(container)
                return


def _lost(box: _Box, detail: str) -> Outcome:
    return Outcome(
        ending=Ending.LOST, lane=Lane.CONTAINER, evidence=Evidence(detail=detail), timings=tuple(box.phases.items())
    )
