"""The port: what the gateway needs of anything that runs jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sandbox.job import Job
from sandbox.outcome import Loss, Outcome


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a lane can run jobs now, why not, and which Python ("3.13") it runs, if known.

    `findings`: by what a program could leave its box, if anything.
    """

    available: bool
    detail: str
    python: str | None = None
    findings: tuple[str, ...] = ()


class UnfitError(Exception):
    """The engine, the runtime or the image cannot hold a box; the message is for an operator.

    `loss` tells a place that is unfit from one that could not be asked.
    """

    def __init__(self, message: str, loss: Loss = Loss.UNFIT) -> None:
        super().__init__(message)
        self.loss = loss


class Driver(Protocol):
    """Runs jobs in one lane."""

    async def run(self, job: Job) -> Outcome:
        """Run `job` to its end.

        Whatever the program or the engine does is an `Outcome`. The only exception is
        `asyncio.CancelledError`, when the caller cancels; then nothing of the job is left.
        """
        ...

    async def ready(self) -> Readiness:
        """Say whether jobs can be run, by asking the real thing; never raises."""
        ...

    async def reap(self, live: frozenset[tuple[str, int]]) -> int:
        """Remove what earlier runs left behind, save that of the `live` (execution, attempt) pairs; count it."""
        ...

    async def close(self) -> None:
        """Give back what the driver holds."""
        ...
