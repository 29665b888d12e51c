"""The gate before the boxes: no program enters a kind of box that has not proven that it holds.

A kind is a posture. One that changes, by another image, engine, kernel or option, has to prove itself anew before the
next program enters it. Knows what a proof is, not how a box is made.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sandbox.driver import Readiness, UnfitError
from sandbox.job import Cell, Job, Lane, Limits
from sandbox.outcome import Ending, Evidence, Loss, Outcome
from sandbox.posture import Posture
from sandbox.selftest import InconclusiveError, Target, Trial, try_everything

READY_SECONDS: Final = 8.0  # that a question waits for a self-test that is running
FRESH_SECONDS: Final = 30.0  # a failed proof is believed, before the next program makes it tried again

log = logging.getLogger(__name__)


class Boxes(Protocol):
    """What is needed of the driver whose boxes are to prove themselves."""

    boxes: int

    async def run(self, job: Job, *, fresh: bool = False) -> Outcome:
        """See `Driver.run`; `fresh`: in a box that was made for this job."""
        ...

    async def expect(self, image: str, runtime: str | None, cell: Cell | None, limits: Limits) -> None:
        """Have such a box ready for the first program that wants one."""
        ...

    async def ready(self) -> Readiness:
        """See `Driver.ready`."""
        ...

    async def reap(self, live: frozenset[tuple[str, int]]) -> int:
        """See `Driver.reap`."""
        ...

    async def close(self) -> None:
        """See `Driver.close`."""
        ...

    async def posture(self, image: str, runtime: str | None, cell: Cell | None) -> Posture:
        """What is in force around a program in such a box now; raises `UnfitError`."""
        ...

    async def neighbours(self) -> Sequence[tuple[str, int]]:
        """Addresses of the engine's machine that a box must not reach; none while the engine is away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a self-test found, when (seconds since the epoch), and about which posture."""

    target: Target
    posture: Posture
    at: float
    trials: tuple[Trial, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """What did not hold or could not be tried, in words; empty for a proof that succeeded."""
        return tuple(trial.finding for trial in self.trials if trial.held is not True)


class ProvenDriver:
    """The container lane behind its proof.

    `targets` are the kinds of boxes to prove before anybody wants them, by a name for operators, to be replaced as a whole; `addresses` must not be reachable from
    a box; `keep` is told of every proof.
    """

    def __init__(
        self,
        driver: Boxes,
        targets: Mapping[str, Target],
        *,
        addresses: Sequence[tuple[str, int]] = (),
        keep: Callable[[Proof], Awaitable[None]],
    ) -> None:
        self._driver = driver
        self.targets = targets
        self._addresses = tuple(addresses)
        self._keep = keep
        self._proofs: dict[str, Proof] = {}  # by the digest of the posture
        self._proving: dict[str, asyncio.Task[Proof]] = {}

    async def run(self, job: Job, *, fresh: bool = False) -> Outcome:
        """Run a job in a kind of box that holds; see `Driver.run`. In another one it is LOST, and never started.

        `fresh`: in a box that was made for this job.
        """
        try:
            proof = await self._proven(Target(job.image, job.runtime, job.limits, job.cell))
        except UnfitError as error:
            return _lost(str(error), error.loss)
        if proof.findings:
            return _lost(f"the self-test found: {'; '.join(proof.findings)}")
        outcome = await self._driver.run(job, fresh=fresh)
        if outcome.posture is not None and outcome.posture != proof.posture.digest:
            return replace(_lost("what is in force changed under the run"), timings=outcome.timings)
        return outcome

    async def ready(self) -> Readiness:
        """Whether every kind of box is proven; what did not hold is named."""
        base = await self._driver.ready()
        if not base.available:
            return base
        try:
            async with asyncio.timeout(READY_SECONDS):
                proofs = [await self._proven(target) for target in self.targets.values()]
        except TimeoutError:
            return replace(base, available=False, detail="the self-test is running")
        except UnfitError as error:
            return replace(base, available=False, detail=str(error))
        found = tuple(dict.fromkeys(finding for proof in proofs for finding in proof.findings))
        if found:
            return replace(base, available=False, detail=f"the self-test found: {'; '.join(found)}", findings=found)
        return base

    async def prove(self) -> None:
        """Try everything again, now, for every kind of box."""
        self._proofs.clear()
        for target in self.targets.values():
            try:
                await self._proven(target)
            except UnfitError as error:
                log.warning("the self-test cannot run: %s", error)

    def proofs(self) -> dict[str, Proof | None]:
        """The latest proof of each target by its name; None where there is none yet."""
        by_age = sorted(self._proofs.values(), key=lambda proof: proof.at)
        latest = {_kind(proof.target): proof for proof in by_age}
        return {name: latest.get(_kind(target)) for name, target in self.targets.items()}

    async def reap(self, live: frozenset[tuple[str, int]]) -> int:
        """See `Driver.reap`."""
        return await self._driver.reap(live)

    async def close(self) -> None:
        """End self-tests that run, then the boxes."""
        for proving in list(self._proving.values()):
            proving.cancel()
        await self._driver.close()

    async def _proven(self, target: Target) -> Proof:
        """The proof of what is in force now, made once however many wait for it; raises `UnfitError`."""
        posture = await self._driver.posture(target.image, target.runtime, target.cell)
        known = self._proofs.get(posture.digest)
        if known is not None and (not known.findings or time.time() - known.at < FRESH_SECONDS):
            return known
        proving = self._proving.get(posture.digest)
        if proving is None:
            proving = asyncio.create_task(self._prove(target, posture), name="self-test")
            self._proving[posture.digest] = proving
            proving.add_done_callback(lambda _: self._proving.pop(posture.digest, None))
        done, _ = await asyncio.wait({proving})
        if proving.cancelled():
            raise UnfitError("the gateway is stopping", Loss.STOPPED)
        return done.pop().result()

    async def _prove(self, target: Target, posture: Posture) -> Proof:
        forbidden = (*self._addresses, *await self._driver.neighbours())
        try:
            trials, postures = await try_everything(self._driver, target, forbidden)
        except InconclusiveError as error:
            raise UnfitError(f"the self-test could not be made: {error}", error.loss) from error
        if postures - {posture.digest}:
            trials = (*trials, Trial("posture", None, "what is in force changed during the self-test"))
        proof = Proof(target=target, posture=posture, at=time.time(), trials=trials)
        self._proofs[posture.digest] = proof
        if proof.findings:
            log.error("the self-test of %s found: %s", target.image, "; ".join(proof.findings))
        else:
            await self._driver.expect(target.image, target.runtime, target.cell, target.limits)
        await self._keep(proof)
        return proof


def _kind(target: Target) -> tuple[str, str | None, tuple[str, ...] | None]:
    return target.image, target.runtime, None if target.cell is None else target.cell.preload


def _lost(detail: str, loss: Loss = Loss.UNFIT) -> Outcome:
    return Outcome(ending=Ending.LOST, lane=Lane.CONTAINER, evidence=Evidence(loss=loss, detail=detail))
