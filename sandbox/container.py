"""The container lane: each job in one hardened container (a box).

Owns jobs from asking to answering. Where their boxes come from is `supply`'s affair, what a box may be `profile`'s, how the
engine is asked `engine`'s, what is said with the guest `conversation`'s, how a run ended `verdict`'s.
Whatever fails on the way is an outcome (LOST), never an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Final

from sandbox import janitor
from sandbox.box import Box
from sandbox.calls import EngineAddress
from sandbox.conversation import Conversation, Silence
from sandbox.driver import Readiness, UnfitError
from sandbox.engine import REMOVE_SECONDS, Engine, EngineError, EngineRefusedError, Image, ImageMissingError
from sandbox.job import Cell, Job, Lane, Limits
from sandbox.outcome import Ending, Evidence, Loss, Outcome
from sandbox.posture import Posture, box_posture
from sandbox.profile import container_options
from sandbox.supply import Hardening, Place, Supply, kind_of
from sandbox.verdict import outcome_of

READY_SECONDS: Final = 15.0
NEIGHBOUR_PORTS: Final = (22, 2375)  # of remote shells and engines; any port of the bridge must be out of reach
PYTHON_SECONDS: Final = 2.0  # that a check may wait for the guest's version while it is unknown
REMOVAL_PAUSE_SECONDS: Final = 0.05  # while nobody waits for the slot: the answer goes first, removal is much work
BOXES_SHARE: Final = 0.8  # of the memory of the engine's machine; the rest is for the engine and the system
KINDS_REMEMBERED: Final = 64  # of boxes, by what is in force around them: more than policies have
PROBE_LIMITS: Final = Limits(
    cpu_cores=1.0, memory_bytes=64 << 20, wall_seconds=5.0, pids=16, disk_bytes=1 << 20, output_bytes=4096
)
_REUSABLE: Final = frozenset({Ending.SUCCEEDED, Ending.FAILED, Ending.TIMED_OUT, Ending.OUTPUT_LIMIT_EXCEEDED})


log = logging.getLogger(__name__)


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
    """Runs each job in a box on one Docker engine: in one of its own, or in a cell of its owner's.

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
        self._instance = instance
        self.default_image = default_image
        self._slots = asyncio.Semaphore(boxes)
        self._engine = Engine(address, calls=boxes)
        self.supply = Supply(self._engine, instance=instance, boxes=boxes, spares=spares, harden=harden)
        self._proven: dict[str, str] = {}  # image id -> version of its Python
        self._asking: asyncio.Task[Readiness] | None = None
        self._attempts: set[asyncio.Task[Outcome | None]] = set()
        self._postures: dict[object, Posture] = {}

    async def run(self, job: Job, *, fresh: bool = False) -> Outcome:
        """Run `job` in a box; see `Driver.run`. The answer does not wait for the box's removal.

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
            self.supply.removals.add(removal)
            self._attempts.discard(attempt)
            if cancelled:
                await asyncio.shield(removal)
        outcome = None if attempt.cancelled() else attempt.result()
        if outcome is None:
            return _lost(run, Evidence(loss=Loss.STOPPED, detail="the driver was closed under the job"))
        return outcome

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
        image = self.supply.fitness.known(self.default_image)
        if image is not None and image.identity in self._proven:
            return self._proven[image.identity]
        try:
            async with asyncio.timeout(PYTHON_SECONDS):
                return (await self.ready()).python
        except TimeoutError:
            return None

    @property
    def memory_bytes(self) -> int | None:
        """What the limits of all boxes may add up to: the engine's memory without a share for itself; None while unknown."""
        total = self.supply.fitness.memory_bytes
        return None if total is None else int(total * BOXES_SHARE)

    async def probe(self) -> bool:
        """Whether a harmless program runs in a new box now."""
        outcome = await self.run(_probe(self.default_image), fresh=True)
        return outcome.ending is Ending.SUCCEEDED

    async def posture(self, image: str, runtime: str | None, cell: Cell | None) -> Posture:
        """What is in force around a program in a box of this kind; raises `UnfitError`."""
        try:
            return self._posture(await self.supply.place(_sample(image, runtime, cell, PROBE_LIMITS)))
        except EngineError as error:
            raise UnfitError(str(error), loss_of(error)) from error

    async def neighbours(self) -> tuple[tuple[str, int], ...]:
        """Where the engine's machine can be reached by boxes that have a network; none while it is away."""
        try:
            return tuple((address, port) for address in await self._engine.gateways() for port in NEIGHBOUR_PORTS)
        except EngineError:
            return ()

    async def reap(self, live: frozenset[tuple[str, int]]) -> int:
        """Remove boxes that nobody owns (see `janitor`); counts none while the engine is away."""
        self.supply.cells.tidy()
        await self.supply.removals.wait(REMOVE_SECONDS)
        try:
            return await janitor.reap(
                self._engine,
                instance=self._instance,
                owned=lambda owner: owner in live or self.supply.owns(owner),
            )
        except EngineError:
            self.supply.distrust()
            return 0

    async def close(self) -> None:
        """End what runs (as lost), wait until every box is removed, then let go of the engine."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        for attempt in self._attempts:
            attempt.cancel()
        while self._attempts:
            await asyncio.wait(set(self._attempts))
            await asyncio.sleep(0)  # `run` turns an attempt that has ended into a removal
        await self.supply.close()
        await self._engine.close()

    async def expect(self, image: str, runtime: str | None, cell: Cell | None, limits: Limits) -> None:
        """Keep a box of this kind ready, although no job asked for one yet; nothing happens while the engine is away."""
        with contextlib.suppress(EngineError, UnfitError):
            self.supply.pool.expect(kind_of(await self.supply.place(_sample(image, runtime, cell, limits))))

    async def _try(self, run: _Run) -> Outcome | None:
        try:
            return await self._attempt(run)
        except EngineError as error:
            self.supply.distrust()
            wait = error.retry_after_seconds if isinstance(error, EngineRefusedError) else None
            return _lost(run, Evidence(loss=loss_of(error), retry_after_seconds=wait, detail=str(error)))
        except UnfitError as error:
            return _lost(run, Evidence(loss=error.loss, detail=str(error)))

    async def _attempt(self, run: _Run) -> Outcome:
        """Run the job in a box that waits; in a new one where there is none, or where that one had died unnoticed."""
        place = await self.supply.place(run.job)
        waiting = self.supply.waiting(place, fresh=run.fresh)
        outcome = await self._use(run, place, waiting) if waiting is not None else None
        if outcome is None:
            outcome = await self._use_new(run, place)
        return replace(outcome, posture=self._posture(place).digest, timings=tuple(run.phases.items()))

    def _posture(self, place: Place) -> Posture:
        """What is in force there; of one kind on one engine it is the same for every job."""
        job, image = place.job, place.image.identity
        kind = (image, job.runtime, None if job.cell is None else job.cell.preload, place.engine)
        if kind not in self._postures:
            if len(self._postures) >= KINDS_REMEMBERED:
                self._postures.clear()
            self._postures[kind] = box_posture(self.supply.options(place).config, place.engine.identity)
        return self._postures[kind]

    async def _use(self, run: _Run, place: Place, box: Box) -> Outcome | None:
        """Run the job in a box that waited; None if its program was never started there."""
        run.box = box
        run.phase_ends("acquire")
        self.supply.acquisitions.add(run.phases["acquire"])
        conversation = Conversation(run.job, box.attachment)
        outcome = await self._converse(run, place, box, conversation)
        if conversation.unheard:
            await box.remove()
            run.box = None
            return None
        return outcome

    async def _use_new(self, run: _Run, place: Place) -> Outcome:
        box, options = self.supply.begin(place)
        run.box = box
        began = time.monotonic()
        try:
            await self.supply.create(box, options)
            run.phase_ends("create")
            conversation = Conversation(run.job, box.attachment)
            await box.start()
            self.supply.acquisitions.add(time.monotonic() - began)
        except ImageMissingError:
            self.supply.fitness.forget_image(run.job.image)
            raise
        return await self._converse(run, place, box, conversation)

    async def _converse(self, run: _Run, place: Place, box: Box, conversation: Conversation) -> Outcome:
        outcome = None
        try:
            silence = await conversation.listen()
            run.phase_ends("start", conversation.started_at)
            run.phase_ends("run", conversation.ended_at)
            run.phase_ends("collect")
            outcome = _as_told(conversation, silence)
            if outcome is not None and _left_nothing(conversation, outcome) and self.supply.rest(place, box):
                run.box = None
        finally:
            if outcome is None:
                await box.hang_up()  # else its removal does, and the answer goes first
        return outcome or await self._judge(box.container, conversation, silence)

    async def _judge(self, container: str, conversation: Conversation, silence: Silence) -> Outcome:
        """The outcome of a conversation in which the guest could not tell everything: the engine may know more."""
        end = None
        if silence in {Silence.FINISHED, Silence.CLOSED}:
            end = await self._engine.ended(container)
        else:
            await self._engine.kill(container)
        return outcome_of(
            conversation.transcript,
            timed_out=silence is Silence.WALL,
            end=end,
            problem=conversation.problem(silence),
        )

    async def _ask(self) -> Readiness:
        try:
            fitness = self.supply.fitness
            fitness.forget_engine()
            description = await fitness.engine()
            fitness.forget_image(self.default_image)
            image = await fitness.image(self.default_image)
            python = self._proven.get(image.identity) or await self._prove(image)
        except EngineError as error:
            self.supply.distrust()
            return Readiness(available=False, detail=str(error))
        except UnfitError as error:
            return Readiness(available=False, detail=str(error))
        where = f"Docker {description.version}, cgroup v{description.facts.cgroup_version}"
        return Readiness(available=True, detail=f"Python {python} in {self.default_image} on {where}", python=python)

    async def _prove(self, image: Image) -> str:
        outcome = await self.run(_probe(self.default_image), fresh=True)
        if outcome.ending is not Ending.SUCCEEDED or outcome.python is None:
            raise UnfitError(f"a probe in {self.default_image} ended as {outcome.ending}: {outcome.evidence.detail}")
        self._proven[image.identity] = outcome.python
        return outcome.python

    async def _clear(self, run: _Run, attempt: asyncio.Task[Outcome | None]) -> None:
        """Remove what a job used, however far it got."""
        await asyncio.wait({attempt})
        try:
            if run.box is not None:
                if not self._slots.locked():
                    await asyncio.sleep(REMOVAL_PAUSE_SECONDS)
                await run.box.remove()
        finally:
            self._slots.release()
            self.supply.pool.nudge()


def _probe(image: str) -> Job:
    """A harmless job."""
    name = f"probe-{secrets.token_hex(8)}"
    return Job(execution=name, attempt=1, code="1 + 1", limits=PROBE_LIMITS, image=image)


def _as_told(conversation: Conversation, silence: Silence) -> Outcome | None:
    """The outcome, where the guest could tell everything that belongs to it."""
    said = conversation.transcript
    if silence is not Silence.FINISHED or (said.ended is not None and said.ended.oom_kills is None):
        return None
    return outcome_of(said)


def _left_nothing(conversation: Conversation, outcome: Outcome) -> bool:
    """Whether a cell is as it was before this program: its guest ended everything itself, the kernel killed nothing."""
    return conversation.is_whole and outcome.ending in _REUSABLE and not outcome.evidence.oom_kills


def _sample(image: str, runtime: str | None, cell: Cell | None, limits: Limits) -> Job:
    """A job for which a box of this kind would be made."""
    return Job(execution="sample", attempt=0, code="", limits=limits, image=image, runtime=runtime, cell=cell)


def loss_of(error: EngineError) -> Loss:
    """What an engine's error says of the engine."""
    if isinstance(error, ImageMissingError):
        return Loss.UNFIT
    return Loss.REFUSED if isinstance(error, EngineRefusedError) else Loss.ENGINE


def _lost(run: _Run, evidence: Evidence) -> Outcome:
    return Outcome(ending=Ending.LOST, lane=Lane.CONTAINER, evidence=evidence, timings=tuple(run.phases.items()))
