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
from sandbox.box import Box
from sandbox.conversation import START_SECONDS, TELL_SECONDS, Conversation, Silence
from sandbox.driver import Readiness, UnfitError
from sandbox.engine import REMOVE_SECONDS, Description, Engine, EngineError, Image, ImageMissingError
from sandbox.fitness import Fitness
from sandbox.job import Job, Lane, Limits
from sandbox.outcome import Ending, Evidence, Outcome
from sandbox.pool import Kind, Pool
from sandbox.posture import Posture, box_posture
from sandbox.profile import SPARE, ContainerOptions, EngineFacts, container_options
from sandbox.verdict import outcome_of

READY_SECONDS: Final = 15.0
NEIGHBOUR_PORTS: Final = (22, 2375)  # of remote shells and engines; any port of the bridge must be out of reach
PYTHON_SECONDS: Final = 2.0  # that a check may wait for the guest's version while it is unknown
ABANDONED_SECONDS: Final = 60.0  # past every other limit; then nobody can be waiting for a box
SPARE_BOX_SECONDS: Final = 86_400.0  # that a spare box may be somebody's: waiting, and then longer than any program
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
class _Run:
    """One job on its way: the box that it has, and how long its phases took."""

    job: Job
    fresh: bool
    box: Box | None = None
    phases: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def phase_ends(self, name: str, at: float | None = None) -> None:
        """Note how long the phase took that ended at `at`, or ends now."""
        now = time.monotonic() if at is None else max(at, self.since)
        self.phases[name] = now - self.since
        self.since = now


class ContainerDriver:
    """Runs each job in a box of its own on one Docker engine.

    `instance` names the owner of boxes, for the janitor; `boxes` is how many run at once; `spares` how many wait besides,
    started and unused, for the next programs. `harden` decides what a box may be, and is there to be weakened by whoever
    wants to see that noticed.
    `address` None is the engine of the environment (DOCKER_HOST and so on). Needs no engine before the first job.
    """

    def __init__(  # noqa: PLR0913 - the parts that it stands on
        self,
        instance: str,
        default_image: str,
        boxes: int = 8,
        *,
        spares: int = 0,
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
        self._fitness = Fitness(self._engine)
        self._proven: dict[str, str] = {}  # image id -> version of its Python
        self._asking: asyncio.Task[Readiness] | None = None
        self._live: set[tuple[str, int]] = set()
        self._attempts: set[asyncio.Task[Outcome | None]] = set()
        self._removals: set[asyncio.Task[None]] = set()
        self._creating = 0
        self.pool = Pool(spares, self._spare, lambda: self._creating == 0)

    async def run(self, job: Job, *, fresh: bool = False) -> Outcome:
        """Run `job` in a box of its own; see `Driver.run`. The answer does not wait for the box's removal.

        `fresh`: never in a spare one, and no sign that there should be more of this kind.
        """
        await self._slots.acquire()
        run = _Run(job, fresh=fresh)
        attempt = asyncio.create_task(self._try(run))
        self._attempts.add(attempt)
        try:
            await asyncio.wait({attempt})
        finally:
            cancelled = attempt.cancel()
            removal = asyncio.create_task(self._clear(run, attempt))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)
            self._attempts.discard(attempt)
            if cancelled:
                await asyncio.shield(removal)
        outcome = None if attempt.cancelled() else attempt.result()
        return outcome if outcome is not None else _lost(run, "the driver was closed under the job")

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
        image = self._fitness.known(self._default_image)
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
            found, description = await self._fitness.image(image), await self._fitness.engine(runtime)
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
        await self.pool.close()
        while held := self._attempts | self._removals:
            await asyncio.wait(held)
            await asyncio.sleep(0)  # `run` turns an attempt that has ended into a removal
        await self._engine.close()

    async def expect(self, image: str, runtime: str | None, limits: Limits) -> None:
        """Keep a box of this kind ready, although no job asked for one yet; nothing happens while the engine is away."""
        with contextlib.suppress(EngineError, UnfitError):
            found, _ = await self._fitness.image(image), await self._fitness.engine(runtime)
            self.pool.expect(_kind(found, runtime, limits))

    async def _try(self, run: _Run) -> Outcome | None:
        try:
            return await self._attempt(run)
        except EngineError as error:
            self._forget()
            return _lost(run, str(error))
        except UnfitError as error:
            return _lost(run, str(error))

    def _forget(self) -> None:
        """After trouble nothing is known for sure: the engine may come back as another one."""
        self._engine.forget()
        self._fitness.forget()
        self.pool.empty()

    async def _attempt(self, run: _Run) -> Outcome:
        """Run the job in a spare box; in a new one where there is none, or where that one had died unnoticed."""
        job = run.job
        image, description = await self._fitness.image(job.image), await self._fitness.engine(job.runtime)
        options = self._options(job, image, description)
        posture = box_posture(options.config, description.identity)
        spare = None if run.fresh else self.pool.take(_kind(image, job.runtime, job.limits))
        outcome = await self._use(run, spare) if spare is not None else None
        if outcome is None:
            outcome = await self._use_new(run, options)
        return replace(outcome, posture=posture.digest, timings=tuple(run.phases.items()))

    async def _use(self, run: _Run, spare: Box) -> Outcome | None:
        """Run the job in a spare box; None if its program was never started there."""
        run.box = spare
        run.phase_ends("acquire")
        conversation = Conversation(run.job, spare.attachment)
        outcome = await self._converse(run, spare, conversation)
        if conversation.transcript.started is None:
            await spare.remove()
            self._live.discard(spare.owner)
            run.box = None
            return None
        return outcome

    async def _use_new(self, run: _Run, options: ContainerOptions) -> Outcome:
        box = run.box = self._box((run.job.execution, run.job.attempt))
        self._creating += 1
        try:
            attachment = await box.create(options)
            run.phase_ends("create")
            conversation = Conversation(run.job, attachment)
            await box.start()
        except ImageMissingError:
            self._fitness.forget_image(run.job.image)
            raise
        finally:
            self._creating -= 1
            self.pool.nudge()
        return await self._converse(run, box, conversation)

    async def _converse(self, run: _Run, box: Box, conversation: Conversation) -> Outcome:
        try:
            silence = await conversation.listen()
            run.phase_ends("start", conversation.started_at)
            run.phase_ends("run", conversation.ended_at)
            run.phase_ends("collect")
        finally:
            await box.hang_up()
        return await self._judge(box.container, conversation, silence)

    async def _spare(self, kind: Kind) -> Box:
        """A started box that nobody uses yet. Its labels name it, for no execution has it."""
        job = Job(
            execution=f"{SPARE}{secrets.token_hex(8)}",
            attempt=0,
            code="",
            limits=replace(kind.limits, wall_seconds=SPARE_BOX_SECONDS),
            image=kind.image,
            runtime=kind.runtime,
        )
        description = await self._fitness.engine(kind.runtime)
        box = self._box((job.execution, job.attempt))
        try:
            await box.create(self._harden_for(job, description))
            await box.start()
        except BaseException:
            self._later(box)
            raise
        return box

    def _box(self, owner: tuple[str, int]) -> Box:
        self._live.add(owner)
        return Box(self._engine, owner, self._live.discard)

    def _options(self, job: Job, image: Image, description: Description) -> ContainerOptions:
        return self._harden_for(replace(job, image=image.identity), description)

    def _harden_for(self, job: Job, description: Description) -> ContainerOptions:
        return self._harden(
            job,
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
            self._fitness.forget_engine()
            description = await self._fitness.engine()
            self._fitness.forget_image(self._default_image)
            image = await self._fitness.image(self._default_image)
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
        outcome = await self.run(job, fresh=True)
        if outcome.ending is not Ending.SUCCEEDED or outcome.python is None:
            raise UnfitError(f"a probe in {self._default_image} ended as {outcome.ending}: {outcome.evidence.detail}")
        self._proven[image.identity] = outcome.python
        return outcome.python

    async def _clear(self, run: _Run, attempt: asyncio.Task[Outcome | None]) -> None:
        """Remove what a job used, however far it got."""
        await asyncio.wait({attempt})
        try:
            if run.box is not None:
                await run.box.remove()
        finally:
            self._slots.release()
            self.pool.nudge()

    def _later(self, box: Box) -> None:
        removal = asyncio.create_task(box.remove())
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)


def _kind(image: Image, runtime: str | None, limits: Limits) -> Kind:
    """What of a job a box is made of: of the limits, time and output are kept by the guest and by us."""
    return Kind(image.identity, runtime, replace(limits, wall_seconds=0.0, output_bytes=0))


def _lost(run: _Run, detail: str) -> Outcome:
    return Outcome(
        ending=Ending.LOST, lane=Lane.CONTAINER, evidence=Evidence(detail=detail), timings=tuple(run.phases.items())
    )
