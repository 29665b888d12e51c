"""The switch of the Monty lane: off from the first difference that a shadow run shows, until an operator says otherwise.

It is kept in a file of the data directory, one line for each time it was moved, so that a restart changes nothing.
Owns that file, and the lane behind the switch; who compares what is the shadow's affair.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from gateway.times import now, stamp
from sandbox.driver import Driver, Readiness
from sandbox.job import Job, Lane
from sandbox.outcome import Ending, Evidence, Outcome

log = logging.getLogger(__name__)

OFF: Final = "the Monty lane is switched off: a program came to something else in a container (GET /v1/lanes/monty)"
"""What everybody may read, so nobody's program is named."""


@dataclass(frozen=True, slots=True)
class Move:
    """One time that the switch was moved. `execution` and `differs` say why it was switched off, `by` who switched it on."""

    at: str
    on: bool
    execution: str | None = None
    differs: tuple[str, ...] = ()
    by: str | None = None


_MOVE: Final = TypeAdapter(Move)


class MontySwitch:
    """One gateway's switch. A file that cannot be read is off: nobody knows what it said."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.moved = _latest(path)

    @property
    def off(self) -> str | None:
        """Why nothing runs in Monty now; None where it may."""
        return OFF if self.moved is not None and not self.moved.on else None

    def switch_off(self, execution: str, differs: tuple[str, ...]) -> None:
        """From now on nothing runs in Monty, also where that cannot be written down."""
        self.moved = Move(stamp(now()), on=False, execution=execution, differs=differs)
        try:
            _append(self._path, self.moved)
        except OSError:
            log.exception("that the Monty lane is switched off cannot be kept: a restart would switch it on")

    def switch_on(self, by: str) -> None:
        """Trust Monty again; raises `OSError` where that cannot be written down, and changes nothing."""
        move = Move(stamp(now()), on=True, by=by)
        _append(self._path, move)
        self.moved = move


class SwitchedLane:
    """The Monty lane behind its switch: while that is off, every job is the container's."""

    def __init__(self, lane: Driver, switch: MontySwitch) -> None:
        self._lane = lane
        self._switch = switch

    async def run(self, job: Job) -> Outcome:
        """See `driver.Driver.run`."""
        if self._switch.off is not None:
            return Outcome(ending=Ending.UNSUPPORTED, lane=Lane.MONTY, evidence=Evidence(detail=OFF))
        return await self._lane.run(job)

    async def ready(self) -> Readiness:
        """See `driver.Driver.ready`."""
        if self._switch.off is not None:
            return Readiness(available=False, detail=OFF)
        return await self._lane.ready()

    async def reap(self, live: frozenset[tuple[str, int]]) -> int:
        """See `driver.Driver.reap`."""
        return await self._lane.reap(live)

    async def close(self) -> None:
        """See `driver.Driver.close`."""
        await self._lane.close()


def _latest(path: Path) -> Move | None:
    """The last line of the file; what cannot be read is a move to off."""
    try:
        lines = path.read_bytes().splitlines()
        return _MOVE.validate_json(lines[-1]) if lines else None
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        log.exception("%s cannot be read: the Monty lane stays off until an operator switches it on", path)
        return Move(stamp(now()), on=False, differs=("unreadable",))


def _append(path: Path, move: Move) -> None:
    """Write a line and have it on the disk. What a crash left of another one ends first."""
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        torn = path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        os.write(opened, (b"\n" if torn else b"") + _MOVE.dump_json(move) + b"\n")
        os.fsync(opened)
    finally:
        os.close(opened)
