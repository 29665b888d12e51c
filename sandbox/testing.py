"""An honest fake at the driver's port, for tests of whatever uses one.

Answers outcomes from a script and records its jobs. It keeps the port's promises (no exception,
nothing left after a cancellation) and fakes nothing below the port.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeAlias

from sandbox.driver import Readiness
from sandbox.job import Job, Lane
from sandbox.outcome import Ending, Evidence, Loss, Outcome

Script: TypeAlias = Iterable[Outcome] | Callable[[Job], Outcome | Awaitable[Outcome]]

READY = Readiness(available=True, detail="scripted", python="3.13")


class ScriptedDriver:
    """Answers each job with the script's next outcome, or with what the script's function makes of it.

    A function may be asynchronous, so that a test can hold a job or see its cancellation. A script
    that has come to its end answers LOST. `jobs` are all that came; `running` the (execution,
    attempt) pairs of those not yet answered; `leftovers` what a janitor would find, and `reap` removes.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        lane: Lane = Lane.CONTAINER,
        readiness: Readiness = READY,
        leftovers: Iterable[tuple[str, int]] = (),
    ) -> None:
        self.jobs: list[Job] = []
        self.running: set[tuple[str, int]] = set()
        self.leftovers = set(leftovers)
        self.readiness = readiness
        self.closed = False
        self._lane = lane
        self._answer = script if callable(script) else self._next_of(iter(script))

    async def run(self, job: Job, *, fresh: bool = False) -> Outcome:
        """Answer a job; see `Driver.run`. No box is anything but `fresh` here."""
        del fresh
        self.jobs.append(job)
        self.running.add((job.execution, job.attempt))
        try:
            answer = self._answer(job)
            return answer if isinstance(answer, Outcome) else await answer
        finally:
            self.running.discard((job.execution, job.attempt))

    async def ready(self) -> Readiness:
        """What the test says."""
        return self.readiness

    async def reap(self, live: frozenset[tuple[str, int]]) -> int:
        """Remove the leftovers that are not live."""
        reaped = self.leftovers - live
        self.leftovers -= reaped
        return len(reaped)

    async def close(self) -> None:
        """Remember it."""
        self.closed = True

    def _next_of(self, outcomes: Iterator[Outcome]) -> Callable[[Job], Outcome]:
        spent = Outcome(
            ending=Ending.LOST,
            lane=self._lane,
            evidence=Evidence(loss=Loss.BOX, detail="the script has no more outcomes"),
        )
        return lambda _: next(outcomes, spent)
