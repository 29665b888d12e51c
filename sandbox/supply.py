"""Where a job gets its box: a cell that its owner had before, a spare one, or a new one.

Owns every box from its creation to its removal. It decides nothing of what a box may be (`profile`), and does not know
what is said in one.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from sandbox.box import Box, Removals
from sandbox.bundle import guest_text
from sandbox.cells import Cells, Claim
from sandbox.conversation import START_SECONDS, TELL_SECONDS
from sandbox.driver import UnfitError
from sandbox.engine import Description, Engine, Image
from sandbox.fitness import Fitness
from sandbox.job import Cell, Job, Limits
from sandbox.pool import Kind, Pool, Tally
from sandbox.profile import CELL, SPARE, ContainerOptions, EngineFacts, container_options

ABANDONED_SECONDS: Final = 60.0  # past every other limit; then nobody can be waiting for a box
LONG_SECONDS: Final = 86_400.0  # that a box may be somebody's that waits, or is used again, and then for any program


class Hardening(Protocol):
    """How a job becomes a container's options."""

    def __call__(
        self, job: Job, *, engine: EngineFacts, instance: str, deadline: float, guest: str
    ) -> ContainerOptions:
        """See `profile.container_options`."""
        ...


class Source(StrEnum):
    """Where a job's box came from."""

    CELL = "cell"
    SPARE = "spare"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Place:
    """The kind of box that a job wants: on which image, in which engine."""

    job: Job
    image: Image
    engine: Description


class Supply:
    """The boxes of one gateway (`instance`) on one engine.

    `boxes` cells rest at most, `spares` boxes wait besides; `harden` decides what a box may be. `sources` counts where
    boxes came from, `acquisitions` how long jobs waited for them.
    """

    def __init__(
        self, engine: Engine, *, instance: str, boxes: int, spares: int, harden: Hardening = container_options
    ) -> None:
        self.fitness = Fitness(engine)
        self.removals = Removals()
        self.pool = Pool(spares, self._spare, lambda: self._creating == 0, self.removals)
        self.cells = Cells(boxes, self.removals)
        self._engine = engine
        self._instance = instance
        self._harden = harden
        self.sources: Counter[Source] = Counter(dict.fromkeys(Source, 0))
        self.acquisitions = Tally()
        self._owned: set[tuple[str, int]] = set()
        self._creating = 0

    async def place(self, job: Job) -> Place:
        """What the job's box stands on; raises UnfitError, or EngineError while the engine is away."""
        image, engine = await self.fitness.image(job.image), await self.fitness.engine(job.runtime)
        if job.cell is not None and replace(engine.facts, runtime=job.runtime).is_gvisor:
            raise UnfitError("a cell is made by the host's kernel, and this runtime brings one of its own")
        return Place(job, image, engine)

    def options(self, place: Place) -> ContainerOptions:
        """What a box for this job is created with, if it has to be."""
        return self._options(replace(place.job, image=place.image.identity), place.engine)

    def waiting(self, place: Place, *, fresh: bool) -> Box | None:
        """A started box, if one waits: the owner's cell, else a spare one unless it has to be `fresh`."""
        claim = _claim(place)
        if claim is not None and (cell := self.cells.take(claim)) is not None:
            self.sources[Source.CELL] += 1
            return cell
        spare = None if fresh else self.pool.take(kind_of(place))
        self.sources[Source.SPARE] += spare is not None
        return spare

    def begin(self, place: Place) -> tuple[Box, ContainerOptions]:
        """A box that is still to be created, and with what. A cell outlives the execution that it is made for."""
        job = place.job
        self.sources[Source.NEW] += 1
        if job.cell is not None:
            job = _outliving(replace(job, image=place.image.identity), CELL)
            return self._box(job), self._options(job, place.engine)
        return self._box(job), self.options(place)

    async def create(self, box: Box, options: ContainerOptions) -> None:
        """Create and attach to it; meanwhile nothing is made in stock. Raises EngineError."""
        self._creating += 1
        try:
            await box.create(options)
        finally:
            self._creating -= 1
            self.pool.nudge()

    def rest(self, place: Place, box: Box) -> bool:
        """Keep the box for its owner's next program, if it is a cell."""
        claim = _claim(place)
        if claim is None:
            return False
        box.runs += 1
        self.cells.put(claim, box)
        return True

    def owns(self, owner: tuple[str, int]) -> bool:
        """Whether a box with these labels is in use, or waits."""
        return owner in self._owned

    def distrust(self) -> None:
        """After trouble nothing is known for sure: the engine may come back as another one."""
        self._engine.forget()
        self.fitness.forget()
        self.pool.empty()
        self.cells.empty()

    async def close(self) -> None:
        """Remove what waits, and wait until all removals are done."""
        await self.pool.close()
        self.cells.empty()
        while self.removals:
            await self.removals.wait()

    async def _spare(self, kind: Kind) -> Box:
        """A started box that nobody uses yet. Its labels name it, for no execution has it."""
        job = _outliving(
            Job(
                execution="",
                attempt=0,
                code="",
                limits=kind.limits,
                image=kind.image,
                runtime=kind.runtime,
                cell=None if kind.preload is None else Cell("", kind.preload),
            ),
            SPARE,
        )
        description = await self.fitness.engine(kind.runtime)
        box = self._box(job)
        try:
            await box.create(self._options(job, description))
            await box.start()
        except BaseException:
            self.removals.start(box)
            raise
        return box

    def _box(self, job: Job) -> Box:
        owner = (job.execution, job.attempt)
        self._owned.add(owner)
        return Box(self._engine, owner, self._owned.discard)

    def _options(self, job: Job, description: Description) -> ContainerOptions:
        return self._harden(
            job,
            engine=replace(description.facts, runtime=job.runtime),
            instance=self._instance,
            deadline=time.time() + START_SECONDS + job.limits.wall_seconds + TELL_SECONDS + ABANDONED_SECONDS,
            guest=guest_text(cell=job.cell is not None),
        )


def kind_of(place: Place) -> Kind:
    """What of a job a box is made of: of the limits, time and output are kept by the guest and by us."""
    job = place.job
    limits: Limits = replace(job.limits, wall_seconds=0.0, output_bytes=0)
    return Kind(place.image.identity, job.runtime, limits, None if job.cell is None else job.cell.preload)


def _claim(place: Place) -> Claim | None:
    return None if place.job.cell is None else Claim(place.job.cell.owner, kind_of(place))


def _outliving(job: Job, prefix: str) -> Job:
    """The job as a name and a time for a box that is not one execution's."""
    limits = replace(job.limits, wall_seconds=LONG_SECONDS)
    return replace(job, execution=f"{prefix}{secrets.token_hex(8)}", attempt=0, limits=limits)
